"""inpainted: holes marched in from their rims by OpenCV, a peer of the fill."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

REACH_PX = 3
SCALE = np.float32(1e5)  # OpenCV adds up to 1.4 along each slope, whatever the unit


def inpainted(pixels: Floats, mask: npt.NDArray[np.bool_]) -> Floats | None:
    """Return (C, H, W) with each band drawn under a mask (H, W); None without OpenCV.

    Source: Telea 2004, An image inpainting technique based on the fast marching method.
    """
    try:
        import cv2
    except ImportError:
        return None
    hole = mask.astype(np.uint8)
    bands = [cv2.inpaint(band, hole, REACH_PX, cv2.INPAINT_TELEA) for band in pixels * SCALE]
    return np.where(mask, np.stack(bands) / SCALE, pixels)
