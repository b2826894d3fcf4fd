"""seam_index_of: whether the borders of tiles show in a model's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from geodecloud.learn.plan import Batch
from geodecloud.metrics import seam_index

TILE_PX = 64
"""Far smaller than the tiles of a scene: as many borders as can be."""


def seam_index_of(
    answer: Callable[[Batch], Tensor],
    batches: Iterable[Batch],
    *,
    halo_px: int,
    stride_px: int,
    limit: int = 16,
) -> float:
    """Return the seam index of answers that were drawn tile by tile; 1 is no seam.

    Each tile is answered with ``halo_px`` around it, as the exact mode does for scenes; steps count
    where the answer is used. NaN where no border lies there.

    Args:
        answer: a batch to (B, C, H, W).
        batches: whole windows; the first ``limit`` are looked at.
        halo_px: how far the model looks.
        stride_px: the model's; tiles start on its multiples.
        limit: windows.
    """
    drawn, used, borders = [], [], np.array([], int)
    top = 0
    for batch in islice(batches, limit):
        pixels = by_tiles(answer, batch, halo_px=halo_px, stride_px=stride_px)
        counts = (batch["weight"] > 0)[:, 0].cpu().numpy()
        for window, where in zip(pixels.cpu().numpy(), counts, strict=True):
            drawn.append(window)
            used.append(where)
            starts = np.arange(tile_px(stride_px), window.shape[1], tile_px(stride_px))
            borders = np.concatenate([borders, top + starts])
            top += window.shape[1]
    if not drawn:
        return float("nan")
    # windows stand on one another; where they meet is no border, and no pixel looks across
    width = drawn[0].shape[2]
    cols = range(tile_px(stride_px), width, tile_px(stride_px))
    return seam_index(np.concatenate(drawn, 1), borders.tolist(), cols, np.concatenate(used))


def tile_px(stride_px: int) -> int:
    """Return the side of the tiles: ``TILE_PX`` rounded up to the stride."""
    return -(-TILE_PX // stride_px) * stride_px


def by_tiles(
    answer: Callable[[Batch], Tensor], batch: Batch, *, halo_px: int, stride_px: int
) -> Tensor:
    """Return what the model answers to a batch, (B, C, H, W), tile by tile.

    Equal, up to the order of sums, to ``answer(batch)`` where the halo is as far as it looks.
    """
    height, width = batch["weight"].shape[-2:]
    halo = -(-halo_px // stride_px) * stride_px
    rows = []
    for keep_rows, read_rows in _spans(height, tile_px(stride_px), halo):
        cells = []
        for keep_cols, read_cols in _spans(width, tile_px(stride_px), halo):
            part = {
                name: t[..., read_rows, read_cols] if t.ndim == 4 else t
                for name, t in batch.items()
            }
            inside = (
                slice(keep_rows.start - read_rows.start, keep_rows.stop - read_rows.start),
                slice(keep_cols.start - read_cols.start, keep_cols.stop - read_cols.start),
            )
            cells.append(answer(part)[..., inside[0], inside[1]])
        rows.append(torch.cat(cells, 3))
    return torch.cat(rows, 2)


def _spans(length: int, step: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """What is kept and what is read of each tile along one axis."""
    for start in range(0, length, step):
        stop = min(length, start + step)
        yield slice(start, stop), slice(max(0, start - halo), min(length, stop + halo))
