"""Tiles do not show where the halo is whole, and are found where it is not."""

from __future__ import annotations

import math

import pytest
import torch

from geodecloud.learn.data import ChipData
from geodecloud.learn.seams import by_tiles, seam_index_of
from tests.learn.conftest import small_model, unsettle

CPU = torch.device("cpu")


def test_answers_by_tiles_are_those_of_the_whole_window(data: ChipData) -> None:
    model = small_model(data)
    unsettle(model)
    way = model._way("forward")
    (batch,) = data.valid_batches(CPU, 1)
    tiled = by_tiles(model.answer, batch, halo_px=way["halo_px"], stride_px=way["stride_px"])
    torch.testing.assert_close(tiled, model.answer(batch), atol=1e-4, rtol=1e-4)
    bare = by_tiles(model.answer, batch, halo_px=0, stride_px=way["stride_px"])
    assert not torch.allclose(bare, model.answer(batch), atol=1e-3)


def windows(n: int = 3):
    random = torch.Generator().manual_seed(2)
    for _ in range(n):
        pixels = torch.rand(1, 2, 128, 160, generator=random)
        yield {"pixels": pixels, "weight": torch.ones(1, 1, 128, 160)}


def stepped(batch):
    """An answer that hangs on the tile: brighter by its own mean level, as an InstanceNorm is."""
    return batch["pixels"] * 0.1 + batch["pixels"].mean((1, 2, 3), keepdim=True) * 100


def test_a_model_that_looks_at_its_tile_is_found() -> None:
    found = seam_index_of(stepped, windows(), halo_px=0, stride_px=8)
    without = seam_index_of(lambda b: b["pixels"], windows(), halo_px=0, stride_px=8)
    assert found > 2
    assert without == pytest.approx(1, abs=0.1)


def test_where_windows_meet_is_no_border() -> None:
    levels = iter([0.0, 50.0, 0.0])

    def answer(batch):
        return batch["pixels"] + next(levels)

    small = ({name: t[..., :64, :64] for name, t in batch.items()} for batch in windows())
    assert math.isnan(seam_index_of(answer, small, halo_px=0, stride_px=8))
    assert math.isnan(seam_index_of(answer, [], halo_px=0, stride_px=8))
