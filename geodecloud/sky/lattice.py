"""Blocks of pixels among the nodes of noise lattices: exact factors, one layout for all octaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby
from typing import Any, NamedTuple, Self

from geodecloud.sky.arrays import Array, array_module, is_numpy

FACTOR_UNIT = 2.0**-20
"""Factors are whole multiples of this."""

# Few nodes lie under few pixels, and products as small as these OpenBLAS keeps on one thread: with
# blocks of 64 its threads took 76 times the processor's time on busy cores. torch copies what it
# multiplies, and less so of larger blocks.
_BLOCK_PX = 32
_BLOCKS_AT_ONCE = 32  # what a core's cache holds of them

_ROOM = 1.5 * 2.0**52 * FACTOR_UNIT  # a float64 of this size has no room for less than a unit


def in_units(numbers: Array) -> Array:
    """Return float64 numbers, which it changes, rounded to multiples of ``FACTOR_UNIT``."""
    numbers += _ROOM
    numbers -= _ROOM
    return numbers


class Blocks(NamedTuple):
    """Square blocks of pixels that cover windows: how many down and across, and their side."""

    down: int
    across: int
    side: int

    @classmethod
    def over(cls, shape: tuple[int, int], like: Array) -> Self:
        """Return blocks as the module of an array works them off best."""
        most_px = _BLOCK_PX if is_numpy(like) else 2 * _BLOCK_PX
        side = max(-(-n // -(-n // most_px)) for n in shape)
        down, across = (-(-n // side) for n in shape)
        return cls(down, across, side)

    def starts(self, row0: Array, col0: Array) -> Array:
        """Return where the sides of blocks begin, by row and then by col: (B, down + across)."""
        xp = array_module(row0)
        down, across = (
            start[:, None] + xp.arange(n, device=start.device) * self.side
            for start, n in ((row0, self.down), (col0, self.across))
        )
        return xp.concat([down, across], 1)

    def portions(self, row0: Array) -> list[slice]:
        """Return how a batch is cut: a cache full at a time in numpy, torch takes all."""
        n_chips = len(row0)
        n = _BLOCKS_AT_ONCE // (self.down * self.across) if is_numpy(row0) else n_chips
        n = max(n, 1)
        return [slice(chip, chip + n) for chip in range(0, n_chips, n)]


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """How the pixels along K sides of blocks of B windows lie between the nodes of O octaves.

    Args:
        first: (B, K, O) int64, the number of the first node.
        place: (B, K, O, P) int64, where the node before each pixel and the pixel cross among the N
            nodes of all octaves and the P pixels of a side.
        weights: (B, K, O, P) float64 in units each, of the node before and of the one after: the
            quintic fade of Perlin (2002); both add up to the octave's amplitude exactly.
        slopes: the same, of the weights times the way from their nodes.
    """

    first: Array
    place: Array
    weights: tuple[Array, Array]
    slopes: tuple[Array, Array]

    @classmethod
    def of(cls, start: Array, step: float, phase: Array, one: Array, lattice: Lattice) -> Self:
        """Return sides that begin at pixel ``start`` (B, K).

        Products only: on a GPU torch divides by a number as it likes, by its inverse.

        Args:
            start: of each side, in pixels.
            step: the size of a pixel.
            phase: (B, K, O), how far the lattices are pushed, in cells.
            one: (B or 1, K, O) in units, what weights add up to.
            lattice: the nodes under a block.
        """
        xp = array_module(start)
        pixel = xp.arange(lattice.n_pixels, device=start.device)
        into = ((start[..., None] + pixel) * step)[:, :, None, :] * lattice.per_unit[:, None]
        into += phase[..., None]
        floor = xp.floor(into)
        into -= floor
        cell = xp.asarray(floor, dtype=xp.int64)
        first = cell[..., 0]
        place = cell + (lattice.first_node - first)[..., None]
        place *= lattice.n_pixels
        place += pixel
        after = into * 6
        after -= 15
        after *= into
        after += 10
        for _ in range(3):
            after *= into
        one = one[..., None]
        after *= one
        before = one - in_units(after)
        slope_before = in_units(before * into)
        into -= 1
        into *= after
        return cls(first, place, (before, after), (slope_before, in_units(into)))

    def factors(self, chips: slice, lattice: Lattice) -> Array:
        """Return weights, then slopes, in their places among zeros: float64 (B, K, 2, N, P)."""
        place = self.place[chips]
        xp, (n_chips, n_sides, _, n_pixels) = array_module(place), place.shape
        n_places = lattice.n_nodes * n_pixels
        spread = xp.zeros(2 * n_chips * n_sides * n_places, dtype=xp.float64, device=place.device)
        side = xp.arange(n_chips * n_sides, device=place.device) * (2 * n_places)
        place = place + side.reshape(n_chips, n_sides, 1, 1)
        for begin, (before, after) in ((0, self.weights), (n_places, self.slopes)):
            spread[begin:][place] = before[chips]
            spread[begin + n_pixels :][place] = after[chips]
        return spread.reshape(n_chips, n_sides, 2, lattice.n_nodes, n_pixels)


class Run(NamedTuple):
    """Octaves that follow each other and have as many nodes.

    ``nodes`` says where they stand among the nodes along an axis, ``crossings`` among all.
    """

    n_octaves: int
    n_a_side: int
    nodes: slice
    crossings: slice


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """The nodes of all octaves under a square block of pixels, octave after octave.

    Args:
        n_pixels: P, along a side of the block.
        numbers: (O,) int64, by which the octaves are known to their gradients.
        per_unit: (O,) float64, cells to the unit of places.
        runs: octaves with as many nodes.
        n_nodes: N, along either side.
        first_node: (O,) int64, where each octave begins along an axis.
        octave: (N,) int64, the place of each node's octave.
        node: (N,) int64, each node counted from its octave's first.
        row_of, col_of: (crossings,) int64, the row and the column of each crossing among the N.
    """

    n_pixels: int
    numbers: Array
    per_unit: Array
    runs: tuple[Run, ...]
    n_nodes: int
    first_node: Array
    octave: Array
    node: Array
    row_of: Array
    col_of: Array


@lru_cache(maxsize=64)
def lattice_under(
    n_pixels: int, step: float, cells: tuple[tuple[int, float], ...], module: Any, device: Any
) -> Lattice:
    """Return the lattice under blocks of this side; kept, because chips come in one shape.

    ``cells`` holds the number of each octave and the size of its cell in the unit of ``step``.
    """
    numbers, sizes = zip(*cells, strict=True)
    counts = [int((n_pixels - 1) * step / size) + 3 for size in sizes]
    first = [0, *accumulate(counts)]
    nodes = [(octave, node) for octave, n in enumerate(counts) for node in range(n)]
    crossings = [
        (begin + row, begin + col)
        for begin, n in zip(first, counts, strict=False)
        for row in range(n)
        for col in range(n)
    ]

    def whole(values: Iterable[int]) -> Array:
        return module.asarray(list(values), dtype=module.int64, device=device)

    return Lattice(
        n_pixels,
        whole(numbers),
        module.asarray([1 / size for size in sizes], dtype=module.float64, device=device),
        _runs(counts),
        first[-1],
        whole(first[:-1]),
        *(whole(column) for column in zip(*nodes, strict=True)),
        *(whole(column) for column in zip(*crossings, strict=True)),
    )


def _runs(counts: list[int]) -> tuple[Run, ...]:
    """Return runs of octaves with as many nodes."""
    runs, node, crossing = [], 0, 0
    for count, octaves in groupby(counts):
        n = len(list(octaves))
        nodes = slice(node, node := node + n * count)
        runs.append(Run(n, count, nodes, slice(crossing, crossing := crossing + n * count**2)))
    return tuple(runs)
