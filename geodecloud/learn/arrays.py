"""translate_array: an array through a translator, without a scene around it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geodecloud.errors import DataError
from geodecloud.learn.clouding import fill_windows
from geodecloud.translator import Request, Translator

Floats = npt.NDArray[np.float32]
NOTHING: Mapping[str, Any] = MappingProxyType({})


def translate_array(
    translator: Translator,
    pixels: npt.NDArray[np.floating[Any]],
    *,
    mask: npt.NDArray[np.bool_] | None = None,
    fill: npt.NDArray[np.floating[Any]] | None = None,
    level: str | None = None,
    extra: Mapping[str, npt.NDArray[np.floating[Any]]] = NOTHING,
    batch_size: int | None = None,
) -> Floats:
    """Return what a translator makes of (C, H, W) or (B, C, H, W) values, of the same rank.

    Sides are padded by reflection to the translator's stride. Where ``mask`` (H, W) or
    (B, 1, H, W) is False, pixels leave as they came; without ``fill`` it is drawn from these.
    ``extra`` holds further inputs by name, of the rank and sides of ``pixels``; ``batch_size``
    arrays are answered at once, None takes them all.

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

    request = Request(
        pixels=padded(batch),
        valid=padded(np.ones(batch.shape, bool)),
        mask=padded(mask),
        fill=padded(fill),
        extra={
            name: padded(np.reshape(array, (len(batch), -1, height, width)))
            for name, array in extra.items()
        },
        level=level,
    )
    size = batch_size or len(batch)
    parts = [request.part(slice(start, start + size)) for start in range(0, len(batch), size)]
    answer = np.concatenate([translator(part).pixels for part in parts])[..., :height, :width]
    if mask is not None and answer.shape == batch.shape:
        answer = np.where(mask, answer, batch)
    return answer if whole.ndim == 4 else answer[0]


def _drawn(batch: Floats, mask: npt.NDArray[np.bool_]) -> Floats:
    filled = fill_windows(torch.from_numpy(batch), torch.from_numpy(np.ascontiguousarray(~mask)))
    drawn: Floats = filled.numpy()
    return drawn
