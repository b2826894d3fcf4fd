"""Profile: how a file stores its pixels, beside where they lie."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags

from geodecloud.geo.scene import Scene, StackedScene
from geodecloud.geo.sensors import Sensor

NODATA_TAG = "GEODECLOUD_NODATA"
"""Band tag with a band's own nodata: a GeoTIFF holds one for all its bands."""

CLASSES_TAG = "GEODECLOUD_CLASSES"
"""Band tag with the names of classes, as JSON: a GeoTIFF has no place for them."""

MAX_CLASSES = 1 << 16

Tags = Mapping[str, str]
Color = tuple[int, int, int, int]


@dataclass(frozen=True)
class Profile:
    """How a file stores its pixels: all that is written back beside the grid and the pixels.

    Sequences hold one entry a band. ``read_from`` and ``write_to`` are inverses. A GeoTIFF has
    one nodata value: where the bands differ, each keeps its own in a tag, which ``read_from``
    knows. Statistics among the tags are left out: they describe pixels that may change.

    Attributes:
        dtype: of the stored numbers.
        nodata: stored numbers that the file declares to be no measurement.
        descriptions: names of the bands, as the file spells them.
        scales: value = dn * scale + offset, as the file declares it.
        offsets: see ``scales``.
        units: of the values.
        colorinterp: names of GDAL's colour interpretations, such as "red" or "undefined".
        tags: of the file.
        band_tags: of each band.
        colormap: of the first band: RGBA by stored number. A GeoTIFF keeps the colours of all
            numbers and no alpha, save that nodata is clear.
        class_names: of the first band: what each stored number stands for.
        is_masked: the file carries a mask of valid pixels.

    Example:
        >>> from geodecloud.geo.sensors import SENSORS
        >>> Profile.for_sensor(SENSORS["rgb"]).select([2, 0]).descriptions
        ('blue', 'red')
    """

    dtype: str
    nodata: tuple[float | None, ...]
    descriptions: tuple[str | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    units: tuple[str | None, ...]
    colorinterp: tuple[str, ...]
    tags: Tags = field(default_factory=dict)
    band_tags: tuple[Tags, ...] = ()
    colormap: Mapping[int, Color] | None = None
    class_names: Mapping[int, str] | None = None
    is_masked: bool = False

    def __post_init__(self) -> None:
        """Refuse entries for another number of bands; say the rest as a GeoTIFF will."""
        for name in ("nodata", "scales", "offsets"):
            numbers = (None if value is None else float(value) for value in getattr(self, name))
            object.__setattr__(self, name, tuple(numbers))
        object.__setattr__(self, "band_tags", self.band_tags or ({},) * self.n_bands)
        object.__setattr__(self, "colorinterp", _stored_colors(self.colorinterp, self.colormap))
        for entries in self._by_band().values():
            if len(entries) != self.n_bands:
                raise ValueError(f"{len(entries)} entries for {self.n_bands} bands: {entries}")

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return len(self.nodata)

    @property
    def pixel_bytes(self) -> int:
        """Size of one pixel over all bands."""
        return np.dtype(self.dtype).itemsize * self.n_bands

    @property
    def dataset_nodata(self) -> float | None:
        """The one nodata value on which all bands agree."""
        first = self.nodata[0] if self.nodata else None
        return first if all(_same(value, first) for value in self.nodata) else None

    def select(self, indexes: Iterable[int]) -> Self:
        """Return the profile of these channels alone, in this order.

        Colours and names of classes belong to the first band and go where it goes alone.
        """
        indexes = list(indexes)
        changes: dict[str, Any] = {
            name: tuple(entries[i] for i in indexes) for name, entries in self._by_band().items()
        }
        if indexes != [0]:
            changes |= {"colormap": None, "class_names": None}
        return replace(self, **changes)

    def declaring(self, sensor: Sensor) -> Self:
        """Return the profile that says itself what a sensor says of the numbers."""
        own = Profile.for_sensor(sensor)
        return replace(
            self,
            nodata=own.nodata,
            descriptions=own.descriptions,
            scales=own.scales,
            offsets=own.offsets,
        )

    @classmethod
    def for_sensor(cls, sensor: Sensor) -> Self:
        """Return the profile of a new file with these bands."""
        names = sensor.band_names
        is_color = set(names) == {"red", "green", "blue"}
        # 1/255 is the default meaning of 8 bits: a file that declared it would surprise viewers
        is_plain = sensor.unit == "display"
        return cls(
            dtype=np.result_type(*(np.dtype(band.dtype) for band in sensor.bands)).name,
            nodata=tuple(band.nodata for band in sensor.bands),
            descriptions=names,
            scales=tuple(1.0 if is_plain else band.scale for band in sensor.bands),
            offsets=tuple(0.0 if is_plain else band.offset for band in sensor.bands),
            units=(None,) * len(names),
            colorinterp=names if is_color else ("undefined",) * len(names),
        )

    @classmethod
    def beside(cls, profiles: Sequence[Profile], dtype: str) -> Self:
        """Return the profile of files whose bands are put side by side."""
        first, rest = profiles[0], profiles[1:]
        columns = [profile._by_band() for profile in profiles]
        return cls(
            dtype=dtype,
            tags={
                key: value
                for key, value in first.tags.items()
                if all(profile.tags.get(key) == value for profile in rest)
            },
            colormap=None if rest else first.colormap,
            class_names=None if rest else first.class_names,
            is_masked=all(profile.is_masked for profile in profiles),
            **{
                name: tuple(entry for column in columns for entry in column[name])
                for name in columns[0]
            },
        )

    @classmethod
    def read_from(cls, dataset: Any) -> Self:
        """Return the profile of an open rasterio dataset."""
        band_tags = [_kept(dataset.tags(index)) for index in dataset.indexes]
        own_nodata = [tags.pop(NODATA_TAG, None) for tags in band_tags]
        classes = [tags.pop(CLASSES_TAG, None) for tags in band_tags]
        return cls(
            dtype=np.result_type(*dataset.dtypes).name,
            nodata=tuple(
                declared if own is None else _parsed_nodata(own)
                for declared, own in zip(dataset.nodatavals, own_nodata, strict=True)
            ),
            descriptions=tuple(text or None for text in dataset.descriptions),
            scales=dataset.scales,
            offsets=dataset.offsets,
            units=tuple(text or None for text in dataset.units),
            colorinterp=tuple(color.name for color in dataset.colorinterp),
            tags=_kept(dataset.tags()),
            band_tags=tuple(band_tags),
            colormap=_colormap_of(dataset),
            class_names=_parsed_classes(classes[0]),
            is_masked=MaskFlags.per_dataset in dataset.mask_flag_enums[0]
            and MaskFlags.alpha not in dataset.mask_flag_enums[0],
        )

    def write_to(self, dataset: Any) -> None:
        """Set all of it on a rasterio dataset that was just created with this dtype."""
        dataset.colorinterp = [ColorInterp[name] for name in self.colorinterp]
        if any(self.descriptions):
            dataset.descriptions = [text or "" for text in self.descriptions]
        if any(scale != 1 for scale in self.scales) or any(self.offsets):
            dataset.scales, dataset.offsets = self.scales, self.offsets
        if any(self.units):
            dataset.units = [text or "" for text in self.units]
        dataset.update_tags(**self.tags)
        for index, tags in zip(dataset.indexes, self._all_band_tags(), strict=True):
            dataset.update_tags(index, **tags)
        if self.colormap is not None:
            dataset.write_colormap(1, dict(self.colormap))

    def _all_band_tags(self) -> list[dict[str, str]]:
        all_tags = [dict(tags) for tags in self.band_tags]
        if self.dataset_nodata is None and any(value is not None for value in self.nodata):
            for tags, value in zip(all_tags, self.nodata, strict=True):
                tags[NODATA_TAG] = repr(value)
        if self.class_names is not None:
            all_tags[0][CLASSES_TAG] = json.dumps(dict(self.class_names), ensure_ascii=False)
        return all_tags

    def _by_band(self) -> dict[str, tuple[Any, ...]]:
        return {
            "nodata": self.nodata,
            "descriptions": self.descriptions,
            "scales": self.scales,
            "offsets": self.offsets,
            "units": self.units,
            "colorinterp": self.colorinterp,
            "band_tags": self.band_tags,
        }


def profile_of(scene: Scene) -> Profile:
    """Return how the scene's file stores its pixels; without a file, how one would.

    The profiles of a stack stand side by side.
    """
    if isinstance(scene, StackedScene):
        dtypes = (np.dtype(band.dtype) for band in scene.sensor.bands)
        parts = [profile_of(part) for part in scene.scenes]
        return Profile.beside(parts, np.result_type(*dtypes).name)
    profile = getattr(scene, "profile", None)
    return profile if isinstance(profile, Profile) else Profile.for_sensor(scene.sensor)


def _same(one: float | None, other: float | None) -> bool:
    """Whether two nodata values are one; NaN is itself."""
    return one == other or (one is not None and other is not None and one != one and other != other)


def _stored_colors(names: tuple[str, ...], colormap: Mapping[int, Color] | None) -> tuple[str, ...]:
    """Colour interpretations as TIFF has them: where none is a colour, gray comes first alone."""
    if colormap is None:
        names = tuple("undefined" if name == "palette" else name for name in names)
    if not names or not set(names) <= {"gray", "undefined", "alpha"}:
        return names
    first = "gray" if names[0] == "undefined" else names[0]
    return (first, *("undefined" if name == "gray" else name for name in names[1:]))


def _kept(tags: Tags) -> dict[str, str]:
    """The tags but statistics, and but the area that a pixel is where nothing is said."""
    return {
        key: value
        for key, value in tags.items()
        if not key.startswith("STATISTICS_") and (key, value) != ("AREA_OR_POINT", "Area")
    }


def _colormap_of(dataset: Any) -> dict[int, Color] | None:
    try:
        return dict(dataset.colormap(1))
    except ValueError:  # rasterio's word for "there is none"
        return None


def _parsed_nodata(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _parsed_classes(text: str | None) -> dict[int, str] | None:
    """The names in a tag that anybody may have written."""
    try:
        names = json.loads(text or "")
        return {int(n): str(name) for n, name in names.items() if 0 <= int(n) < MAX_CLASSES}
    except (ValueError, AttributeError, RecursionError):
        return None
