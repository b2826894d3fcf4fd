"""Mosaic: chips back into one scene, in one tile row of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from geodecloud.errors import InputError
from geodecloud.geo.sensors import Band
from geodecloud.geo.tiling import Window

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

STRIP_PX = 64  # rows blended at once: bounds the float64 sums whatever the windows' height


class Rows(Protocol):
    """Whatever takes finished rows, top to bottom: a sink, or what stands before one."""

    def write(self, window: Window, pixels: Array, valid: Flags) -> None:
        """Take the pixels of a window and which of them are measurements, both (C, H, W)."""
        ...


class Mosaic:
    """Overlapping windows made one scene again; an accumulator: open, add, close.

    Where all contributions to a pixel agree bit for bit, or only one came, the stored number
    leaves untouched: ``mosaic(cut(scene)) == scene`` for every overlap, NaN payloads and -0.0
    included. Where they differ, valid ones are averaged under a symmetric ramp that is nowhere
    zero; invalid ones weigh nothing. Rows that no later window can touch go to the sink at once,
    so that one row of windows is held, whatever the scene.

    Args:
        sink: takes full-width rows, top to bottom; opened and published by the caller.
        shape: (height, width) of the scene.
        n_bands: channels of each window.
        dtype: of the stored numbers; integers and floats.
        blend_px: length of the ramp at a window's sides; 0 weighs all pixels alike. Half a
            window blends linearly over any overlap up to that.
        nodata: one stored number a band; written into gaps, never the result of a blend.
        allow_gaps: pixels that no window covers are invalid rather than an error.

    Example:
        >>> from geodecloud.geo.scene import ArraySink
        >>> with ArraySink(1, (1, 4), np.uint8) as sink:
        ...     mosaic = Mosaic(sink, (1, 4), 1, np.uint8, blend_px=2)
        ...     mosaic.add(Window(0, 0, 1, 3), np.full((1, 1, 3), 10, np.uint8))
        ...     mosaic.add(Window(0, 1, 1, 3), np.full((1, 1, 3), 30, np.uint8))
        ...     mosaic.close()
        >>> sink.dn
        array([[[10, 15, 25, 30]]], dtype=uint8)
    """

    def __init__(
        self,
        sink: Rows,
        shape: tuple[int, int],
        n_bands: int,
        dtype: npt.DTypeLike,
        blend_px: int = 0,
        *,
        nodata: Sequence[float | None] | None = None,
        allow_gaps: bool = False,
    ) -> None:
        """Open an empty mosaic."""
        self.sink, self.shape, self.blend_px = sink, shape, blend_px
        self.dtype = np.dtype(dtype)
        if self.dtype.kind not in "iuf":
            raise InputError(
                f"pixels are {self.dtype.name}",
                "a mosaic is made of integers or real numbers",
                "convert the chips first",
            )
        self.bands = tuple(
            Band("", nodata=value, dtype=self.dtype.name) for value in nodata or [None] * n_bands
        )
        self.allow_gaps = allow_gaps
        self.peak_rows = 0
        self._held: list[_Piece] = []
        self._n_done = 0  # rows handed over
        self._n_gaps = 0
        self._first_gap: tuple[int, int] | None = None

    def add(self, window: Window, pixels: Array, valid: Flags | None = None) -> None:
        """Take the pixels of a window; windows come in the order of their first row.

        Args:
            window: where the pixels lie; what reaches beyond the scene is dropped.
            pixels: (C, H, W), in the mosaic's dtype or in floats, which are rounded and clipped
                once they are blended. They are copied.
            valid: (C, H, W); None means all of them.
        """
        if pixels.shape != (len(self.bands), *window.shape):
            raise ValueError(f"pixels {pixels.shape} for {len(self.bands)} bands of {window}")
        self.advance(window.row)
        if max(window.row, 0) < self._n_done:
            raise ValueError(f"{window} comes after row {self._n_done} was handed over")
        if valid is None:
            valid = np.ones(pixels.shape, bool)
        ramps = (_ramp(length, self.blend_px) for length in window.shape)
        piece = _Piece(window, pixels, valid, *ramps).cut(Window.whole(self.shape))
        if piece.pixels.size:
            self._held.append(piece.copied())
            last = max(held.window.row_stop for held in self._held)
            self.peak_rows = max(self.peak_rows, last - self._n_done)

    def begin(self, row: int) -> None:
        """Begin at this row: those above it are handed over by somebody else."""
        self._n_done = row

    def advance(self, row: int) -> None:
        """Hand over all rows above ``row``: the caller promises that no window will touch them."""
        row = min(row, self.shape[0])
        if row <= self._n_done:
            return
        for band in self._row_bands(row):
            self._write(band)
        self._n_done = row
        rest = Window(row, 0, self.shape[0] - row, self.shape[1])
        # finished rows are let go even where the window they came with is not
        self._held = [
            piece if piece.window.row >= row else piece.cut(rest).copied()
            for piece in self._held
            if piece.window.row_stop > row
        ]

    def close(self) -> None:
        """Hand over what is left.

        Raises:
            InputError: pixels lie in no window, and gaps are not allowed.
        """
        self.advance(self.shape[0])
        if self._n_gaps and not self.allow_gaps:
            row, col = self._first_gap or (0, 0)
            raise InputError(
                f"{self._n_gaps} of {self.shape[0] * self.shape[1]} px lie in no chip, "
                f"the first at row {row}, column {col}",
                "without a nodata value the chips must cover the scene",
                "add the missing chips, or give a nodata value with --nodata (nodata=)",
            )

    def _row_bands(self, stop: int) -> Iterator[Window]:
        """Full-width bands of rows down to ``stop``, each under the same windows throughout."""
        edges = {row for piece in self._held for row in (piece.window.row, piece.window.row_stop)}
        cuts = sorted({row for row in edges if self._n_done < row < stop} | {self._n_done, stop})
        for start, end in pairwise(cuts):
            for row in range(start, end, STRIP_PX):
                yield Window(row, 0, min(STRIP_PX, end - row), self.shape[1])

    def _write(self, band: Window) -> None:
        pieces = [piece.cut(band) for piece in self._held if (piece.window & band).height]
        pieces.sort(key=lambda piece: (piece.window.col, piece.window.row))
        size = (len(self.bands), *band.shape)
        pixels, valid = np.zeros(size, self.dtype), np.zeros(size, bool)
        waiting, here = deque(pieces), list[_Piece]()
        for run, n_windows in _runs(band, pieces):
            while waiting and waiting[0].window.col < run.col_stop:
                here.append(waiting.popleft())
            here = [piece for piece in here if piece.window.col_stop > run.col]
            cut = [piece.cut(run) for piece in here]
            if n_windows == 0:
                self._note_gap(run, pixels)
            elif n_windows > 1:
                cut = [self._blended(cut, run)]
            for piece in cut:
                cols = slice(piece.window.col, piece.window.col_stop)
                pixels[:, :, cols] = self._stored(piece)
                valid[:, :, cols] = piece.valid
        self.sink.write(band, pixels, valid)

    def _note_gap(self, run: Window, pixels: Array) -> None:
        self._n_gaps += run.height * run.width
        self._first_gap = self._first_gap or (run.row, run.col)
        for channel, band in zip(pixels, self.bands, strict=True):
            if band.nodata is not None:
                channel[:, run.col : run.col_stop] = band.nodata

    def _blended(self, pieces: Sequence[_Piece], run: Window) -> _Piece:
        """One piece out of several that meet in ``run``: what they agree on, else their mean."""
        size = (len(self.bands), *run.shape)
        first = np.zeros(size, pieces[0].pixels.dtype)
        valid, differ = np.zeros(size, bool), np.zeros(size, bool)
        seen = np.zeros(run.shape, bool)
        for piece in pieces:
            at = (slice(None), *piece.window.relative_to(run).slices)
            differ[at] |= piece.valid & valid[at] & (_bits(piece.pixels) != _bits(first[at]))
            # the first valid number stands; where there is none, the first number
            is_new = np.where(piece.valid, ~valid[at], ~seen[at[1:]])
            np.copyto(first[at], piece.pixels, where=is_new)
            valid[at] |= piece.valid
            seen[at[1:]] = True
        if differ.any():
            mean = _weighted_mean(pieces, run, size)
            for channel, band in enumerate(self.bands):
                where = differ[channel]
                values = mean[channel][where]
                first[channel][where] = values if first.dtype.kind == "f" else band.to_dn(values)
        ones = (np.ones(length) for length in run.shape)
        return _Piece(run, first, valid, *ones)

    def _stored(self, piece: _Piece) -> Array:
        """The piece's pixels in the mosaic's dtype."""
        if piece.pixels.dtype == self.dtype:
            return piece.pixels
        stored = np.empty(piece.pixels.shape, self.dtype)
        values = np.where(piece.valid, piece.pixels, 0)
        for channel, band in enumerate(self.bands):
            stored[channel] = band.to_dn(values[channel])
            stored[channel][~piece.valid[channel]] = band.nodata or 0
        return stored


@dataclass(frozen=True, slots=True)
class _Piece:
    """Pixels (C, H, W) of a window, and their weights along rows (H,) and columns (W,)."""

    window: Window
    pixels: Array
    valid: Flags
    row_weight: Floats
    col_weight: Floats

    def cut(self, other: Window) -> _Piece:
        """The part that lies in ``other``; its arrays are views."""
        window = self.window & other
        rows, cols = window.relative_to(self.window).slices
        return _Piece(
            window,
            self.pixels[:, rows, cols],
            self.valid[:, rows, cols],
            self.row_weight[rows],
            self.col_weight[cols],
        )

    def copied(self) -> _Piece:
        """The same in memory of its own: a view would keep the whole array it is cut from."""
        pixels, valid = self.pixels.copy(), self.valid.copy()
        return _Piece(self.window, pixels, valid, self.row_weight, self.col_weight)


def _ramp(length: int, blend_px: int) -> Floats:
    """Weights (length,) in (0, 1]: up over ``blend_px``, down again; two that meet add up to 1.

    Example:
        >>> _ramp(6, 2)
        array([0.25, 0.75, 1.  , 1.  , 0.75, 0.25])
    """
    rise = (np.arange(length) + 0.5) / max(blend_px, 0.5)
    weight: Floats = np.minimum(np.minimum(rise, rise[::-1]), 1.0)
    return weight


def _runs(band: Window, pieces: Sequence[_Piece]) -> Iterator[tuple[Window, int]]:
    """Stretches of columns that no window (0), windows side by side (1), or several (2) cover."""
    steps = np.zeros(band.width + 1, np.int64)
    for piece in pieces:
        steps[piece.window.col] += 1
        steps[piece.window.col_stop] -= 1
    kind = np.minimum(np.cumsum(steps)[:-1], 2)
    cuts = [0, *(np.flatnonzero(np.diff(kind)) + 1).tolist(), band.width]
    for start, stop in pairwise(cuts):
        yield Window(band.row, start, band.height, stop - start), int(kind[start])


def _weighted_mean(pieces: Sequence[_Piece], run: Window, size: tuple[int, ...]) -> Floats:
    """The mean (C, H, W) of valid contributions, in float64; 0 where there is none."""
    total, weight = np.zeros(size), np.zeros(size)
    for piece in pieces:
        at = (slice(None), *piece.window.relative_to(run).slices)
        share = np.where(piece.valid, np.outer(piece.row_weight, piece.col_weight), 0.0)
        # where, not a product: NaN x 0 is NaN
        total[at] += np.where(piece.valid, piece.pixels, 0) * share
        weight[at] += share
    return np.divide(total, weight, out=total, where=weight > 0)


def _bits(array: Array) -> Array:
    """The same memory as unsigned integers, so that NaN equals itself and -0.0 is not 0.0."""
    return array.view(f"u{array.dtype.itemsize}")
