"""prepare_data and pack_folder: what lies in a training folder, described and packed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodecloud.errors import DataError, GridError, InputError, OptionError
from geodecloud.geo.esri import MODES, metadata_mode
from geodecloud.geo.faults import Faults
from geodecloud.geo.layouts import find_layout
from geodecloud.geo.listing import Joined, Listing, Sample, Samples
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.survey import Reading, SidePixels, Trimmed, survey
from geodecloud.learn.cutting import Cut, TrainingScene, pack
from geodecloud.learn.packed import PACKING, Side
from geodecloud.progress import Listener, silent
from geodecloud.split_table import DEFAULT_BANDS, rows_of_table, scenes_of_rows

if TYPE_CHECKING:
    from geodecloud.learn.data import ChipData, Transform

CHIP_LIMIT_PX = 256
"""Files up to this size are chips, and all of one size; larger ones are scenes to be cut."""

BLOCK_CHIPS = 8
"""Chips that lie in one square of so many a side stay on one side of a split together."""

FEWEST_FILES = 10
"""Scenes without a map are split by file, from so many on; of fewer each window is a place."""

OFF_GRID_PX = 0.01

RANGES = {
    unit: (offset + scale, offset + 65535 * scale) for unit, (scale, offset) in PACKING.items()
}

Source = str | os.PathLike[str]


def prepare_data(  # noqa: PLR0913 - the face of arcgis.learn keeps its own signature
    path: Source | Sequence[Source],
    class_mapping: Mapping[Any, Any] | None = None,
    chip_size: int = 64,
    val_split_pct: float = 0.1,
    batch_size: int | None = 64,
    transforms: tuple[Transform | None, Transform | None] | bool | None = None,
    collate_fn: Callable[..., Any] | None = None,
    seed: int = 42,
    dataset_type: str | None = None,
    resize_to: int | tuple[int, int] | None = None,
    working_dir: Source | None = None,
    *,
    splits: Source | None = None,
    fold: int | None = None,
    listener: Listener = silent,
    **kwargs: Any,
) -> ChipData:
    """Return a training set made of folders of scenes or chips, or of packed chips.

    Nothing is written into the folders: their pixels are packed into ``working_dir``, or into a
    temporary folder. Files that cannot be used are named all at once; up to one in a hundred is
    left out, and said in ``notes`` of the result.

    Args:
        path: a folder in one of ``LAYOUTS``, packed chips, one scene, or a list of these folders
            or scenes.
        class_mapping: not used: models here have no classes.
        chip_size: side of the training chips.
        val_split_pct: part held out, by block of the map, or by file where there is no map.
        batch_size: chips in a batch, 2 or more; None takes what a quarter of the memory holds.
        transforms: functions of a batch and a generator for training and for validation; False
            for none. None lets chips lie in any of the eight ways, both sides alike.
        collate_fn: not used: batches are made whole.
        seed: of the split and of the batches.
        dataset_type: "Pix2Pix", "CycleGAN", "WNet_cGAN", "CloudRemoval" (clear scenes, clouded on
            the fly; real pairs too), "Colorize" (grey is made of colour), "GAN", or
            "Export_Tiles"; None infers it.
        resize_to: chips of any size are brought to this one.
        working_dir: where packed chips and models go.
        splits: a table of places and folds, as ``benchmarks/splits.json``.
        fold: the fold of that table that is held out.
        listener: told while packing.
        kwargs: ``bands``, ``extract_bands``, ``imagery_type``, ``scale`` and ``offset``, see
            ``geo.survey.Reading``; ``rgb_bands`` of figures; ``norm_pct``, the share of the
            training part that is read for the normalisation; ``num_workers`` is not used:
            packed chips need none.

    Raises:
        DataError: there is nothing to train on, it does not fit together or the type.
        OptionError: an option makes no sense.
    """
    del class_mapping, collate_fn
    from geodecloud.learn.data import ChipData, batch_size_for, split
    from geodecloud.learn.dataset_types import inferred_type
    from geodecloud.learn.packed import PackedChips

    options = _Options.of(kwargs)
    if batch_size is not None and batch_size < 2:
        raise OptionError(f"batch_size is {batch_size}", "a batch has 2 chips or more", "try 64")
    size_px = _square(resize_to)
    dataset_type = _asked_type(dataset_type)
    roots = _roots(path)
    packed_path = roots[0]
    if packed_path.suffix != ".safetensors":
        folder = Path(working_dir) if working_dir else Path(tempfile.mkdtemp(prefix="geodecloud-"))
        folder.mkdir(parents=True, exist_ok=True)
        packed_path = folder / "chips.safetensors"
        work = Packing(dataset_type, options.reading, size_px, is_resized=size_px is not None)
        meant = _pack(roots, packed_path, work, splits, listener)
        dataset_type = dataset_type or meant
    packed = PackedChips(packed_path)
    train, valid = split(packed, val_split_pct=val_split_pct, fold=fold, seed=seed)
    chip_size = min(chip_size, packed.size_px)
    return ChipData(
        packed,
        dataset_type or inferred_type(packed),
        train,
        valid,
        chip_size=chip_size,
        batch_size=batch_size or batch_size_for(chip_size),
        seed=seed,
        working_dir=Path(working_dir) if working_dir else packed_path.parent,
        val_split_pct=val_split_pct,
        resize_to=size_px,
        transforms=None if transforms is True else transforms,
        rgb_bands=options.rgb_bands,
        norm_pct=options.norm_pct,
    )


@dataclass(frozen=True, slots=True)
class Packing:
    """How a folder is packed.

    Attributes:
        dataset_type: what for; "CycleGAN" takes the sides of pairs apart.
        reading: how its files are read.
        size_px: side of the windows; None takes 256, or the chips' own size.
        is_resized: bring chips of any size to ``size_px``.
    """

    dataset_type: str | None = None
    reading: Reading = field(default_factory=Reading)
    size_px: int | None = None
    is_resized: bool = False


def pack_folder(
    path: Source | Sequence[Source],
    out: Source,
    *,
    bands: Sequence[str] | None = None,
    splits: Source | None = None,
    size_px: int | None = None,
    dataset_type: str | None = None,
    listener: Listener = silent,
) -> int:
    """Write a training folder, or the rows of a table of splits, as packed chips.

    Returns the number of samples. ``size_px`` is the side of their windows; None takes 256, or
    the chips' own size where the folder holds chips.

    Raises:
        DataError: there is nothing to train on, or it does not fit together.
    """
    from geodecloud.learn.packed import PackedChips

    work = Packing(_asked_type(dataset_type), Reading(bands), size_px)
    _pack(_roots(path), Path(out), work, splits, listener)
    return len(PackedChips(out))


def _pack(
    roots: Sequence[Path], out: Path, work: Packing, splits: Source | None, listener: Listener
) -> str | None:
    """Pack, and return the type that the folder is meant for, where it says so."""
    if splits is not None:
        bands = work.reading.bands
        wanted = DEFAULT_BANDS if bands is None or isinstance(bands, Mapping) else bands
        rows = rows_of_table(Path(splits), wanted)
        scenes = scenes_of_rows(roots[0], rows, wanted)
        pack(scenes, out, Cut(work.size_px or 256), n_scenes=len(rows), listener=listener)
        return None
    samples, meant = _listed(roots, work.dataset_type)
    if not len(samples):
        Faults(samples.faults).settle(0)
        raise DataError(f"{roots[0]} holds no raster", "a set has samples", "check the folder")
    usual = survey(samples, work.reading, RANGES)
    cut = _cut_of(usual, work)
    faults = Faults(samples.faults)
    scenes = _scenes_of(samples, _Expected(usual, work, cut, len(samples)), faults)
    pack(scenes, out, cut, faults=faults, n_scenes=len(samples), listener=listener)
    return meant


def _listed(roots: Sequence[Path], dataset_type: str | None) -> tuple[Samples, str | None]:
    """The samples of all roots, and the type that their layout is meant for."""
    parts, meant = [], set()
    for number, root in enumerate(roots):
        layout = find_layout(root)
        part = layout.samples(root, f"{number}/" if len(roots) > 1 else "")
        is_paired = isinstance(part, Listing) and "source" in part.sides
        parts.append(part)
        meant.add(layout.dataset_type or ("Pix2Pix" if is_paired else None))
        if dataset_type is None and (mode := metadata_mode(root)) and mode not in MODES:
            raise DataError(
                f"{root} was exported as {mode}",
                f"exports for {', '.join(MODES)} are for models as those here",
                "export it as one of these, or pass dataset_type to take the chips as they are",
            )
    samples = parts[0] if len(parts) == 1 else Joined(parts)
    if dataset_type == "CycleGAN":
        samples = samples.apart()
    return samples, meant.pop() if len(meant) == 1 else None


def _cut_of(usual: Mapping[str, SidePixels], work: Packing) -> Cut:
    """How the windows of a set are cut: chips whole, scenes side by side."""
    shapes = [pixels.shape for pixels in usual.values()]
    longest = max(max(shape) for shape in shapes)
    is_chips = longest <= CHIP_LIMIT_PX or work.is_resized
    sides = {
        _side_name(side, pixels): Side(
            pixels.sensor.band_names,
            pixels.sensor.unit,
            pixels.sensor.name,
            *(pixels.packing or (None, None)),
        )
        for side, pixels in usual.items()
    }
    return Cut(
        work.size_px or (longest if is_chips else CHIP_LIMIT_PX),
        is_resized=work.is_resized,
        block_windows=BLOCK_CHIPS if is_chips else 1,
        sides=sides,
    )


def _side_name(side: str, pixels: SidePixels) -> str:
    """The side under which pixels are packed: a guide is radar, or another date."""
    if side != "guide":
        return side
    return "sar" if pixels.sensor.unit == "dB" else "reference"


@dataclass(frozen=True, slots=True)
class _Expected:
    """What each sample is held against."""

    usual: Mapping[str, SidePixels]
    work: Packing
    cut: Cut
    n_samples: int

    @property
    def is_chips(self) -> bool:
        return self.cut.block_windows > 1

    def check(self, side: str, path: Path, scene: Scene) -> None:
        """Refuse a file that is not like the others."""
        pixels = self.usual[side]
        shape = shape_of(scene.geobox)
        if self.is_chips and not self.work.is_resized and shape != pixels.shape:
            raise DataError(
                f"{path} has {shape[0]}x{shape[1]} px",
                f"others have {pixels.shape[0]}x{pixels.shape[1]}",
                "pass resize_to, which brings chips of any size to one, or take the odd ones out",
            )
        if scene.sensor.band_names != pixels.sensor.band_names:
            raise DataError(
                f"{path} has bands {', '.join(scene.sensor.band_names)}",
                f"others have {', '.join(pixels.sensor.band_names)}",
                "choose common bands with bands=, or train on one kind at a time",
            )

    def place(self, sample: Sample, geobox: Any) -> str | None:
        """What stays together without a map; None where blocks of the map say it."""
        if geobox.crs is not None or sample.grid is not None:
            return None
        return sample.name if self.is_chips or self.n_samples >= FEWEST_FILES else None


def _scenes_of(samples: Samples, expected: _Expected, faults: Faults) -> Iterator[TrainingScene]:
    for sample in samples:
        with ExitStack() as stack:
            try:
                yield _opened(sample, expected, stack)
            except (InputError, DataError) as error:
                faults.add(sample.name, error)


def _opened(sample: Sample, expected: _Expected, stack: ExitStack) -> TrainingScene:
    """The scenes of a sample, closed with the stack.

    Raises:
        InputError: a file is damaged.
        DataError: it is not like the others, or like its partner.
    """
    sides: dict[str, Scene] = {}
    for side, path in sample.files.items():
        scene = expected.work.reading.open(path, side)
        stack.callback(scene.close)
        expected.check(side, path, scene)
        pixels = expected.usual[side]
        scene.sensor = replace(scene.sensor, unit=pixels.sensor.unit)
        name = _side_name(side, pixels)
        sides[name] = scene if sample.inside is None else Trimmed(scene, sample.inside)
    _check_grids(sample, sides)
    first = next(iter(sides.values()))
    level = sides.get("target", first).sensor.level
    place = expected.place(sample, first.geobox)
    return TrainingScene(sample.name, sides, place, level, grid=sample.grid)


def _check_grids(sample: Sample, sides: Mapping[str, Scene]) -> None:
    """Refuse sides that lie in different places."""
    first, *others = sides.values()
    for other in others:
        one, two = first.geobox, other.geobox
        if None in (one.crs, two.crs) or shape_of(one) != shape_of(two):
            continue
        height, width = shape_of(one)
        moved = ~one.affine * two.affine
        corners = [(0, 0), (width, 0), (0, height), (width, height)]
        off_px = max(abs(a - b) for at in corners for a, b in zip(moved * at, at, strict=True))
        if one.crs != two.crs or off_px > OFF_GRID_PX:
            raise GridError(
                f"the sides of {sample.name} lie {off_px:.3g} px apart"
                if one.crs == two.crs
                else f"the sides of {sample.name} are in {one.crs} and {two.crs}",
                "the sides of a pair lie on one grid",
                "resample them to one grid first",
            )


def _roots(path: Source | Sequence[Source]) -> list[Path]:
    roots = [Path(path)] if isinstance(path, str | os.PathLike) else [Path(each) for each in path]
    if not roots:
        raise DataError("an empty list of folders", "a set has one at least", "name one")
    if len(roots) > 1 and any(root.suffix == ".safetensors" for root in roots):
        raise DataError(
            "a list with packed chips", "a list is of folders or of scenes", "pack them together"
        )
    for root in roots:
        if not root.exists():
            raise DataError(f"{root} does not exist", "a folder or a scene", "check the path")
    return roots


def _asked_type(dataset_type: str | None) -> str | None:
    """The type that was asked for; the pixels of exported tiles say what they are."""
    from geodecloud.learn.dataset_types import refuse_type

    if dataset_type is None or dataset_type == "Export_Tiles":
        return None
    refuse_type(dataset_type)
    return dataset_type


def _square(resize_to: int | tuple[int, int] | None) -> int | None:
    if resize_to is None:
        return None
    sides = {resize_to} if isinstance(resize_to, int) else set(resize_to)
    size_px = sides.pop()
    if sides or not 8 <= size_px <= 4 * CHIP_LIMIT_PX:
        raise OptionError(
            f"resize_to is {resize_to}",
            f"chips are square, of 8 to {4 * CHIP_LIMIT_PX} px",
            "give one number, such as 64",
        )
    return size_px


@dataclass(frozen=True, slots=True)
class _Options:
    """The further keyword arguments of ``prepare_data``."""

    reading: Reading
    rgb_bands: Sequence[str] | None
    norm_pct: float

    @classmethod
    def of(cls, kwargs: dict[str, Any]) -> _Options:
        """Take them apart; unknown ones are refused."""
        kwargs.pop("num_workers", None)
        rgb_bands, norm_pct = kwargs.pop("rgb_bands", None), kwargs.pop("norm_pct", 1.0)
        known = {"bands", "extract_bands", "imagery_type", "scale", "offset"}
        if strange := sorted(set(kwargs) - known):
            raise OptionError(
                f"prepare_data got {', '.join(strange)}",
                f"it also takes {', '.join(sorted(known))}, rgb_bands, norm_pct and num_workers",
                "check the spelling",
            )
        return cls(Reading(**kwargs), rgb_bands, norm_pct)
