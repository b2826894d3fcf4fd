"""ChipData and Normalization: packed chips split, scaled, and dealt in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from geodecloud.errors import DataError, OptionError
from geodecloud.learn.batches import CloudBatches, Dealer, PairBatches
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.plan import Batch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Samples = npt.NDArray[np.intp]

MOST_SKIES = 1000  # over one window: what sets the seeds of neighbours apart

DATASET_TYPES: dict[str, type[CloudBatches] | type[PairBatches]] = {
    "CloudRemoval": CloudBatches,
    "Pix2Pix": PairBatches,
}
"""How batches are made: clear chips clouded on the fly (and real pairs), or pairs as they are."""


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
        low, span = self._columns()
        return (values - low) / span - 1

    def decode(self, encoded: Any) -> Any:
        """Return what a network drew as values; inverse of ``encode``."""
        low, span = self._columns()
        return (encoded + 1) * span + low

    def _columns(self) -> tuple[Any, Any]:
        low, high = (np.array(limit, np.float32)[:, None, None] for limit in (self.low, self.high))
        return low, (high - low) / 2

    @classmethod
    def of(cls, packed: PackedChips, side: str, samples: Samples) -> Normalization:
        """Return the limits that hold all but the outermost thousandth of a side's values.

        Raises:
            DataError: the samples hold no valid value.
        """
        n_bands = len(packed.sides[side].bands)
        counts = np.zeros((n_bands, 65536), np.int64)
        for sample in samples[packed.has(side)[samples]]:
            stored = packed.stored(side, int(sample))
            for band in range(n_bands):
                counts[band] += np.bincount(stored[band].ravel(), minlength=65536)
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


@dataclass
class ChipData:
    """A training set: what ``prepare_data`` returns and models train on.

    Attributes:
        packed: the chips.
        dataset_type: one of ``DATASET_TYPES``.
        train, valid: samples of each part; no place is in both.
        chip_size, batch_size, seed: of the batches.
        normalization: from the training part alone, by side.
        working_dir: where models are saved by bare names.
    """

    packed: PackedChips
    dataset_type: str
    train: Samples
    valid: Samples
    chip_size: int = 64
    batch_size: int = 64
    seed: int = 42
    working_dir: Path | None = None
    normalization: dict[str, Normalization] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the parts and take the normalisation from the training part."""
        if self.dataset_type not in DATASET_TYPES:
            raise OptionError(
                f"dataset_type {self.dataset_type!r}",
                f"types are {', '.join(DATASET_TYPES)}",
                "choose one of them",
            )
        if not 8 <= self.chip_size <= self.packed.size_px:
            raise OptionError(
                f"chip size {self.chip_size} px",
                f"the set holds windows of {self.packed.size_px} px",
                "choose a size of 8 px up to theirs",
            )
        for name, part in (("training", self.train), ("validation", self.valid)):
            if not len(part):
                raise DataError(
                    f"the {name} part of {self.packed.path} is empty: {len(self.packed)} samples "
                    f"in {len(self.packed.places)} places",
                    "each part holds at least one place",
                    "give more scenes, or another val_split_pct",
                )
        for side in ("source", "target"):
            if not self.normalization.get(side) and self.packed.has(side)[self.train].any():
                self.normalization[side] = Normalization.of(self.packed, side, self.train)

    @property
    def path(self) -> Path:
        """The packed file."""
        return self.packed.path

    @property
    def n_channel(self) -> int:
        """Bands of the target."""
        return len(self.packed.sides["target"].bands)

    @property
    def batches(self) -> Dealer:
        """The training batches, by step."""
        return self._dealer(self.train, self.seed)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that show as many pixels as the training part holds."""
        chips = len(self.train) * (self.packed.size_px / self.chip_size) ** 2
        return max(1, round(chips / self.batch_size))

    @property
    def train_dl(self) -> Iterator[Batch]:
        """One epoch of training batches."""
        dealer = self.batches
        return (dealer.at(step, torch.device("cpu")) for step in range(self.steps_per_epoch))

    @property
    def valid_dl(self) -> Iterator[Batch]:
        """The validation batches: whole windows, the same each time."""
        return self.valid_batches(torch.device("cpu"))

    def valid_batches(
        self, device: torch.device, limit: int | None = None, *, skies: int = 1
    ) -> Iterator[Batch]:
        """Walk the validation part in order, as whole windows, each under ``skies`` by seed."""
        dealer = self._dealer(self.valid, self.seed + 1)
        for i, sample in enumerate(dealer.samples[:limit]):
            for sky in range(skies if isinstance(dealer, CloudBatches) else 1):
                yield dealer.whole(sample[None], i * MOST_SKIES + sky, device)

    def valid_pairs(self, device: torch.device) -> Iterator[Batch]:
        """Walk the real cloudy pairs of the validation part, as whole windows."""
        dealer = self._dealer(self.valid, self.seed + 1)
        if isinstance(dealer, CloudBatches):
            yield from dealer.pairs(device)

    def show_batch(self, rows: int = 4, rgb_bands: Sequence[str] | None = None) -> Figure:
        """Return a figure of training chips: what goes in, and what is to come out."""
        from geodecloud.learn.plots import show_batch

        batch = self.batches.at(0, torch.device("cpu"))
        return show_batch(batch, self.packed.sides["target"].bands, rows, rgb_bands)

    def describe(self) -> dict[str, Any]:
        """What a run on this data must share to be resumed, in JSON's types."""
        return {
            "dataset_type": self.dataset_type,
            "chip_size": self.chip_size,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "n_samples": len(self.packed),
            "train": [int(sample) for sample in self.train],
            "normalization": {
                side: [list(scale.low), list(scale.high)]
                for side, scale in self.normalization.items()
            },
        }

    def _dealer(self, samples: Samples, seed: int) -> Dealer:
        return DATASET_TYPES[self.dataset_type](
            self.packed,
            samples,
            chip_size=self.chip_size,
            batch_size=self.batch_size,
            seed=seed,
        )


def split(
    packed: PackedChips, *, val_split_pct: float = 0.1, fold: int | None = None, seed: int = 42
) -> tuple[Samples, Samples]:
    """Return the samples to train on and to validate with; a place is never in both.

    With ``fold`` the table of splits decides, else places are drawn by seed until they hold
    ``val_split_pct`` of the samples.

    Raises:
        DataError: there is but one place, or the fold is empty.
    """
    every = np.arange(len(packed))
    if fold is not None:
        held_out = packed.fold == fold
        if held_out.any() and not held_out.all():
            return every[~held_out], every[held_out]
        raise DataError(
            f"fold {fold} holds {held_out.sum()} of {len(packed)} samples",
            f"folds here are {sorted(set(packed.fold.tolist()))}",
            "choose one of them, or pack with a table of splits",
        )
    if not 0 < val_split_pct < 1:
        raise OptionError(
            f"val_split_pct is {val_split_pct}", "it is a share between 0 and 1", "try 0.1"
        )
    places = np.unique(packed.place)
    if len(places) < 2:
        raise DataError(
            f"{packed.path} holds {len(packed)} samples of one place",
            "training and validation are split by place: two are needed",
            "give more scenes, or larger ones",
        )
    drawn = np.random.default_rng(seed).permutation(places)
    held = np.cumsum([(packed.place == place).sum() for place in drawn])
    n_places = min(len(places) - 1, 1 + int(np.searchsorted(held, val_split_pct * len(packed))))
    is_valid = np.isin(packed.place, drawn[:n_places])
    return every[~is_valid], every[is_valid]
