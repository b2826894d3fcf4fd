"""Fill: the clear pixels of a scene, drawn on under its clouds by a push-pull pyramid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from geodecloud.geo.scene import Mask, Scene, origin_px, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.progress import Listener, Progress, silent

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

SWEEPS = 4  # relaxations a level; none loses 0.3 dB, eight gain 0.04 dB
FINEST_KEPT = 3  # each read draws the levels below anew, from (2 ** 3 - 1) * (SWEEPS + 1) px around
KEPT_BYTES = 32 << 20  # what the finest kept level may take; larger scenes keep a coarser one
BLOCK_PX = (512, 2048)  # rows and columns that ``build`` reads at once
LIMIT = 1e30  # floats beyond, and NaN, measure nothing: -3.4e38 is often nodata without saying so


class Fill:
    """A scene whose masked and invalid pixels are drawn from the clear pixels around them.

    A pyramid of cells, each made of 2x2 of the level below, counted from the CRS grid. Upwards,
    a cell of weight ``u`` and value ``v`` gathers what its four children know; downwards it asks
    its surroundings for what it does not know itself::

        u = sum(u_child) / (1 + sum(u_child))      v = sum(u_child * v_child) / sum(u_child)
        x = u * v + (1 - u) * around(x)

    ``around`` is first the level above, bilinear, then ``SWEEPS`` times the four neighbours: so
    each level nears the membrane that the clear pixels span. The weights are those of a Kalman
    smoother on a tree where each level adds the same variance, as natural images do: cells
    average over some depth of the rim, where a real cloud leaves its haze.

    Contract: ``fill.read(w)[clear] == to_reflectance(dn)[clear]``, where clear is what is valid,
    not masked and below ``LIMIT``; all else lies between the lowest and the highest clear value of
    its band. ``read`` is a function of the place: the same bits for any window. Bands are filled
    apart, each where it is valid; a band of no clear pixel is 0 throughout.

    Source: Gortler et al., The Lumigraph (1996); Chou, Willsky and Benveniste, Multiscale
    recursive estimation (1994).

    Attributes:
        is_empty: no band has a clear pixel: the fill is 0 throughout.

    Example:
        >>> from geodecloud.geo.scene import ArrayMask, ArrayScene
        >>> from geodecloud.geo.sensors import Band, Sensor
        >>> scene = ArrayScene(np.array([[[10, 99, 30]]], np.uint8), Sensor("", (Band("b"),)))
        >>> fill = Fill.build(scene, ArrayMask(np.array([[False, True, False]])))
        >>> fill.read(Window(0, 0, 1, 3)).round(1)
        array([[[10. , 19.6, 30. ]]], dtype=float32)
    """

    def __init__(
        self, scene: Scene, mask: Mask, extents: Sequence[Window], kept: Floats, *, is_empty: bool
    ) -> None:
        """Hold the kept level; ``extents`` are those of the levels from the pixels up to it."""
        self.is_empty = is_empty
        self._scene, self._mask = scene, mask
        self._extents, self._kept = extents, kept

    @classmethod
    def build(cls, scene: Scene, mask: Mask, *, on_progress: Listener = silent) -> Self:
        """Return the fill of a scene, after one pass over its pixels.

        Args:
            scene: what is filled; ``read`` comes back to its pixels.
            mask: True where a pixel is to be generated, and therefore not looked at.
            on_progress: hears of each block of the pass.
        """
        extents = _extents(_on_grid(scene))
        level = _kept_level(extents, len(scene.sensor.bands))
        cells = [_gathered(scene, mask, level, extents[level], on_progress)]
        for extent in extents[level + 1 :]:
            cells.append(_pulled(cells[-1]).within(extent))
        top = _halved(extents[-1])
        mean = np.broadcast_to(_mean(cells[-1])[:, None, None], (len(cells[0].moment), *top.shape))
        return cls(
            scene,
            mask,
            extents[: level + 1],
            _drawn(mean, top, cells),
            is_empty=not cells[0].weight.any(),
        )

    def read(self, window: Window) -> Floats:
        """Return the filled values of a window inside the scene.

        Returns:
            (C, H, W) float32 in the sensor's unit, NaN-free.
        """
        grid = _on_grid(self._scene)
        here = Window(window.row + grid.row, window.col + grid.col, *window.shape)
        reaches, above = _reaches(self._extents, here)
        level = len(reaches)
        seen = _scaled(reaches[-1], level - 1) if reaches else here
        pixels = _pixels(self._scene, self._mask, seen)
        rows, cols = here.relative_to(seen).slices
        values = pixels.moment[:, rows, cols].copy()
        is_clear = pixels.weight[:, rows, cols] > 0
        if is_clear.all():
            return values
        pyramid = [pixels]
        for _ in reaches[1:]:
            pyramid.append(_pulled(pyramid[-1]))
        cells = [cell.within(reach) for cell, reach in zip(pyramid, reaches, strict=False)]
        rows, cols = above.relative_to(self._extents[level]).slices
        drawn = _drawn(self._kept[:, rows, cols], above, cells)
        rows, cols = here.relative_to(reaches[0] if reaches else above).slices
        np.copyto(values, drawn[:, rows, cols], where=~is_clear)
        return values

    def over(self, scene: Scene, mask: Mask) -> Self:
        """Return the same fill, which comes back for its pixels to another reader of the scene."""
        return type(self)(scene, mask, self._extents, self._kept, is_empty=self.is_empty)


def seen_by_fill(scene: Scene, window: Window) -> Window:
    """Return the part of a scene that ``Fill.read`` of a window comes back to."""
    grid = _on_grid(scene)
    extents = _extents(grid)
    level = _kept_level(extents, len(scene.sensor.bands))
    here = Window(window.row + grid.row, window.col + grid.col, *window.shape)
    reaches, _ = _reaches(extents[: level + 1], here)
    seen = _scaled(reaches[-1], level - 1) if reaches else here
    return (seen & grid).relative_to(grid)


def _reaches(extents: Sequence[Window], window: Window) -> tuple[list[Window], Window]:
    """The cells of each level below the last that ``window`` depends on, and of that."""
    reaches = []
    for extent, above in pairwise(extents):
        reaches.append(window.padded(SWEEPS) & extent)
        window = _halved(reaches[-1]).padded(1) & above
    return reaches, window


class _Cells(NamedTuple):
    """Part of a level, on the grid: weight u (C or 1, H, W) in 0..1 and moment u * v (C, H, W)."""

    window: Window
    weight: Floats
    moment: Floats

    def within(self, window: Window) -> _Cells:
        """The cells of another window; those that lie beyond this one know nothing."""
        return _Cells(window, *(self._moved(array, window) for array in self[1:]))

    def _moved(self, array: Floats, window: Window) -> Floats:
        if window in self.window:
            rows, cols = window.relative_to(self.window).slices
            return array[:, rows, cols]
        moved = np.zeros((len(array), *window.shape), np.float32)
        common = window & self.window
        target, source = common.relative_to(window).slices, common.relative_to(self.window).slices
        moved[:, *target] = array[:, *source]
        return moved


def _on_grid(scene: Scene) -> Window:
    """The scene's pixels, counted from the CRS grid: cells of two scenes then fall together."""
    return Window(*origin_px(scene.geobox), *shape_of(scene.geobox))


def _extents(pixels: Window) -> list[Window]:
    """What each level covers, in its own cells, whole groups of 2x2; up to 4x4 cells at most."""
    extents = [_evened(pixels)]
    while (above := _evened(_halved(extents[-1]))).shape != extents[-1].shape:
        extents.append(above)
    return extents


def _kept_level(extents: Sequence[Window], n_bands: int) -> int:
    last = len(extents) - 1
    for level in range(min(FINEST_KEPT, last), last):
        height, width = extents[level].shape
        if 4 * n_bands * height * width <= KEPT_BYTES:
            return level
    return last


def _gathered(
    scene: Scene, mask: Mask, level: int, extent: Window, on_progress: Listener
) -> _Cells:
    """The cells of a level, from one pass over the scene's pixels."""
    shape = (len(scene.sensor.bands), *extent.shape)
    cells = _Cells(extent, np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    blocks = [
        block
        for block in _blocks(extent, [max(1, side_px >> level) for side_px in BLOCK_PX])
        if all((_scaled(block, level) & _on_grid(scene)).shape)  # not the rim beyond the scene
    ]
    for done, block in enumerate(blocks, start=1):
        part = _pixels(scene, mask, _scaled(block, level))
        for _ in range(level):
            part = _pulled(part)
        rows, cols = block.relative_to(extent).slices
        cells.weight[:, rows, cols], cells.moment[:, rows, cols] = part.weight, part.moment
        on_progress(Progress(done, len(blocks), "fill"))
    return cells._replace(weight=_shared(cells.weight).copy())


def _blocks(extent: Window, sides: Sequence[int]) -> Iterator[Window]:
    for row in range(extent.row, extent.row_stop, sides[0]):
        for col in range(extent.col, extent.col_stop, sides[1]):
            yield Window(row, col, sides[0], sides[1]) & extent


def _pixels(scene: Scene, mask: Mask, window: Window) -> _Cells:
    """The lowest level: clear pixels weigh 1, all others, and what lies beyond the scene, 0."""
    grid = _on_grid(scene)
    inside = window & grid
    place = inside.relative_to(grid)
    dn, valid = scene.read(place)
    clear = valid & ~mask.read(place)
    values = scene.sensor.to_reflectance(dn)
    if dn.dtype.kind == "f":
        clear &= np.abs(values) < LIMIT
    values = np.where(clear, values, np.float32(0))
    return _Cells(inside, _shared(clear).astype(np.float32), values).within(window)


def _shared(weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One band of weights where all bands are clear together, as they mostly are."""
    return weight[:1] if (weight == weight[:1]).all() else weight


def _pulled(cells: _Cells) -> _Cells:
    """The level above: one cell for each 2x2."""
    weight, moment = _summed(cells.weight), _summed(cells.moment)
    share = 1 / (1 + weight)
    weight *= share
    moment *= share
    return _Cells(_halved(cells.window), weight, moment)


def _summed(array: Floats) -> Floats:
    # one fixed order, so that a sum does not depend on the block it was made in
    pairs = array[:, ::2] + array[:, 1::2]
    return pairs[:, :, ::2] + pairs[:, :, 1::2]


def _mean(cells: _Cells) -> Floats:
    """The mean of each band (C,), 0 where nothing is known."""
    weight, moment = (array.sum((1, 2), dtype=np.float64) for array in cells[1:])
    mean = np.divide(moment, weight, out=np.zeros(len(moment)), where=weight > 0)
    return np.asarray(mean, np.float32)


def _drawn(around: Floats, window: Window, levels: Sequence[_Cells]) -> Floats:
    """The finest of ``levels``, (C, H, W), drawn from the one above, which covers ``window``."""
    if not levels:
        return around
    drawn = np.empty_like(levels[0].moment)
    for band in range(len(drawn)):  # one after the other: all of it stays in the cache
        values, outer = around[band], window
        for cells in reversed(levels):
            rows, cols = cells.window.relative_to(_scaled(outer, 1)).slices
            weight = cells.weight[band % len(cells.weight)]
            values = _relaxed(_doubled(values)[rows, cols], weight, cells.moment[band])
            outer = cells.window
        drawn[band] = values
    return drawn


def _doubled(values: Floats) -> Floats:
    """(H, W) to (2H, 2W), bilinear; beyond the rim lies what lies on it."""
    for _ in range(2):
        near, far = 0.75 * values, 0.25 * np.pad(values, [(1, 1), (0, 0)], mode="edge")
        wide = np.empty((2 * len(values), values.shape[1]), np.float32)
        np.add(near, far[:-2], out=wide[::2])
        np.add(near, far[2:], out=wide[1::2])
        values = wide.T
    return values


def _relaxed(around: Floats, weight: Floats, moment: Floats) -> Floats:
    """(H, W) of x = moment + (1 - weight) * around, then with the mean of the neighbours."""
    unknown = 1 - weight
    framed = np.empty((weight.shape[0] + 2, weight.shape[1] + 2), np.float32)
    values = framed[1:-1, 1:-1]
    np.add(moment, unknown * around, out=values)
    unknown *= 0.25
    for _ in range(SWEEPS):
        framed[0], framed[-1] = framed[1], framed[-2]
        framed[:, 0], framed[:, -1] = framed[:, 1], framed[:, -2]
        total = framed[:-2, 1:-1] + framed[2:, 1:-1]
        total += framed[1:-1, :-2]
        total += framed[1:-1, 2:]
        total *= unknown
        np.add(total, moment, out=values)
    return values


def _halved(window: Window) -> Window:
    """The cells above that hold a window."""
    row, col = window.row // 2, window.col // 2
    return Window(row, col, -(-window.row_stop // 2) - row, -(-window.col_stop // 2) - col)


def _evened(window: Window) -> Window:
    """The window grown to whole groups of 2x2."""
    return _scaled(_halved(window), 1)


def _scaled(window: Window, levels: int) -> Window:
    """The same place, in the cells of so many levels below."""
    factor = 2**levels
    return Window(
        window.row * factor, window.col * factor, window.height * factor, window.width * factor
    )
