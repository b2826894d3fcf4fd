"""drawn_codes: masks that somebody drew, as classes on a scene's grid."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy.typing as npt

from geodecloud.errors import GridError
from geodecloud.geo.masks import Classes, ClassMask, codes_of_drawing
from geodecloud.geo.part import WindowScene, on_whole
from geodecloud.geo.polygons import POLYGON_SUFFIXES, Polygons
from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.tiling import Window

Array = npt.NDArray[Any]
Codes = Callable[[Window], Classes]
"""Tells the codes of ``CLASSES``, (H, W), of a window."""


def drawn_codes(source: Path | Array, scene: Scene, stack: ExitStack) -> Codes:
    """Return what tells the classes of a window as an array, polygons or a raster have them.

    Args:
        source: a file, or an array (H, W) of bool or of class codes.
        scene: whose grid it is drawn on. Where it is a window of another, the drawing may show
            the whole; a raster may also show a part of it, and is clear elsewhere.
        stack: files stay open as long as it.

    Raises:
        InputError: the file cannot be read.
        GridError: it lies elsewhere, or has another size.
    """
    if isinstance(scene, WindowScene):
        return _codes_of_whole(source, scene, stack)
    if not isinstance(source, Path):
        return _codes_of_array(source, scene)
    if source.suffix.lower() in POLYGON_SUFFIXES:
        return Polygons.open(source, scene).read
    return ClassMask(_opened(source, stack), scene).classes


def _codes_of_whole(source: Path | Array, part: WindowScene, stack: ExitStack) -> Codes:
    whole = part.scene
    codes: Codes
    if isinstance(source, Path) and source.suffix.lower() not in POLYGON_SUFFIXES:
        codes = ClassMask(on_whole(_opened(source, stack), whole), whole).classes
    else:
        codes = drawn_codes(source, whole, stack)
    return lambda window: codes(part.outer(window))


def _opened(path: Path, stack: ExitStack) -> Scene:
    raster = open_scene(path, scale=1, offset=0)
    stack.callback(raster.close)
    return raster


def _codes_of_array(array: Array, scene: Scene) -> Codes:
    shape = shape_of(scene.geobox)
    if array.shape != shape or array.dtype.kind not in "bui":
        raise GridError(
            f"a mask of shape {array.shape} and dtype {array.dtype.name}",
            f"the scene has {shape[0]}x{shape[1]} px: (H, W) of bool or of class codes",
            "pass one layer on the scene's grid",
        )
    return lambda window: codes_of_drawing(array[window.slices])
