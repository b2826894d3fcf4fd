"""ChipData: packed chips in two parts, scaled, and dealt in batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from geodecloud.errors import DataError, OptionError
from geodecloud.geo.sensors import LUMA
from geodecloud.learn.batches import MOST_SKIES, Dealer, Samples, generator_of
from geodecloud.learn.cloud_batches import (
    CloudBatches,
    EsaPictureBatches,
    OneSkyBatches,
    PictureBatches,
)
from geodecloud.learn.dataset_types import CLOUDED, DATASET_TYPES, refuse_unsuited, sides_of
from geodecloud.learn.normalization import Normalization
from geodecloud.learn.packed import GUIDES, PackedChips, Side
from geodecloud.learn.pair_batches import colours_of
from geodecloud.learn.plan import Batch
from geodecloud.learn.splitting import split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DATASET_TYPES", "ChipData", "Normalization", "Transform", "batch_size_for", "split"]

Transform = Callable[[Batch, torch.Generator], Batch]
"""Changes a batch; what it draws comes from the generator, once for all sides of a sample."""

FIELDS = {"pixels": "source", "target": "target", **{guide: guide for guide in GUIDES}}
"""The side whose values each field of a batch has."""

LISTED = 10_000
"""A state of training lists its samples up to here; beyond, their checksum."""

BYTES_PER_PX = 6_000
"""What training holds for each pixel of a batch: 4,600 measured for the default generator and its
gradients on a CPU, the rest for a discriminator."""


@dataclass
class ChipData:
    """A training set: what ``prepare_data`` returns and models train on.

    Attributes:
        packed: the chips.
        dataset_type: one of ``DATASET_TYPES``.
        train, valid: samples of each part; no place is in both.
        chip_size, batch_size, seed: of the batches.
        normalization: from the training part alone, by side ("source", "target", and a guide).
        working_dir: where models are saved by bare names.
        val_split_pct, resize_to: as asked of ``prepare_data``.
        transforms: of training and of validation batches; False is none, None lets chips lie in
            any of the eight ways. Values are never changed unasked.
        rgb_bands: what figures show as red, green and blue.
        norm_pct: share of the training part that the normalisation is taken from.
        one_sky: put the same sky over every chip of CloudRemoval: to repeat trainings that did so.
        pictures: share of the windows of CloudRemoval that are shown as pictures of 8 bits.
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
    val_split_pct: float = 0.1
    resize_to: int | None = None
    transforms: tuple[Transform | None, Transform | None] | bool | None = None
    rgb_bands: Sequence[str] | None = None
    norm_pct: float = 1.0
    one_sky: bool = False
    pictures: float = 0.0

    def __post_init__(self) -> None:
        """Check the parts and take the normalisation from the training part."""
        refuse_unsuited(self.packed, self.dataset_type)
        if not 8 <= self.chip_size <= self.packed.size_px:
            raise OptionError(
                f"chip size {self.chip_size} px",
                f"the set holds windows of {self.packed.size_px} px",
                "choose a size of 8 px up to theirs",
            )
        if not 0 < self.norm_pct <= 1:
            raise OptionError(
                f"norm_pct is {self.norm_pct}", "it is a share above 0, up to 1", "try 0.3"
            )
        if self.pictures and (self.dataset_type != "CloudRemoval" or self.one_sky):
            raise OptionError(
                f"pictures beside type {self.dataset_type}" + " and one_sky" * self.one_sky,
                "chips of CloudRemoval under skies of their own can be shown as pictures",
                "leave it out",
            )
        for name, part in (("training", self.train), ("validation", self.valid)):
            if not len(part):
                raise DataError(
                    f"the {name} part of {self.packed.path} is empty: {len(self.packed)} samples "
                    f"in {len(self.packed.places)} places",
                    "each part holds at least one place",
                    "give more scenes, or another val_split_pct",
                )
        self._take_limits()

    def _take_limits(self) -> None:
        sides = sides_of(self.packed, self.dataset_type)
        if self.dataset_type == "Colorize":
            of = self._limits("target")
            rows = colours_of(sides["target"].bands)
            low, high = (
                float(np.dot(LUMA, [limit[row] for row in rows])) for limit in (of.low, of.high)
            )
            self.normalization.setdefault("source", Normalization((low,), (high,)))
            return
        for side in sides:
            if self.packed.has(side)[self.train].any():
                self._limits(side)

    def _limits(self, side: str) -> Normalization:
        if side not in self.normalization:
            limits = Normalization.of(self.packed, side, self.train, self.norm_pct)
            self.normalization[side] = limits
        return self.normalization[side]

    @property
    def path(self) -> Path:
        """The packed file."""
        return self.packed.path

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out of the set, and why."""
        return self.packed.notes

    @property
    def holds_out(self) -> bool:
        """Whether what is validated on teaches nothing."""
        return not np.isin(self.valid, self.train).any()

    @property
    def sides(self) -> dict[str, Side]:
        """What batches show: the bands, unit and sensor of "source", "target" and a guide.

        The source of what is clouded on the fly is like its target; that of Colorize is its luma.
        """
        return sides_of(self.packed, self.dataset_type)

    @property
    def n_channel(self) -> int:
        """Bands of the target."""
        return len(self.packed.sides["target"].bands)

    @property
    def norm_stats(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and deviations of the target's bands: ``(value - mean) / deviation`` is seen."""
        of = self.normalization["target"]
        ends = list(zip(of.low, of.high, strict=True))
        return (
            tuple((high + low) / 2 for low, high in ends),
            tuple((high - low) / 2 for low, high in ends),
        )

    @property
    def device(self) -> torch.device:
        """Where a training with device "auto" goes."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def batches(self) -> Dealer:
        """The training batches, by step."""
        return self._dealer(self.train, self.seed, 0)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that show as many pixels as the training part holds."""
        chips = len(self.batches.samples) * (self.packed.size_px / self.chip_size) ** 2
        return max(1, round(chips / self.batch_size))

    @property
    def train_ds(self) -> Items:
        """Training windows as a network sees them."""
        return Items(self, self.batches)

    @property
    def valid_ds(self) -> Items:
        """Validation windows as a network sees them."""
        return Items(self, self._dealer(self.valid, self.seed + 1, 1))

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
        dealer = self._dealer(self.valid, self.seed + 1, 1)
        for i, sample in enumerate(dealer.samples[:limit]):
            for sky in range(skies if self.dataset_type in CLOUDED else 1):
                yield dealer.whole(sample[None], i * MOST_SKIES + sky, device)

    def valid_pairs(self, device: torch.device) -> Iterator[Batch]:
        """Walk the real cloudy pairs of the validation part, as whole windows."""
        dealer = self._dealer(self.valid, self.seed + 1, None)
        if isinstance(dealer, CloudBatches):
            yield from dealer.pairs(device)

    def valid_pictures(self, device: torch.device, *, skies: int = 1) -> Iterator[Batch]:
        """Walk ``valid_batches`` as ESA's pictures show them; nothing where none are trained on."""
        if self.pictures:
            dealer = EsaPictureBatches(self.packed, self.valid, seed=self.seed + 1)
            for i, sample in enumerate(dealer.samples):
                for sky in range(skies):
                    yield dealer.whole(sample[None], i * MOST_SKIES + sky, device)

    def show_batch(self, rows: int = 4, rgb_bands: Sequence[str] | None = None) -> Figure:
        """Return a figure of training chips.

        Input and target; of two domains A and B; of one its chips.
        """
        from geodecloud.learn.plots import show_batch

        batch = self.batches.at(0, torch.device("cpu"))
        bands = {name: side.bands for name, side in self.sides.items()}
        return show_batch(batch, bands, rows, rgb_bands or self.rgb_bands)

    def describe(self) -> dict[str, Any]:
        """What a run on this data must share to be resumed, in JSON's types."""
        train: Any = [int(sample) for sample in self.train[:LISTED]]
        if len(self.train) > LISTED:
            train = hashlib.sha256(np.asarray(self.train, "<i8").tobytes()).hexdigest()
        changed: dict[str, Any] = {"one_sky": True} if self.one_sky else {}
        if self.pictures:
            changed["pictures"] = self.pictures
        if self.transforms is not None:
            changed["transforms"] = _named(self.transforms)
        return {
            "dataset_type": self.dataset_type,
            "chip_size": self.chip_size,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "n_samples": len(self.packed),
            "train": train,
            "normalization": {
                side: [list(scale.low), list(scale.high)]
                for side, scale in self.normalization.items()
            },
            **changed,
        }

    def _dealer(self, samples: Samples, seed: int, part: int | None) -> Dealer:
        """Batches of a part: 0 training, 1 validation, None as they are."""
        make = OneSkyBatches if self.one_sky else DATASET_TYPES[self.dataset_type]
        if self.pictures:
            make = partial(PictureBatches, pictures=self.pictures)
        dealer = make(
            self.packed,
            samples,
            chip_size=self.chip_size,
            batch_size=self.batch_size,
            seed=seed,
            turn=self.transforms is None,
        )
        if part is None or not isinstance(self.transforms, tuple):
            return dealer
        transform = self.transforms[part]
        return dealer if transform is None else Transformed(dealer, transform, seed)


class Items(Sequence[tuple[Tensor, ...]]):
    """Windows of a part as a network sees them.

    An item has a tensor (C, H, W) for each field, -1 to 1 but for outliers: input, target, and
    the guide of a set that has one; of unconditional chips the target alone.
    """

    def __init__(self, data: ChipData, dealer: Dealer) -> None:
        """Take windows from a dealer."""
        self._data, self._dealer = data, dealer

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._dealer.samples)

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[Tensor, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Tensor, ...] | Sequence[tuple[Tensor, ...]]:
        """Return a window."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        number = range(len(self))[index]
        sample = self._dealer.samples[number][None]
        batch = self._dealer.whole(sample, number * MOST_SKIES, torch.device("cpu"))
        scales = self._data.normalization
        if self._data.dataset_type in CLOUDED:
            scales = {**scales, "source": scales["target"]}
        shown = (name for name in FIELDS if name in batch)
        return tuple(scales[FIELDS[name]].encode(batch[name][0]) for name in shown)


class Transformed:
    """Batches of a dealer, changed by a function of batch and random numbers."""

    def __init__(self, dealer: Dealer, transform: Transform, seed: int) -> None:
        """Take the dealer and what changes its batches."""
        self.samples = dealer.samples
        self._dealer, self._transform, self._seed = dealer, transform, seed + 2

    def at(self, step: int, device: torch.device) -> Batch:
        """Return the batch of a step: chips of the training size."""
        return self._transform(self._dealer.at(step, device), generator_of(self._seed, step))

    def whole(self, samples: Samples, number: int, device: torch.device) -> Batch:
        """Return windows, the same for each number."""
        windows = self._dealer.whole(samples, number, device)
        return self._transform(windows, generator_of(self._seed, number))


def batch_size_for(chip_size: int) -> int:
    """Return how many chips of this size a quarter of the free memory trains at once, 2 to 256."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = free / 4 / (BYTES_PER_PX * chip_size**2)
    return int(2 ** np.clip(np.floor(np.log2(max(most, 2))), 1, 8))


def _named(transforms: tuple[Transform | None, Transform | None] | bool) -> list[str]:
    parts = transforms if isinstance(transforms, tuple) else ()
    return [getattr(part, "__qualname__", type(part).__name__) for part in parts]
