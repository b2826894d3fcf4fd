"""Batches: a function of (seed, step), each field with its meaning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import DataError
from geodecloud.learn.batches import MOST_SKIES, dealt, drifted, generator_of, random_places
from geodecloud.learn.cloud_batches import CloudBatches
from geodecloud.learn.dataset_types import DATASET_TYPES
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.pair_batches import PairBatches
from tests.learn.conftest import write_chips
from tests.learn.typed_sets import FIELDS, write_sets

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
    with pytest.raises(DataError, match=r"holds no pair among 12 .* sides are target"):
        PairBatches(chips, everyone(chips))
    packed = PackedChips(write_chips(tmp_path / "c.safetensors"))
    packed.rows["target"][:] = -1
    with pytest.raises(DataError, match="holds no clear chip"):
        CloudBatches(packed, everyone(packed))


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, PackedChips]:
    return write_sets(tmp_path)


@pytest.fixture(params=FIELDS)
def typed(request: pytest.FixtureRequest, sets) -> tuple[str, PackedChips]:
    return request.param, sets[request.param]


def dealer_of(name: str, packed: PackedChips, **options):
    options = {"chip_size": 32, "batch_size": 6, "seed": 5, **options}
    return DATASET_TYPES[name](packed, everyone(packed), **options)


def test_every_type_deals_its_fields_and_no_type_is_forgotten(typed) -> None:
    assert set(FIELDS) == set(DATASET_TYPES)
    name, packed = typed
    batch = dealer_of(name, packed).at(0, CPU)
    assert set(FIELDS[name]) <= set(batch)
    for field, n_channels in FIELDS[name].items():
        assert batch[field].shape == ((6,) if n_channels is None else (6, n_channels, 32, 32))
        assert batch[field].isfinite().all()
    whole = dealer_of(name, packed).whole(dealer_of(name, packed).samples[:1], 0, CPU)
    assert set(whole) == set(batch)
    assert whole["target"].shape == (1, 4, 64, 64)


def test_every_type_is_a_function_of_seed_and_step(typed) -> None:
    name, packed = typed
    one, other = dealer_of(name, packed), dealer_of(name, packed)
    one.at(0, CPU)
    for first, again in ((one.at(7, CPU), other.at(7, CPU)),):
        assert all(torch.equal(first[field], again[field]) for field in first)
    changed = dealer_of(name, packed, seed=6).at(7, CPU)
    assert not torch.equal(changed["target"], first["target"])
    assert not torch.equal(one.at(8, CPU)["target"], first["target"])


@pytest.mark.parametrize("name", ["Pix2Pix", "CycleGAN", "Colorize", "GAN"])
def test_no_value_is_changed_where_nothing_is_clouded(name: str, sets) -> None:
    """Turned and cut, never brightened: every number dealt is one of the set."""
    packed = sets[name]
    stored, _ = packed.read("target", everyone(packed)[packed.has("target")])
    assert np.isin(dealer_of(name, packed).at(3, CPU)["target"].numpy(), stored).all()


def test_chips_that_may_not_turn_lie_as_they_were(sets) -> None:
    packed = sets["GAN"]
    batch = dealer_of("GAN", packed, chip_size=64, turn=False).at(0, CPU)["target"].numpy()
    stored, _ = packed.read("target", everyone(packed))
    assert all(any(np.array_equal(chip, one) for one in stored) for chip in batch)
    turned = dealer_of("GAN", packed, chip_size=64).at(0, CPU)["target"].numpy()
    assert not all(any(np.array_equal(chip, one) for one in stored) for chip in turned)


def test_sides_of_a_sample_turn_alike(sets) -> None:
    packed = sets["Pix2Pix"]
    packed.rows["source"][:] = packed.rows["target"]
    packed._stored["source"] = packed._stored["target"]
    batch = dealer_of("Pix2Pix", packed).at(4, CPU)
    assert torch.equal(batch["pixels"], batch["target"])


def test_domains_are_drawn_independently_and_the_smaller_comes_round_again(sets) -> None:
    packed = sets["CycleGAN"]
    dealer = dealer_of("CycleGAN", packed)
    assert len(dealer.samples) == 6
    wholes = [dealer.whole(dealer.samples[i][None], i * MOST_SKIES, CPU) for i in range(6)]
    for field, n_apart in (("pixels", 4), ("target", 6)):
        assert len({float(whole[field].sum()) for whole in wholes}) == n_apart
    assert float(wholes[0]["pixels"].max()) < -4  # dB
    assert float(wholes[0]["target"].min()) > 0  # reflectance


def test_grey_is_the_luma_of_red_green_and_blue(sets) -> None:
    batch = dealer_of("Colorize", sets["Colorize"]).at(0, CPU)
    blue, green, red = (batch["target"][:, i] for i in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    torch.testing.assert_close(batch["pixels"][:, 0], luma)


def test_radar_lies_on_its_pair(sets) -> None:
    """Cut and turned with the optical sides: where they are one pixel, so is the radar."""
    packed = sets["WNet_cGAN"]
    radar = np.array(packed._stored["sar"])
    radar[:] = packed._stored["target"][:, :2]
    packed._stored["sar"] = radar
    batch = dealer_of("WNet_cGAN", packed, batch_size=4).whole(np.array([2]), 0, CPU)
    as_target = (batch["sar"] + 60) / 1e-3 * 1e-4 - 0.1
    clear = batch["mask"][0, 0] == 0
    change = batch["target"] - batch["pixels"]
    assert change[0][:, clear].abs().max() < 1e-6  # harmonised
    stored, _ = packed.read("target", np.array([2]))
    assert np.allclose(as_target.numpy(), stored[:, :2], atol=1e-4)


def test_what_is_not_valid_weighs_nothing(sets) -> None:
    packed = sets["Pix2Pix"]
    source = np.array(packed._stored["source"])
    source[:, 1, 10:20] = 0
    packed._stored["source"] = source
    weight = dealer_of("Pix2Pix", packed).whole(np.array([1]), 0, CPU)["weight"]
    assert weight[0, 0, 10:20].sum() == 0
    assert weight.sum() == 64 * 54


def test_skies_hang_over_radar_that_sees_through_them(sets) -> None:
    packed = sets["GuidedCloudRemoval"]
    dealer = dealer_of("GuidedCloudRemoval", packed, batch_size=8)
    assert packed.has("sar")[dealer.samples].all()
    assert len(dealer.samples) == 5
    whole = dealer.whole(dealer.samples[:1], 0, CPU)
    stored, _ = packed.read("sar", dealer.samples[:1])
    np.testing.assert_array_equal(whole["sar"].numpy(), stored)
    assert whole["synthetic"].all()


def test_samples_without_radar_come_as_often_as_those_with_it(sets) -> None:
    dealer = dealer_of("GuidedCloudRemoval", sets["GuidedCloudRemoval"], batch_size=8)
    shown = torch.cat([dealer.at(step, CPU)["sar"].abs().amax((1, 2, 3)) > 0 for step in range(30)])
    assert 0.25 < shown.float().mean() < 0.65  # half, less those whose guide is hidden


def test_radar_drifts_in_training_alone_and_where_it_is_known(sets) -> None:
    packed = sets["GuidedCloudRemoval"]
    radar = np.array(packed._stored["sar"])
    radar[:, :, :8] = 0
    packed._stored["sar"] = radar
    side = packed.sides["sar"]
    values, _ = packed.read("sar", dealer_of("GuidedCloudRemoval", packed).samples)
    decibels = torch.from_numpy(values)
    moved = drifted(decibels, side, generator_of(0, 0)) - decibels
    assert (moved[:, :, :8] == 0).all()
    each = moved[:, :, 8:].flatten(2)
    assert (each.amax(2) - each.amin(2)).max() < 1e-4
    assert len(set(each[..., 0].flatten().tolist())) == 10
    assert torch.equal(drifted(decibels, side, None), decibels)
    reflectance = packed.sides["target"]
    assert torch.equal(drifted(decibels, reflectance, generator_of(0, 0)), decibels)
