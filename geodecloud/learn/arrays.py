"""translate_array: an array through a translator, without a scene around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geodecloud.errors import DataError
from geodecloud.learn.clouding import fill_windows
from geodecloud.translator import Request, Translator

Floats = npt.NDArray[np.float32]


def translate_array(
    translator: Translator,
    pixels: npt.NDArray[np.floating[Any]],
    *,
    mask: npt.NDArray[np.bool_] | None = None,
    fill: npt.NDArray[np.floating[Any]] | None = None,
    level: str | None = None,
) -> Floats:
    """Return what a translator makes of (C, H, W) or (B, C, H, W) values, of the same rank.

    Sides are padded by reflection to the translator's stride. Where ``mask`` (H, W) or
    (B, 1, H, W) is False, pixels leave as they came; without ``fill`` it is drawn from these.

    Raises:
        DataError: the array has another rank, or holds NaN.
    """
    whole = np.asarray(pixels, np.float32)
    if whole.ndim not in (3, 4) or not np.isfinite(whole).all():
        raise DataError(
            f"array of shape {whole.shape}" + ("" if np.isfinite(whole).all() else " with NaN"),
            "(C, H, W) or (B, C, H, W) of finite values is translated",
            "put the channels first, and fill what is not valid",
        )
    batch = whole if whole.ndim == 4 else whole[None]
    height, width = batch.shape[-2:]
    if mask is not None:
        mask = np.broadcast_to(mask, (len(batch), 1, height, width))
        fill = _drawn(batch, mask) if fill is None else np.asarray(fill, np.float32)
        fill = fill.reshape(batch.shape)
    below, right = (-side % translator.stride_px for side in (height, width))

    def padded(array: Any) -> Any:
        # symmetric: reflection fails where the margin is wider than the array
        margins = ((0, 0), (0, 0), (0, below), (0, right))
        return None if array is None else np.pad(array, margins, "symmetric")

    valid = np.ones(batch.shape, bool)
    request = Request(padded(batch), padded(valid), padded(mask), padded(fill), level=level)
    answer = translator(request).pixels[..., :height, :width]
    if mask is not None and answer.shape == batch.shape:
        answer = np.where(mask, answer, batch)
    return answer if whole.ndim == 4 else answer[0]


def _drawn(batch: Floats, mask: npt.NDArray[np.bool_]) -> Floats:
    filled = fill_windows(torch.from_numpy(batch), torch.from_numpy(np.ascontiguousarray(~mask)))
    drawn: Floats = filled.numpy()
    return drawn
