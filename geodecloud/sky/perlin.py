"""Gradient noise addressed by (seed, octave, lattice cell): batched, endless, on any device.

Octaves of B windows are small matrix products over the nodes of their lattices, two for each
size of lattice. All factors are whole numbers whose products and sums stay below 2**53, so that
float64 adds them without rounding, in whatever order: a place has the same noise, bit for bit, in
every window that holds it, in every batch, in numpy and torch, on every device.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any, Protocol, Self, TypeAlias

Array: TypeAlias = Any
"""An array of numpy, torch or any other module of the array API, on any device."""

_MASK = 0xFFFFFFFF
_PIXEL_ONE = 2.0**16  # what counts as 1 among the whole numbers: of starts in pixels,
_WEIGHT_ONE = 2.0**20  # of weights,
_GRADIENT_ONE = 2.0**8  # of gradients,
_LINE_ONE = 2.0**26  # and of gradients weighted across


def array_module(array: Array) -> Any:
    """Return the module of functions that this array belongs to, without importing it."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    # torch has the names but not the method; who holds a tensor has imported it
    return sys.modules[
        next(name for kind in type(array).__mro__ if (name := kind.__module__) == "torch")
    ]


@lru_cache(maxsize=128)
def _constant(values: Any, dtype: str, module: Any, device: Any) -> Array:
    return module.asarray(values, dtype=getattr(module, dtype), device=device)


def constant(values: Any, like: Array, dtype: str = "float64") -> Array:
    """Return nested tuples of numbers as an array beside ``like``, which nobody may write to.

    Kept once made: each copy to a GPU would make it wait.
    """
    return _constant(values, dtype, array_module(like), like.device)


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

    def __call__(self, octaves: Array, rows: Array, cols: Array) -> Array:
        """Return gradients (B, O, 2, rows, cols) in 256ths, row part first.

        ``rows`` (B, O, rows) and ``cols`` (B, O, cols) are the int64 numbers of the nodes.
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

    def __call__(self, octaves: Array, rows: Array, cols: Array) -> Array:
        """Return gradients (B, O, 2, rows, cols) in 256ths."""
        row_word = hash_words(self.seeds[:, None, None], octaves[:, None], rows)
        word = _mix(row_word[..., :, None] ^ (cols & _MASK)[..., None, :])
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

    def __call__(self, octaves: Array, rows: Array, cols: Array) -> Array:
        """Return gradients (B, O, 2, rows, cols) in 256ths; the same for each octave."""
        table = constant(_PERMUTATION, rows, "int64")
        word = table[((rows & 0xFF) + self.base) & 0xFF][..., :, None]
        word = table[(word + (cols & 0xFF)[..., None, :] + self.base) & 0xFF]
        return _looked_up(_CORNERS, table[word] & 0xF)


def _looked_up(parts: tuple[tuple[float, ...], ...], index: Array) -> Array:
    """Return two tables at index (B, O, rows, cols), as float64 (B, O, 2, rows, cols)."""
    start_of_part = constant((0, len(parts[0])), index, "int64")[:, None, None]
    return constant(parts[0] + parts[1], index)[index[:, :, None] + start_of_part]


def layered_noise(
    gradients: Gradients, places: Places, cells: Mapping[int, float], amplitudes: Array
) -> Array:
    """Return the sum of octaves of noise, each within -1 and 1 times its amplitude.

    Args:
        gradients: what stands at the nodes.
        places: where the noise is wanted. The work for a pixel grows with the longer side of the
            window over the cell: windows of 64 to 256 pixels are the cheapest.
        cells: by number of octave the size of its cell, in the unit of ``places.step``.
        amplitudes: (B, len(cells)) or (1, len(cells)) float64; they add up to 64 at the most.

    Returns:
        (B, H, W) float64.
    """
    xp, (height, width) = array_module(places.row0), places.shape
    numbers = constant(tuple(cells), places.row0, "int64")
    per_unit = constant(tuple(1 / cell for cell in cells.values()), places.row0)
    row_phase, col_phase = gradients.phases(numbers)
    down = _Axis.of(places.row0, height, places.step, per_unit, row_phase)
    across = _Axis.of(places.col0, width, places.step, per_unit, col_phase)
    scale = amplitudes * (_LINE_ONE / (_GRADIENT_ONE * _WEIGHT_ONE))

    def n_nodes(cell: float) -> tuple[int, int]:
        # six at least, so that coarse octaves go together: fewer and larger steps
        rows, cols = (int((n - 1) * places.step / cell) + 3 for n in places.shape)
        return max(rows, 6), max(cols, 6)

    total: Array = None
    start = 0
    for (n_rows, n_cols), group in groupby(cells.values(), n_nodes):
        part = slice(start, start := start + len(list(group)))
        nodes = gradients(numbers[part], down.nodes(part, n_rows), across.nodes(part, n_cols))
        # Row parts of gradients take the weight across and the slope down, col parts the slope
        # across and the weight down: first lines (B, O, 2, rows, W), then all of them in one sum.
        lines = nodes @ across.factors(part, n_cols, slope_of=1)
        lines *= scale[:, part, None, None, None]
        xp.round(lines, out=lines)
        factors = down.factors(part, n_rows, slope_of=0).reshape(len(lines), -1, height)
        noise = factors.swapaxes(1, 2) @ lines.reshape(len(lines), -1, width)
        if total is None:
            total = noise
        else:
            total += noise
    total *= 1 / (_LINE_ONE * _WEIGHT_ONE)
    return total


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """How the P pixels of one axis lie between the nodes of O octaves.

    Args:
        first: (B, O, 1) float64, the number of the first node.
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
        after = xp.round(after * _WEIGHT_ONE)
        before = _WEIGHT_ONE - after
        slopes = xp.round(before * into), xp.round(after * (into - 1))
        first = cell[:, :, :1]
        return cls(first, xp.asarray(cell - first, dtype=xp.int64), (before, after), slopes)

    def nodes(self, part: slice, n_nodes: int) -> Array:
        """Return the numbers of the nodes of a part of the octaves: int64 (B, O, n_nodes)."""
        xp, first = array_module(self.first), self.first[:, part]
        return xp.asarray(first, dtype=xp.int64) + xp.arange(n_nodes, device=first.device)

    def factors(self, part: slice, n_nodes: int, slope_of: int) -> Array:
        """Return weights and slopes in their places among zeros: float64 (B, O, 2, n_nodes, P).

        The slopes stand first where ``slope_of`` is 0, second where it is 1.
        """
        xp, cell = array_module(self.cell), self.cell[:, part]
        n_chips, n_octaves, n_pixels = cell.shape
        size = n_chips * n_octaves * 2 * n_nodes * n_pixels
        spread = xp.zeros(size, dtype=xp.float64, device=cell.device)
        every = xp.arange(n_chips * n_octaves, device=cell.device).reshape(n_chips, n_octaves, 1)
        at = (2 * n_nodes * every + cell) * n_pixels + xp.arange(n_pixels, device=cell.device)
        for which, pair in ((slope_of, self.slopes), (1 - slope_of, self.weights)):
            for after, factor in enumerate(pair):
                spread[at + (which * n_nodes + after) * n_pixels] = factor[:, part]
        return spread.reshape(n_chips, n_octaves, 2, n_nodes, n_pixels)


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
