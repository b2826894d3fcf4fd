"""naive_answers: what a network has to beat, answers that were never trained."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geodecloud.geo.inpainting import inpainted
from geodecloud.learn.plan import Batch


def naive_answers(batch: Batch, *, thorough: bool = False) -> dict[str, Tensor]:
    """Return what needs no training, by name, each (B, C, H, W) in the target's unit.

    "identity" is the input, where it has the target's bands; under a mask also "fill". When
    thorough, "mean" of each window's clear pixels too, and "telea", where OpenCV is installed.
    """
    pixels = batch.get("pixels")
    if pixels is None or pixels.shape != batch["target"].shape:
        return {}
    found = {"identity": pixels}
    if "mask" not in batch:
        return found
    mask = batch["mask"] > 0
    if "fill" in batch:
        found["fill"] = torch.where(mask, batch["fill"], pixels)
    if thorough:
        clear = ~mask & (batch["valid"] > 0 if "valid" in batch else torch.ones_like(mask))
        total = (pixels * clear).sum((2, 3), keepdim=True)
        mean = total / clear.sum((2, 3), keepdim=True).clamp_min(1)
        found["mean"] = torch.where(mask, mean, pixels)
        telea = _telea(pixels, mask)
        if telea is not None:
            found["telea"] = telea
    return found


def _telea(pixels: Tensor, mask: Tensor) -> Tensor | None:
    """Each band marched in from the rim of its mask; None without OpenCV."""
    windows = zip(pixels.cpu().numpy(), mask[:, 0].cpu().numpy(), strict=True)
    drawn = [inpainted(window, hole) for window, hole in windows]
    known = [each for each in drawn if each is not None]
    return torch.from_numpy(np.stack(known)).to(pixels.device) if known else None
