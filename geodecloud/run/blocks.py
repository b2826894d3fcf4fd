"""in_blocks: a window classified piece by piece, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from geodecloud.geo.masks import Classes

Floats = npt.NDArray[np.float32]


def in_blocks(
    values: Floats, size_px: int, context_px: int, classify: Callable[[Floats], Classes]
) -> Classes:
    """Return the classes (H, W) of values (C, H, W), asked for in squares of one size.

    ``classify`` gets ``size_px + 2 * context_px`` squared, and only its middle is kept. Beyond
    the window the values of its edge go on.
    """
    height, width = values.shape[1:]
    beyond = [(context_px, -length % size_px + context_px) for length in (height, width)]
    padded = np.pad(values, [(0, 0), *beyond], mode="edge")
    side = size_px + 2 * context_px
    codes = np.empty((height, width), np.uint8)
    for row in range(0, height, size_px):
        for col in range(0, width, size_px):
            found = classify(padded[:, row : row + side, col : col + side])
            kept = codes[row : row + size_px, col : col + size_px]
            kept[:] = found[context_px:, context_px:][: kept.shape[0], : kept.shape[1]]
    return codes
