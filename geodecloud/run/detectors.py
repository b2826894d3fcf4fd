"""Cloud detectors behind one protocol, and the one that fits a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from geodecloud.errors import BandError
from geodecloud.geo.masks import NODATA, SCL_CLASSES, Classes, Flags, classes_of_scl
from geodecloud.geo.scene import Scene
from geodecloud.progress import Listener, silent
from geodecloud.run.spectral import SpectralDetector


class Detector(Protocol):
    """Tells cloud, thin cloud and shadow from clear ground; a value that can be pickled.

    Contract: after ``prepare``, the class of a pixel depends on what lies within ``margin_px`` of
    it and on nothing else, so windows agree with the whole; what is not valid is ``NODATA``.
    """

    @property
    def name(self) -> str:
        """How it is named in options and reports."""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands it wants, in its order."""
        ...

    @property
    def margin_px(self) -> int:
        """How far it looks around a pixel."""
        ...

    def prepare(self, scene: Scene, on_progress: Listener = silent) -> Self:
        """Return the detector calibrated to a scene; itself where there is nothing to learn.

        Raises:
            BandError: the scene lacks a band of the detector.
        """
        ...

    def classes(self, reflectance: npt.NDArray[np.float32], valid: Flags) -> Classes:
        """Return (H, W) codes of ``CLASSES`` for (C, H, W) values and (H, W) validity."""
        ...


@dataclass(frozen=True)
class SclDetector:
    """Takes the scene classification that comes with a Sentinel-2 L2A product.

    Attributes:
        meaning: which of its codes are cloud, thin cloud or shadow; the others are clear.

    Example:
        >>> scl = np.array([[[4, 8, 3]]], np.float32)
        >>> SclDetector().classes(scl, np.ones((1, 3), bool))
        array([[0, 1, 3]], dtype=uint8)
    """

    name: str = "scl"
    bands: tuple[str, ...] = ("SCL",)
    margin_px: int = 0
    meaning: Mapping[int, int] = field(default_factory=lambda: dict(SCL_CLASSES))

    def prepare(self, scene: Scene, on_progress: Listener = silent) -> Self:
        """Return itself: the product was classified by its maker."""
        scene.sensor.index(self.bands)
        return self

    def classes(self, reflectance: npt.NDArray[np.float32], valid: Flags) -> Classes:
        """Return (H, W) codes of ``CLASSES`` for (1, H, W) codes of the scene classification."""
        codes = classes_of_scl(reflectance[0], self.meaning)
        codes[~valid] = NODATA
        return codes


DETECTORS: Mapping[str, Detector] = MappingProxyType(
    {
        "scl": SclDetector(),
        "spectral": SpectralDetector("spectral", ("B02", "B03", "B04", "B08")),
        "spectral-rgb": SpectralDetector("spectral-rgb", ("blue", "green", "red")),
    }
)
"""Detectors by name, the most trusted first."""


def detector_for(scene: Scene) -> Detector:
    """Return the detector for a scene, not yet prepared: the first whose bands it has.

    A scene of B02, B03 and B04 without near infrared counts as one of red, green and blue.

    Raises:
        BandError: no detector can use the scene's bands.
    """
    have = scene.sensor.band_names
    for detector in DETECTORS.values():
        if set(detector.bands) <= set(have):
            return detector
    visible = ("B02", "B03", "B04")
    if set(visible) <= set(have):
        return SpectralDetector("spectral-rgb", visible)
    wanted = "; ".join(", ".join(detector.bands) for detector in DETECTORS.values())
    raise BandError(
        f"scene has bands {', '.join(have)}",
        f"clouds are found in one of these sets: {wanted}",
        "name the bands in order with --bands (bands=), or pass a mask of your own with --mask",
    )
