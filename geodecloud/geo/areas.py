"""How large the connected patches of a mask are; small ones out, small holes shut."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.intp]


class Runs(NamedTuple):
    """The set pixels of a mask as runs along its rows, in row-major order.

    ``stops`` are exclusive; ``parts`` numbers the connected piece that each run belongs to.
    """

    rows: Whole
    starts: Whole
    stops: Whole
    parts: Whole

    @classmethod
    def of(cls, mask: Flags, *, diagonal: bool = True) -> Runs:
        """Find the runs of a mask (H, W) and join those that touch.

        Args:
            mask: (H, W) bool.
            diagonal: pixels also touch by their corners.
        """
        width = mask.shape[1] + 1  # a column of nothing keeps rows apart
        steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        rows, starts = np.nonzero(steps == 1)
        stops = np.nonzero(steps == -1)[1]
        # the runs of the row above that this one touches lie side by side in the list
        reach = 1 if diagonal else 0
        above = (rows - 1) * width
        first = np.searchsorted(rows * width + stops, above + starts + 1 - reach)
        last = np.searchsorted(rows * width + starts, above + stops - 1 + reach, side="right")
        count = np.maximum(last - first, 0)
        lower = np.repeat(np.arange(len(rows)), count)
        within = np.arange(len(lower)) - np.repeat(np.cumsum(count) - count, count)
        upper = np.repeat(first, count) + within
        return cls(rows, starts, stops, _joined(len(rows), upper, lower))

    def paint(self, chosen: Flags, shape: tuple[int, int]) -> Flags:
        """Return a mask of this shape with the pixels of the chosen runs."""
        edges = np.zeros((shape[0], shape[1] + 1), np.int8)
        edges[self.rows[chosen], self.starts[chosen]] += 1
        edges[self.rows[chosen], self.stops[chosen]] -= 1
        return np.cumsum(edges[:, :-1], axis=1, dtype=np.int8).astype(bool)


def _joined(count: int, one: Whole, other: Whole) -> Whole:
    """Number the connected parts of a graph of ``count`` nodes: the least node of each."""
    part = np.arange(count)
    while True:
        low = np.minimum(part[one], part[other])
        if np.array_equal(low, np.maximum(part[one], part[other])):
            return part
        # hook the root of the one onto the root of the other, then let all look up their roots
        np.minimum.at(part, part[one], low)
        np.minimum.at(part, part[other], low)
        while not np.array_equal(part, above := part[part]):
            part = above


def small_parts(mask: Flags, n_px: float, n_rows: int, *, diagonal: bool = True) -> Flags:
    """Return the connected pieces of a mask that have fewer than ``n_px`` pixels.

    None of them spans more than ``n_rows`` rows, so that a strip read with ``n_rows`` rows above
    and below gives what the whole gives.

    Args:
        mask: (H, W) bool.
        n_px: the least number of pixels of what is not small.
        n_rows: the most rows of what is small.
        diagonal: pixels also touch by their corners.

    Example:
        >>> mask = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], bool)
        >>> small_parts(mask, 2, 9).astype(int)
        array([[1, 0, 0, 0],
               [0, 0, 0, 0]])
    """
    if n_px <= 1 or not mask.any():
        return np.zeros(mask.shape, bool)
    runs = Runs.of(mask, diagonal=diagonal)
    pixels = np.bincount(runs.parts, runs.stops - runs.starts, minlength=len(runs.rows))
    top, bottom = np.full(len(runs.rows), len(mask)), np.zeros(len(runs.rows), np.intp)
    np.minimum.at(top, runs.parts, runs.rows)
    np.maximum.at(bottom, runs.parts, runs.rows)
    is_small = (pixels < n_px) & (bottom - top < n_rows)
    return runs.paint(is_small[runs.parts], mask.shape)
