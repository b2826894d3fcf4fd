"""A correction of the fill goes on with fewer bands, and loses no more than it must."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from geodecloud.errors import ModelError
from geodecloud.learn.data import ChipData, split
from geodecloud.learn.models import Pix2Pix
from geodecloud.learn.narrowing import narrowed
from geodecloud.learn.networks import build_network
from geodecloud.learn.packed import PackedChips
from tests.learn.conftest import BANDS, WIDTHS

RGB = ("B04", "B03", "B02")
LIMITS = {"low": (0.01, 0.02, 0.03, 0.03), "high": (0.3, 0.35, 0.5, 0.5)}


def way(generator: str = "unet", **changed: object) -> dict[str, object]:
    spec = {
        "adapter": "fill-correction",
        "generator": generator,
        "arguments": {"widths": WIDTHS},
        "limits": LIMITS,
    }
    return {"bands_in": BANDS, "bands_out": BANDS, "network": {**spec, **changed}}


def trained(of: dict[str, object]) -> torch.nn.Module:
    """A network whose every weight counts."""
    network = build_network(**of["network"])
    torch.manual_seed(3)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network.eval()


def test_it_answers_as_before_where_the_lost_band_looks_like_its_neighbour() -> None:
    wide = trained(way())
    narrow, fields = narrowed(wide, way(), RGB)
    pixels, fill = torch.rand(2, 2, 4, 16, 16)
    for values in (pixels, fill):
        values[:, 3] = values[:, 2]  # near infrared as bright as red
    rest = torch.rand(2, 1, 16, 16).round(), torch.tensor([1.0, -1.0])
    with torch.inference_mode():
        before = wide(pixels, rest[0], fill, rest[1])
        order = [2, 1, 0]
        after = narrow.eval()(pixels[:, order], rest[0], fill[:, order], rest[1])
    torch.testing.assert_close(after, before[:, order], atol=1e-5, rtol=1e-4)
    assert (before - fill).abs().mean() > 0.01
    assert fields["bands_in"] == fields["bands_out"] == RGB
    assert fields["network"]["limits"]["high"] == (0.5, 0.35, 0.3)


def test_radar_beside_the_bands_stays_where_it_is() -> None:
    limits = {**LIMITS, "low_extra": (-25.0, -30.0), "high_extra": (0.0, -5.0)}
    fields = way(limits=limits)
    wide = trained(fields)
    narrow, _ = narrowed(wide, fields, ("B02", "B03", "B04"))
    first, before = (net.generator.down[0][0].weight for net in (narrow, wide))
    assert torch.equal(first[:, -4:], before[:, -4:])  # mask, level, radar


@pytest.mark.parametrize(
    ("fields", "bands"),
    [(way(), ("B04", "B11")), (way(adapter="translation"), RGB)],
    ids=["unknown band", "translation"],
)
def test_other_bands_are_refused(fields: dict[str, object], bands: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match="for bands B04"):
        narrowed(trained(fields), fields, bands)


def test_a_network_that_mixes_bands_with_places_is_refused() -> None:
    fields = way("folded_unet")
    with pytest.raises(ModelError, match="has 40 channels, and 32 are wanted"):
        narrowed(trained(fields), fields, RGB)


def test_a_training_starts_from_a_package_of_more_bands(chips: PackedChips, tmp_path: Path) -> None:
    def data(packed: PackedChips) -> ChipData:
        train, valid = split(packed, fold=1)
        return ChipData(packed, "CloudRemoval", train, valid, chip_size=32, batch_size=4)

    folder = Pix2Pix(data(chips), widths=WIDTHS, gan_weight=0.0).save(
        tmp_path / "wide", compute_metrics=False
    )
    model = Pix2Pix(data(chips.select(RGB)), folder, gan_weight=0.0)
    assert model.directions["forward"]["bands_in"] == RGB
    history = model.fit(1, 1e-3, steps_per_epoch=2, checkpoint=False)
    assert history.rows[0]["valid_loss"] > 0
    assert model.save(tmp_path / "narrow", compute_metrics=False).is_dir()
    same = Pix2Pix(data(chips), folder, gan_weight=0.0)
    assert tuple(same.directions["forward"]["bands_in"]) == BANDS
