"""Normalization: what a network sees of each band, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from geodecloud.errors import DataError
from geodecloud.learn.packed import PackedChips

Samples = npt.NDArray[np.intp]

MOST_READ = 20_000
"""Samples that limits are taken from: more would change them by nothing that a network sees."""

AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Normalization:
    """What a network sees of each band: ``encode`` takes low to -1 and high to 1.

    Values beyond stay beyond, so that ``decode`` brings every one back.

    Example:
        >>> scale = Normalization((0.0,), (0.5,))
        >>> scale.encode(np.array([[[0.125]]])).item(), scale.decode(np.array([[[-0.5]]])).item()
        (-0.5, 0.125)
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse limits that cannot be inverted."""
        if len(self.low) != len(self.high) or not np.less(self.low, self.high).all():
            raise ValueError(f"limits {self.low} to {self.high}")

    def encode(self, values: Any) -> Any:
        """Return values (..., C, H, W) as a network sees them, numpy and torch alike."""
        low, span = self._columns(values)
        return (values - low) / span - 1

    def decode(self, encoded: Any) -> Any:
        """Return what a network drew as values; inverse of ``encode``."""
        low, span = self._columns(encoded)
        return (encoded + 1) * span + low

    def _columns(self, like: Any) -> tuple[Any, Any]:
        low: Any
        high: Any
        low, high = (np.array(limit, np.float32)[:, None, None] for limit in (self.low, self.high))
        if isinstance(like, torch.Tensor):
            low, high = (torch.from_numpy(limit).to(like.device) for limit in (low, high))
        return low, (high - low) / 2

    @classmethod
    def of(cls, packed: PackedChips, side: str, samples: Samples, share: float = 1.0) -> Self:
        """Return the limits that hold all but the outermost thousandth of a side's values.

        ``share`` of the samples are read, evenly spread, and 20,000 at most.

        Raises:
            DataError: the samples hold no valid value.
        """
        n_bands = len(packed.sides[side].bands)
        counts = np.zeros((n_bands, 65536), np.int64)
        having = samples[packed.has(side)[samples]]
        n_read = max(1, min(MOST_READ, round(share * len(having))))
        read = having[np.arange(min(n_read, len(having))) * len(having) // n_read]
        for start in range(0, len(read), AT_ONCE):
            # one count of 65536 for many samples: small chips would drown in it
            part = np.stack([packed.stored(side, int(i)) for i in read[start : start + AT_ONCE]])
            for band in range(n_bands):
                counts[band] += np.bincount(part[:, band].ravel(), minlength=65536)
        counts[:, 0] = 0  # nodata
        if not counts.any(1).all():
            raise DataError(
                f"{packed.path} holds no valid {side} value for its training part",
                "at least one is needed in each band",
                "check the nodata value of the scenes, or give more of them",
            )
        scale, offset = packed.sides[side].packing
        shares = np.cumsum(counts, 1) / counts.sum(1, keepdims=True)
        low, high = (
            tuple(round(float(np.argmax(row >= share)) * scale + offset, 6) for row in shares)
            for share in (1e-3, 1 - 1e-3)
        )
        # a constant band would divide by nothing
        return cls(low, tuple(max(b, a + 1e-3) for a, b in zip(low, high, strict=True)))
