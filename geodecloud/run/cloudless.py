"""CloudlessDetector: s2cloudless, from ten bands of Level-1C."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from geodecloud.errors import BandError, MissingExtraError
from geodecloud.geo.masks import CLEAR, CLOUD, NODATA, Classes, Disk, Flags, dilate
from geodecloud.geo.scene import Scene
from geodecloud.progress import Listener, silent

Floats = npt.NDArray[np.float32]

LIKELY = 0.4
AVERAGE_PX, DILATE_PX = 4, 2
"""Threshold, averaging and growth that its documentation uses at 10 m."""


@dataclass(frozen=True)
class CloudlessDetector:
    """Finds clouds with s2cloudless (Sentinel Hub), pixel by pixel; it knows no shadows."""

    name: str = "s2cloudless"
    bands: tuple[str, ...] = (
        *("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12"),
    )
    margin_px: int = AVERAGE_PX + DILATE_PX
    stride_px: int = 1

    def prepare(self, scene: Scene, on_progress: Listener = silent) -> Self:
        """Return itself: it learns nothing from a scene.

        Raises:
            BandError: the scene lacks a band, or is not top of atmosphere.
            MissingExtraError: s2cloudless is not installed.
        """
        scene.sensor.index(self.bands)
        if scene.sensor.level == "L2A":
            raise BandError(
                "the scene is Level-2A", "s2cloudless was made for Level-1C", "use --mask scl"
            )
        if find_spec("s2cloudless") is None:
            raise MissingExtraError("s2cloudless", "masks", "the detector s2cloudless")
        return self

    def classes(self, reflectance: Floats, valid: Flags) -> Classes:
        """Return (H, W) codes of ``CLASSES`` for (C, H, W) reflectance and (H, W) validity."""
        values = np.moveaxis(reflectance, 0, -1)[None]
        (likely,) = self._forest.get_cloud_probability_maps(values)
        cloud = dilate(_mean_over(np.where(valid, likely, 0)) > LIKELY, Disk.of_px(DILATE_PX))
        codes = np.where(cloud, CLOUD, CLEAR)
        return np.where(valid, codes, NODATA).astype(np.uint8)

    @cached_property
    def _forest(self) -> Any:
        from s2cloudless.cloud_detector import S2PixelCloudDetector

        return S2PixelCloudDetector(average_over=None, dilation_size=None)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the forest is read again where it arrives."""
        return {name: value for name, value in self.__dict__.items() if name != "_forest"}


def _mean_over(likely: Floats) -> Floats:
    """Means over disks of ``AVERAGE_PX``, the edge going on beyond the array."""
    half_widths = Disk.of_px(AVERAGE_PX).half_widths
    height, width = likely.shape
    padded = np.pad(likely, AVERAGE_PX, mode="edge").astype(np.float64)
    total, count = np.zeros(likely.shape), 0
    for row in range(-AVERAGE_PX, AVERAGE_PX + 1):
        reach = half_widths[abs(row)]
        for col in range(-reach, reach + 1):
            top, left = AVERAGE_PX + row, AVERAGE_PX + col
            total += padded[top : top + height, left : left + width]
            count += 1
    return np.asarray(total / count, np.float32)
