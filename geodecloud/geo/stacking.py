"""RasterStack: the open files of a scene as one, band upon band, on one grid."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError, GridError, OptionError
from geodecloud.geo import guard
from geodecloud.geo.backscatter import in_decibels, is_backscatter
from geodecloud.geo.masks import pixel_size_m
from geodecloud.geo.radiometry import stacked
from geodecloud.geo.scene import Array, Scene, StackedScene, shape_of
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.tiling import Window
from geodecloud.geo.warped import on_grid


class Closing(ABC):
    """What is open from the start and closed at the end of a ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """Close the files."""

    def __enter__(self) -> Self:
        """Return what is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self.close()


class OpenScene(Closing):
    """A scene whose files are open: what ``open_scene`` gives."""

    geobox: GeoBox
    sensor: Sensor

    @abstractmethod
    def read(self, window: Window) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return stored numbers and validity of a window, each (C, H, W)."""

    @abstractmethod
    def select(self, names: Sequence[str]) -> Scene:
        """Return the scene with these bands alone, in the order asked."""


class OpenFile(Scene, Protocol):
    """A scene of one open file."""

    path: Path
    driver: str

    def close(self) -> None:
        """Close the file."""


class RasterStack(StackedScene, OpenScene):
    """Raster files as one scene, band upon band; a context manager.

    Args:
        scenes: what is shown of them, on one grid.
        files: what is open, and closed in the end.

    Raises:
        BandError: two files have a band of one name.
    """

    def __init__(self, scenes: Sequence[Scene], files: Sequence[OpenFile]) -> None:
        """Put the bands side by side."""
        self.files = tuple(files)
        self.paths = tuple(file.path for file in files)
        _check_names(files)
        super().__init__(scenes)
        self.sensor = stacked(self.sensor, [scene.sensor for scene in scenes])

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()


def _check_names(files: Sequence[OpenFile]) -> None:
    """Refuse files of which two have a band of one name.

    Raises:
        BandError: it names both.
    """
    owners: dict[str, Path] = {}
    for file in files:
        for name in file.sensor.band_names:
            if name in owners:
                raise BandError(
                    f"{owners[name]} and {file.path} both hold band {name}",
                    "the files of a scene hold different bands",
                    "name the bands in order with --bands (bands=); several scenes at once go "
                    "into a folder",
                )
            owners[name] = file.path


def shown(files: Sequence[OpenFile], resolution_m: float | None = None) -> list[Scene]:
    """Return what a scene shows of its files: radar in decibels, all on one grid.

    That grid is the one with the smallest pixels, or its corner with pixels of the size that is
    asked for. Reflectance is resampled bilinearly, classes take the nearest.

    Raises:
        GridError: the files do not show the same ground.
        RadiometryError: radar is neither in decibels nor calibrated.
        OptionError: there is no ground to count metres on.
    """
    scenes = [in_decibels(f, f.path.stem) if is_backscatter(f.sensor) else f for f in files]
    finest = min(range(len(files)), key=lambda i: abs(files[i].geobox.affine.determinant))
    geobox = files[finest].geobox
    for file in files:
        if not _show_same_ground(file.geobox, geobox):
            paths = (files[finest].path, file.path)
            guard.check_one_grid(paths, (geobox, file.geobox))
    if resolution_m is not None:
        geobox = _with_pixels_of(geobox, resolution_m)
    return [scene if scene.geobox == geobox else on_grid(scene, geobox) for scene in scenes]


def _show_same_ground(one: GeoBox, other: GeoBox) -> bool:
    """Whether two grids lie square to one another, their edges within a pixel of the coarser."""
    if one == other:
        return True
    if one.crs is None or one.crs != other.crs:
        return False
    moved = ~one.affine * other.affine
    if abs(moved.b) + abs(moved.d) > 1e-6 or moved.a <= 0 or moved.e <= 0:
        return False
    (height, width), (other_height, other_width) = shape_of(one), shape_of(other)
    off_px = (
        (moved.c, max(1.0, moved.a)),
        (moved.f, max(1.0, moved.e)),
        (moved.c + moved.a * other_width - width, max(1.0, moved.a)),
        (moved.f + moved.e * other_height - height, max(1.0, moved.e)),
    )
    return all(abs(distance) < pixel for distance, pixel in off_px)


def _with_pixels_of(geobox: GeoBox, resolution_m: float) -> GeoBox:
    """A grid of the same corner and ground, with square pixels of this size."""
    if geobox.crs is None:
        raise OptionError(
            f"resolution of {resolution_m:g} m for a scene without georeference",
            "metres are counted on the ground",
            "leave --resolution out",
        )
    if not 0.01 <= resolution_m <= 100_000:
        raise OptionError(
            f"resolution is {resolution_m:g} m", "it lies between 0.01 and 100000", "try 10 or 20"
        )
    rows, cols = (resolution_m / size for size in pixel_size_m(geobox))
    height, width = shape_of(geobox)
    shape = (max(1, math.ceil(height / rows - 1e-6)), max(1, math.ceil(width / cols - 1e-6)))
    if math.prod(shape) > 16 * guard.MAX_SIDE_PX**2 or max(shape) > guard.MAX_SIDE_PX:
        raise GridError(
            f"pixels of {resolution_m:g} m make a scene of {shape[0]}x{shape[1]} px",
            f"at most {guard.MAX_SIDE_PX} px a side are read",
            "choose larger pixels",
        )
    return GeoBox(shape, geobox.affine * Affine.scale(cols, rows), geobox.crs)
