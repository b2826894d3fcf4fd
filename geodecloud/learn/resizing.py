"""resized: a chip at another number of pixels, nodata kept out of its neighbours."""

from __future__ import annotations

import numpy as np

from geodecloud.learn.packed import Flags, Floats


def resized(values: Floats, valid: Flags, size_px: int) -> tuple[Floats, Flags]:
    """Return values and validity (C, H, W) as (C, S, S).

    Larger chips are drawn linearly; smaller ones are means over what each pixel covers. A pixel is
    valid where more than half of its weight was.

    Example:
        >>> chip = np.array([[[0, 2], [4, 6]]], np.float32)
        >>> resized(chip, chip > -1, 1)[0]
        array([[[3.]]], dtype=float32)
    """
    rows, cols = (_weights(length, size_px) for length in values.shape[1:])
    share = rows @ valid.astype(np.float32) @ cols.T
    summed = rows @ np.where(valid, values, np.float32(0)) @ cols.T
    known = share > 0.5
    return np.where(known, summed / np.maximum(share, 1e-6), np.float32(0)), known


def _weights(length: int, size_px: int) -> Floats:
    """How much of each old pixel a new one takes, (S, L): a tent as wide as the coarser grid."""
    step = length / size_px
    centres = (np.arange(size_px) + 0.5) * step - 0.5
    apart = np.abs(centres[:, None] - np.arange(length)) / max(step, 1.0)
    tents = np.maximum(1 - apart, 0)
    weights: Floats = (tents / tents.sum(1, keepdims=True)).astype(np.float32)
    return weights
