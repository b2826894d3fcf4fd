"""evaluate and valid_loss: a model on held-out windows, by region, beside the baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from geodecloud.learn.cutting import CLEAR, SHADOW, THICK, THIN
from geodecloud.learn.plan import Batch

Answerer = Callable[[Batch], Tensor]


def valid_loss(answer: Answerer, batches: Iterable[Batch]) -> float:
    """Return the mean absolute error over all that counts, in thousandths of the unit."""
    error, count = 0.0, 0.0
    for batch in batches:
        weight = batch["weight"].expand_as(batch["target"])
        error += float(((answer(batch) - batch["target"]).abs() * weight).sum())
        count += float(weight.sum())
    return 1000 * error / max(count, 1.0)


def evaluate(answer: Answerer, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
    """Return figures by region: PSNR of the model, the fill and the identity, and MAE.

    PSNR is that of the mean squared error over all windows, for a data range of 1. Regions are
    of masked, valid pixels: "masked", and where classes are known "thin", "thick", "shadow",
    and "clear" for what the mask holds too much.
    """
    sums: dict[str, dict[str, float]] = {}
    for batch in batches:
        answers = {"model": answer(batch), "identity": batch["pixels"]}
        if "fill" in batch:
            answers["fill"] = batch["fill"]
        for region, where in regions(batch).items():
            total = sums.setdefault(region, {"count": 0.0, "absolute": 0.0})
            wide = where.expand_as(batch["target"])
            total["count"] += float(wide.sum())
            for name, pixels in answers.items():
                if pixels.shape != batch["target"].shape:
                    continue
                error = (pixels - batch["target"])[wide].double()
                total[name] = total.get(name, 0.0) + float((error**2).sum())
                if name == "model":
                    total["absolute"] += float(error.abs().sum())
    return {region: _figures(total) for region, total in sums.items() if total["count"]}


def regions(batch: Batch) -> dict[str, Tensor]:
    """Return where (B, 1, H, W) each region of a batch lies."""
    masked = batch["weight"] > 0
    if "classes" not in batch:
        return {"masked": masked}
    named = {"thin": THIN, "thick": THICK, "shadow": SHADOW, "clear": CLEAR}
    found = {name: masked & (batch["classes"] == number) for name, number in named.items()}
    return {"masked": masked, **found}


def _figures(total: dict[str, float]) -> dict[str, float]:
    count = total["count"]
    figures = {
        "psnr" if name == "model" else f"psnr_{name}": _psnr(total[name] / count)
        for name in ("model", "fill", "identity")
        if name in total
    }
    return {**figures, "mae": total["absolute"] / count, "values": count}


def _psnr(mean_squared_error: float) -> float:
    return round(min(99.0, -10 * math.log10(max(mean_squared_error, 1e-10))), 3)


def no_answer(batch: Batch) -> Tensor:
    """Return the fill itself: what an untrained correction answers."""
    return torch.as_tensor(batch["fill"])
