"""Batches: a function of (seed, step), each field with its meaning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import DataError
from geodecloud.learn.batches import dealt, random_places
from geodecloud.learn.cloud_batches import CloudBatches
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.pair_batches import PairBatches
from tests.learn.conftest import write_chips

CPU = torch.device("cpu")


def everyone(packed: PackedChips) -> np.ndarray:
    return np.arange(len(packed))


def test_a_batch_is_a_function_of_its_step(chips: PackedChips) -> None:
    one, other = (CloudBatches(chips, everyone(chips), chip_size=32, seed=1) for _ in range(2))
    other.at(0, CPU)
    first, second = one.at(5, CPU), other.at(5, CPU)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["target"], one.at(6, CPU)["target"])


def test_clouds_change_what_their_classes_say_and_nothing_else(chips: PackedChips) -> None:
    batches = CloudBatches(chips, everyone(chips), chip_size=64, batch_size=12)
    for step in range(3):
        batch = batches.at(step, CPU)
        is_clear = (batch["classes"] == 0).expand_as(batch["pixels"])
        assert torch.equal(batch["pixels"][is_clear], batch["target"][is_clear])
        is_thick = (batch["classes"] == 2).expand_as(batch["pixels"])
        if is_thick.any():
            assert (batch["pixels"][is_thick] - batch["target"][is_thick]).mean() > 0.2


def test_the_fill_is_the_pixels_wherever_nothing_is_masked(chips: PackedChips) -> None:
    batch = CloudBatches(chips, everyone(chips), chip_size=64, batch_size=12).at(0, CPU)
    outside = (batch["mask"] == 0).expand_as(batch["pixels"])
    assert outside.any()
    assert torch.equal(batch["fill"][outside], batch["pixels"][outside])


def test_nothing_is_learnt_outside_the_mask(chips: PackedChips) -> None:
    batch = CloudBatches(chips, everyone(chips), chip_size=64, batch_size=12).at(0, CPU)
    assert (batch["weight"] <= batch["mask"]).all()


def test_masks_err_as_detectors_do(chips: PackedChips) -> None:
    batches = CloudBatches(chips, everyone(chips), chip_size=64, batch_size=12)
    too_much = too_little = 0
    for step in range(6):
        batch = batches.at(step, CPU)
        is_clear = batch["classes"] == 0
        too_much += int((is_clear & (batch["mask"] > 0)).sum())
        too_little += int((~is_clear & (batch["mask"] == 0)).sum())
    assert too_much > 0
    assert too_little > 0


def test_a_real_pair_is_harmonised_with_its_clear_pixels(paired_chips: PackedChips) -> None:
    batches = CloudBatches(paired_chips, everyone(paired_chips), chip_size=64)
    batch = next(iter(batches.pairs(CPU)))
    outside = ((batch["mask"] == 0).expand_as(batch["pixels"])).clone()
    torch.testing.assert_close(batch["target"][outside], batch["pixels"][outside])
    assert batch["synthetic"].tolist() == [0]
    assert (batch["classes"] == 2).float().mean() == pytest.approx(0.5)


def test_real_pairs_come_up_among_the_skies(paired_chips: PackedChips) -> None:
    batches = CloudBatches(
        paired_chips, everyone(paired_chips), chip_size=64, batch_size=4, pair_share=0.5
    )
    seen = torch.cat([batches.at(step, CPU)["synthetic"] for step in range(6)])
    assert 0 < seen.mean() < 1


def test_levels_are_told_and_sometimes_hidden(chips: PackedChips) -> None:
    batches = CloudBatches(chips, everyone(chips), chip_size=16, batch_size=64)
    levels = torch.cat([batches.at(step, CPU)["level"] for step in range(12)])
    assert set(levels.tolist()) == {-1.0, 0.0}
    assert (levels == 0).float().mean() < 0.3


def test_pairs_are_cut_alike_on_both_sides(paired_chips: PackedChips) -> None:
    batch = PairBatches(paired_chips, everyone(paired_chips), chip_size=32).at(0, CPU)
    same = (batch["pixels"] == batch["target"]).float().mean()
    assert 0.2 < same < 0.8  # half of each window is cloud, the rest is the target itself
    cloud = (batch["pixels"] - 0.8).abs() < 1e-3
    assert ((batch["pixels"] == batch["target"]) | cloud).all()


def test_a_window_for_validation_is_the_same_each_time(chips: PackedChips) -> None:
    batches = CloudBatches(chips, everyone(chips), chip_size=32)
    first, again = (batches.whole(np.array([3]), 3, CPU) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["pixels"].shape == (1, 4, 128, 128)


@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 9))
def test_every_sample_comes_up_once_before_any_comes_twice(n, n_wanted, seed) -> None:
    samples = np.arange(100, 100 + n)
    steps = -(-n // n_wanted)
    drawn = np.concatenate([dealt(samples, n_wanted, step, seed) for step in range(steps)])
    assert sorted(drawn[:n]) == samples.tolist()


def test_places_lie_inside_and_where_there_is_something_to_learn() -> None:
    weight = torch.zeros(2, 1, 64, 64)
    weight[1, :, :, 32:] = 1
    random = torch.Generator().manual_seed(0)
    places = random_places(weight, 8, 8, 16, random)
    assert places.shape == (8, 3)
    assert (places[:, 1:] >= 0).all()
    assert (places[:, 1:] <= 48).all()
    assert (places[:, 0] == 1).sum() >= 6


def test_a_set_without_clear_sides_or_pairs_is_one_clear_error(
    chips: PackedChips, tmp_path
) -> None:
    with pytest.raises(DataError, match="holds no pair among 12 samples"):
        PairBatches(chips, everyone(chips))
    packed = PackedChips(write_chips(tmp_path / "c.safetensors"))
    packed.rows["target"][:] = -1
    with pytest.raises(DataError, match="holds no clear chip"):
        CloudBatches(packed, everyone(packed))
