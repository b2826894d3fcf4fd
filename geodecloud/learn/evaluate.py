"""evaluate and valid_loss: a model on held-out windows, by region, beside the baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geodecloud.learn.clouding import grow
from geodecloud.learn.cutting import CLEAR, SHADOW, THICK, THIN
from geodecloud.learn.naive import naive_answers
from geodecloud.learn.plan import Batch
from geodecloud.metrics import sam, ssim

Answerer = Callable[[Batch], Tensor]
Figures = dict[str, dict[str, float]]


class Naive(Protocol):
    """Answers that were never trained, by name: ``learn.naive.naive_answers`` is one."""

    def __call__(self, batch: Batch, *, thorough: bool = False) -> dict[str, Tensor]:
        """Return them, each (B, C, H, W) in the target's unit."""
        ...


Array = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

RING_PX = 5
"""How far the ring around a mask reaches: where a seam would show."""

BEST_PSNR = 99.0  # stands for infinity, which JSON does not know

NAMED = {"thin": THIN, "thick": THICK, "shadow": SHADOW, "excess": CLEAR}


def valid_loss(answer: Answerer, batches: Iterable[Batch]) -> float:
    """Return the mean absolute error over all that counts, in thousandths of the unit."""
    error, count = 0.0, 0.0
    for batch in batches:
        weight = batch["weight"].expand_as(batch["target"])
        error += float(((answer(batch) - batch["target"]).abs() * weight).sum())
        count += float(weight.sum())
    return 1000 * error / max(count, 1.0)


def evaluate(
    answer: Answerer,
    batches: Iterable[Batch],
    *,
    data_range: float = 1.0,
    thorough: bool = False,
    naive: Naive = naive_answers,
) -> Figures:
    """Return figures of a model by region, beside those of naive answers to the same windows.

    ``{"thick": {"psnr", "ssim", "sam", "mae", "psnr_fill", ..., "values", "data_range"}, ...}``:
    PSNR (dB) of the squared error pooled over all windows, SSIM and SAM (degrees) as means of
    ``geodecloud.metrics`` over all pixels, MAE in the target's unit. Figures of a naive answer end
    in its name: fill, identity, mean (of the window's clear pixels), telea. Answers are pasted
    under the mask before they are measured. A region without a pixel has no figures.

    Args:
        answer: what is measured: a batch to (B, C, H, W) in the target's unit.
        batches: whole windows with "target" and "weight".
        data_range: from the lowest value to the highest that there can be; 1 for reflectance.
        thorough: SSIM in all regions (else in "whole" without a mask, "masked" with one), and the
            slower naive answers.
        naive: gives the naive answers.
    """
    sums: dict[str, dict[str, float]] = {}
    for batch in batches:
        answers = {"": pasted(answer(batch), batch), **naive(batch, thorough=thorough)}
        found = {name: _numpy(where) for name, where in regions(batch).items()}
        target = _numpy(batch["target"])
        main = "masked" if "masked" in found else "whole"
        for suffix, pixels in answers.items():
            shown = _numpy(pixels)
            for region, where in found.items():
                total = sums.setdefault(region, {})
                for i in range(len(target)):
                    if where[i].any():
                        has_ssim = thorough or region == main
                        window = (shown[i], target[i], where[i, 0])
                        _add(total, suffix, _window_figures(window, data_range, has_ssim))
    return {region: _figures(total, data_range) for region, total in sums.items() if total}


def regions(batch: Batch) -> dict[str, Tensor]:
    """Return where (B, 1, H, W) bool each region of a batch lies.

    "whole" is what is valid. With a mask also "masked", what of it counts, and outside of it "ring"
    (``RING_PX`` around) and "clear", the rest; where classes are known "thin", "thick",
    "shadow", and "excess" for clear pixels that the mask holds too much.
    """
    counts = batch["weight"] > 0
    if "mask" not in batch:
        return {"whole": counts}
    mask = batch["mask"] > 0
    valid = batch["valid"] > 0 if "valid" in batch else counts | ~mask
    near = grow(mask, RING_PX)
    found = {
        "whole": valid & (counts | ~mask),
        "masked": counts,
        "ring": valid & near & ~mask,
        "clear": valid & ~near,
    }
    if "classes" in batch:
        found |= {name: counts & (batch["classes"] == number) for name, number in NAMED.items()}
    return found


def pasted(answer: Tensor, batch: Batch) -> Tensor:
    """Return an answer under the mask and the input's own pixels outside of it."""
    if "mask" not in batch or answer.shape != batch["pixels"].shape:
        return answer
    return torch.where(batch["mask"] > 0, answer, batch["pixels"])


def no_answer(batch: Batch) -> Tensor:
    """Return the fill itself: what an untrained correction answers."""
    return torch.as_tensor(batch["fill"])


def _window_figures(
    window: tuple[Array, Array, Flags], data_range: float, has_ssim: bool
) -> dict[str, tuple[float, float]]:
    """Sums and counts of one window's region, by figure."""
    pixels, target, where = window
    error = (pixels - target)[:, where].astype(np.float64)
    n_pixels = float(where.sum())
    found = {
        "squared": (float((error**2).sum()), float(error.size)),
        "mae": (float(np.abs(error).sum()), float(error.size)),
    }
    if len(target) > 1:  # one band has no angle
        found["sam"] = (sam(pixels, target, where) * n_pixels, n_pixels)
    if has_ssim:
        found["ssim"] = (ssim(pixels, target, where, data_range=data_range) * n_pixels, n_pixels)
    return {name: (total, count) for name, (total, count) in found.items() if total == total}


def _add(total: dict[str, float], suffix: str, found: Mapping[str, tuple[float, float]]) -> None:
    for name, (value, count) in found.items():
        key = f"{name}_{suffix}" if suffix else name
        total[key] = total.get(key, 0.0) + value
        total[f"n {key}"] = total.get(f"n {key}", 0.0) + count


def _figures(total: Mapping[str, float], data_range: float) -> dict[str, float]:
    figures: dict[str, float] = {}
    for key, value in total.items():
        if key.startswith("n "):
            continue
        mean = value / total[f"n {key}"]
        if key.startswith("squared"):
            noise = 20 * math.log10(data_range) - 10 * math.log10(max(mean, 1e-30))
            figures[key.replace("squared", "psnr")] = round(min(BEST_PSNR, noise), 3)
        else:
            figures[key] = mean
    return {**figures, "values": total["n squared"], "data_range": data_range}


def _numpy(tensor: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.detach().cpu().numpy()
    return array
