"""covering: disjoint windows around what is masked, cheap to read with a halo."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geodecloud.geo.tiling import Window

CELL_PX = 64
"""Windows begin and end on multiples of this, so that many have one shape and share a batch."""

Flags = npt.NDArray[np.bool_]


def covering(
    mask: Flags, at: Window, *, halo_px: int, origin_px: tuple[int, int] = (0, 0)
) -> list[Window]:
    """Return disjoint windows inside ``at`` that hold all of the mask, by row, then column.

    A window is halved where its halves, each cut to what it holds and read with ``halo_px``
    around, cost fewer pixels.

    Args:
        mask: (H, W) bool, the pixels of ``at``.
        at: where they lie in the scene.
        halo_px: what is read around each window.
        origin_px: (row, col) of the scene's first pixel in the CRS grid, on which cells lie.

    Example:
        >>> mask = np.zeros((256, 256), bool)
        >>> mask[3, 5] = mask[200, 250] = True
        >>> [(w.row, w.col, w.shape) for w in covering(mask, Window(0, 0, 256, 256), halo_px=8)]
        [(0, 0, (64, 64)), (192, 192, (64, 64))]
    """
    rows = _cuts(at.row, at.row_stop, origin_px[0])
    cols = _cuts(at.col, at.col_stop, origin_px[1])
    by_row = np.logical_or.reduceat(mask, rows[:-1] - at.row, axis=0)
    cells = np.logical_or.reduceat(by_row, cols[:-1] - at.col, axis=1)
    _, blocks = _halved(cells, Window.whole(cells.shape), rows, cols, halo_px)
    return sorted((_pixels(block, rows, cols) for block in blocks), key=lambda w: (w.row, w.col))


def _halved(
    cells: Flags, block: Window, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp], halo: int
) -> tuple[int, list[Window]]:
    """The cheapest found: pixels read, and blocks of cells."""
    held = np.argwhere(cells[block.slices])
    if not held.size:
        return 0, []
    low, high = held.min(0), held.max(0) + 1
    block = Window(block.row + low[0], block.col + low[1], *(high - low))
    window = _pixels(block, rows, cols)
    best = (window.height + 2 * halo) * (window.width + 2 * halo), [block]
    halves = []
    if block.height > 1:
        half = block.height // 2
        halves.append((block.row, block.col, half, block.width))
        halves.append((block.row + half, block.col, block.height - half, block.width))
    if block.width > 1:
        half = block.width // 2
        halves.append((block.row, block.col, block.height, half))
        halves.append((block.row, block.col + half, block.height, block.width - half))
    for one, other in zip(halves[::2], halves[1::2], strict=True):
        parts = [_halved(cells, Window(*part), rows, cols, halo) for part in (one, other)]
        cost = sum(part[0] for part in parts)
        if cost < best[0]:
            best = cost, [block for part in parts for block in part[1]]
    return best


def _cuts(start: int, stop: int, origin: int) -> npt.NDArray[np.intp]:
    """Start, the multiples of a cell between (in the CRS grid), and stop."""
    first = start + CELL_PX - (start + origin) % CELL_PX
    return np.array([start, *range(first, stop, CELL_PX), stop], np.intp)


def _pixels(block: Window, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]) -> Window:
    """The pixels of a block of cells."""
    row, col = int(rows[block.row]), int(cols[block.col])
    return Window(row, col, int(rows[block.row_stop]) - row, int(cols[block.col_stop]) - col)
