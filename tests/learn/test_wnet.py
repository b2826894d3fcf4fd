"""WNet_cGAN: a second input guides, as a correction of the fill or as a translation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geodecloud.learn.generators import WNet
from geodecloud.learn.packed import PackedChips, PackWriter, Side
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
