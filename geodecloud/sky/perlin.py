"""Gradient noise addressed by (seed, octave, lattice cell): batched, endless, on any device.

Octaves of B windows are small matrix products over the nodes of their lattices: across, one for
each size of lattice, and down, one for all octaves and 32 rows. All factors are whole numbers
whose products and sums stay below 2**53, so that float64 adds them without rounding, in whatever
order: a place has the same noise, bit for bit, in every window that holds it, in every batch, in
numpy and torch, on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol, Self

from geodecloud.sky.arrays import Array, array_module, columns, constant, keep_freed_memory, taken
from geodecloud.sky.lattice import BLOCK_PX, WEIGHT_ONE, Axis, Lattice, lattice_under

_MASK = 0xFFFFFFFF
_PIXEL_ONE = 2.0**16  # what counts as 1 among the whole numbers: of starts in pixels,
_GRADIENT_ONE = 2.0**8  # of gradients,
_LINE_ONE = 2.0**26  # and of gradients weighted across


def _mix(word: Array) -> Array:
    """Return 32-bit words, each bit of which hangs on every bit of the word given.

    Source: lowbias32 of C. Wellons, "Prospecting for hash functions" (public domain). The second
    factor stands less 2**32, so that no product leaves int64.
    """
    word = word ^ (word >> 16)
    word *= 0x7FEB352D
    word &= _MASK
    word ^= word >> 15
    word *= 0x846CA68B - 2**32
    word &= _MASK
    word ^= word >> 16
    return word


def hash_words(seeds: Array, *keys: Array | int) -> Array:
    """Return one 32-bit word, as int64, for each int64 seed and keys; shapes broadcast.

    All 64 bits of a seed count, and the lowest 32 of a key.

    Example:
        >>> import numpy as np
        >>> hash_words(np.asarray([1, 2]), 7).tolist()
        [1035276736, 139883616]
    """
    word = _mix(_mix(seeds & _MASK) ^ ((seeds >> 32) & _MASK))
    for key in keys:
        word = _mix(word ^ (key & _MASK))
    return word


def uniform(seeds: Array, *keys: Array | int) -> Array:
    """Return one float64 number in [0, 1) for each seed and keys."""
    xp = array_module(seeds)
    return xp.asarray(hash_words(seeds, *keys), dtype=xp.float64) * 2.0**-32


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the pixels of B windows lie: pixel (r, c) at ((row0 + r) * step, (col0 + c) * step).

    ``row0`` and ``col0`` (B,) count pixels from an origin that the windows share, southwards and
    eastwards, to the centre of the first pixel. They are rounded to 2**-16 of a pixel, which makes
    every sum of them exact.

    Example:
        >>> import numpy as np
        >>> places = Places(np.asarray([0.5]), np.asarray([0.5]), step=10.0, shape=(64, 64))
        >>> places.window(16, 8, (32, 32)).row0.tolist()
        [16.5]
    """

    row0: Array
    col0: Array
    step: float
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        """Put the starts on the grid of exact sums."""
        for name in ("row0", "col0"):
            start = getattr(self, name)
            xp = array_module(start)
            start = xp.asarray(start, dtype=xp.float64)
            start = xp.round(start * _PIXEL_ONE) * (1 / _PIXEL_ONE)
            object.__setattr__(self, name, start)

    def seen(self, look: Callable[[Places], tuple[Array, ...]]) -> tuple[Array, ...]:
        """Return what is seen from here."""
        return look(self)

    def of_chips(self, part: slice | list[int]) -> Self:
        """Return the places of a part of the chips."""
        return replace(self, row0=self.row0[part], col0=self.col0[part])

    def repeated(self, times: int) -> Self:
        """Return the places of a batch that follows itself so many times."""
        xp = array_module(self.row0)
        row0, col0 = (xp.concat([start] * times, 0) for start in (self.row0, self.col0))
        return replace(self, row0=row0, col0=col0)

    def window(self, row: int, col: int, shape: tuple[int, int]) -> Self:
        """Return the places of a part: noise(places.window(...)) == noise(places)[part]."""
        return replace(self, row0=self.row0 + row, col0=self.col0 + col, shape=shape)

    def moved(self, south: Array, east: Array) -> Self:
        """Return the places (B,) further south and east, in the unit of ``step``."""
        xp, scale = array_module(self.row0), _PIXEL_ONE / self.step
        # rounded before the sum, so that a window and its whole move by the same
        south, east = (xp.round(by * scale) * (1 / _PIXEL_ONE) for by in (south, east))
        return replace(self, row0=self.row0 + south, col0=self.col0 + east)


class Gradients(Protocol):
    """Where the gradients at the nodes of the lattices come from."""

    def phases(self, octaves: Array) -> tuple[Array, Array]:
        """Return how far the lattice of each octave (O,) is pushed, in cells: two of (B, O)."""

    def __call__(
        self, octaves: Array, rows: Array, cols: Array, lattice: Lattice
    ) -> tuple[Array, Array]:
        """Return row and col parts of gradients in 256ths: float64 (B, nodes of the lattice) each.

        ``octaves`` (rows,) are the octaves' numbers, ``rows`` (B, rows) and ``cols`` (B, cols) the
        int64 numbers of the nodes along the axes.
        """


@dataclass(frozen=True, slots=True, eq=False)
class HashGradients:
    """Unit gradients in 256 directions, by a hash of (seed, octave, cell); seeds (B,) int64.

    The cells repeat after 2**32. Each octave's lattice is pushed by a phase of its own, because
    gradient noise is zero at every node and lattices in step would share their zeros.
    """

    seeds: Array

    def phases(self, octaves: Array) -> tuple[Array, Array]:
        """Return two pushes (B, O) in [0, 1), from the halves of one word."""
        xp = array_module(self.seeds)
        word = hash_words(self.seeds[:, None], octaves, -1)
        row = xp.asarray(word >> 16, dtype=xp.float64) * 2.0**-16
        return row, xp.asarray(word & 0xFFFF, dtype=xp.float64) * 2.0**-16

    def __call__(
        self, octaves: Array, rows: Array, cols: Array, lattice: Lattice
    ) -> tuple[Array, Array]:
        """Return row and col parts of gradients in 256ths."""
        row_word = hash_words(self.seeds[:, None], octaves, rows)
        word = columns(row_word, lattice.row_of) ^ columns(cols & _MASK, lattice.col_of)
        word = _mix(word)
        word &= 0xFF
        return _looked_up(_DIRECTIONS, word)


@dataclass(frozen=True, slots=True)
class TableGradients:
    """The gradients of Perlin's permutation, as ``noise.pnoise2(row, col, base=base)`` has.

    The noise repeats after 256 cells. Where a cell's number (0 to 255) and base pass 256, pnoise2
    may read behind its table; here the table goes round.
    """

    base: int = 0

    def phases(self, octaves: Array) -> tuple[Array, Array]:
        """Return no push at all."""
        zero = octaves[None, :] * 0.0
        return zero, zero

    def __call__(
        self, octaves: Array, rows: Array, cols: Array, lattice: Lattice
    ) -> tuple[Array, Array]:
        """Return row and col parts of gradients in 256ths; the same for each octave."""
        table = constant(_PERMUTATION, rows, "int64")
        row_word = table[((rows & 0xFF) + self.base) & 0xFF]
        word = columns(row_word, lattice.row_of) + columns(cols & 0xFF, lattice.col_of)
        return _looked_up(_CORNERS, table[table[(word + self.base) & 0xFF]] & 0xF)


def _looked_up(parts: tuple[tuple[float, ...], ...], index: Array) -> tuple[Array, Array]:
    """Return two tables at index (B, nodes), as float64."""
    row, col = (constant(part, index)[index] for part in parts)
    return row, col


def layered_noise(
    gradients: Gradients, places: Places, cells: Mapping[int, float], amplitudes: Array
) -> Array:
    """Return the sum of octaves of noise, each within -1 and 1 times its amplitude.

    Args:
        gradients: what stands at the nodes.
        places: where the noise is wanted. The work for a pixel grows with the window's width over
            the cell: windows of 64 to 256 pixels are the cheapest.
        cells: by number of octave the size of its cell, in the unit of ``places.step``.
        amplitudes: (B, len(cells)) or (1, len(cells)) float64; they add up to 64 at the most.

    Returns:
        (B, H, W) float64.
    """
    xp, (height, width) = array_module(places.row0), places.shape
    keep_freed_memory(xp)
    n_chips, n_rows = len(places.row0), -(-height // BLOCK_PX) * BLOCK_PX
    sizes = tuple(cells.values())
    numbers = constant(tuple(cells), places.row0, "int64")
    per_unit = constant(tuple(1 / size for size in sizes), places.row0)
    lattice = lattice_under((n_rows, width), places.step, sizes, xp, places.row0.device)
    row_phase, col_phase = gradients.phases(numbers)
    down = Axis.of(places.row0, n_rows, places.step, per_unit, row_phase)
    across = Axis.of(places.col0, width, places.step, per_unit, col_phase)
    rows = columns(down.first, lattice.rows.octave) + lattice.rows.node
    cols = columns(across.first, lattice.cols.octave) + lattice.cols.node
    nodes = gradients(numbers[lattice.rows.octave], rows, cols, lattice)
    scale = amplitudes * (_LINE_ONE / (_GRADIENT_ONE * WEIGHT_ONE))
    lines = _lines(nodes, across.factors(lattice.cols, slopes_first=False), scale, lattice)
    # Row parts of gradients take the weight across and the slope down, col parts the slope across
    # and the weight down.
    blocks, first = down.in_blocks()
    at = columns(first.reshape(-1, len(sizes)), lattice.block.line_octave) + lattice.block_line
    at = at.reshape(n_chips, -1, lattice.block.n_lines)
    # where a block's last lines lie behind the octave's own, their factors are zero
    at = xp.clip(at, None, lattice.rows.n_lines - 1)
    at = at + xp.arange(n_chips, device=at.device)[:, None, None] * lattice.rows.n_lines
    near = taken(lines.reshape(-1, width), at.reshape(-1), 0)
    near = near.reshape(len(blocks.cell), -1, width)
    noise = blocks.factors(lattice.block, slopes_first=True).swapaxes(1, 2) @ near
    noise *= 1 / (_LINE_ONE * WEIGHT_ONE)
    return noise.reshape(n_chips, n_rows, width)[:, :height]


def _lines(nodes: tuple[Array, Array], factors: Array, scale: Array, lattice: Lattice) -> Array:
    """Return gradients weighted across: whole float64 numbers (B, lines of rows, W).

    Octaves with as many nodes go together. ``scale`` (B or 1, octaves) holds their amplitudes.
    """
    xp, (n_chips, _, width) = array_module(factors), factors.shape
    shape = (n_chips, lattice.rows.n_lines, width)
    lines = xp.empty(shape, dtype=factors.dtype, device=factors.device)
    node = col = row = 0
    for octaves, n_rows, n_cols in _alike(lattice):
        n = octaves.stop - octaves.start
        part = factors[:, col : (col := col + 2 * n * n_cols)]
        part = part.reshape(n_chips, n, 2, n_cols, width)
        here = slice(node, node := node + n * n_rows * n_cols)
        target = lines[:, row : (row := row + 2 * n * n_rows)]
        target = target.reshape(n_chips, n, 2, n_rows, width)
        for side, gradients in enumerate(nodes):
            square = gradients[:, here].reshape(n_chips, n, n_rows, n_cols)
            xp.matmul(square, part[:, :, side], out=target[:, :, side])
        target *= scale[:, octaves, None, None, None]
    return xp.round(lines, out=lines)


def _alike(lattice: Lattice) -> Iterator[tuple[slice, int, int]]:
    """Yield runs of octaves with as many nodes: where they stand, and their rows and cols."""
    start = 0
    counts = zip(lattice.rows.counts, lattice.cols.counts, strict=True)
    for (n_rows, n_cols), run in groupby(counts):
        yield slice(start, start := start + len(list(run))), n_rows, n_cols


def fractal_noise(
    gradients: Gradients,
    places: Places,
    cell: float,
    octaves: int = 1,
    persistence: float = 0.5,
    lacunarity: float = 2.0,
) -> Array:
    """Return octaves of noise added up and divided by the sum of their amplitudes, as pnoise2 does.

    Args:
        gradients: what stands at the nodes.
        places: where the noise is wanted.
        cell: the size of the first octave's cell, in the unit of ``places.step``.
        octaves: how many; each is finer by ``lacunarity`` and weaker by ``persistence``.
        persistence: amplitude of an octave over that of the one before.
        lacunarity: cell of an octave over that of the one after.

    Returns:
        (B, H, W) float64, within -1 and 1.
    """
    amplitudes = [persistence**i for i in range(octaves)]
    cells = {i: cell / lacunarity**i for i in range(octaves)}
    shares = tuple(amplitude / sum(amplitudes) for amplitude in amplitudes)
    return layered_noise(gradients, places, cells, constant(shares, places.row0)[None, :])


# Whole 256ths of unit vectors, row parts then col parts.
_DIRECTIONS = tuple(
    tuple(float(round(_GRADIENT_ONE * wave(math.tau * i / 256))) for i in range(256))
    for wave in (math.sin, math.cos)
)

# The table of K. Perlin, "Improving Noise" (2002), and the corners that its low bits choose when
# noise in three dimensions is cut at z = 0.
_PERMUTATION = tuple(
    bytes.fromhex(
        "97a0895b5a0f830dc95f6035c2e907e18c24671e458e086325f0150a17be0694"
        "f778ea4b001ac53e5efcdbcb75230b2039b12158ed953857ae147d88aba844af"
        "4aa547868b301ba64d929ee7536fe57a3cd385e6dc695c29372ef528f4668f36"
        "41193fa101d85049d14c84bbd05912a9c8c4878274bc9f56a4646dc6adba0340"
        "34d9e2fa7c7b05ca2693767eff5255d4cfce3be32f103a11b6bd1c2adfb7aad5"
        "77f898022c9aa346dd99659ba72bac09811627fd13626c6e4f71e0e8b2b97068"
        "daf661e4fb22f2c1eed2900cbfb3a2f1513391ebf90eef6b31c0d61fb5c76a9d"
        "b854ccb07379322d7f0496fe8aeccd5dde72431d1848f38d80c34e42d73d9cb4"
    )
)
_CORNERS = tuple(
    tuple(float(_GRADIENT_ONE * part) for part in parts)
    for parts in (
        (1, -1, 1, -1, 1, -1, 1, -1, 0, 0, 0, 0, 1, -1, 0, 0),
        (1, 1, -1, -1, 0, 0, 0, 0, 1, -1, 1, -1, 0, 0, -1, 1),
    )
)
