"""Gradient noise addressed by (seed, octave, lattice cell): batched, endless, on any device.

Windows are drawn in square blocks, whose octaves are small matrix products over the nodes of their
lattices: across, one for each size of lattice, and down, one for all octaves. All factors are
multiples of powers of two so coarse that float64 multiplies and adds them without rounding, in
whatever order: a place has the same noise, bit for bit, in every window that holds it, in every
batch, in numpy and torch, on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self

from geodecloud.sky.arrays import Array, array_module, constant, keep_freed_memory, taken
from geodecloud.sky.lattice import Blocks, Lattice, Sides, in_units, lattice_under
from geodecloud.sky.threads import share_out

_MASK = 0xFFFFFFFF
_PIXEL_ONE = 2.0**16  # what counts as 1 among the whole numbers of starts in pixels
_GRADIENT_UNIT = 2.0**-8


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

    def words(self, octaves: Array, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Return an int64 word for each row (B, R, N) and each col (B, C, N) of nodes.

        ``octaves`` (N,) are the octaves' numbers, ``rows`` and ``cols`` the numbers of the nodes
        along the axes, int64.
        """

    def at(self, row_words: Array, col_words: Array) -> Array:
        """Return row and col parts of the gradients where rows cross cols: float64 (2, ...).

        Multiples of 2**-8, by words whose shapes broadcast.
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

    def words(self, octaves: Array, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Return the hash of seed, octave and row, and the col itself."""
        return hash_words(self.seeds[:, None, None], octaves, rows), cols & _MASK

    def at(self, row_words: Array, col_words: Array) -> Array:
        """Return row and col parts of the gradients where rows cross cols."""
        word = _mix(row_words ^ col_words)
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

    def words(self, octaves: Array, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Return the table at each row, and the col itself; the same for each octave."""
        table = constant(_PERMUTATION, rows, "int64")
        return table[((rows & 0xFF) + self.base) & 0xFF], cols & 0xFF

    def at(self, row_words: Array, col_words: Array) -> Array:
        """Return row and col parts of the gradients where rows cross cols."""
        table = constant(_PERMUTATION, row_words, "int64")
        word = table[table[(row_words + col_words + self.base) & 0xFF]]
        return _looked_up(_CORNERS, word & 0xF)


def _looked_up(parts: tuple[tuple[float, ...], ...], index: Array) -> Array:
    """Return two tables at an index of any shape, one after the other: float64 (2, ...)."""
    return taken(constant(parts, index), index.reshape(-1), 1).reshape(2, *index.shape)


def layered_noise(
    gradients: Gradients,
    places: Places,
    cells: Mapping[int, float],
    amplitudes: Array,
    *,
    threads: int = 1,
) -> Array:
    """Return the sum of octaves of noise, each within -1 and 1 times its amplitude.

    Args:
        gradients: what stands at the nodes.
        places: where the noise is wanted.
        cells: by number of octave the size of its cell, in the unit of ``places.step``.
        amplitudes: (B, len(cells)) or (1, len(cells)) float64; they add up to 24 at the most.
        threads: how many share a batch of numpy, which has the same bits by any number of them;
            torch has its own.

    Returns:
        (B, H, W) float64.
    """
    xp, device, n_chips = array_module(places.row0), places.row0.device, len(places.row0)
    keep_freed_memory(xp)
    blocks = Blocks.over(places.shape, places.row0)
    lattice = lattice_under(blocks.side, places.step, tuple(cells.items()), xp, device)
    sides = _sides(gradients, places, amplitudes, blocks, lattice)
    nodes = taken(sides.first, lattice.octave, 2) + lattice.node
    rows, cols = nodes[:, : blocks.down], nodes[:, blocks.down :]
    row_words, col_words = gradients.words(lattice.numbers[lattice.octave], rows, cols)
    shape = (n_chips, blocks.down, blocks.side, blocks.across, blocks.side)
    noise = xp.empty(shape, dtype=xp.float64, device=device)

    def draw(chips: slice) -> None:
        crossings = gradients.at(
            taken(row_words[chips], lattice.row_of, 2)[:, :, None],
            taken(col_words[chips], lattice.col_of, 2)[:, None],
        )
        factors = sides.factors(chips, lattice)
        lines = _lines(crossings, factors[:, blocks.down :], lattice)
        lines = lines.reshape(*lines.shape[:3], 2 * lattice.n_nodes, blocks.side)
        down = factors.reshape(*factors.shape[:2], 1, *lines.shape[3:])[:, : blocks.down]
        xp.matmul(down.swapaxes(3, 4), lines, out=noise[chips].swapaxes(2, 3))

    share_out(draw, blocks.portions(places.row0), threads)
    height, width = places.shape
    noise = noise.reshape(n_chips, blocks.down * blocks.side, blocks.across * blocks.side)
    return noise[:, :height, :width]


def _sides(
    gradients: Gradients, places: Places, amplitudes: Array, blocks: Blocks, lattice: Lattice
) -> Sides:
    """Return the sides of all blocks, by row and then by col, which carry the amplitudes."""
    xp = array_module(places.row0)
    axis = constant((0,) * blocks.down + (1,) * blocks.across, places.row0, "int64")
    phase = xp.stack(gradients.phases(lattice.numbers), 1)
    one = in_units(xp.stack([xp.ones_like(amplitudes), amplitudes], 1))
    starts = blocks.starts(places.row0, places.col0)
    return Sides.of(starts, places.step, taken(phase, axis, 1), taken(one, axis, 1), lattice)


def _lines(crossings: Array, across: Array, lattice: Lattice) -> Array:
    """Return gradients weighted across: float64 (B, down, across, 2, N, P).

    Row parts of gradients take the weight across and the slope down, col parts the slope across
    and the weight down: what stands first here is for the weights down. Octaves with as many nodes
    go together.
    """
    xp, blocks = array_module(across), crossings.shape[1:4]
    n_chips, n_across, *_, side = across.shape
    lines = xp.empty((*blocks, *across.shape[2:]), dtype=across.dtype, device=across.device)
    for n, count, nodes, here in lattice.runs:
        for part in (0, 1):
            xp.matmul(
                crossings[part, ..., here].reshape(*blocks, n, count, count),
                across[:, :, part, nodes].reshape(n_chips, 1, n_across, n, count, side),
                out=lines[..., 1 - part, nodes, :].reshape(*blocks, n, count, side),
            )
    return lines


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


# Unit vectors in 256ths, row parts then col parts.
_DIRECTIONS = tuple(
    tuple(round(wave(math.tau * i / 256) / _GRADIENT_UNIT) * _GRADIENT_UNIT for i in range(256))
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
    tuple(float(part) for part in parts)
    for parts in (
        (1, -1, 1, -1, 1, -1, 1, -1, 0, 0, 0, 0, 1, -1, 0, 0),
        (1, 1, -1, -1, 0, 0, 0, 0, 1, -1, 1, -1, 0, 0, -1, 1),
    )
)
