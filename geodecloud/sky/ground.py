"""SceneGrid: where the pixels of a scene lie, in the metres by which clouds have their places."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from geodecloud.errors import GridError
from geodecloud.sky.arrays import Array
from geodecloud.sky.perlin import Places

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

DEFAULT_PIXEL_M = 10.0
"""A pixel without georeference is one of Sentinel-2's finest bands."""

WINDOW_PX = 128  # windows of this side are cheap to look at
_EXACT = 2.0**12  # positions are rounded to this part of a pixel, so that windows agree

Look = Callable[[Places], tuple[Array, ...]]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class WarpedPlaces:
    """Pixels that lie askew in the metres of the sky: the nearest of an upright, finer grid.

    ``rows`` and ``cols`` (H, W) int64 count pixels of ``places``.
    """

    places: Places
    rows: npt.NDArray[np.int64]
    cols: npt.NDArray[np.int64]

    @property
    def row0(self) -> Array:
        """The start of the upright grid, (1,)."""
        return self.places.row0

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the window."""
        height, width = self.rows.shape
        return height, width

    def seen(self, look: Look) -> tuple[Array, ...]:
        """Return what is seen from the upright grid, (1, N, h, w) each, at the pixels."""
        return tuple(plane[:, :, self.rows, self.cols] for plane in look(self.places))


@dataclass(frozen=True, slots=True)
class SceneGrid:
    """The pixels of a scene in metres of a UTM zone, or of themselves where they lie nowhere.

    Attributes:
        geobox: of the scene.
        crs: the zone, "EPSG:32632"; None without georeference.
        step_m: pixel size; of the upright grid that pixels lie in, where they lie askew.
        is_upright: whether rows run west to east and columns north to south in square pixels.
    """

    geobox: GeoBox
    crs: str | None
    step_m: float
    is_upright: bool
    _to_zone: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, geobox: GeoBox, crs: str | None = None) -> Self:
        """Return the grid of a scene.

        Args:
            geobox: of the scene.
            crs: the zone to count metres in; None: the scene's own, or that of its centre.

        Raises:
            GridError: a zone is asked for, and the scene has no georeference.
        """
        affine = geobox.affine
        if geobox.crs is None:
            if crs is not None:
                raise GridError(
                    "the scene has no georeference",
                    f"the sky hangs over {crs}",
                    "take a scene with georeference, or make another sky",
                )
            return cls(geobox, None, DEFAULT_PIXEL_M, is_upright=True)
        own = f"EPSG:{geobox.crs.epsg}"
        is_utm = geobox.crs.epsg is not None and geobox.crs.epsg // 100 in (326, 327)
        zone = crs or (own if is_utm else _zone_of_centre(geobox))
        is_square = affine.a > 0 and affine.a == -affine.e and affine.b == affine.d == 0
        if zone == own and is_square:
            return cls(geobox, zone, float(affine.a), is_upright=True)
        to_zone = _transformer(geobox, zone)
        grid = cls(geobox, zone, 1.0, is_upright=False, _to_zone=to_zone)
        return replace(grid, step_m=grid._usual_step())

    def _usual_step(self) -> float:
        """Return a power of two times 10 m: a half to a quarter of a pixel."""
        height, width = self.geobox.shape
        xs, ys = self._metres(
            np.asarray([[height / 2, height / 2, height / 2 + 1]]),
            np.asarray([[width / 2, width / 2 + 1, width / 2]]),
        )
        area = (xs[0, 1] - xs[0, 0]) * (ys[0, 2] - ys[0, 0]) - (xs[0, 2] - xs[0, 0]) * (
            ys[0, 1] - ys[0, 0]
        )
        return float(5 * 2.0 ** math.floor(math.log2(math.sqrt(abs(area)) / 10) + 1e-6))

    def _metres(self, rows: Floats, cols: Floats) -> tuple[Floats, Floats]:
        """Return easting and northing of positions in pixels from the scene's corner."""
        affine = self.geobox.affine
        east, north = self._to_zone.transform(
            affine.a * cols + affine.b * rows + affine.c,
            affine.d * cols + affine.e * rows + affine.f,
        )
        if not (np.isfinite(east).all() and np.isfinite(north).all()):
            raise GridError(
                f"pixels that have no place in {self.crs}",
                "a scene lies within reach of one UTM zone",
                "cut the scene, or project it",
            )
        return east, north

    def coarsened(self, most_px: int) -> Self:
        """Return a grid of every n-th pixel, with about ``most_px`` squared of them at most."""
        height, width = (int(n) for n in self.geobox.shape)
        every = max(1, math.ceil(math.sqrt(height * width) / most_px))
        if every == 1:
            return self
        from affine import Affine
        from odc.geo.geobox import GeoBox

        shape = -(-height // every), -(-width // every)
        affine = self.geobox.affine * Affine.scale(every)
        geobox = GeoBox(shape, affine, self.geobox.crs)
        return replace(self, geobox=geobox, step_m=self.step_m * every)

    def windows(self) -> Iterator[tuple[int, int, tuple[int, int]]]:
        """Yield row, col and shape of windows that make up the scene."""
        height, width = (int(n) for n in self.geobox.shape)
        for row in range(0, height, WINDOW_PX):
            for col in range(0, width, WINDOW_PX):
                yield row, col, (min(WINDOW_PX, height - row), min(WINDOW_PX, width - col))

    def window(self, row: int, col: int, shape: tuple[int, int]) -> Places | WarpedPlaces:
        """Return where the pixels of a window lie; the same wherever windows overlap."""
        if self.is_upright:
            affine, step = self.geobox.affine, self.step_m
            corner = (-affine.f, affine.c) if self.crs else (0.0, 0.0)
            south, east = (np.asarray([at / step + 0.5]) for at in corner)
            # whole pixels are added to the scene's own start, which is rounded once
            scene = Places(south, east, step, shape)
            return scene.window(row, col, shape)
        height, width = shape
        rows, cols = np.mgrid[row : row + height, col : col + width] + 0.5
        east, north = self._metres(rows, cols)
        down, right = (
            np.floor(np.rint(at * (_EXACT / self.step_m)) / _EXACT + 0.5).astype(np.int64)
            for at in (-north, east)
        )
        first = down.min(), right.min()
        size = int(down.max() - first[0]) + 1, int(right.max() - first[1]) + 1
        places = Places(np.asarray(first[:1]), np.asarray(first[1:]), self.step_m, size)
        return WarpedPlaces(places, down - first[0], right - first[1])


def _zone_of_centre(geobox: GeoBox) -> str:
    """Return the UTM zone that the middle of a scene lies in."""
    height, width = geobox.shape
    x, y = geobox.affine * (width / 2, height / 2)
    longitude, latitude = _transformer(geobox, "EPSG:4326").transform(x, y)
    if not (math.isfinite(longitude) and abs(latitude) <= 90):
        raise GridError(
            f"the middle of the scene lies at {x:g}, {y:g} in {geobox.crs}",
            "a place on Earth",
            "repair its georeference",
        )
    zone = int((longitude + 180) // 6) % 60 + 1
    return f"EPSG:{326 if latitude >= 0 else 327}{zone:02d}"


def _transformer(geobox: GeoBox, to: str) -> Any:
    """Return what turns a scene's coordinates into those of another system, x before y."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    crs: Any = geobox.crs
    try:
        return Transformer.from_crs(crs.to_wkt(), to, always_xy=True)
    except ProjError as error:
        raise GridError(
            f"no way is known from the coordinate system {crs.proj.name} to {to}",
            "clouds have their places in metres of a UTM zone",
            "project the scene, or take its georeference away",
        ) from error
