"""naive_answers: what a network has to beat, answers that were never trained."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geodecloud.learn.plan import Batch

TELEA_REACH_PX = 3
TELEA_SCALE = np.float32(1e5)  # OpenCV adds up to 1.4 along each slope, whatever the unit


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
        inpainted = _telea(pixels, mask)
        if inpainted is not None:
            found["telea"] = inpainted
    return found


def _telea(pixels: Tensor, mask: Tensor) -> Tensor | None:
    """Each band marched in from the rim of its mask; None without OpenCV.

    Source: Telea 2004, An image inpainting technique based on the fast marching method.
    """
    try:
        import cv2
    except ImportError:
        return None
    holes = mask[:, 0].cpu().numpy().astype(np.uint8)
    answers = [
        [cv2.inpaint(band, hole, TELEA_REACH_PX, cv2.INPAINT_TELEA) for band in window]
        for window, hole in zip(pixels.cpu().numpy() * TELEA_SCALE, holes, strict=True)
    ]
    drawn = torch.from_numpy(np.array(answers) / TELEA_SCALE).to(pixels.device)
    return torch.where(mask, drawn, pixels)
