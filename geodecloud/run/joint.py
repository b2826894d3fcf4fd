"""JointDetector: a network and rules that vote on clouds together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from geodecloud.geo.masks import CLEAR, CLOUD, SHADOW, THIN, Classes, Flags
from geodecloud.geo.scene import Scene
from geodecloud.progress import Listener, silent
from geodecloud.run.network import NetworkDetector, bands_in
from geodecloud.run.spectral import SpectralDetector

Floats = npt.NDArray[np.float32]

ALIKE = ((CLEAR,), (CLOUD, THIN), (SHADOW,))
"""Classes that the rules do not set apart from each other as well as a network does."""


@dataclass(frozen=True)
class JointDetector:
    """Adds the rules' verdict to a network's scores, as so much evidence; the highest decides.

    Each knows what the other does not. A network knows textures, but sees no farther than its
    halo; rules know the haze of the whole scene and where its shadows fall, but neither roofs
    nor woods. What one of them is sure of stands; where the network wavers, the rules decide.

    Attributes:
        name: how it is named in options and reports.
        model: the network's package, by name or path; opened by ``prepare``.
        rules: the other voice.
        votes: what a verdict of the rules weighs, in the network's logarithms of odds: clear,
            cloud, shadow.
        network: the network, once prepared.
    """

    name: str
    model: str
    rules: SpectralDetector
    votes: tuple[float, float, float]
    network: NetworkDetector | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands it wants, in its order."""
        return self.rules.bands

    @property
    def margin_px(self) -> int:
        """How far it looks around a cell."""
        return max(self.rules.margin_px, self._ready.margin_px)

    @property
    def stride_px(self) -> int:
        """Side of a cell."""
        return self._ready.stride_px

    def prepare(self, scene: Scene, on_progress: Listener = silent) -> Self:
        """Return the detector with both voices calibrated to a scene.

        Raises:
            BandError: the scene lacks a band.
            GridError: its pixels are not of the size that the network was made for.
        """
        rules = replace(self.rules, bands=bands_in(scene, self.rules.bands))
        return replace(
            self,
            rules=rules.prepare(scene, on_progress),
            network=self._ready.prepare(scene, on_progress),
        )

    def classes(self, reflectance: Floats, valid: Flags) -> Classes:
        """Return (H, W) codes of ``CLASSES`` for (C, H, W) values and (H, W) validity."""
        verdict = self.rules.classes(reflectance, valid)
        evidence = np.zeros((len(self._ready.codes), *valid.shape), np.float32)
        for classes, vote in zip(ALIKE, self.votes, strict=True):
            is_so = np.isin(verdict, classes)
            for channel, code in enumerate(self._ready.codes):
                if code in classes:
                    evidence[channel][is_so] = vote
        return self._ready.classes(reflectance, valid, evidence)

    @property
    def _ready(self) -> NetworkDetector:
        return self.network or NetworkDetector.open(self.model)
