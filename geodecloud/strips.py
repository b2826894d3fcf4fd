"""Work on a scene that is cut into strips, each done wherever and whenever it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geodecloud.geo.masks import Classes
from geodecloud.geo.scene import Array, Mask, Scene
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.tiling import Window
from geodecloud.translator import Flags, Floats

BLOCK_ROWS = 512

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows of what is made of a scene, in pixels of that scene.

    Attributes:
        keep: what is made.
        read: what is looked at for it, whole rows.
        tiles: the rows of tiles that it is, where the work is done in tiles.
    """

    keep: Window
    read: Window
    tiles: range = range(0)


class Done(NamedTuple):
    """What was made of a strip: stored numbers (C, H, W), and (H, W) uint8 about the pixels.

    ``spread`` are standard deviations (C, H, W) of the errors of what was generated, in the unit
    of the scene, NaN where nothing is measured; None where none were asked.
    """

    dn: Array
    about: Classes
    spread: Floats | None = None


class Work(Protocol):
    """What is done to a scene: one look at all of it, then strip by strip; can be pickled.

    Contract: strips partition ``kept``, and ``do`` needs no pixel of the scene beyond
    ``strip.read``: together they are what the task gives for the whole, bit for bit.

    Attributes:
        kept: the part of the scene that is made.
        bands: names of the bands that are made, in order.
        has_spread: ``do`` tells how far off generated values may be.
        model: name of the model that draws them; None where none does.
        about: what is told of each pixel beside its numbers.
    """

    kept: Window
    bands: tuple[str, ...]
    has_spread: bool
    model: str | None
    about: Literal["provenance", "truth"]

    def target(self, scene: Scene) -> Scene:
        """Return the scene whose grid, bands and encoding the work's own have; no pixel is read."""
        ...

    def strips(self, least_px: int) -> list[Strip]:
        """Return the strips, each of at least so many rows but the last."""
        ...

    def prepare(self, scene: Scene, note: Note, mask: Array | None = None) -> Any:
        """Return what all strips need to know, after a look at the whole scene, by windows."""
        ...

    def do(self, scene: Scene, strip: Strip, prepared: Any) -> Done:
        """Return what is made of a strip."""
        ...


@dataclass(frozen=True)
class Outline:
    """A scene of which no pixel is at hand: its grid and its bands."""

    geobox: GeoBox
    sensor: Sensor

    @classmethod
    def of(cls, scene: Scene) -> Self:
        """Return the outline of a scene."""
        return cls(scene.geobox, scene.sensor)

    def read(self, window: Window) -> tuple[Array, Flags]:
        """Refuse: there is nothing to read."""
        raise ValueError(f"{window} of an outline")

    def select(self, names: Sequence[str]) -> Outline:
        """Return the outline with these bands alone, in the order asked."""
        return replace(self, sensor=self.sensor.select(names))


class Held:
    """Some rows of a scene in memory, read once: ``held.read(w) == scene.read(w)`` inside of them.

    Args:
        scene: what is read.
        rows: of it.
    """

    def __init__(self, scene: Scene, rows: Window) -> None:
        """Read the rows."""
        self.geobox, self.sensor = scene.geobox, scene.sensor
        self._rows, (self._dn, self._valid) = rows, scene.read(rows)

    def read(self, window: Window) -> tuple[Array, Flags]:
        """Return stored numbers and validity of a window, each (C, H, W)."""
        rows, cols = window.relative_to(self._rows).slices
        return self._dn[:, rows, cols], self._valid[:, rows, cols]

    def select(self, names: Sequence[str]) -> Held:
        """Return the scene with these bands alone, in the order asked."""
        index = self.sensor.index(names)
        chosen = copy(self)
        chosen.sensor = self.sensor.select(names)
        chosen._dn, chosen._valid = self._dn[index], self._valid[index]
        return chosen


class BitMask:
    """A mask in memory, one bit a pixel.

    Example:
        >>> from geodecloud.geo.scene import ArrayMask
        >>> BitMask.of(ArrayMask(np.eye(2, 9, dtype=bool)), (2, 9)).read(Window(0, 1, 2, 2))
        array([[False, False],
               [ True, False]])
    """

    def __init__(self, bits: Classes) -> None:
        """Take the bits (H, ceil(W / 8)), eight pixels a byte."""
        self._bits = bits

    @classmethod
    def of(cls, mask: Mask, shape: tuple[int, int]) -> Self:
        """Return a mask of this shape as bits, read by strips."""
        height, width = shape
        tops = range(0, height, BLOCK_ROWS)
        blocks = [Window(top, 0, min(BLOCK_ROWS, height - top), width) for top in tops]
        return cls(np.concatenate([np.packbits(mask.read(block), axis=1) for block in blocks]))

    def read(self, window: Window) -> Flags:
        """Return (H, W) bool of a window: True where a pixel is to be made."""
        first = window.col // 8
        bits = self._bits[window.row : window.row_stop, first : -(-window.col_stop // 8)]
        start = window.col - 8 * first
        return np.unpackbits(bits, axis=1)[:, start : start + window.width].astype(bool)


class StripSink:
    """A sink for one strip: ``dn`` (C, H, W) is whole once all its windows came.

    Args:
        keep: the strip.
        n_bands: channels of it.
        dtype: of the numbers.
    """

    def __init__(self, keep: Window, n_bands: int = 1, dtype: npt.DTypeLike = np.uint8) -> None:
        """Make room for the pixels."""
        self._keep = keep
        self.dn: Array = np.zeros((n_bands, *keep.shape), dtype)

    @classmethod
    def of(cls, keep: Window, scene: Scene) -> Self:
        """Return a sink for a strip of a scene of these bands."""
        dtypes = [np.dtype(band.dtype) for band in scene.sensor.bands]
        return cls(keep, len(dtypes), np.result_type(*dtypes))

    def __enter__(self) -> Self:
        """Open the sink."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leave what came."""

    def write(self, window: Window, pixels: Array, valid: Flags) -> None:
        """Take the pixels of a window, counted from the corner of the scene."""
        rows, cols = window.relative_to(self._keep).slices
        self.dn[:, rows, cols] = pixels


def joined(rows: Sequence[Strip], least_px: int) -> list[Strip]:
    """Return strips, one below the other, put together to at least so many rows but the last."""
    strips: list[Strip] = []
    for row in rows:
        if strips and strips[-1].keep.height < least_px:
            last = strips.pop()
            tiles = range(last.tiles.start, row.tiles.stop)
            row = Strip(both(last.keep, row.keep), both(last.read, row.read), tiles)
        strips.append(row)
    return strips


def both(one: Window, other: Window) -> Window:
    """Return the smallest window that holds two."""
    row, col = min(one.row, other.row), min(one.col, other.col)
    row_stop, col_stop = max(one.row_stop, other.row_stop), max(one.col_stop, other.col_stop)
    return Window(row, col, row_stop - row, col_stop - col)
