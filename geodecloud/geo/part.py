"""Part: what lies inside of areas of a scene, worked on with what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.geo.choosing import ClippedScene
from geodecloud.geo.guard import existing
from geodecloud.geo.polygons import Areas, Polygons
from geodecloud.geo.profile import Profile, profile_of
from geodecloud.geo.scene import Scene, Sink, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.geo.warped import WarpedScene

SURROUNDINGS_PX = 128
"""So far around a part clouds are sought and clear pixels drawn from, beyond a model's reach."""


class WindowScene:
    """A window of a scene as a scene of its own: ``part.read(w) == scene.read(part.outer(w))``.

    Args:
        scene: what is looked at.
        window: of it.

    Example:
        >>> from geodecloud.geo.scene import ArrayScene
        >>> from geodecloud.geo.sensors import Band, Sensor
        >>> grey = ArrayScene(np.arange(6).reshape(1, 2, 3), Sensor("grey", (Band("luma"),)))
        >>> WindowScene(grey, Window(0, 1, 2, 2)).read(Window(1, 0, 1, 2))[0]
        array([[[4, 5]]])
    """

    def __init__(self, scene: Scene, window: Window) -> None:
        """Move the grid's corner."""
        self.scene, self.window, self.sensor = scene, window, scene.sensor
        moved = scene.geobox.affine * Affine.translation(window.col, window.row)
        self.geobox = GeoBox(window.shape, moved, scene.geobox.crs)

    @property
    def profile(self) -> Profile:
        """That of the scene."""
        return profile_of(self.scene)

    def outer(self, window: Window) -> Window:
        """The same pixels, counted from the corner of the whole scene."""
        return Window(window.row + self.window.row, window.col + self.window.col, *window.shape)

    def read(self, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return stored numbers and validity of a window, each (C, H, W)."""
        if window not in Window.whole(self.window.shape):
            raise ValueError(f"{window} reaches beyond the {self.window.shape} px of the part")
        return self.scene.read(self.outer(window))

    def select(self, names: Sequence[str]) -> WindowScene:
        """Return the scene with these bands alone, in the order asked."""
        return WindowScene(self.scene.select(names), self.window)


@dataclass(frozen=True)
class Part:
    """What is asked of a scene: all of it, or what lies inside of areas.

    The scene is worked on with what is around the part, so that a part looks as it does in the
    whole; what is written begins at the part's first pixel and ends at its last.

    Attributes:
        scene: what is worked on.
        kept: the window of it that is written.
        areas: on its grid; outside of them nothing is. None stands for all.
    """

    scene: Scene
    kept: Window
    areas: Polygons | None = None

    @classmethod
    def of(cls, scene: Scene, source: Areas | None, reach_px: int = 0) -> Self:
        """Return what lies inside of polygons; without any, all.

        Args:
            scene: the whole.
            source: see ``Polygons.open``.
            reach_px: how far a model looks; what it sees at the rim of the part is the scene.

        Raises:
            InputError: a file is damaged, or there are no areas.
            GridError: the areas do not lie on the scene, or hold none of its pixels.
        """
        whole = Window.whole(shape_of(scene.geobox))
        if source is None:
            return cls(scene, whole)
        if isinstance(source, Path):
            source = existing(source)
        areas = Polygons.open(source, scene, classed=False)
        kept = areas.extent(whole)
        seen = kept.padded(reach_px + SURROUNDINGS_PX) & whole
        return cls(WindowScene(scene, seen), kept.relative_to(seen), areas.relative_to(seen))

    def over(self, whole: Scene) -> Self:
        """The same part of another reader of the whole."""
        is_all = self.areas is None
        return replace(self, scene=whole if is_all else WindowScene(whole, self.window))

    @property
    def window(self) -> Window:
        """What is worked on, counted from the corner of the whole."""
        return self.outer(Window.whole(shape_of(self.scene.geobox)))

    def outer(self, window: Window) -> Window:
        """Pixels of what is worked on, counted from the corner of the whole."""
        scene = self.scene
        if self.areas is None or not isinstance(scene, WindowScene):
            return window
        return scene.outer(window)

    @property
    def geobox(self) -> GeoBox:
        """Where the pixels lie that are written."""
        return WindowScene(self.scene, self.kept).geobox

    def clipped(self, scene: Scene) -> Scene:
        """A scene on the grid of what is worked on, without what lies outside of the areas."""
        return scene if self.areas is None else ClippedScene(scene, self.areas)

    def cut(self, scene: Scene) -> Scene:
        """The same on the grid of what is written."""
        return scene if self.areas is None else WindowScene(self.clipped(scene), self.kept)

    def sink(self, sink: Sink) -> Sink:
        """A sink for all that is worked on, which hands to another what is written."""
        return sink if self.areas is None else _KeptSink(sink, self.kept)


def on_whole(raster: Scene, scene: Scene) -> Scene:
    """Return a raster that shows a window of a scene on all of the scene's grid.

    Outside of the window it is not valid. Any other raster is returned as it is.
    """
    if raster.geobox.crs is None or raster.geobox.crs != scene.geobox.crs:
        return raster
    moved = ~scene.geobox.affine * raster.geobox.affine
    corner = Affine.translation(round(moved.c), round(moved.f))
    window = Window(round(moved.f), round(moved.c), *shape_of(raster.geobox))
    is_window = moved.almost_equals(corner, 0.01) and window in Window.whole(shape_of(scene.geobox))
    return WarpedScene(raster, scene.geobox, "nearest") if is_window else raster


class _KeptSink:
    """Takes windows of a scene and hands on what lies in one of them."""

    def __init__(self, sink: Sink, kept: Window) -> None:
        self._sink, self._kept = sink, kept

    def __enter__(self) -> Self:
        self._sink.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._sink.__exit__(kind, *rest)

    def write(self, window: Window, pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        here = window & self._kept
        if here.height and here.width:
            rows, cols = here.relative_to(window).slices
            self._sink.write(
                here.relative_to(self._kept), pixels[:, rows, cols], valid[:, rows, cols]
            )
