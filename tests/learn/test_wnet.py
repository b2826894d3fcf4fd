"""WNet_cGAN: a second input guides, as a correction of the fill or as a translation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geodecloud.errors import ModelError, OptionError
from geodecloud.learn.data import ChipData, split
from geodecloud.learn.generators import WNet
from geodecloud.learn.pack_writer import PackWriter
from geodecloud.learn.packed import PackedChips, Side
from geodecloud.learn.pix2pix import Pix2Pix
from geodecloud.learn.wnet import WNet_cGAN
from tests.learn.conftest import BANDS, data_of, ground

CPU = torch.device("cpu")
SMALL = {"widths": (4, 8)}


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> PackedChips:
    """Radar and another date of a place, and what it looks like now."""
    path = tmp_path_factory.mktemp("dated") / "chips.safetensors"
    random = np.random.default_rng(3)
    optical = Side(BANDS, "reflectance", "sentinel-2-l2a")
    sides = {"source": Side(("VV",), "dB"), "target": optical, "reference": optical}
    with PackWriter(path, 64, sides) as writer:
        for i in range(8):
            now = ground(random, size_px=64)
            valid = np.ones(now.shape, bool)
            chip = {
                "source": (40 * now[:1] - 25, valid[:1]),
                "target": (now, valid),
                "reference": (now + 0.05, valid),
            }
            writer.add(chip, place=f"place {i % 4}")
    return PackedChips(path)


def test_an_untrained_correction_is_the_fill_whatever_the_radar_says(guided_chips) -> None:
    model = WNet_cGAN(data_of(guided_chips, "WNet_cGAN"), **SMALL)
    way = model.directions["forward"]
    assert way["inputs"] == ("pixels", "mask", "fill", "level", "sar")
    assert (way["task"], way["extras"]) == ("cloud-removal", {"sar": ("VV", "VH")})
    batch = model.data.batches.at(0, CPU)
    assert torch.equal(model.answer(batch), batch["fill"])


def test_the_second_encoder_sees_the_radar_alone(guided_chips) -> None:
    model = WNet_cGAN(data_of(guided_chips, "WNet_cGAN"), **SMALL)
    generator = model.networks["forward"].generator
    assert isinstance(generator, WNet)
    assert generator.second[0][0].in_channels == 2
    assert generator.first[0][0].in_channels == 2 * 4 + 2


def test_it_judges_real_pairs_of_which_it_has_no_other(guided_chips) -> None:
    model = WNet_cGAN(data_of(guided_chips, "WNet_cGAN"), **SMALL)
    batch = model.data.batches.at(0, CPU)
    assert batch["synthetic"].max() == 0
    losses, carried = model.losses(model.phases[0], batch, {})
    assert losses["gen_loss"] > 0
    unmasked = (batch["mask"] == 0).expand_as(carried["fake"])
    assert torch.equal(carried["fake"][unmasked], carried["real"][unmasked])
    assert model.losses(model.phases[1], batch, carried)[0]["D_loss"] > 0


def test_other_sides_make_a_translation_with_another_date(dated, tmp_path: Path) -> None:
    model = WNet_cGAN(data_of(dated, "WNet_cGAN"), **SMALL)
    way = model.directions["forward"]
    assert (way["inputs"], way["bands_in"]) == (("pixels", "reference"), ("VV",))
    history = model.fit(2, lr=1e-2, steps_per_epoch=8, device="cpu", checkpoint=False)
    assert history.rows[1]["l1_loss"] < history.rows[0]["l1_loss"]


def test_one_encoder_may_see_both_inputs(dated) -> None:
    model = WNet_cGAN(data_of(dated, "WNet_cGAN"), generator="unet", **SMALL)
    assert model.networks["forward"].generator.down[0][0].in_channels == 1 + 4
    batch = model.data.batches.at(0, CPU)
    moved = {**batch, "reference": batch["reference"] + 0.1}
    assert not torch.equal(model.answer(batch), model.answer(moved))


def test_an_encoder_of_the_guide_may_be_narrower(dated) -> None:
    model = WNet_cGAN(data_of(dated, "WNet_cGAN"), second_widths=(2, 3), **SMALL)
    generator = model.networks["forward"].generator
    assert generator.second[1][0].out_channels == 3
    assert generator.reduce[0].in_channels == 8 + 3
    with pytest.raises(OptionError, match="encoders of 2 and 3 levels"):
        WNet_cGAN(data_of(dated, "WNet_cGAN"), second_widths=(2, 3, 4), **SMALL)


def without_fold(packed: PackedChips, dataset_type: str, fold: int) -> ChipData:
    train, valid = split(packed, fold=fold)
    return ChipData(packed, dataset_type, train, valid, chip_size=32, batch_size=4)


@pytest.fixture(scope="module")
def taught(chips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A correction of the fill that was trained a little, without a guide or fold 1."""
    model = Pix2Pix(without_fold(chips, "CloudRemoval", 1), gan_weight=0.0, widths=(4, 8))
    model.fit(1, lr=1e-2, steps_per_epoch=4, device="cpu", checkpoint=False)
    return model.save(tmp_path_factory.mktemp("taught") / "optical", compute_metrics=False)


def test_a_correction_goes_on_with_a_guide_where_it_was(guided_chips, taught: Path) -> None:
    data = data_of(guided_chips, "GuidedCloudRemoval")
    model = WNet_cGAN(data, taught, second_widths=(2, 3), gan_weight=0.0)
    way = model.directions["forward"]
    assert way["inputs"] == ("pixels", "mask", "fill", "level", "sar")
    batch = data.batches.at(0, CPU)
    optical = Pix2Pix(pretrained_path=taught)
    before = optical.answer(batch)
    assert not torch.equal(before, batch["fill"])
    torch.testing.assert_close(model.answer(batch), before, atol=1e-6, rtol=0)
    model.fit(1, lr=1e-2, steps_per_epoch=6, device="cpu", checkpoint=False)
    hidden = {**batch, "sar": torch.zeros_like(batch["sar"])}
    assert not torch.equal(model.answer(batch), model.answer(hidden))


def test_places_that_taught_the_start_are_known_to_the_end(
    guided_chips, taught: Path, tmp_path: Path
) -> None:
    model = WNet_cGAN(without_fold(guided_chips, "GuidedCloudRemoval", 0), taught)
    folder = model.save(tmp_path / "guided", compute_metrics=False)
    about = WNet_cGAN.from_model(folder).training["data"]
    assert about["places"] == ["place 0", "place 1", "place 2", "place 3"]
    assert about["n_places"] == 4


def test_a_guide_is_added_to_a_correction_that_has_none(dated, taught, tmp_path: Path) -> None:
    drawn = Pix2Pix(data_of(dated, "Pix2Pix"), gan_weight=0.0, widths=(4, 8))
    drawn.save(tmp_path / "drawn", compute_metrics=False)
    with pytest.raises(ModelError, match="a translation by unet"):
        WNet_cGAN(data_of(dated, "WNet_cGAN"), tmp_path / "drawn")
    with pytest.raises(ModelError, match="is a Pix2Pix"):
        WNet_cGAN(pretrained_path=taught)
