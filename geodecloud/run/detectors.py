"""Cloud detectors behind one protocol, and the one that fits a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from geodecloud.errors import BandError, OptionError
from geodecloud.geo.masks import (
    CLEAR,
    CLOUD,
    NODATA,
    SCL_CLASSES,
    THIN,
    Classes,
    Flags,
    classes_of_scl,
)
from geodecloud.geo.scene import Scene
from geodecloud.progress import Listener, silent
from geodecloud.run.cloudless import CloudlessDetector
from geodecloud.run.csmask import CsmaskDetector
from geodecloud.run.joint import JointDetector
from geodecloud.run.network import NetworkDetector, bands_in, is_model, shipped_networks
from geodecloud.run.spectral import SpectralDetector


class Detector(Protocol):
    """Tells cloud, thin cloud and shadow from clear ground; a value that can be pickled.

    Contract: after ``prepare``, windows that begin on multiples of ``stride_px`` agree with the
    whole: the class of a pixel depends on what lies within ``margin_px`` of the cell of
    ``stride_px`` squared that it lies in, and on nothing else. What is not valid is ``NODATA``.
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
        """How far it looks around a cell."""
        ...

    @property
    def stride_px(self) -> int:
        """Side of the cells it cuts a scene into; 1 where it sees all pixels alike."""
        ...

    def prepare(self, scene: Scene, on_progress: Listener = silent) -> Self:
        """Return the detector calibrated to a scene; itself where there is nothing to learn.

        Raises:
            BandError: the scene lacks a band of the detector.
            MissingExtraError: the package that the detector comes from is not installed.
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
    stride_px: int = 1
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


@dataclass(frozen=True)
class Qa60Detector:
    """Takes the cloud flags of Sentinel-2's band QA60: bit 10 opaque cloud, bit 11 cirrus.

    They know no shadows, and are 0 all over in products of January 2022 to February 2024.

    Example:
        >>> qa60 = np.array([[[0, 1024, 2048]]], np.float32)
        >>> Qa60Detector().classes(qa60, np.ones((1, 3), bool))
        array([[0, 1, 2]], dtype=uint8)
    """

    name: str = "qa60"
    bands: tuple[str, ...] = ("QA60",)
    margin_px: int = 0
    stride_px: int = 1

    def prepare(self, scene: Scene, on_progress: Listener = silent) -> Self:
        """Return itself: the product was classified by its maker."""
        scene.sensor.index(self.bands)
        return self

    def classes(self, reflectance: npt.NDArray[np.float32], valid: Flags) -> Classes:
        """Return (H, W) codes of ``CLASSES`` for (1, H, W) flags."""
        flags = reflectance[0].astype(np.int32)
        codes = np.where(flags & 1 << 10, CLOUD, np.where(flags & 1 << 11, THIN, CLEAR))
        return np.where(valid, codes, NODATA).astype(np.uint8)


VISIBLE, COLOURS = ("B02", "B03", "B04"), ("blue", "green", "red")
FOUR = (*VISIBLE, "B08")

DETECTORS: Mapping[str, Detector] = MappingProxyType(
    {
        "scl": SclDetector(),
        # votes were chosen on training scenes: docs/masks.md
        "joint": JointDetector(
            "joint", "cloud-mask", SpectralDetector("spectral", FOUR), votes=(2.0, 4.0, 3.0)
        ),
        "joint-rgb": JointDetector(
            "joint-rgb",
            "cloud-mask-rgb",
            SpectralDetector("spectral-rgb", VISIBLE),
            votes=(1.5, 5.0, 1.5),
        ),
        "spectral": SpectralDetector("spectral", FOUR),
        "spectral-rgb": SpectralDetector("spectral-rgb", COLOURS),
        "qa60": Qa60Detector(),
        "ukis-csmask": CsmaskDetector(),
        "s2cloudless": CloudlessDetector(),
    }
)
"""Detectors by name."""

TRUSTED = ("scl", "spectral", "spectral-rgb")
"""Those that "auto" chooses from, the most trusted first."""

JOINED = MappingProxyType({"cloud-mask": "joint", "cloud-mask-rgb": "joint-rgb"})
"""Networks that are shipped, and the detectors in which rules vote beside them."""


def is_detector(name_or_path: str) -> bool:
    """Say whether this names a detector: a word, or a model that finds clouds."""
    return name_or_path in DETECTORS or is_model(name_or_path)


def detector_named(name_or_path: str | Path) -> Detector:
    """Return the detector of this name, or the model of this name or path.

    Raises:
        OptionError: there is none.
        ModelError: the model is damaged, or does something else.
    """
    name = str(name_or_path)
    if name in DETECTORS:
        return DETECTORS[name]
    if is_model(name):
        return NetworkDetector.open(name)
    raise OptionError(
        f"no detector {name!r}",
        f"a detector is {', '.join(DETECTORS)}, or a cloud-mask model by name or path",
        "choose one of them",
    )


def detector_for(scene: Scene) -> Detector:
    """Return the detector for a scene, not yet prepared: the first whose bands it has.

    A cloud-mask model that is shipped goes before the rules, where bands and pixel size suit it;
    where the rules know its bands both vote.
    A scene of B02, B03 and B04 without near infrared counts as one of red, green and blue.

    Raises:
        BandError: no detector can use the scene's bands.
    """
    have = scene.sensor.band_names
    known = [DETECTORS[name] for name in TRUSTED]
    shipped = shipped_networks(scene)
    networks = [DETECTORS.get(JOINED.get(each.name, ""), each) for each in shipped]
    for detector in [known[0], *networks, *known[1:]]:
        if set(bands_in(scene, detector.bands)) <= set(have):
            return detector
    if set(VISIBLE) <= set(have):
        return SpectralDetector("spectral-rgb", VISIBLE)
    wanted = "; ".join(", ".join(detector.bands) for detector in known)
    raise BandError(
        f"scene has bands {', '.join(have)}",
        f"clouds are found in one of these sets: {wanted}",
        "name the bands in order with --bands (bands=), or pass a mask of your own with --mask",
    )
