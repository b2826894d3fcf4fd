"""FeatureGallery: how far the answers of each contestant lie from the truth, to a trained eye."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from geodecloud.benchmark.case import Case, Floats
from geodecloud.picture import bands_to_show, limits

TRUTH = ""  # no contestant has this name


class FeatureGallery:
    """Features of pictures, collected case by case: ``add`` some, then ``close``.

    Args:
        see: turns pictures (B, 3, H, W) in 0..1 into features (B, F), as ``FeatureNetwork`` does.
    """

    def __init__(self, see: Any) -> None:
        """Begin with no picture."""
        self._see = see
        self._seen: dict[str, list[Any]] = {}

    @classmethod
    def read(cls, weights: Path) -> Self:
        """Return a gallery that sees with the weights of a file.

        Raises:
            ModelError: the file cannot be read, or holds weights of another network.
            MissingExtraError: torchvision is not installed.
        """
        from geodecloud.learn.features import FeatureNetwork

        return cls(FeatureNetwork.read(weights).see)

    def add(self, case: Case, answers: Mapping[str, Floats]) -> None:
        """Look at a case, as the truth and as each contestant drew it, stretched alike."""
        index = case.scene.sensor.index(bands_to_show(case.bands))
        index = (index * 3)[:3]  # grey is shown as three equal colours
        ends = np.array([limits(case.target[band]) for band in index], np.float32)
        low, high = ends.T[..., None, None]
        for name, values in {TRUTH: case.target, **answers}.items():
            shown = np.clip((values[index] - low) / (high - low), 0, 1).astype(np.float32)
            self._seen.setdefault(name, []).append(self._see(shown[None]))

    def close(self) -> dict[str, float]:
        """Return the FID of each contestant, and forget all pictures.

        Raises:
            DataError: there were fewer than two.
        """
        from geodecloud.learn.features import fid

        seen, self._seen = self._seen, {}
        truth = seen.pop(TRUTH, [])
        return {name: fid(lambda found: found, truth, found) for name, found in seen.items()}
