"""da.geodecloud and ds.geodecloud: geodecloud over xarray, lazily where the arrays are lazy.

    import geodecloud.accessor

    clear = cloudy.geodecloud.decloud()

See docs/xarray.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from xarray import (
    DataArray,
    Dataset,
    register_dataarray_accessor,
    register_dataset_accessor,
)

from geodecloud.accessor.beside import Beside, Helpers, Source
from geodecloud.accessor.cutting import Chips
from geodecloud.accessor.doing import Made, classes_of, do
from geodecloud.accessor.labelled import Labelled
from geodecloud.accessor.scene import LabelledScene
from geodecloud.clouding import CloudsOptions
from geodecloud.errors import OptionError
from geodecloud.geo.canvas import GENERATED_TAG
from geodecloud.geo.masks import CLASSES
from geodecloud.geo.masks import NODATA as NO_CLASS
from geodecloud.geo.polygons import Areas
from geodecloud.geo.profile import Profile, profile_of
from geodecloud.geo.radiometry import Overrides
from geodecloud.geo.scene import Scene
from geodecloud.geo.sensor_file import read_sensor
from geodecloud.geo.sensors import Sensor
from geodecloud.in_strips import Clouding, Declouding, Translating
from geodecloud.mask_grammar import Mask
from geodecloud.masking import MaskOptions
from geodecloud.models import DEFAULT_MODEL, load_translator
from geodecloud.options import DecloudOptions
from geodecloud.paste import PROVENANCE
from geodecloud.sky.sky import Sky
from geodecloud.strips import Work
from geodecloud.translating import TranslateOptions
from geodecloud.translator import Translator

__all__ = ["Chips", "GeodecloudAccessor"]

Labels = DataArray | Dataset

SHAPING = ("detector", "dilate_m", "specks_m2", "holes_m2", "shadows")
"""Options of a mask."""
COMPUTING = ("tile_size_px", "batch_size", "device")
"""Options of how a model is run."""
MEANING = ("bands", "scale", "offset", "level", "sensor")
"""What the caller says of the numbers."""
CLEARING = (*SHAPING, *COMPUTING, "feather_m", "max_cloud", "keep_bands")
"""Options of how clouds are removed."""
OTHER_DATES = {"reference_days": "days", "max_references": "most"}
"""Options of which other dates of an array help, and what they are called there."""
SKY = ("seed", "coverage", "type", "sun_azimuth_deg", "sun_elevation_deg")
"""Options of a new sky."""

TRUTH = {code: kind.name for code, kind in CLASSES.items() if code != NO_CLASS}


class GeodecloudAccessor:
    """What geodecloud does, over a data array or a dataset.

    Rows and columns are the dimensions y and x (latitude and longitude, lat and lon, northing and
    easting). Bands are the dimension band of an array, and the variables of a dataset. Every
    other dimension, such as time, is walked: each place along it is a scene of its own.

    Every method takes ``bands``, ``scale``, ``offset``, ``level`` and ``sensor``, as
    ``geodecloud.open_scene`` does, for what the array does not say.
    """

    def __init__(self, labelled: Labels) -> None:
        """Keep the object; nothing is looked at before a method is called."""
        self._labelled = labelled

    def decloud(
        self,
        model: str | Path | Translator = DEFAULT_MODEL,
        mask: Mask | DataArray = "auto",
        *,
        references: Literal["others"] | Source | Sequence[Source] = (),
        sar: Source | None = None,
        aoi: str | Areas | None = None,
        provenance: bool = False,
        uncertainty: bool = False,
        **options: Any,
    ) -> Labels:
        """Return it without its clouds: the model's bands, everything else as it is.

        Values outside the mask are the array's own, bit for bit. Lazy arrays give lazy arrays,
        and a scene that is almost all cloud, or whose values cannot be reflectance, is refused
        when it is computed.

        Args:
            model: "auto", "fill", the name or path of a model, or a translator.
            mask: as ``decloud --mask`` takes it, or an array of bool or of class codes, such as
                that of ``cloud_mask``.
            references: other dates, whose pixels stand under the clouds: "others" of this array,
                labelled arrays, paths or scenes, on any grid. Of an array with several dates all
                but this one's own.
            sar: radar in VV and VH, decibels or power, for models that look at it: a labelled
                array, a path or a scene, on any grid. Of several dates the nearest.
            aoi: areas, of a file, GeoJSON or geometries: only what lies inside is kept, on as
                much of the grid as that takes. Geometries that name no coordinate system lie in
                that of the array.
            provenance: tell of each pixel where it comes from, in a coordinate of that name.
            uncertainty: tell of each value how far it may be off, one standard deviation, in a
                coordinate of that name; of a dataset, one for each band. 0 is as it was.
            options: ``detector``, ``dilate_m``, ``specks_m2``, ``holes_m2``, ``shadows``,
                ``feather_m``, ``max_cloud``, ``keep_bands``, ``tile_size_px``, ``batch_size``
                and ``device`` of ``geodecloud.DecloudOptions``; ``reference_days`` (60) and
                ``max_references`` (3) of "others"; and what the numbers are.

        Raises:
            InputError: the array, or what stands beside it, cannot be used.
            OptionError: an option makes no sense.
            ModelError: the model is unknown, damaged, made for something else, or does not know
                its uncertainty.
        """
        labelled = self._taken_apart(options)
        asked = _chosen(DecloudOptions, options, (*CLEARING, *OTHER_DATES))
        limits = {name: asked.pop(key) for key, name in OTHER_DATES.items() if key in asked}
        beside = Beside(labelled, Helpers(references, sar, **limits))
        if model == DEFAULT_MODEL and beside.has_references:
            model = "fill"  # for all dates, those that nothing helps with among them
        drawn = mask if isinstance(mask, DataArray) else None
        if drawn is None:
            asked["mask"] = mask
        asked["aoi"] = Path(aoi) if isinstance(aoi, str) else aoi
        found = [beside.of(at) for at in labelled.places]

        def work(scene: Scene, number: int) -> Work:
            chosen = DecloudOptions(model=model, **found[number]._asdict(), **asked)
            return Declouding(scene, chosen, with_uncertainty=uncertainty)

        about = "provenance" if provenance else None
        return self._kept(labelled, work, drawn, about, lambda number: found[number].scenes)

    def translate(
        self,
        model: str | Path | Translator,
        *,
        direction: str | None = None,
        mask: Mask | DataArray = "auto",
        provenance: bool = False,
        **options: Any,
    ) -> Labels:
        """Return it drawn anew by a model: the bands of its target sensor, on the same grid.

        The result holds stored numbers; their scale, offset and nodata are attributes, as CF has
        them. A model that removes clouds does as ``decloud``.

        Args:
            model: the name or path of a model, or a translator.
            direction: of models with two, such as "BtoA"; None takes the first.
            mask: see ``decloud``; for models that remove clouds.
            provenance: tell of each pixel where it comes from, in a coordinate of that name.
            options: ``aoi``, ``tile_size_px``, ``batch_size`` and ``device`` of
                ``geodecloud.TranslateOptions``; and what the numbers are. For models that remove
                clouds, those of ``decloud``.

        Raises:
            As ``decloud``.
        """
        said = dict(options)
        labelled = self._taken_apart(options)
        first = labelled.scene(labelled.places[0])
        device = options.get("device", "auto")
        translator = load_translator(model, first, device, direction=direction)
        if translator.task == "cloud-removal":
            return self.decloud(model, mask, provenance=provenance, **said)
        asked = _chosen(TranslateOptions, options, (*COMPUTING, "aoi"))
        if isinstance(asked.get("aoi"), str):
            asked["aoi"] = Path(asked["aoi"])
        works: list[Work] = []

        def work(scene: Scene, number: int) -> Work:
            works.append(
                Translating(scene, TranslateOptions(model=model, direction=direction, **asked))
            )
            return works[-1]

        made = do(labelled, work, is_kept=False)
        target = works[0].target(first)
        labelled = labelled.cut(works[0].kept)
        profile = profile_of(target)
        attrs = {**_attrs(profile), GENERATED_TAG: translator.name}
        data = labelled.stacked([each.arrays[0] for each in made])
        drawn = labelled.drawn(target.sensor, data, attrs)
        if provenance:
            drawn = drawn.assign_coords(provenance=_about(labelled, "provenance", made))
        return self._like(drawn, profile, labelled)

    def clouds(
        self, sky: Sky | str | Path | None = None, *, truth: bool = False, **options: Any
    ) -> Labels:
        """Return it under a synthetic sky; values under clear sky are its own, bit for bit.

        Args:
            sky: a ``geodecloud.Sky``, the JSON file of one, or None for a new one. A new one has
                the seed of the first scene, the next that and one more, and so on.
            truth: tell of each pixel what it is under, in a coordinate of that name, in the
                classes of a mask.
            options: ``seed``, ``coverage``, ``type``, ``sun_azimuth_deg`` and
                ``sun_elevation_deg`` of a new sky; and what the numbers are.

        Raises:
            InputError: the array cannot be used.
            BandError: a band has no wavelength.
            OptionError: an option makes no sense.
        """
        labelled = self._taken_apart(options)
        asked = _chosen(CloudsOptions, options, SKY)

        def work(scene: Scene, number: int) -> Work:
            if sky is not None:
                return Clouding(scene, CloudsOptions(sky=sky, **asked))
            seed = asked.get("seed", Sky().seed) + number
            return Clouding(scene, CloudsOptions(**{**asked, "seed": seed}))

        return self._kept(labelled, work, None, "truth" if truth else None)

    def cloud_mask(self, mask: Mask = "auto", **options: Any) -> DataArray:
        """Return the class of each pixel, (others, y, x) uint8, to look at and give to decloud.

        Args:
            mask: as ``geodecloud mask --mask`` takes it.
            options: ``detector``, ``dilate_m``, ``specks_m2``, ``holes_m2`` and ``shadows`` of
                ``geodecloud.MaskOptions``; and what the numbers are.

        Raises:
            As ``decloud``.
        """
        labelled = self._taken_apart(options)
        asked = _chosen(MaskOptions, options, SHAPING)
        found = classes_of(labelled, MaskOptions(mask=mask, **asked))
        attrs = {**_flags(TRUTH), "_FillValue": np.uint8(NO_CLASS)}
        return labelled.layer("cloud_mask", labelled.stacked(found), attrs)

    def chips(self, size_px: int = 64, *, overlap_px: int = 0, **options: Any) -> Chips:
        """Return its chips: a sequence of arrays, lazy where it is lazy.

        Args:
            size_px: side of a chip.
            overlap_px: shared with the neighbour.
            options: what the numbers are, for chips that are written.

        Raises:
            InputError: the array cannot be used.
            OptionError: the overlap is not smaller than the chip.
        """
        labelled = self._taken_apart(options)
        _chosen(None, options, ())
        return Chips(labelled, size_px, overlap_px)

    def scenes(self, **options: Any) -> list[Scene]:
        """Return its scenes, as every function of geodecloud takes them, in order of time."""
        labelled = self._taken_apart(options)
        _chosen(None, options, ())
        return [labelled.scene(at) for at in labelled.places]

    def _taken_apart(self, options: dict[str, Any]) -> Labelled:
        """The object taken apart by what the caller says, which goes out of the options."""
        said = {name: options.pop(name) for name in MEANING if name in options}
        if said.get("bands") is not None:
            said["bands"] = tuple(said["bands"])
        if said.get("sensor") is not None and not isinstance(said["sensor"], Sensor):
            said["sensor"] = read_sensor(said["sensor"])
        return Labelled(self._labelled, Overrides(**said))

    def _kept(
        self,
        labelled: Labelled,
        work: Any,
        mask: DataArray | None,
        about: str | None,
        beside: Callable[[int], Sequence[LabelledScene]] = lambda number: (),
    ) -> Labels:
        """What a work makes of the bands that are there."""
        works: list[Work] = []

        def noted(scene: Scene, number: int) -> Work:
            works.append(work(scene, number))
            return works[-1]

        made = do(labelled, noted, mask=mask, beside=beside)
        first = works[0]
        attrs = {} if first.model is None else {GENERATED_TAG: first.model}
        labelled = labelled.cut(first.kept)
        result = labelled.together(first.bands, [each.arrays for each in made], attrs)
        if about is not None:
            result = result.assign_coords({about: _about(labelled, about, made)})
        if first.has_spread:
            spreads = labelled.uncertainties(first.bands, [each.spreads for each in made])
            result = result.assign_coords(spreads)
        return result

    def _like(self, drawn: DataArray, profile: Profile, labelled: Labelled) -> Labels:
        """Bands drawn anew, as an array or a dataset."""
        if isinstance(self._labelled, DataArray):
            return drawn
        dim = labelled.dims.band or "band"
        dataset = drawn.to_dataset(dim=dim)
        for channel, array in enumerate(dataset.data_vars.values()):
            own = {**drawn.attrs, **_attrs(profile.select([channel]))}
            array.attrs = {key: value for key, value in own.items() if key != "long_name"}
        dataset.attrs = dict(self._labelled.attrs)
        return dataset


for _register in (register_dataarray_accessor, register_dataset_accessor):
    _register("geodecloud")(GeodecloudAccessor)  # type: ignore[no-untyped-call]


def _chosen(kind: Any, options: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The options that a method takes; others are refused."""
    if strange := sorted(set(options) - set(names)):
        known = {field.name for field in fields(kind)} if kind is not None else set()
        of_files = [name for name in strange if name in known]
        raise OptionError(
            f"{', '.join(strange)} over an array",
            f"options here are {', '.join((*names, *MEANING))}",
            "write the array to a file for what is about files"
            if of_files
            else "check the spelling",
        )
    return dict(options)


def _attrs(profile: Profile) -> dict[str, Any]:
    """What the stored numbers are, as CF and rioxarray have it."""
    attrs: dict[str, Any] = {"long_name": profile.descriptions}
    if (set(profile.scales), set(profile.offsets)) != ({1.0}, {0.0}):
        is_one = len(set(profile.scales)) == len(set(profile.offsets)) == 1
        pairs = (
            ("scale_factor", "scales", profile.scales),
            ("add_offset", "offsets", profile.offsets),
        )
        for one, each, numbers in pairs:
            attrs |= {one: numbers[0]} if is_one else {each: numbers}
    if profile.dataset_nodata is not None:
        attrs["_FillValue"] = np.dtype(profile.dtype).type(profile.dataset_nodata)
    return attrs


def _flags(meanings: dict[int, str]) -> dict[str, Any]:
    """What classes mean, as CF has it."""
    return {
        "flag_values": np.array(list(meanings), np.uint8),
        "flag_meanings": " ".join(text.replace(" ", "_") for text in meanings.values()),
    }


def _about(labelled: Labelled, name: str, made: Sequence[Made]) -> DataArray:
    """What is told of each pixel."""
    meanings = dict(PROVENANCE) if name == "provenance" else TRUTH
    return labelled.layer(name, labelled.stacked([each.about for each in made]), _flags(meanings))
