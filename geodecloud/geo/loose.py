"""LooseChips: georeferenced chips without a manifest, such as ArcGIS and GDAL write them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.errors import GridError, InputError
from geodecloud.geo.manifest import MANIFEST, named
from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import open_scene, profile_of
from geodecloud.geo.scene import Array, shape_of
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.progress import Listener, Progress, silent

SUFFIXES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2"})

ON_GRID_PX = 0.01
"""How far a chip's corner may lie off the grid: world files carry a few rounded decimals, and a
hundredth of a pixel is less than the geolocation of any sensor."""

MAX_SCENE_PX = 1 << 34
"""A side of 130,000 px: larger, and a chip has a wrong place rather than a far one."""


@dataclass(frozen=True, slots=True)
class _Loose:
    """What is known of a chip without its pixels; ``row`` and ``col`` once it has a place."""

    path: Path
    geobox: GeoBox
    profile: Profile
    sensor: Sensor
    row: int = 0
    col: int = 0

    @property
    def window(self) -> Window:
        return Window(self.row, self.col, *shape_of(self.geobox))


class LooseChips:
    """Chips on one grid of whole pixels, which their own transforms tell.

    Args:
        chips: in the order of their first row.
        geobox: the grid that they span.
        profile: how they are stored, and what gaps become.
    """

    def __init__(self, chips: Sequence[_Loose], geobox: GeoBox, profile: Profile) -> None:
        """Take chips that go together; ``find`` is the way in."""
        self.chips, self.geobox, self.profile = chips, geobox, profile

    @classmethod
    def find(
        cls, folder: Path, nodata: float | None = None, on_progress: Listener = silent
    ) -> Self:
        """Return the chips of a folder.

        Args:
            folder: holds them, or a folder "images" that does, as an export of ArcGIS.
            nodata: stored number for gaps; None takes the one that the chips declare.
            on_progress: told after each chip.

        Raises:
            InputError: there are none, they are damaged, or they do not go together.
            GridError: some do not lie on the grid of the others.
        """
        paths = _rasters(folder)
        chips = []
        for path in paths:
            with open_scene(path) as scene:
                chips.append(_Loose(path, scene.geobox, profile_of(scene), scene.sensor))
            on_progress(Progress(len(chips), len(paths), "look"))
        _refuse_mixture(chips)
        chips = _placed(chips)
        first = chips[0]
        height = max(chip.window.row_stop for chip in chips)
        width = max(chip.window.col_stop for chip in chips)
        if height * width > MAX_SCENE_PX:
            far = max(chips, key=lambda chip: chip.row + chip.col)
            raise GridError(
                f"the chips span {height}x{width} px, from {first.path.name} to {far.path.name}",
                f"a scene has at most {MAX_SCENE_PX} px",
                "check where these two lie",
            )
        affine = first.geobox.affine * Affine.translation(-first.col, -first.row)
        profile = first.profile
        if nodata is not None:
            profile = replace(profile, nodata=(nodata,) * profile.n_bands)
        return cls(chips, GeoBox((height, width), affine, first.geobox.crs), profile)

    @property
    def blend_px(self) -> int:
        """Half of the smallest chip: a ramp that is straight over any overlap up to that."""
        return min(min(shape_of(chip.geobox)) for chip in self.chips) // 2

    @property
    def nodata(self) -> tuple[float | None, ...]:
        """What each band's stored numbers say of no measurement."""
        usual = (band.nodata for band in self.chips[0].sensor.bands)
        return tuple(
            assumed if declared is None else declared
            for declared, assumed in zip(self.profile.nodata, usual, strict=True)
        )

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.chips)

    def parts(self) -> Iterator[tuple[Window, Array, npt.NDArray[np.bool_]]]:
        """Yield window, stored numbers and validity of each chip, top to bottom."""
        bands = [Band("", nodata=nodata) for nodata in self.profile.nodata]
        for chip in self.chips:
            with open_scene(chip.path) as scene:
                dn, valid = scene.read(Window.whole(chip.window.shape))
            yield (
                chip.window,
                dn,
                valid
                & np.stack([band.is_valid(plane) for band, plane in zip(bands, dn, strict=True)]),
            )


def _rasters(folder: Path) -> list[Path]:
    for place in (folder, folder / "images"):
        if place.is_dir():
            entries = sorted(place.iterdir())
            paths = [path for path in entries if path.suffix.lower() in SUFFIXES]
            if paths:
                return paths
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "chips are in a folder", "check the name")
    stores = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    if stores:
        raise InputError(
            f"{folder} holds the chips of several scenes: {named(stores)}",
            "a mosaic is made of one",
            "name one of these folders",
        )
    raise InputError(
        f"{folder} holds no chip",
        f"a {MANIFEST}, or files named *{', *'.join(sorted(SUFFIXES))}",
        "cut a scene with geodecloud chip, or name another folder",
    )


def _refuse_mixture(chips: Sequence[_Loose]) -> None:
    """Refuse chips that differ in what must be one; all of them are named, by what differs."""
    aspects: dict[str, Callable[[_Loose], Hashable]] = {
        "CRS": lambda chip: str(chip.geobox.crs),
        "number of bands": lambda chip: chip.profile.n_bands,
        "dtype": lambda chip: chip.profile.dtype,
        "nodata": lambda chip: repr(chip.profile.nodata),
        "scale and offset": lambda chip: (chip.profile.scales, chip.profile.offsets),
    }
    found = []
    for aspect, of in aspects.items():
        usual, _ = Counter(map(of, chips)).most_common(1)[0]
        odd = [f"{chip.path.name} ({of(chip)})" for chip in chips if of(chip) != usual]
        if odd:
            found.append(f"{len(odd)} have another {aspect} than {usual}: {named(odd)}")
    if found:
        raise InputError(
            f"of {len(chips)} chips {'; '.join(found)}",
            "the chips of one mosaic are stored alike",
            "convert these, or move them to another folder",
        )


def _placed(chips: Sequence[_Loose]) -> list[_Loose]:
    """The chips with their places, in the order of rows; the first row and column are 0.

    The grid is the one on which most chips lie.
    """
    if len(chips) > 1 and all(chip.geobox.affine == Affine.identity() for chip in chips):
        raise GridError(
            f"{len(chips)} chips that say nothing of where they lie",
            f"a transform in each (GeoTIFF, or a world file beside it), or a {MANIFEST}",
            "export the chips with georeference",
        )
    reference = _usual_grid(chips)
    placed, off = [], []
    for chip in chips:
        moved = ~reference.geobox.affine * chip.geobox.affine
        row, col = round(moved.f), round(moved.c)
        height, width = shape_of(chip.geobox)
        corners = [(0, 0), (width, 0), (0, height), (width, height)]
        off_px = max(math.dist(moved * (x, y), (col + x, row + y)) for x, y in corners)
        if off_px > ON_GRID_PX:
            off.append(f"{chip.path.name} ({off_px:.3g} px)")
        placed.append(replace(chip, row=row, col=col))
    if off:
        raise GridError(
            f"{len(off)} of {len(chips)} chips lie off the grid: {named(off)}",
            f"corners within {ON_GRID_PX} px of the grid of {reference.path.name}",
            "resample them to it (gdalwarp -tr -tap), or move them to another folder",
        )
    top, left = min(chip.row for chip in placed), min(chip.col for chip in placed)
    placed = [replace(chip, row=chip.row - top, col=chip.col - left) for chip in placed]
    return sorted(placed, key=lambda chip: (chip.row, chip.col))


def _usual_grid(chips: Sequence[_Loose]) -> _Loose:
    """A chip on the grid that most share: pixel size, rotation, and place within a pixel."""

    def grid(chip: _Loose) -> Hashable:
        moved = ~chips[0].geobox.affine * chip.geobox.affine
        linear = (moved.a, moved.b, moved.d, moved.e)
        phase = (round(value % 1, 1) % 1 for value in (moved.c, moved.f))
        return *(round(value, 4) for value in linear), *phase

    grids = [grid(chip) for chip in chips]
    return chips[grids.index(Counter(grids).most_common(1)[0][0])]
