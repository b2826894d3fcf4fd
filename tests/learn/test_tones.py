"""Tones: windows as pictures of 8 bits show them, and batches of such."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geodecloud.errors import OptionError
from geodecloud.geo.sensors import DISPLAY_REFLECTANCE
from geodecloud.learn.batches import generator_of
from geodecloud.learn.cloud_batches import CloudBatches, EsaPictureBatches, PictureBatches
from geodecloud.learn.data import ChipData, split
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.tones import Tones

CPU = torch.device("cpu")
STEP = DISPLAY_REFLECTANCE / 255


def ramp(n_windows: int = 200) -> torch.Tensor:
    return torch.linspace(-0.05, 1.2, 500).view(1, 1, 1, -1).expand(n_windows, 3, 1, -1)


def is_of_8_bits(values: torch.Tensor) -> torch.Tensor:
    """Of each window (B, C, H, W) whether it holds whole steps alone."""
    steps = values / STEP
    return ((steps - steps.round()).abs() < 1e-3).flatten(1).all(1)


def test_a_picture_of_esa_is_reflectance_in_steps_and_cut_where_it_is_white() -> None:
    shown = Tones.esa(1).shown(ramp(1))
    assert is_of_8_bits(shown).all()
    inside = (ramp(1) > 0) & (ramp(1) < DISPLAY_REFLECTANCE)
    assert (shown - ramp(1))[inside].abs().max() <= 0.51 * STEP
    assert shown[ramp(1) >= DISPLAY_REFLECTANCE].unique().numel() == 1
    assert shown.max().item() == pytest.approx(DISPLAY_REFLECTANCE)


def test_about_the_share_that_is_asked_for_are_pictures_and_all_else_stays_bit_for_bit() -> None:
    tones = Tones.drawn(200, 0.4, generator_of(0, 0))
    shown, is_picture = tones.shown(ramp()), tones.is_picture.flatten()
    assert 50 < is_picture.sum() < 110
    assert torch.equal(is_of_8_bits(shown), is_picture)
    assert torch.equal(shown[~is_picture], ramp()[~is_picture])
    assert torch.equal(tones.known(torch.ones(200)) == 0, is_picture)


def test_pictures_differ_in_their_curves_and_brighter_stays_brighter() -> None:
    shown = Tones.drawn(200, 1.0, generator_of(0, 0)).shown(ramp())
    assert (shown.diff(dim=-1) >= 0).all()
    assert 0 <= shown.min() < shown.max() <= DISPLAY_REFLECTANCE + 1e-6
    at_a_tenth = shown[:, 0, 0, (ramp(1)[0, 0, 0] < 0.1).sum()]
    assert at_a_tenth.std() > 0.02
    # the rest is as ESA's are
    assert 0.25 < ((at_a_tenth - 0.1).abs() < STEP).float().mean() < 0.6


def test_the_fill_of_a_picture_is_drawn_from_the_picture(chips: PackedChips) -> None:
    batches = PictureBatches(
        chips, np.arange(len(chips)), pictures=0.5, chip_size=64, batch_size=64
    )
    batch = batches.at(0, CPU)
    outside = (batch["mask"] == 0).expand_as(batch["pixels"])
    assert torch.equal(batch["fill"][outside], batch["pixels"][outside])
    is_picture = is_of_8_bits(batch["pixels"])
    assert 0 < is_picture.sum() < 64
    assert is_of_8_bits(batch["target"])[is_picture].all()
    assert (batch["level"][is_picture] == 0).all()


def test_validation_shows_what_was_measured_and_pictures_of_it(
    chips: PackedChips, paired_chips: PackedChips
) -> None:
    samples = np.arange(1)
    plain, some, esa = (
        make(chips, samples).whole(samples, 3, CPU)
        for make in (
            CloudBatches,
            lambda *of: PictureBatches(*of, pictures=1.0),
            EsaPictureBatches,
        )
    )
    assert torch.equal(plain["pixels"], some["pixels"])
    assert torch.equal(esa["pixels"], Tones.esa(1).shown(plain["pixels"]))
    pair = next(EsaPictureBatches(paired_chips, np.arange(len(paired_chips))).pairs(CPU))
    assert is_of_8_bits(pair["pixels"]).all()


def test_a_set_says_that_it_shows_pictures_and_walks_them(chips: PackedChips) -> None:
    train, valid = split(chips, fold=1)
    plain = ChipData(chips, "CloudRemoval", train, valid)
    data = ChipData(chips, "CloudRemoval", train, valid, pictures=0.4)
    assert list(plain.valid_pictures(CPU)) == []
    assert "pictures" not in plain.describe()
    assert data.describe()["pictures"] == 0.4
    shown = list(data.valid_pictures(CPU, skies=2))
    assert len(shown) == 2 * len(valid)
    assert all(is_of_8_bits(batch["pixels"]).all() for batch in shown)
    with pytest.raises(OptionError, match="pictures beside type GAN"):
        ChipData(chips, "GAN", train, valid, pictures=0.4)
