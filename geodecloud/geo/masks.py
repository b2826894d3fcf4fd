"""Where the clouds are: classes, masks, dilation, soft rims; no detector lives here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, hypot, radians, sqrt
from types import MappingProxyType
from typing import Self

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geodecloud.errors import GridError
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.tiling import Window

Flags = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.uint8]

CLEAR, CLOUD, THIN, SHADOW, MARGIN, NODATA = 0, 1, 2, 3, 4, 255

DEFAULT_PIXEL_M = 10.0
"""Pixel size of a scene without georeference: that of Sentinel-2's finest bands."""


@dataclass(frozen=True, slots=True)
class MaskClass:
    """What a class code means, and how it is painted: red, green, blue, opacity, 0-255."""

    code: int
    name: str
    colour: tuple[int, int, int, int]


CLASSES: Mapping[int, MaskClass] = MappingProxyType(
    {
        kind.code: kind
        for kind in (
            MaskClass(CLEAR, "clear", (0, 0, 0, 0)),
            MaskClass(CLOUD, "cloud", (230, 70, 60, 255)),
            MaskClass(THIN, "thin cloud", (250, 190, 80, 255)),
            MaskClass(SHADOW, "shadow", (70, 90, 200, 255)),
            MaskClass(MARGIN, "margin", (170, 120, 190, 255)),
            MaskClass(NODATA, "nodata", (0, 0, 0, 0)),
        )
    }
)
"""The classes of a mask raster. Every code but clear and nodata is to be replaced."""

SCL_CLASSES: Mapping[int, int] = MappingProxyType({3: SHADOW, 8: CLOUD, 9: CLOUD, 10: THIN})
"""Codes of Sentinel-2's scene classification that are replaced (ESA, L2A product definition)."""


def classes_of_scl(
    scl: npt.NDArray[np.generic], meaning: Mapping[int, int] = SCL_CLASSES
) -> Classes:
    """Return the class of each pixel of a scene classification (H, W); 0 is nodata.

    Example:
        >>> classes_of_scl(np.array([[0, 3, 4, 9, 10]]))
        array([[255,   3,   0,   1,   2]], dtype=uint8)
    """
    table: Classes = np.zeros(256, np.uint8)
    table[0] = NODATA
    for code, kind in meaning.items():
        table[code] = kind
    return np.asarray(table[np.clip(scl, 0, 255).astype(np.uint8)])


def pixel_size_m(geobox: GeoBox) -> tuple[float, float]:
    """Height and width of a pixel on the ground, in metres, at the centre of the geobox.

    Without georeference a pixel is ``DEFAULT_PIXEL_M`` a side.

    Example:
        >>> from affine import Affine
        >>> pixel_size_m(GeoBox((4, 4), Affine(20, 0, 0, 0, -20, 0), "EPSG:32632"))
        (20.0, 20.0)
    """
    if geobox.crs is None:
        return DEFAULT_PIXEL_M, DEFAULT_PIXEL_M
    affine = geobox.affine
    x_m = y_m = 1.0
    if geobox.crs.geographic:
        height, width = shape_of(geobox)
        latitude = affine.f + affine.d * width / 2 + affine.e * height / 2
        y_m = 111_195.0  # one degree of a sphere of 6371 km
        x_m = y_m * max(float(np.cos(radians(latitude))), 1e-3)
    return hypot(affine.b * x_m, affine.e * y_m), hypot(affine.a * x_m, affine.d * y_m)


@dataclass(frozen=True, slots=True)
class Disk:
    """The pixels within a distance of a pixel's centre, as runs.

    ``half_widths[d]`` is how far the run ``d`` rows away reaches to either side; on pixels that
    are not square the disk is an ellipse of pixels, and still round on the ground.

    Example:
        >>> Disk.of_px(2).half_widths
        (2, 1, 0)
    """

    half_widths: tuple[int, ...]

    @classmethod
    def of_px(cls, radius_px: float) -> Self:
        """The disk of a radius in pixels."""
        return cls._of(radius_px, radius_px)

    @classmethod
    def of_metres(cls, radius_m: float, geobox: GeoBox) -> Self:
        """The disk of a radius in metres on the pixels of ``geobox``."""
        height_m, width_m = pixel_size_m(geobox)
        return cls._of(radius_m / height_m, radius_m / width_m)

    @classmethod
    def _of(cls, rows_px: float, cols_px: float) -> Self:
        tiny = 1e-9  # 3/5 and 4/5 squared must sum to 1
        return cls(
            tuple(
                floor(cols_px * sqrt(max(0.0, 1 - (d / rows_px) ** 2)) + tiny) if rows_px else 0
                for d in range(floor(rows_px + tiny) + 1)
            )
        )

    @property
    def reach_px(self) -> int:
        """How far the disk reaches: the margin a window needs."""
        return max(len(self.half_widths) - 1, self.half_widths[0])


def dilate(mask: Flags, disk: Disk) -> Flags:
    """Return the mask (H, W) grown by a disk; nothing is masked outside the array.

    Exact: a pixel is set where a set pixel lies in the disk around it. A window read with
    ``disk.reach_px`` around it gives what the whole scene gives.

    Example:
        >>> dilate(np.array([[False, False, False, True]]), Disk.of_px(2))
        array([[False,  True,  True,  True]])
    """
    height, width = mask.shape
    reach = disk.half_widths[0]
    out = np.zeros((height, width), bool)
    # blocks of rows that stay in the processor's cache
    block = max(32, (1 << 19) // max(1, width))
    for top in range(0, height, block):
        bottom = min(top + block, height)
        low, high = max(0, top - len(disk.half_widths) + 1), bottom + len(disk.half_widths) - 1
        rows = mask[low:high]
        if not rows.any():
            continue
        runs = np.zeros((len(rows), width + 2 * reach), bool)
        runs[:, reach : reach + width] = rows
        half = 0
        for d in range(len(disk.half_widths) - 1, -1, -1):
            runs, half = _widened(runs, half, disk.half_widths[d]), disk.half_widths[d]
            inner = runs[:, reach : reach + width]
            for shift in {d, -d}:
                first, last = max(top, low - shift), min(bottom, low + len(rows) - shift)
                if first < last:
                    out[first:last] |= inner[first + shift - low : last + shift - low]
    return out


def _widened(runs: Flags, half: int, wanted: int) -> Flags:
    """Grow each row from reaching ``half`` to either side to ``wanted``."""
    while half < wanted:
        step = min(wanted - half, half + 1)  # two copies further apart would leave a gap
        grown = runs.copy()
        grown[:, step:] |= runs[:, :-step]
        grown[:, :-step] |= runs[:, step:]
        runs, half = grown, half + step
    return runs


def erode(mask: Flags, disk: Disk) -> Flags:
    """Return the mask (H, W) shrunk by a disk; outside the array everything counts as masked."""
    return ~dilate(~mask, disk)


def without_specks(mask: Flags, disk: Disk) -> Flags:
    """Return the mask without what a disk does not fit into; what remains keeps its shape.

    A window needs three times ``disk.reach_px`` around it to give what the whole scene gives.
    """
    return mask & dilate(erode(mask, disk), Disk.of_px(2 * disk.reach_px))


def feather(mask: Flags, feather_px: int) -> npt.NDArray[np.float32]:
    """Return how much of each pixel is generated: 0 outside the mask, rising to 1 inside.

    Inside, the weight is the distance to the nearest pixel outside over ``feather_px + 1``, at
    most 1; the array's edge is no rim. (H, W) float32; a window read with ``feather_px`` around
    it gives what the whole scene gives.

    Example:
        >>> feather(np.array([[False, True, True, True, True]]), 2).round(2)
        array([[0.  , 0.33, 0.67, 1.  , 1.  ]], dtype=float32)
    """
    if feather_px == 0 or mask.all() or not mask.any():
        return mask.astype(np.float32)
    far = feather_px + 1
    squared = np.where(mask, far, 0).astype(np.int32)
    for d in range(1, far):  # distance along the column, up to far
        np.minimum(squared[d:], np.where(mask[:-d], far, d), out=squared[d:])
        np.minimum(squared[:-d], np.where(mask[d:], far, d), out=squared[:-d])
    squared *= squared
    nearest = squared.copy()
    for d in range(1, far):
        np.minimum(nearest[:, d:], squared[:, :-d] + d * d, out=nearest[:, d:])
        np.minimum(nearest[:, :-d], squared[:, d:] + d * d, out=nearest[:, :-d])
    weight = np.sqrt(nearest.astype(np.float32)) / np.float32(far)
    return np.minimum(weight, np.float32(1))


class ClassMask:
    """A mask out of a raster: every pixel that is valid and not 0 is to be replaced.

    Takes the class rasters of ``write_classes`` (their 255 is declared nodata) and any raster
    that a user painted.

    Args:
        raster: a scene of one band.
        scene: what is to be masked; the raster must lie on its grid.

    Raises:
        GridError: the raster has several bands, another size, or lies elsewhere.
    """

    def __init__(self, raster: Scene, scene: Scene) -> None:
        """Check the grids; a raster that lies nowhere is taken at the scene's place."""
        if len(raster.sensor.bands) != 1:
            raise GridError(
                f"the mask has {len(raster.sensor.bands)} bands",
                "a mask has one: 0 is kept, everything else replaced",
                "write one band, or choose --mask auto",
            )
        have, wanted = shape_of(raster.geobox), shape_of(scene.geobox)
        if have != wanted:
            raise GridError(
                f"the mask has {have[0]}x{have[1]} px",
                f"the scene has {wanted[0]}x{wanted[1]} px",
                "resample the mask to the scene's grid",
            )
        if raster.geobox.crs is not None and not _lie_together(raster.geobox, scene.geobox):
            raise GridError(
                f"the mask lies on {_place(raster.geobox)}",
                f"the scene lies on {_place(scene.geobox)}",
                "reproject the mask to the scene's grid",
            )
        self._raster = raster

    def read(self, window: Window) -> Flags:
        """Return (H, W) bool: which pixels of a window are to be replaced."""
        return np.asarray(self.classes(window) != CLEAR)

    def classes(self, window: Window) -> Classes:
        """Return (H, W) codes: those of ``CLASSES``, cloud for others, clear for nodata."""
        drawn, valid = self._raster.read(window)
        return np.where(valid[0], codes_of_drawing(drawn[0]), CLEAR).astype(np.uint8)


def codes_of_drawing(drawn: npt.NDArray[np.generic]) -> Classes:
    """Return the classes that drawn numbers (H, W) mean: our codes; any other but 0 is cloud.

    Example:
        >>> codes_of_drawing(np.array([[0, 3, 7, 255]]))
        array([[0, 3, 1, 1]], dtype=uint8)
    """
    is_ours = np.isin(drawn, [CLEAR, CLOUD, THIN, SHADOW, MARGIN])
    return np.where(is_ours, drawn, CLOUD).astype(np.uint8)


def _lie_together(one: GeoBox, other: GeoBox) -> bool:
    """Say whether two grids of one size have one CRS and corners within a tenth of a pixel."""
    if other.crs is None:
        return True
    height, width = shape_of(one)
    moved = ~other.affine * one.affine
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    off_px = max(hypot(x - col, y - row) for col, row in corners for x, y in [moved * (col, row)])
    return bool(one.crs == other.crs) and off_px < 0.1


def _place(geobox: GeoBox) -> str:
    return f"{geobox.crs}, corner {geobox.affine.c:g}, {geobox.affine.f:g}"
