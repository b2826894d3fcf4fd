"""Pixels among the nodes of noise lattices: whole-number factors, one layout for all octaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Self

from geodecloud.sky.arrays import Array, array_module

WEIGHT_ONE = 2.0**20
"""What counts as 1 among the whole numbers of weights."""

BLOCK_PX = 32
"""Rows that are summed at once: few nodes lie near few rows, even of the finest octave."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """How the P pixels of one axis lie between the nodes of O octaves.

    Args:
        first: (B, O) int64, the number of the first node.
        cell: (B, O, P) int64, the node before each pixel, counted from the first.
        weights: (B, O, P) whole float64 numbers each, of the node before and of the one after:
            the quintic fade of Perlin (2002); both add up to one exactly.
        slopes: the same, of the weights times the way from their nodes.
    """

    first: Array
    cell: Array
    weights: tuple[Array, Array]
    slopes: tuple[Array, Array]

    @classmethod
    def of(cls, start: Array, n_pixels: int, step: float, per_unit: Array, phase: Array) -> Self:
        """Return the axis of pixels from ``start`` (B,), with lattices pushed by phase (B, O).

        Products only: on a GPU torch divides by a number as it likes, by its inverse.
        """
        xp = array_module(start)
        pixels = start[:, None] + xp.arange(n_pixels, dtype=xp.float64, device=start.device)
        into = (pixels * step)[:, None, :] * per_unit[:, None] + phase[:, :, None]
        cell = xp.floor(into)
        into -= cell
        after = into * 6
        after -= 15
        after *= into
        after += 10
        for _ in range(3):
            after *= into
        after = xp.round(after * WEIGHT_ONE)
        before = WEIGHT_ONE - after
        slopes = xp.round(before * into), xp.round(after * (into - 1))
        first = cell[:, :, :1]
        cell = xp.asarray(cell - first, dtype=xp.int64)
        return cls(xp.asarray(first[..., 0], dtype=xp.int64), cell, (before, after), slopes)

    def in_blocks(self) -> tuple[Self, Array]:
        """Return the axis in blocks of ``BLOCK_PX``, each one of a batch of B * blocks.

        Beside it the node (B, blocks, O) that each block counts from.
        """
        n_chips, n_octaves, n_pixels = self.cell.shape
        n_blocks = n_pixels // BLOCK_PX

        def cut(field: Array) -> Array:
            blocks = field.reshape(n_chips, n_octaves, n_blocks, BLOCK_PX).swapaxes(1, 2)
            return blocks.reshape(n_chips * n_blocks, n_octaves, BLOCK_PX)

        cell = cut(self.cell)
        first = cell[:, :, 0]
        weights, slopes = (
            (cut(before), cut(after)) for before, after in (self.weights, self.slopes)
        )
        axis = type(self)(first, cell - first[:, :, None], weights, slopes)
        return axis, first.reshape(n_chips, n_blocks, n_octaves)

    def factors(self, layout: Layout, *, slopes_first: bool) -> Array:
        """Return weights and slopes in their places among zeros: float64 (B, lines, P).

        The lines of an octave are its nodes twice: once for the slopes, once for the weights.
        """
        xp, (n_chips, _, n_pixels) = array_module(self.cell), self.cell.shape
        n_lines = layout.n_lines
        spread = xp.zeros(n_chips * n_lines * n_pixels, dtype=xp.float64, device=self.cell.device)
        chip = xp.arange(n_chips, device=self.cell.device)[:, None, None] * n_lines
        pixel = xp.arange(n_pixels, device=self.cell.device)
        upper = (self.cell + chip + layout.first_line[:, None]) * n_pixels + pixel
        lower = upper + layout.n_nodes[:, None] * n_pixels
        pairs = (self.slopes, self.weights) if slopes_first else (self.weights, self.slopes)
        for at, (before, after) in zip((upper, lower), pairs, strict=True):
            spread[at] = before
            spread[at + n_pixels] = after
        return spread.reshape(n_chips, n_lines, n_pixels)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How the nodes of O octaves along one axis stand in a row, octave after octave.

    Args:
        counts: nodes of each octave.
        n_nodes: the same, (O,) int64.
        first_line: (O,) int64, where the two runs of lines of each octave begin.
        octave: (nodes,) int64, the place of each node's octave.
        node: (nodes,) int64, each node counted from its octave's first.
        line: (lines,) int64, each line counted from its octave's first line.
        line_octave: (lines,) int64, the place of each line's octave.
    """

    counts: tuple[int, ...]
    n_nodes: Array
    first_line: Array
    octave: Array
    node: Array
    line: Array
    line_octave: Array

    @property
    def n_lines(self) -> int:
        """Lines of all octaves: two a node."""
        return 2 * sum(self.counts)

    @classmethod
    def of(cls, counts: tuple[int, ...], module: Any, device: Any) -> Self:
        """Return the layout of octaves with so many nodes."""

        def whole(values: Sequence[int]) -> Array:
            return module.asarray(values, dtype=module.int64, device=device)

        nodes = [(octave, node) for octave, n in enumerate(counts) for node in range(n)]
        lines = [(octave, line) for octave, n in enumerate(counts) for line in range(2 * n)]
        return cls(
            counts,
            whole(counts),
            whole([0, *accumulate(2 * n for n in counts[:-1])]),
            *(whole(column) for column in zip(*nodes, strict=True)),
            *(whole(column) for column in reversed(list(zip(*lines, strict=True)))),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """The nodes under windows of one shape, and under their blocks of rows.

    Args:
        rows, cols: along the axes of a window.
        block: along the rows of a block.
        row_of, col_of: (nodes,) int64, the row and the column of each node, octave after octave.
        block_line: (lines of a block,) int64, which line of the window each is, in a block that
            begins at the window's first node.
    """

    rows: Layout
    cols: Layout
    block: Layout
    row_of: Array
    col_of: Array
    block_line: Array


@lru_cache(maxsize=64)
def lattice_under(
    shape: tuple[int, int], step: float, cells: tuple[float, ...], module: Any, device: Any
) -> Lattice:
    """Return the lattice under windows of this shape; kept, because chips come in one shape."""

    def layout(n_pixels: int) -> Layout:
        counts = tuple(int((n_pixels - 1) * step / cell) + 3 for cell in cells)
        return Layout.of(counts, module, device)

    rows, cols, block = layout(shape[0]), layout(shape[1]), layout(BLOCK_PX)
    nodes, first = [], (0, 0)
    for n_rows, n_cols in zip(rows.counts, cols.counts, strict=True):
        nodes += [(first[0] + r, first[1] + c) for r in range(n_rows) for c in range(n_cols)]
        first = first[0] + n_rows, first[1] + n_cols
    row_of, col_of = (
        module.asarray(numbers, dtype=module.int64, device=device)
        for numbers in zip(*nodes, strict=True)
    )
    octave, n_block = block.line_octave, block.n_nodes[block.line_octave]
    is_second = block.line >= n_block
    line = rows.first_line[octave] + block.line + is_second * (rows.n_nodes[octave] - n_block)
    return Lattice(rows, cols, block, row_of, col_of, line)
