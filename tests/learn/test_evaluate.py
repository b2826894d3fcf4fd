"""Figures: by region, beside naive answers, by hand-made errors and by the definitions."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from geodecloud import metrics
from geodecloud.learn.data import ChipData
from geodecloud.learn.evaluate import evaluate, no_answer, pasted, regions, valid_loss
from geodecloud.learn.naive import naive_answers
from tests.learn.conftest import data_of, small_model, unsettle

CPU = torch.device("cpu")
SIZE = 24
MASKED = (slice(None), slice(None), slice(8, 16))
RANDOM = torch.Generator().manual_seed(5)


def batch_of(error: float) -> dict[str, torch.Tensor]:
    """A target of 0.3 under a band of clouds, eight rows of four classes, its last row invalid."""
    target = torch.full((1, 2, SIZE, SIZE), 0.3)
    mask, weight = torch.zeros(2, 1, 1, SIZE, SIZE)
    mask[MASKED] = weight[MASKED] = 1.0
    weight[..., 15, :] = 0
    classes = torch.arange(4).repeat(SIZE // 4).expand(1, 1, SIZE, SIZE)
    pixels, fill = target.clone(), target.clone()
    pixels[MASKED] += 0.5
    fill[MASKED] += error
    fill[..., 15, :] = 99.0
    return {
        **{"pixels": pixels, "target": target, "fill": fill},
        **{"mask": mask, "weight": weight, "classes": classes},
    }


def test_psnr_is_that_of_the_mean_squared_error_over_masked_pixels() -> None:
    figures = evaluate(no_answer, [batch_of(0.1), batch_of(0.1)])
    assert set(figures) == {
        *("whole", "masked", "thin", "thick", "shadow", "excess", "ring", "clear"),
    }
    for name in ("masked", "thin", "thick", "shadow", "excess"):
        region = figures[name]
        assert region["psnr"] == region["psnr_fill"] == pytest.approx(20, abs=1e-3)
        assert region["psnr_identity"] == pytest.approx(6.021, abs=1e-3)
        assert region["mae"] == pytest.approx(0.1, abs=1e-6)
        assert region["data_range"] == 1.0
    assert figures["masked"]["values"] == 2 * 2 * 7 * SIZE


def test_errors_of_windows_are_pooled_before_the_logarithm() -> None:
    figures = evaluate(no_answer, [batch_of(0.1), batch_of(0.0)])
    assert figures["masked"]["psnr"] == pytest.approx(23.01, abs=0.01)


def test_psnr_knows_the_range_of_the_data() -> None:
    half = evaluate(no_answer, [batch_of(0.1)], data_range=0.5)["masked"]
    assert half["psnr"] == pytest.approx(20 - 20 * math.log10(2), abs=1e-3)
    assert half["data_range"] == 0.5


def test_figures_of_one_window_are_those_of_the_metrics() -> None:
    batch = batch_of(0.0)
    answer = batch["target"] + 0.05 * torch.randn(batch["target"].shape, generator=RANDOM)
    figures = evaluate(lambda _: answer, [batch], thorough=True)
    for name, where in regions(batch).items():
        expected = metrics.by_region(
            pasted(answer, batch)[0].numpy(),
            batch["target"][0].numpy(),
            {name: where[0, 0].numpy()},
            data_range=1.0,
        )[name]
        for figure in ("ssim", "sam", "mae"):
            assert figures[name][figure] == pytest.approx(expected[figure], abs=1e-9), figure
        assert figures[name]["psnr"] == pytest.approx(min(99, expected["psnr"]), abs=1e-3)


def test_regions_part_the_valid_pixels() -> None:
    batch = batch_of(0.1)
    found = {name: where[0, 0] for name, where in regions(batch).items()}
    parts = torch.stack([found[name] for name in ("masked", "ring", "clear")])
    assert torch.equal(parts.sum(0) == 1, found["whole"])
    classes = torch.stack([found[name] for name in ("thin", "thick", "shadow", "excess")])
    assert torch.equal(classes.sum(0) == 1, found["masked"])
    assert found["ring"][:, 0].nonzero().flatten().tolist() == [*range(3, 8), *range(16, 21)]


def test_clear_pixels_of_a_network_are_bit_for_bit_those_of_the_input(data: ChipData) -> None:
    model = small_model(data)
    unsettle(model)
    for batch in data.valid_batches(CPU, 2):
        shown, clear = pasted(model.answer(batch), batch), batch["mask"] == 0
        assert clear.any()
        assert not clear.all()
        where = clear.expand_as(shown)
        assert torch.equal(shown[where], batch["pixels"][where])
        assert not torch.equal(shown[~where], batch["pixels"][~where])


def test_invalid_pixels_count_nowhere() -> None:
    batch = batch_of(0.1)
    batch["valid"] = torch.ones_like(batch["mask"])
    batch["valid"][..., :4] = 0
    batch["weight"] = batch["weight"] * batch["valid"]
    assert not any(where[..., :4].any() for where in regions(batch).values())


def test_pairs_without_a_mask_have_one_region_and_the_identity_beside() -> None:
    target = torch.rand(2, 3, 16, 16, generator=RANDOM)
    batch = {"pixels": target + 0.1, "target": target, "weight": torch.ones(2, 1, 16, 16)}
    figures = evaluate(lambda b: b["target"] + 0.01, [batch])
    assert set(figures) == {"whole"}
    assert figures["whole"]["psnr"] == pytest.approx(40, abs=0.01)
    assert figures["whole"]["psnr_identity"] == pytest.approx(20, abs=0.01)
    assert figures["whole"]["ssim"] > figures["whole"]["ssim_identity"]


def test_an_input_of_other_bands_is_no_identity() -> None:
    target = torch.rand(1, 3, 16, 16, generator=RANDOM)
    batch = {"pixels": target[:, :1], "target": target, "weight": torch.ones(1, 1, 16, 16)}
    figures = evaluate(lambda b: b["target"], [batch])["whole"]
    assert not any("identity" in name for name in figures)
    assert figures["psnr"] == 99.0


def test_naive_answers_leave_clear_pixels_alone_and_see_nothing_under_the_mask() -> None:
    batch = batch_of(0.1)
    batch["pixels"] += torch.rand(batch["pixels"].shape, generator=RANDOM) / 10
    other = dict(batch, pixels=batch["pixels"].clone())
    other["pixels"][MASKED] = 0.9  # another cloud
    answers, others = (naive_answers(b, thorough=True) for b in (batch, other))
    mask = (batch["mask"] > 0).expand_as(batch["pixels"])
    assert {"identity", "fill", "mean"} <= set(answers)
    for name, answer in answers.items():
        assert torch.equal(answer[~mask], batch["pixels"][~mask]), name
        if name != "identity":
            torch.testing.assert_close(answer[mask], others[name][mask], msg=name)
    clear = batch["pixels"][0, 0][batch["mask"][0, 0] == 0]
    assert answers["mean"][0, 0, 10, 10] == pytest.approx(float(clear.mean()), abs=1e-6)


def test_inpainting_carries_a_plane_across_a_hole() -> None:
    pytest.importorskip("cv2")
    batch = batch_of(0.0)
    telea = naive_answers(batch, thorough=True)["telea"]
    np.testing.assert_allclose(telea, batch["target"], atol=1e-4)


def test_without_opencv_there_is_no_inpainting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert "telea" not in naive_answers(batch_of(0.0), thorough=True)


def test_the_validation_loss_is_the_mean_error_in_thousandths() -> None:
    both = [batch_of(0.1), batch_of(0.3)]
    assert valid_loss(no_answer, both) == pytest.approx(200, rel=1e-4)


def test_real_pairs_have_figures_of_their_own(paired_chips) -> None:
    data = data_of(paired_chips)
    figures = small_model(data).compute_metrics()
    assert figures["pairs_thick"]["psnr"] == figures["pairs_thick"]["psnr_fill"]


def test_more_skies_are_other_skies(data: ChipData) -> None:
    batches = list(data.valid_batches(CPU, 1, skies=3))
    assert len(batches) == 3
    assert not torch.equal(batches[0]["pixels"], batches[1]["pixels"])
