"""pack_roots: the samples of training folders opened, held against each other, and packed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geodecloud.errors import DataError, GridError, InputError
from geodecloud.geo.esri import MODES, metadata_mode
from geodecloud.geo.faults import Faults
from geodecloud.geo.layouts import find_layout
from geodecloud.geo.listing import Joined, Listing, Sample, Samples
from geodecloud.geo.manifest import named
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.survey import Reading, SidePixels, Trimmed, survey
from geodecloud.learn.cutting import Cut, TrainingScene, pack
from geodecloud.learn.packed import PACKING, Side
from geodecloud.progress import Listener
from geodecloud.split_table import DEFAULT_BANDS, rows_of_table, scenes_of_rows

CHIP_LIMIT_PX = 256
"""Files up to this size are chips, and all of one size; larger ones are scenes to be cut."""

MOST_BLOCK_CHIPS, BLOCKS_WANTED = 8, 10
"""Chips that lie in one square of the map stay on one side of a split together: of 8 a side, less
in small sets, which need squares for both sides."""

FEWEST_FILES = 10
"""Scenes without a map are split by file, from so many on; of fewer each window is a place."""

OFF_GRID_PX = 0.01

MOST_NAMED = 13

RANGES = {
    unit: (offset + scale, offset + 65535 * scale) for unit, (scale, offset) in PACKING.items()
}

Source = str | os.PathLike[str]


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


def pack_roots(
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
    expected = _Expected(survey(samples, work.reading, RANGES), work, len(samples))
    cut, faults = expected.cut(), Faults(samples.faults)
    scenes = _scenes_of(samples, expected, faults)
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
    n_samples: int

    @property
    def longest_px(self) -> int:
        return max(max(pixels.shape) for pixels in self.usual.values())

    @property
    def is_chips(self) -> bool:
        return self.longest_px <= CHIP_LIMIT_PX or self.work.is_resized

    def cut(self) -> Cut:
        """How the windows of the set are cut: chips whole, scenes side by side."""
        size_px, block_px = CHIP_LIMIT_PX, None
        if self.is_chips:
            size_px = self.longest_px
            block_chips = math.isqrt(self.n_samples // BLOCKS_WANTED)
            block_px = size_px * min(MOST_BLOCK_CHIPS, max(1, block_chips))
        sides = {}
        for side, pixels in self.usual.items():
            sensor, packing = pixels.sensor, pixels.packing or (None, None)
            packed = Side(sensor.band_names, sensor.unit, sensor.name, *packing)
            sides[_side_name(side, pixels)] = packed
        return Cut(
            self.work.size_px or size_px,
            is_resized=self.work.is_resized,
            block_px=block_px,
            sides=sides,
        )

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
                f"{path} has bands {named(scene.sensor.band_names, MOST_NAMED)}",
                f"others have {named(pixels.sensor.band_names, MOST_NAMED)}",
                "choose common bands with bands=, or train on one kind at a time",
            )

    def place(self, sample: Sample, geobox: Any) -> str | None:
        """What stays together; None where blocks of the map say it."""
        if sample.place is not None:
            return sample.place
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
        scene = expected.work.reading.open(path, side, sample.sensors.get(side))
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
