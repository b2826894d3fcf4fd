"""Window, Tile, Tiling: how a scene is cut, in whole pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self, overload

import numpy as np
import numpy.typing as npt

from geodecloud.errors import OptionError


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of whole pixels; rows grow downwards; it may reach beyond a scene.

    Example:
        >>> Window(0, 2, 4, 4) & Window(2, 0, 8, 3)
        Window(row=2, col=2, height=2, width=1)
    """

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        """Refuse negative sizes."""
        if self.height < 0 or self.width < 0:
            raise ValueError(f"a window of {self.height}x{self.width} px has no pixels")

    @property
    def row_stop(self) -> int:
        """First row below the window."""
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        """First column right of the window."""
        return self.col + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the window in an array (H, W) whose corner is the scene's."""
        return slice(self.row, self.row_stop), slice(self.col, self.col_stop)

    def __and__(self, other: Window) -> Window:
        """Return what both windows cover; its size is 0 where they do not meet."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        return Window(
            row,
            col,
            max(0, min(self.row_stop, other.row_stop) - row),
            max(0, min(self.col_stop, other.col_stop) - col),
        )

    def __contains__(self, other: Window) -> bool:
        """Say whether ``other`` lies wholly inside."""
        return (
            self.row <= other.row
            and self.col <= other.col
            and other.row_stop <= self.row_stop
            and other.col_stop <= self.col_stop
        )

    def relative_to(self, outer: Window) -> Window:
        """The same pixels, counted from the corner of ``outer``."""
        return Window(self.row - outer.row, self.col - outer.col, self.height, self.width)

    def padded(self, margin_px: int) -> Window:
        """The window grown by ``margin_px`` on each side."""
        return Window(
            self.row - margin_px,
            self.col - margin_px,
            self.height + 2 * margin_px,
            self.width + 2 * margin_px,
        )

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> Self:
        """The window of a whole scene of ``shape``."""
        return cls(0, 0, *shape)


@dataclass(frozen=True, slots=True)
class Tile:
    """A place in a scene: ``read`` these pixels, ``keep`` those of the answer."""

    row: int
    col: int
    read: Window
    keep: Window

    def __post_init__(self) -> None:
        """Refuse a tile that keeps what it does not read."""
        if self.keep not in self.read:
            raise ValueError(f"tile keeps {self.keep} outside what it reads, {self.read}")


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis: read [start, stop), keep [keep_start, keep_stop)."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


@dataclass(frozen=True)
class Tiling(Sequence[Tile]):
    """The tiles of a scene, row-major; their keeps partition it.

    ``for_chips`` cuts tiles of one size, all of them inside; ``for_prediction`` cuts cores that
    start on multiples of a model's stride counted from the CRS grid, with a halo around each.
    """

    shape: tuple[int, int]
    rows: tuple[Span, ...]
    cols: tuple[Span, ...]

    @classmethod
    def for_chips(cls, shape: tuple[int, int], size_px: int = 64, overlap_px: int = 0) -> Self:
        """Tiles of ``size_px`` squared that overlap by ``overlap_px``; the last moves back inside.

        A side shorter than ``size_px`` gives one tile that reaches beyond the scene.

        Raises:
            OptionError: ``overlap_px`` is not in 0 .. size_px - 1.

        Example:
            >>> [tile.read.col for tile in Tiling.for_chips((4, 10), size_px=4, overlap_px=2)]
            [0, 2, 4, 6]
        """
        if size_px < 1:
            raise OptionError(
                f"chip size is {size_px} px", "a chip has at least 1 px", "choose a larger size"
            )
        if not 0 <= overlap_px < size_px:
            raise OptionError(
                f"overlap is {overlap_px} px for chips of {size_px} px",
                f"an overlap is 0 to {size_px - 1} px",
                "choose a smaller overlap or larger chips",
            )
        rows, cols = (_chip_spans(length, size_px, overlap_px) for length in shape)
        return cls(shape, rows, cols)

    @classmethod
    def for_prediction(
        cls,
        shape: tuple[int, int],
        size_px: int,
        *,
        halo_px: int = 0,
        stride_px: int = 1,
        origin_px: tuple[int, int] = (0, 0),
    ) -> Self:
        """Cores of at most ``size_px`` cut on the CRS grid, read with ``halo_px`` around them.

        ``origin_px`` is the (row, col) of the scene's first pixel in the CRS grid. Reads start
        and end on multiples of ``stride_px`` of that grid, so two overlapping scenes show a
        network the same phases; they may reach beyond the scene by up to
        ``halo_px + 2 * stride_px``.

        Example:
            >>> tiling = Tiling.for_prediction((8, 20), 16, stride_px=8, origin_px=(0, 3))
            >>> [(tile.keep.col, tile.keep.width) for tile in tiling]
            [(0, 13), (13, 7)]
        """
        if size_px < 1 or size_px % stride_px:
            raise OptionError(
                f"tile size is {size_px} px",
                f"the model's stride is {stride_px} px",
                f"choose a multiple of {stride_px}, such as "
                f"{max(1, -(-size_px // stride_px)) * stride_px}",
            )
        halo_px = -(-halo_px // stride_px) * stride_px
        rows, cols = (
            _core_spans(length, size_px, halo_px, stride_px, origin)
            for length, origin in zip(shape, origin_px, strict=True)
        )
        return cls(shape, rows, cols)

    def __len__(self) -> int:
        """Return the number of tiles."""
        return len(self.rows) * len(self.cols)

    @overload
    def __getitem__(self, index: int) -> Tile: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tile]: ...
    def __getitem__(self, index: int | slice) -> Tile | Sequence[Tile]:
        """Return the tile at a place in row-major order."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        row, col = divmod(range(len(self))[index], len(self.cols))
        return self.at(row, col)

    def __iter__(self) -> Iterator[Tile]:
        """Walk the tiles in row-major order."""
        for row in range(len(self.rows)):
            for col in range(len(self.cols)):
                yield self.at(row, col)

    def at(self, row: int, col: int) -> Tile:
        """The tile in this row and column of the tiling."""
        return _tile(row, col, self.rows[row], self.cols[col])

    @cached_property
    def tallest_px(self) -> int:
        """The largest height that one tile row reads: what a strip of memory must hold."""
        return max(span.stop - span.start for span in self.rows)


def tile_around(keep: Window, *, halo_px: int, stride_px: int, origin_px: tuple[int, int]) -> Tile:
    """The tile that keeps this window and reads around it what ``for_prediction`` would read.

    Example:
        >>> tile_around(Window(3, 0, 5, 8), halo_px=4, stride_px=4, origin_px=(0, 0)).read
        Window(row=-4, col=-4, height=16, width=16)
    """
    halo_px = -(-halo_px // stride_px) * stride_px
    return _tile(
        0,
        0,
        _around(keep.row, keep.row_stop, halo_px, stride_px, origin_px[0]),
        _around(keep.col, keep.col_stop, halo_px, stride_px, origin_px[1]),
    )


def reflected(start: int, stop: int, length: int) -> npt.NDArray[np.intp]:
    """Return indices start..stop-1 folded back into 0..length-1, the edge pixel not repeated.

    Example:
        >>> reflected(-2, 6, 4)
        array([2, 1, 0, 1, 2, 3, 2, 1])
    """
    period = max(2 * (length - 1), 1)
    index = np.arange(start, stop) % period
    return np.where(index < length, index, period - index)


def _chip_spans(length: int, size: int, overlap: int) -> tuple[Span, ...]:
    if length <= size:
        return (Span(0, size, 0, length),)
    starts = [*range(0, length - size, size - overlap), length - size]
    # neighbours share their overlap half and half
    cuts = [0, *((a + size + b) // 2 for a, b in pairwise(starts)), length]
    return tuple(
        Span(start, start + size, low, high)
        for start, (low, high) in zip(starts, pairwise(cuts), strict=True)
    )


def _core_spans(length: int, size: int, halo: int, stride: int, origin: int) -> tuple[Span, ...]:
    first = -(origin % size)  # where the CRS grid's cut at or before the scene's edge lies
    spans = []
    for start in range(first, length, size):
        low, high = max(start, 0), min(start + size, length)
        spans.append(_around(low, high, halo, stride, origin))
    return tuple(spans)


def _around(low: int, high: int, halo: int, stride: int, origin: int) -> Span:
    return Span(
        low - (low + origin) % stride - halo, high + -(high + origin) % stride + halo, low, high
    )


def _tile(row: int, col: int, y: Span, x: Span) -> Tile:
    return Tile(
        row,
        col,
        Window(y.start, x.start, y.stop - y.start, x.stop - x.start),
        Window(y.keep_start, x.keep_start, y.keep_stop - y.keep_start, x.keep_stop - x.keep_start),
    )
