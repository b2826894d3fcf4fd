"""GuidedCloudBatches: clear chips under skies drawn on the fly, with radar or another date."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from geodecloud.learn.batches import Samples, Windows
from geodecloud.learn.cloud_batches import CloudBatches
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.pair_batches import guide_of, having
from geodecloud.learn.plan import Batch

HIDDEN_GUIDES = 0.1
"""The part of windows whose guide is hidden: scenes that it covers in part are drawn too."""


class GuidedCloudBatches(CloudBatches):
    """Batches of ``CloudBatches``, and what guides: radar, or another date of the same place.

    A batch holds what ``CloudBatches`` deals and the guide under its name, "sar" (dB) or
    "reference", (B, C', H, W): 0 where nothing is known, as scenes have it beyond their guide.

    Samples without a guide are dealt as often as those with one: they teach what pixels alone
    tell, of more places. Validation and real pairs have a guide.

    Raises:
        DataError: no sample has a guide.
    """

    def __init__(self, packed: PackedChips, samples: Samples, **options: Any) -> None:
        """Find the side that guides, and the samples that have it."""
        super().__init__(packed, samples, **options)
        self.guide = guide_of(packed, samples)
        guided = having(packed, self.samples, (self.guide, "target"))
        others = np.setdiff1d(self.samples, guided)
        self._clear = np.concatenate([others, np.resize(guided, max(len(others), len(guided)))])
        self.samples = guided
        self._pairs = self._pairs[packed.has(self.guide)[self._pairs]]
        self._pair_share *= bool(len(self._pairs))

    def _skies(self, windows: Windows, random: torch.Generator, *, is_whole: bool = False) -> Batch:
        batch = super()._skies(windows, random, is_whole=is_whole)
        return {**batch, self.guide: self._guides(windows, None if is_whole else random)}

    def _real(self, windows: Windows, random: torch.Generator | None) -> Batch:
        batch = super()._real(windows, random)
        return {**batch, self.guide: self._guides(windows, random)}

    def _guides(self, windows: Windows, random: torch.Generator | None) -> torch.Tensor:
        guide, _ = windows.read(self.guide, random)
        if random is None:
            return guide
        is_shown = torch.rand(len(windows), 1, 1, 1, generator=random) >= HIDDEN_GUIDES
        return guide * is_shown.to(windows.device)
