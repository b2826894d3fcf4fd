"""Figures: by region, beside the baselines, by hand-made errors."""

from __future__ import annotations

import pytest
import torch

from geodecloud.learn.data import ChipData
from geodecloud.learn.evaluate import evaluate, no_answer, valid_loss
from tests.learn.conftest import data_of, small_model

CPU = torch.device("cpu")


def batch_of(error: float) -> dict[str, torch.Tensor]:
    target = torch.full((1, 2, 4, 4), 0.3)
    classes = torch.tensor([0, 1, 2, 3]).repeat(4, 1)[None, None]
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 3, :] = 0  # the last row is outside the mask
    fill = target + error
    fill[..., 3, :] = 99.0
    return {
        "pixels": target + 0.5,
        "target": target,
        "fill": fill,
        "weight": weight,
        "classes": classes,
    }


def test_psnr_is_that_of_the_mean_squared_error_over_masked_pixels() -> None:
    figures = evaluate(no_answer, [batch_of(0.1), batch_of(0.1)])
    assert set(figures) == {"masked", "thin", "thick", "shadow", "clear"}
    for region in figures.values():
        assert region["psnr"] == region["psnr_fill"] == pytest.approx(20, abs=1e-3)
        assert region["psnr_identity"] == pytest.approx(6.021, abs=1e-3)
        assert region["mae"] == pytest.approx(0.1, abs=1e-6)
    assert figures["masked"]["values"] == 2 * 2 * 12


def test_errors_of_windows_are_pooled_before_the_logarithm() -> None:
    figures = evaluate(no_answer, [batch_of(0.1), batch_of(0.0)])
    assert figures["masked"]["psnr"] == pytest.approx(23.01, abs=0.01)


def test_the_validation_loss_is_the_mean_error_in_thousandths() -> None:
    assert valid_loss(no_answer, [batch_of(0.1), batch_of(0.3)]) == pytest.approx(200, rel=1e-4)


def test_real_pairs_have_figures_of_their_own(paired_chips) -> None:
    data = data_of(paired_chips)
    figures = small_model(data).compute_metrics()
    assert figures["pairs_thick"]["psnr"] == figures["pairs_thick"]["psnr_fill"]


def test_more_skies_are_other_skies(data: ChipData) -> None:
    batches = list(data.valid_batches(CPU, 1, skies=3))
    assert len(batches) == 3
    assert not torch.equal(batches[0]["pixels"], batches[1]["pixels"])
