"""footprint and within: where a scene lies in degrees, and what it shows of an area."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geodecloud.errors import GridError
from geodecloud.geo.part import WindowScene
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.tiling import Window

SIDE_POINTS = 33
"""Points along each side of an area: it is straight in one coordinate system alone."""

DEGREES = CRS("EPSG:4326")

Bounds = tuple[float, float, float, float]
Doubles = npt.NDArray[np.float64]


def footprint(geobox: GeoBox, n_points: int = SIDE_POINTS) -> list[tuple[float, float]]:
    """Return the outline of a grid as a ring of (longitude, latitude), against the clock.

    Args:
        geobox: with a coordinate system; north-up grids turn against the clock.
        n_points: along each side, corners included.
    """
    height, width = shape_of(geobox)
    x, y = _moved(geobox.affine, *_ring((0, 0, width, height), n_points))
    longitude, latitude = CRS(geobox.crs).transformer_to_crs(DEGREES)(x, y)
    return [(float(one), float(other)) for one, other in zip(longitude, latitude, strict=True)]


def bounds_of(geobox: GeoBox) -> Bounds:
    """Return west, south, east and north of a grid in degrees."""
    longitude, latitude = zip(*footprint(geobox), strict=True)
    return min(longitude), min(latitude), max(longitude), max(latitude)


def within(scene: Scene, bounds: Bounds) -> Scene:
    """Return what a scene shows of an area; itself where that is all of it.

    Args:
        scene: on the ground.
        bounds: west, south, east and north of the area in degrees (WGS 84).

    Raises:
        GridError: the area lies elsewhere, or nobody knows where the scene does.
    """
    geobox = scene.geobox
    if geobox.crs is None:
        raise GridError(
            "a scene without georeference",
            "an area is looked for on the ground",
            "leave --bbox and --intersects out, or choose items with proj:code and proj:transform",
        )
    x, y = DEGREES.transformer_to_crs(geobox.crs)(*_ring(bounds, SIDE_POINTS))
    cols, rows = _moved(~geobox.affine, x, y)
    window, whole = Window(0, 0, 0, 0), Window.whole(shape_of(geobox))
    if np.isfinite([rows, cols]).all():
        # a corner on the edge of a pixel, off by a rounding error, brings no further row
        (top, bottom), (left, right) = ((v.min() + 1e-6, v.max() - 1e-6) for v in (rows, cols))
        row, col = math.floor(top), math.floor(left)
        height, width = math.ceil(bottom) - row, math.ceil(right) - col
        window = Window(row, col, max(0, height), max(0, width)) & whole
    if not (window.height and window.width):
        raise GridError(
            f"the scene does not show the area {', '.join(f'{value:g}' for value in bounds)}",
            "its pixels reach into it, as its catalog says",
            "choose another area, or leave the item out",
        )
    return scene if window == whole else WindowScene(scene, window)


def _moved(affine: Affine, x: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    a, b, c, d, e, f = tuple(affine)[:6]
    return a * x + b * y + c, d * x + e * y + f


def _ring(bounds: Bounds, n_points: int) -> tuple[Doubles, Doubles]:
    """A closed ring along the sides of a rectangle, from its first corner on; x and y."""
    left, first, right, last = bounds
    there, back = np.linspace(0, 1, n_points)[:-1], np.linspace(1, 0, n_points)[:-1]
    zeros = np.zeros(n_points - 1)
    # down, across, up, back: in rows that grow downwards, against the clock on the ground
    x = np.concatenate([zeros, there, zeros + 1, back, [0]])
    y = np.concatenate([there, zeros + 1, back, zeros, [0]])
    return left + x * (right - left), first + y * (last - first)
