"""The data object: parts that share no place, limits from the training part alone."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import DataError, OptionError
from geodecloud.learn.data import ChipData, Normalization, split
from geodecloud.learn.dataset_types import CLOUDED, DATASET_TYPES
from geodecloud.learn.packed import PackedChips
from tests.learn.conftest import write_chips
from tests.learn.typed_sets import FIELDS, write_sets


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


def test_several_folds_are_held_out_together(chips: PackedChips) -> None:
    train, valid = split(chips, fold=(0, 3))
    assert set(chips.fold[valid]) == {0, 3}
    assert set(chips.fold[train]) == {1, 2}
    for wrong in ((0, 9), (0, 1, 2, 3)):
        with pytest.raises(DataError, match=r"folds here are \[0, 1, 2, 3\]"):
            split(chips, fold=wrong)


def test_where_nothing_is_held_out_all_samples_teach_and_no_figure_is_told(
    chips: PackedChips,
) -> None:
    train, valid = split(chips, val_split_pct=0)
    assert len(train) == len(chips)
    assert not ChipData(chips, "CloudRemoval", train, valid).holds_out
    assert ChipData(chips, "CloudRemoval", *split(chips, fold=2)).holds_out


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
        (
            {"dataset_type": "Pix3Pix"},
            "Pix2Pix, WNet_cGAN, GuidedCloudRemoval, CycleGAN, Colorize, GAN",
        ),
        ({"chip_size": 129}, "windows of 128 px"),
    ],
)
def test_options_that_make_no_sense_are_refused(chips: PackedChips, options, message) -> None:
    values = {"dataset_type": "CloudRemoval", **options}
    with pytest.raises(OptionError, match=message):
        ChipData(chips, train=np.arange(6), valid=np.arange(6, 12), **values)


@pytest.mark.parametrize("share", [1.0, -2.0])
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


TITLES = {
    "CloudRemoval": ["Input", "Target", "Fill", "Mask"],
    "CloudMask": ["Input", "Target", "Classes"],
    "Pix2Pix": ["Input", "Target"],
    "WNet_cGAN": ["Input", "SAR", "Target", "Fill", "Mask"],
    "GuidedCloudRemoval": ["Input", "SAR", "Target", "Fill", "Mask"],
    "CycleGAN": ["A", "B"],
    "Colorize": ["Input", "Target"],
    "GAN": ["Chip"],
}


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ChipData]:
    sets = write_sets(tmp_path_factory.mktemp("sets"))
    return {
        name: ChipData(packed, name, *split(packed), chip_size=32, batch_size=4)
        for name, packed in sets.items()
    }


@pytest.mark.parametrize("name", TITLES)
def test_a_batch_is_shown_under_the_titles_of_its_type(typed, name: str) -> None:
    assert set(TITLES) == set(DATASET_TYPES)
    figure = typed[name].show_batch(rows=2)
    assert [axes.get_title() for axes in figure.axes[: len(TITLES[name])]] == TITLES[name]
    assert len(figure.axes) == 2 * len(TITLES[name])


@pytest.mark.parametrize("name", TITLES)
def test_items_are_what_a_network_sees(typed, name: str) -> None:
    data = typed[name]
    for items in (data.train_ds, data.valid_ds):
        assert len(items) >= 1
        shown = items[-1]
        fields = [field for field in ("pixels", "target", "sar") if field in FIELDS[name]]
        assert [len(tensor) for tensor in shown] == [FIELDS[name][field] for field in fields]
        is_cloudy = name in {*CLOUDED, "WNet_cGAN"}
        assert all(tensor.abs().max() < (40 if is_cloudy else 1.1) for tensor in shown)
        assert torch.equal(items[-1][0], shown[0])
    assert len(data.train_ds) + len(data.valid_ds) == len(
        data.train_ds[:] + data.valid_ds[0 : len(data.valid_ds)]
    )


@pytest.mark.parametrize("name", TITLES)
def test_each_side_that_is_dealt_has_limits_and_a_description(typed, name: str) -> None:
    data = typed[name]
    batch = data.batches.at(0, torch.device("cpu"))
    for side, about in data.sides.items():
        field = "pixels" if side == "source" else side
        assert batch[field].shape[1] == len(about.bands)
        if side in data.normalization:
            assert len(data.normalization[side].low) == len(about.bands)
    assert set(data.normalization) >= set(data.sides) - ({"source"} if name in CLOUDED else set())


def test_means_and_deviations_say_what_is_seen(typed) -> None:
    data = typed["GAN"]
    means, deviations = data.norm_stats
    values = next(data.valid_dl)["target"][0]
    seen = (values - torch.tensor(means)[:, None, None]) / torch.tensor(deviations)[:, None, None]
    torch.testing.assert_close(seen, data.valid_ds[0][0], atol=1e-5, rtol=1e-5)


def test_limits_of_a_share_of_a_large_set_are_those_of_all(chips: PackedChips) -> None:
    every = np.arange(len(chips))
    whole, third = (Normalization.of(chips, "target", every, share) for share in (1.0, 0.34))
    assert np.allclose(whole.high, third.high, atol=0.05)
    assert Normalization.of(chips, "target", every, 1e-9).low is not None
    with pytest.raises(OptionError, match="norm_pct"):
        ChipData(chips, "CloudRemoval", every[:6], every[6:], norm_pct=0.0)


def test_a_million_places_are_split_at_once(chips: PackedChips) -> None:
    """Sums over places, never a search for each: a quadratic split would take hours."""
    many = copy.copy(chips)
    many.place = np.arange(1_000_000, dtype=np.int32)
    many.touches = np.full((1_000_000, 4), -1, np.int32)
    many.rows = {"target": np.arange(1_000_000, dtype=np.int32)}
    train, valid = split(many, val_split_pct=0.1)
    assert len(valid) == 100_000
    assert len(train) == 900_000
    described = ChipData(chips, "CloudRemoval", np.arange(6), np.arange(6, 12))
    described.train = train
    assert len(json.dumps(described.describe())) < 2000
