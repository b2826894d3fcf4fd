"""The data object: parts that share no place, limits from the training part alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import DataError, OptionError
from geodecloud.learn.data import ChipData, Normalization, split
from geodecloud.learn.packed import PackedChips
from tests.learn.conftest import write_chips


@given(st.floats(0.05, 0.95), st.integers(0, 50))
def test_no_place_is_on_both_sides_of_a_split(chips: PackedChips, share, seed) -> None:
    train, valid = split(chips, val_split_pct=share, seed=seed)
    assert sorted([*train, *valid]) == list(range(len(chips)))
    assert not set(chips.place[train]) & set(chips.place[valid])
    again = split(chips, val_split_pct=share, seed=seed)
    assert np.array_equal(again[0], train)


def test_a_fold_is_held_out_by_its_number(chips: PackedChips) -> None:
    _, valid = split(chips, fold=2)
    assert set(chips.fold[valid]) == {2}
    with pytest.raises(DataError, match=r"folds here are \[0, 1, 2, 3\]"):
        split(chips, fold=9)


def test_too_few_places_for_a_split_is_one_clear_error(tmp_path) -> None:
    packed = PackedChips(write_chips(tmp_path / "c.safetensors", n_places=1))
    with pytest.raises(DataError, match=r"12 samples of one place.*give more scenes"):
        split(packed)


def test_an_empty_part_is_one_clear_error(chips: PackedChips) -> None:
    nobody = np.array([], int)
    with pytest.raises(DataError, match=r"validation part .* is empty"):
        ChipData(chips, "CloudRemoval", np.arange(12), nobody)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset_type": "Pix3Pix"}, "types are CloudRemoval, Pix2Pix"),
        ({"chip_size": 129}, "windows of 128 px"),
    ],
)
def test_options_that_make_no_sense_are_refused(chips: PackedChips, options, message) -> None:
    values = {"dataset_type": "CloudRemoval", **options}
    with pytest.raises(OptionError, match=message):
        ChipData(chips, train=np.arange(6), valid=np.arange(6, 12), **values)


@pytest.mark.parametrize("share", [0.0, 1.0, -2.0])
def test_a_share_that_is_none_is_refused(chips: PackedChips, share: float) -> None:
    with pytest.raises(OptionError, match="val_split_pct"):
        split(chips, val_split_pct=share)


@given(
    st.lists(st.floats(0.0, 0.5, width=32), min_size=1, max_size=5),
    st.floats(0.125, 2, width=32),
)
def test_encoding_and_decoding_undo_each_other(lows, span) -> None:
    scale = Normalization(tuple(lows), tuple(low + span for low in lows))
    values = np.random.default_rng(0).uniform(-1, 3, (len(lows), 4, 4)).astype(np.float32)
    assert np.abs(scale.decode(scale.encode(values)) - values).max() < 1e-5
    low, high = (np.array(limit, np.float32)[:, None, None] for limit in (scale.low, scale.high))
    assert np.abs(scale.encode(low) + 1).max() < 1e-5
    assert np.abs(scale.encode(high) - 1).max() < 1e-5


def test_limits_come_from_the_training_part_alone(chips: PackedChips) -> None:
    part = Normalization.of(chips, "target", np.array([0, 4, 8]))
    values, _ = chips.read("target", np.array([0, 4, 8]))
    for band in range(4):
        low, high = np.quantile(values[:, band], (1e-3, 1 - 1e-3))
        assert part.low[band] == pytest.approx(low, abs=1e-3)
        assert part.high[band] == pytest.approx(high, abs=1e-3)


def test_one_bright_cloud_does_not_compress_the_range(tmp_path) -> None:
    packed = PackedChips(write_chips(tmp_path / "c.safetensors"))
    bright = np.array(packed._stored["target"])
    bright[0, :, 0, :10] = 60000
    packed._stored["target"] = bright
    assert max(Normalization.of(packed, "target", np.arange(12)).high) < 1


def test_the_data_object_has_the_members_that_notebooks_use(data: ChipData) -> None:
    assert (data.n_channel, data.chip_size, data.batch_size) == (4, 32, 4)
    batch = next(iter(data.train_dl))
    assert batch["pixels"].shape == (4, 4, 32, 32)
    assert next(iter(data.valid_dl))["pixels"].shape == (1, 4, 128, 128)
    assert data.steps_per_epoch == 4 * len(data.train)
    assert data.path.exists()


def test_validation_is_the_same_each_time(data: ChipData) -> None:
    first, again = (list(data.valid_batches(torch.device("cpu"), 2)) for _ in range(2))
    assert all(
        torch.equal(a[name], b[name]) for a, b in zip(first, again, strict=True) for name in a
    )
