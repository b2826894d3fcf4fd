"""Dealer, and what all of them draw with: training batches as a function of (seed, step)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from geodecloud.learn.clouding import cut, turned
from geodecloud.learn.packed import PackedChips, Side
from geodecloud.learn.plan import Batch

Samples = npt.NDArray[np.intp]

LEAST_WINDOWS = 4
"""Windows of a batch: one alone may lie under a clear sky, or show nothing but sea."""

CHIPS_PER_WINDOW = 16
"""Chips of one sky and one fill: both cost a window, and neighbours differ enough."""

DRIFT_DB = 1.0
"""How far radar spreads by window and band in training: as the angle it is seen at, and wetness,
let it. Places are few, and their level would be learnt by heart."""

MOST_SKIES = 1000
"""Over one window for validation: what sets the numbers of neighbours apart."""


class Dealer(Protocol):
    """Batches by step, and whole windows for validation.

    Attributes:
        samples: what it deals from.
    """

    samples: Samples

    def at(self, step: int, device: torch.device) -> Batch:
        """Return the batch of a step: chips of the training size."""
        ...

    def whole(self, samples: Samples, number: int, device: torch.device) -> Batch:
        """Return windows as they are, the same for each number."""
        ...


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of samples, not yet read.

    Attributes:
        packed: where they are.
        samples: whose they are, (B,).
        ways: how each is to lie, of the eight ways there are.
        device: where they are wanted.
    """

    packed: PackedChips
    samples: Samples
    ways: list[int]
    device: torch.device

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.samples)

    def read(self, side: str, random: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return values and validity (B, C, S, S) of a side, each window turned its way.

        With random numbers decibels are ``drifted``.
        """
        values, valid = (
            torch.stack([turned(each, way) for each, way in zip(tensor, self.ways, strict=True)])
            for tensor in map(torch.from_numpy, self.packed.read(side, self.samples))
        )
        values, valid = values.to(self.device), valid.to(self.device)
        return drifted(values, self.packed.sides[side], random), valid


class Deal:
    """How many windows a batch takes, and the chips cut out of them.

    Args:
        packed: where windows come from.
        chip_size, batch_size: of the chips.
        seed: of all that is drawn.
        turn: let windows lie in any of the eight ways, all sides of a sample alike.
    """

    def __init__(
        self,
        packed: PackedChips,
        *,
        chip_size: int = 64,
        batch_size: int = 64,
        seed: int = 0,
        turn: bool = True,
    ) -> None:
        """Count how many chips a window gives."""
        self.packed, self.seed, self.turn = packed, seed, turn
        self._chip_size, self._n_chips = chip_size, batch_size
        most = (packed.size_px // chip_size) ** 2
        self._per_window = max(1, min(CHIPS_PER_WINDOW, most, batch_size // LEAST_WINDOWS))
        self.n_windows = -(-batch_size // self._per_window)

    def windows(
        self, samples: Samples, device: torch.device, random: torch.Generator | None
    ) -> Windows:
        """Return the windows of samples, each turned by lot; without random numbers, as it is."""
        ways = torch.zeros(len(samples), dtype=torch.int64)
        if random is not None:  # drawn also where nothing turns: what is drawn after stays the same
            ways = torch.randint(0, 8, (len(samples),), generator=random) * self.turn
        return Windows(self.packed, samples, ways.tolist(), device)

    def chips(self, windows: Batch, random: torch.Generator) -> Batch:
        """Return the batch: chips of windows whose "weight" says where there is most to learn.

        Windows of the chips' own size are the batch.
        """
        if windows["weight"].shape[-1] == self._chip_size:
            whole = torch.tensor([(window, 0, 0) for window in range(self._n_chips)])
            return cut(windows, whole, self._chip_size)
        places = random_places(
            windows["weight"], self._n_chips, self._per_window, self._chip_size, random
        )
        return cut(windows, places, self._chip_size)


def generator_of(seed: int, step: int) -> torch.Generator:
    """Return random numbers that hang on the seed and the step alone."""
    mixed = np.random.SeedSequence([seed & 0xFFFFFFFF, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> 1))


def dealt(samples: Samples, n_wanted: int, step: int, seed: int) -> Samples:
    """Return the samples of a step: every one comes up once before any comes twice."""
    positions = np.arange(step * n_wanted, (step + 1) * n_wanted)
    order: dict[int, Samples] = {}
    for turn in set((positions // len(samples)).tolist()):
        order[turn] = np.random.default_rng([seed & 0xFFFFFFFF, turn]).permutation(samples)
    return np.array(
        [order[p // len(samples)][p % len(samples)] for p in positions.tolist()], np.intp
    )


def drifted(values: Tensor, side: Side, random: torch.Generator | None) -> Tensor:
    """Return decibels (B, C, H, W) at a level of their own each; other units as they are.

    Without random numbers, and where there is no value (0 dB, as in scenes), nothing is changed.
    """
    if side.unit != "dB" or random is None:
        return values
    level = DRIFT_DB * torch.randn(*values.shape[:2], 1, 1, generator=random)
    return torch.where(values == 0, values, values + level.to(values.device))


def random_places(
    weight: Tensor, n_chips: int, per_window: int, size_px: int, random: torch.Generator
) -> Tensor:
    """Return (N, 3) places (window, row, col) of chips, drawn where there is something to learn.

    Of twice as many as are wanted, those with the larger part of ``weight`` are kept, up to half
    a chip, and after a bonus by lot: a chip that is nearly clear comes up too, but more rarely.
    """
    n_windows, _, height, width = weight.shape
    shape = (n_windows, 2 * per_window)
    rows = torch.randint(0, height - size_px + 1, shape, generator=random)
    cols = torch.randint(0, width - size_px + 1, shape, generator=random)
    lots = torch.rand(shape, generator=random)
    # sums over any rectangle, from one table of sums
    sums = F.pad(weight[:, 0].double().cumsum(1).cumsum(2), (1, 0, 1, 0)).cpu()
    window = torch.arange(n_windows)[:, None].expand(shape)
    learnt = (
        sums[window, rows + size_px, cols + size_px]
        - sums[window, rows, cols + size_px]
        - sums[window, rows + size_px, cols]
        + sums[window, rows, cols]
    ) / size_px**2
    best = (learnt.clamp_max(0.5) + 0.5 * lots).flatten().argsort(descending=True)[:n_chips]
    return torch.stack([window.flatten()[best], rows.flatten()[best], cols.flatten()[best]], -1)
