"""Scene, Mask and Sink: where pixels come from and go to; each in memory, and scenes stacked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.errors import GridError
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.tiling import Window

Array = npt.NDArray[Any]


class Scene(Protocol):
    """A whole image that is read by windows.

    Contract: ``read(w)`` gives (C, H, W) stored numbers and (C, H, W) bool validity of a window
    that lies inside ``geobox.shape``; the same window gives the same bytes each time.
    """

    @property
    def geobox(self) -> GeoBox:
        """Where the pixels lie; ``crs`` is None without georeference."""
        ...

    @property
    def sensor(self) -> Sensor:
        """What the numbers mean, band by band."""
        ...

    def read(self, window: Window) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return stored numbers and validity of a window, each (C, H, W)."""
        ...

    def select(self, names: Sequence[str]) -> Self | Scene:
        """Return the scene with these bands alone, in the order asked."""
        ...


class Mask(Protocol):
    """Which pixels of a scene are to be generated, read by windows as the scene is."""

    def read(self, window: Window) -> npt.NDArray[np.bool_]:
        """Return (H, W) bool of a window inside the scene: True where a pixel is to be made."""
        ...


class Sink(Protocol):
    """Where finished pixels go.

    Windows are disjoint and come top to bottom. Leaving the context without an error publishes;
    with an error nothing is left behind.
    """

    def __enter__(self) -> Self:
        """Open the sink."""
        ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Publish, or clear away."""
        ...

    def write(self, window: Window, pixels: Array, valid: npt.NDArray[np.bool_]) -> None:
        """Take stored numbers (C, H, W) of a window, and which of them are measurements."""
        ...


def without_georeference(shape: tuple[int, int]) -> GeoBox:
    """A geobox of pixels that lie nowhere on Earth: rows and columns are the coordinates."""
    return GeoBox(shape, Affine.identity(), None)


def shape_of(geobox: GeoBox) -> tuple[int, int]:
    """Height and width of a geobox, as plain integers."""
    height, width = geobox.shape
    return int(height), int(width)


def origin_px(geobox: GeoBox) -> tuple[int, int]:
    """Row and column of the first pixel in the grid that the CRS carries at this pixel size.

    Two scenes of one grid agree on it, so what starts on its multiples agrees as well. Rotated
    grids and those without georeference count from their own corner.

    Example:
        >>> origin_px(GeoBox((4, 4), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632"))
        (-500000, 60000)
    """
    affine = geobox.affine
    if geobox.crs is None or affine.b or affine.d:
        return 0, 0
    # Grids of half and quarter pixels exist, and the quotient has its rounding error: count up
    # where no grid lies. round() would step by 0 or 2 rows from one half to the next.
    return math.floor(affine.f / affine.e + 0.618), math.floor(affine.c / affine.a + 0.618)


class ArrayScene:
    """A scene in memory.

    Args:
        dn: (C, H, W) stored numbers.
        sensor: the bands, one for each channel.
        geobox: where the pixels lie; None means nowhere.
        valid: (C, H, W) bool; None asks the sensor.

    Example:
        >>> from geodecloud.geo.sensors import SENSORS
        >>> scene = ArrayScene(np.ones((3, 2, 2), np.uint8), SENSORS["rgb"])
        >>> scene.read(Window(0, 0, 1, 2))[0].shape
        (3, 1, 2)
    """

    def __init__(
        self,
        dn: Array,
        sensor: Sensor,
        geobox: GeoBox | None = None,
        valid: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Hold the pixels; shapes are checked here once."""
        if dn.ndim != 3 or len(dn) != len(sensor.bands):
            raise GridError(
                f"array of shape {dn.shape}",
                f"the sensor has {len(sensor.bands)} bands: ({len(sensor.bands)}, H, W) is needed",
                "put the channels first, one for each band",
            )
        self.geobox = without_georeference(dn.shape[1:]) if geobox is None else geobox
        if shape_of(self.geobox) != dn.shape[1:]:
            raise GridError(
                f"array of {dn.shape[1:]} pixels",
                f"the geobox has {shape_of(self.geobox)}",
                "pass the geobox of this array",
            )
        self.sensor = sensor
        self._dn = dn
        self._valid = sensor.is_valid(dn) if valid is None else valid

    def read(self, window: Window) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return stored numbers and validity of a window, each (C, H, W)."""
        rows, cols = window.slices
        return self._dn[:, rows, cols].copy(), self._valid[:, rows, cols].copy()

    def select(self, names: Sequence[str]) -> ArrayScene:
        """Return the scene with these bands alone, in the order asked."""
        index = self.sensor.index(names)
        return ArrayScene(
            self._dn[index], self.sensor.select(names), self.geobox, self._valid[index]
        )


class ArrayMask:
    """A mask in memory, (H, W) bool.

    Example:
        >>> ArrayMask(np.eye(2, dtype=bool)).read(Window(0, 1, 2, 1))
        array([[False],
               [ True]])
    """

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        """Hold the mask; its shape and kind are checked here once."""
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise GridError(
                f"mask of shape {mask.shape} and dtype {mask.dtype.name}",
                "a mask is (H, W) of bool",
                "pass one layer, compared with what is to be generated",
            )
        self._mask = mask

    def read(self, window: Window) -> npt.NDArray[np.bool_]:
        """Return (H, W) bool of a window inside the scene: True where a pixel is to be made."""
        return self._mask[window.slices].copy()


class ArraySink:
    """A sink in memory: ``dn`` and ``valid``, (C, H, W), are whole once it is closed."""

    def __init__(self, n_bands: int, shape: tuple[int, int], dtype: npt.DTypeLike) -> None:
        """Make room for the pixels."""
        self.dn: Array = np.zeros((n_bands, *shape), dtype)
        self.valid = np.zeros((n_bands, *shape), bool)
        self.is_published = False

    def __enter__(self) -> Self:
        """Open the sink."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Publish where no error came."""
        self.is_published = kind is None

    def write(self, window: Window, pixels: Array, valid: npt.NDArray[np.bool_]) -> None:
        """Take the pixels of a window."""
        if pixels.shape != (len(self.dn), *window.shape) or valid.shape != pixels.shape:
            raise ValueError(f"{pixels.shape} pixels, {valid.shape} valid for {window}")
        rows, cols = window.slices
        self.dn[:, rows, cols] = pixels
        self.valid[:, rows, cols] = valid


class StackedScene:
    """Scenes of one grid, band upon band, as one scene of their common dtype."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        """Check the grids; the first scene's is the one that counts."""
        first = scenes[0]
        for other in scenes[1:]:
            if other.geobox != first.geobox:
                raise GridError(
                    f"{_named(other)} lies on {_grid(other)}",
                    f"{_named(first)} lies on {_grid(first)}",
                    "resample the bands to one grid first",
                )
        self.scenes = tuple(scenes)
        self.geobox = first.geobox
        bands = tuple(band for scene in scenes for band in scene.sensor.bands)
        self._dtype = np.result_type(*(np.dtype(band.dtype) for band in bands))
        self.sensor = replace(
            first.sensor, bands=tuple(replace(band, dtype=self._dtype.name) for band in bands)
        )

    def read(self, window: Window) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return stored numbers and validity of a window, each (C, H, W)."""
        parts = [scene.read(window) for scene in self.scenes]
        dn = np.concatenate([dn for dn, _ in parts]).astype(self._dtype, copy=False)
        return dn, np.concatenate([valid for _, valid in parts])

    def select(self, names: Sequence[str]) -> Scene:
        """Return the scene with these bands alone, in the order asked."""
        self.sensor.index(names)
        owner = {name: scene for scene in self.scenes for name in scene.sensor.band_names}
        return StackedScene([owner[name].select([name]) for name in names])


def _named(scene: Scene) -> str:
    return f"band {', '.join(scene.sensor.band_names)}"


def _grid(scene: Scene) -> str:
    height, width = shape_of(scene.geobox)
    return f"{height}x{width} px of {scene.geobox.crs}, corner {tuple(scene.geobox.affine)[:6]}"
