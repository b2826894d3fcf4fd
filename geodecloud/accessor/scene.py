"""LabelledScene: pixels of labelled arrays as a scene, and back as the arrays have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from odc.geo.geobox import GeoBox

from geodecloud.accessor.meaning import Packing
from geodecloud.geo.profile import Profile
from geodecloud.geo.scene import Array
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.tiling import Window
from geodecloud.translator import Flags


class Pixels(Protocol):
    """The pixels of one raster: (C, H, W) in the array's own dtype."""

    dtype: np.dtype[Any]
    is_lazy: bool

    def read(self, channels: Sequence[int], window: Window) -> Array:
        """Return these bands of a window."""
        ...

    def held(self, window: Window) -> Pixels:
        """Return the pixels of a window, in memory."""
        ...

    def forget(self) -> None:
        """Let go of what was read and kept for the next window."""
        ...


class InMemory:
    """Pixels in memory: all of a raster, or a window of it.

    Args:
        array: (C, H, W).
        window: of the raster, that it shows; None means all.
    """

    is_lazy = False

    def __init__(self, array: Array, window: Window | None = None) -> None:
        """Hold the array."""
        self._array, self.dtype = array, array.dtype
        self._window = Window.whole(array.shape[1:]) if window is None else window

    def read(self, channels: Sequence[int], window: Window) -> Array:
        """Return these bands of a window, (C, H, W)."""
        rows, cols = window.relative_to(self._window).slices
        return self._array[list(channels), rows, cols]

    def held(self, window: Window) -> InMemory:
        """Return itself: it is in memory."""
        return self

    def forget(self) -> None:
        """Keep what is held: it is the caller's."""


class LabelledScene:
    """A scene whose pixels are those of rasters, band upon band, in their common stored dtype.

    Args:
        geobox: where the pixels lie.
        sensor: the bands.
        profile: how they would be stored in a file.
        pixels: those of the rasters, and how each is packed.
        channels: of each band, its raster and its channel there.
    """

    def __init__(
        self,
        geobox: GeoBox,
        sensor: Sensor,
        profile: Profile,
        pixels: Sequence[tuple[Pixels, Packing | None]],
        channels: Sequence[tuple[int, int]],
    ) -> None:
        """Hold the pixels; none is read."""
        self.geobox, self.sensor, self.profile = geobox, sensor, profile
        self.pixels, self.channels = pixels, channels

    def read(self, window: Window) -> tuple[Array, Flags]:
        """Return stored numbers and validity of a window, each (C, H, W)."""
        dn = np.empty((len(self.channels), *window.shape), self.profile.dtype)
        is_number = np.ones(dn.shape, bool)
        for raster, (pixels, packing) in enumerate(self.pixels):
            mine = [i for i, (owner, _) in enumerate(self.channels) if owner == raster]
            if not mine:
                continue
            values = pixels.read([self.channels[i][1] for i in mine], window)
            if packing is not None:
                is_number[mine] = np.isfinite(values)
            dn[mine] = values if packing is None else packing.stored(values)
        return dn, self.sensor.is_valid(dn) & is_number

    def select(self, names: Sequence[str]) -> LabelledScene:
        """Return the scene with these bands alone, in the order asked."""
        index = self.sensor.index(names)
        return LabelledScene(
            self.geobox,
            self.sensor.select(names),
            self.profile.select(index),
            self.pixels,
            [self.channels[i] for i in index],
        )

    def held(self, window: Window) -> LabelledScene:
        """Return the scene with the pixels of a window in memory, and no others to read."""
        pixels = [(source.held(window), packing) for source, packing in self.pixels]
        return LabelledScene(self.geobox, self.sensor, self.profile, pixels, self.channels)

    @property
    def is_lazy(self) -> bool:
        """Whether pixels are computed when they are read."""
        return any(pixels.is_lazy for pixels, _ in self.pixels)

    def forget(self) -> None:
        """Let go of what was read."""
        for pixels, _ in self.pixels:
            pixels.forget()

    def restored(self, dn: Array, window: Window) -> list[Array]:
        """Return stored numbers (C, H, W) of a window as the rasters have them, one array each.

        What is unchanged is the raster's own value, bit for bit; decoded nodata is NaN.
        """
        before, _ = self.read(window)
        arrays = []
        for raster, (pixels, packing) in enumerate(self.pixels):
            mine = [i for i, (owner, _) in enumerate(self.channels) if owner == raster]
            values = dn[mine].astype(pixels.dtype)
            if packing is not None:
                own = pixels.read([self.channels[i][1] for i in mine], window)
                values = packing.values(dn[mine], pixels.dtype)
                for i, plane in zip(mine, values, strict=True):
                    plane[dn[i] == self.sensor.bands[i].nodata] = np.nan
                values = np.where(dn[mine] == before[mine], own, values)
            arrays.append(values)
        return arrays

    def parted(self, values: Array) -> list[Array]:
        """Return values (C, H, W) of the bands, one array for each raster."""
        owners = [owner for owner, _ in self.channels]
        return [
            values[[i for i, owner in enumerate(owners) if owner == raster]]
            for raster in range(len(self.pixels))
        ]
