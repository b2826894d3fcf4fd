"""Excerpt: the part of a scene inside a window, as a scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from odc.geo.geom import box

from geodecloud.errors import GridError
from geodecloud.geo.profile import Profile, profile_of
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.tiling import Window

STEP_DEGREES = 0.05
"""Sides of an area are bent with this many points a degree: they are straight in degrees alone."""


class Excerpt:
    """The part of a scene inside a window; its pixels are the scene's own.

    Args:
        scene: what is read.
        window: inside the scene.
    """

    def __init__(self, scene: Scene, window: Window) -> None:
        """Move the corner."""
        self.scene, self.window, self.sensor = scene, window, scene.sensor
        self.geobox: GeoBox = scene.geobox[window.slices]

    @property
    def profile(self) -> Profile:
        """That of the scene."""
        return profile_of(self.scene)

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return stored numbers and validity of a window, each (C, H, W)."""
        if window not in Window.whole(self.window.shape):
            raise ValueError(f"{window} reaches beyond the {self.window.shape} px of the excerpt")
        row, col = self.window.row + window.row, self.window.col + window.col
        return self.scene.read(Window(row, col, *window.shape))

    def select(self, names: Sequence[str]) -> Excerpt:
        """Return the scene with these bands alone, in the order asked."""
        return Excerpt(self.scene.select(names), self.window)


def within(scene: Scene, bounds: tuple[float, float, float, float]) -> Scene:
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
    area = box(*bounds, "EPSG:4326").to_crs(geobox.crs, STEP_DEGREES)
    at = [~geobox.affine * corner for corner in area.exterior.coords]
    cols, rows = (sorted(values) for values in zip(*at, strict=True))
    # a corner on the edge of a pixel, off by a rounding error, brings no further row
    row, col = math.floor(rows[0] + 1e-6), math.floor(cols[0] + 1e-6)
    height, width = math.ceil(rows[-1] - 1e-6) - row, math.ceil(cols[-1] - 1e-6) - col
    whole = Window.whole(shape_of(geobox))
    window = Window(row, col, max(0, height), max(0, width)) & whole
    if not (window.height and window.width):
        raise GridError(
            f"the scene does not show the area {', '.join(f'{value:g}' for value in bounds)}",
            "its pixels reach into it, as its catalog says",
            "choose another area, or leave the item out",
        )
    return scene if window == whole else Excerpt(scene, window)
