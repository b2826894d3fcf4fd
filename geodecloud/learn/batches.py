"""PairBatches and CloudBatches: training batches as a function of (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from geodecloud.errors import DataError
from geodecloud.learn.clouding import MaskErrors, cloud_over, cut, fill_windows, grow, turned
from geodecloud.learn.packed import LEVELS, PackedChips
from geodecloud.learn.plan import Batch

Samples = npt.NDArray[np.intp]

LEVEL_FLAGS = {"unknown": 0.0, "L1C": 1.0, "L2A": -1.0}
UNKNOWN_LEVELS = 0.1
"""The part of windows whose level is hidden, so that a model also works where it is not known."""

LEAST_CLEAR = 0.02
"""The part of a window that must be clear for its fill to mean anything."""

CHIPS_PER_WINDOW = 8
"""Chips of one sky and one fill: both cost a window, and neighbours differ enough."""


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


class PairBatches:
    """Chips of pairs as they are: pixels and target, turned alike; for any two sensors.

    A batch holds ``pixels`` (B, C, H, W), ``target`` (B, C', H, W) and ``weight`` (B, 1, H, W),
    0 where either side is not valid.
    """

    def __init__(
        self,
        packed: PackedChips,
        samples: Samples,
        *,
        chip_size: int = 64,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        """Keep the samples that have both sides."""
        self.samples = samples[packed.has("source")[samples] & packed.has("target")[samples]]
        if not len(self.samples):
            raise DataError(
                f"{packed.path} holds no pair among {len(samples)} samples",
                "pairs have a source and a target",
                "give both sides, or train on clear scenes with dataset_type CloudRemoval",
            )
        self._packed, self._chip_size, self._seed = packed, chip_size, seed
        self._n_chips = batch_size
        self._per_window = max(
            1, min(CHIPS_PER_WINDOW, (packed.size_px // chip_size) ** 2, batch_size)
        )

    def at(self, step: int, device: torch.device) -> Batch:
        """Return the batch of a step: chips of the training size."""
        random = generator_of(self._seed, step)
        n_windows = -(-self._n_chips // self._per_window)
        windows = self._windows(dealt(self.samples, n_windows, step, self._seed), device, random)
        places = random_places(
            windows["weight"], self._n_chips, self._per_window, self._chip_size, random
        )
        return cut(windows, places, self._chip_size)

    def whole(self, samples: Samples, number: int, device: torch.device) -> Batch:
        """Return windows as they are, the same for each number."""
        return self._windows(samples, device, None)

    def _windows(
        self, samples: Samples, device: torch.device, random: torch.Generator | None
    ) -> Batch:
        ways = ways_of(len(samples), random)
        source, source_valid = read(self._packed, "source", samples, ways, device)
        target, target_valid = read(self._packed, "target", samples, ways, device)
        weight = source_valid.all(1, keepdim=True) & target_valid.all(1, keepdim=True)
        return {"pixels": source, "target": target, "weight": weight.float()}


class CloudBatches:
    """Clear chips under skies drawn on the fly, and real pairs where the set has some.

    A batch holds ``pixels`` (cloudy), ``target`` (clear) and ``fill``, (B, C, H, W) reflectance;
    ``mask`` and ``weight`` (B, 1, H, W), the latter 0 where nothing is learnt; ``classes``
    (B, 1, H, W): clear, thin, thick, shadow; ``level`` (B,); ``synthetic`` (B,), 0 for real pairs.

    The target of a real pair is harmonised: the difference between its two dates, drawn under
    the mask from the clear pixels around, is added to its clear side.

    Skies, masks and fills are made on whole windows, so that chips know of clouds and clear
    pixels beyond their rim, as tiles of a scene do.
    """

    def __init__(
        self,
        packed: PackedChips,
        samples: Samples,
        *,
        chip_size: int = 64,
        batch_size: int = 64,
        seed: int = 0,
        pair_share: float = 0.15,
    ) -> None:
        """Sort the samples into clear ones and pairs."""
        self.samples = samples[packed.has("target")[samples]]
        if not len(self.samples):
            raise DataError(
                f"{packed.path} holds no clear chip among {len(samples)} samples",
                "clouds are put over clear chips",
                "give clear scenes as the target side",
            )
        self._pairs = samples[packed.has("source")[samples] & packed.has("mask")[samples]]
        self._pair_share = pair_share if len(self._pairs) else 0.0
        self._packed, self._chip_size, self._seed = packed, chip_size, seed
        self._n_chips = batch_size
        self._per_window = max(
            1, min(CHIPS_PER_WINDOW, (packed.size_px // chip_size) ** 2, batch_size)
        )
        self._errors = MaskErrors()

    def at(self, step: int, device: torch.device) -> Batch:
        """Return the batch of a step: chips of the training size."""
        random = generator_of(self._seed, step)
        n_windows = -(-self._n_chips // self._per_window)
        lot = float(torch.rand((), generator=random))
        n_pairs = min(n_windows, int(n_windows * self._pair_share + lot))
        parts = []
        if n_pairs < n_windows:
            clear = dealt(self.samples, n_windows - n_pairs, step, self._seed)
            parts.append(self._skies(clear, device, random))
        if n_pairs:
            pairs = dealt(self._pairs, n_pairs, step, self._seed + 1)
            parts.append(self._real(pairs, device, random))
        windows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        places = random_places(
            windows["weight"], self._n_chips, self._per_window, self._chip_size, random
        )
        return cut(windows, places, self._chip_size)

    def whole(self, samples: Samples, number: int, device: torch.device) -> Batch:
        """Return windows under a sky that is the same for each number."""
        random = generator_of(self._seed, number)
        return self._skies(samples, device, random, turn=False)

    def pairs(self, device: torch.device) -> Iterator[Batch]:
        """Walk the real pairs as whole windows, one by one, masks grown as those of scenes."""
        for pair in self._pairs:
            yield self._real(pair[None], device, None)

    def _skies(
        self, samples: Samples, device: torch.device, random: torch.Generator, *, turn: bool = True
    ) -> Batch:
        ways = ways_of(len(samples), random if turn else None)
        target, valid = read(self._packed, "target", samples, ways, device)
        level = self._level(samples)
        bands = self._packed.sides["target"].bands
        pixels, lost, classes = cloud_over(target, bands, level > 0, random)
        return self._batch((pixels, target, valid), lost, classes, level, random, hide=turn)

    def _real(
        self, samples: Samples, device: torch.device, random: torch.Generator | None
    ) -> Batch:
        ways = ways_of(len(samples), random)
        target, valid = read(self._packed, "target", samples, ways, device)
        pixels, seen = read(self._packed, "source", samples, ways, device)
        marks, _ = read(self._packed, "mask", samples, ways, device)
        classes = marks.long()
        lost = (classes > 0).float()
        batch = self._batch(
            (pixels, target, valid & seen), lost, classes, self._level(samples), random, hide=True
        )
        is_clear = (batch["mask"] == 0) & valid.all(1, keepdim=True) & seen.all(1, keepdim=True)
        # the clear side is of another date: what differs around is taken for what differs beneath
        change = fill_windows(pixels - target, is_clear)
        return {
            **batch,
            "target": target + change,
            "synthetic": torch.zeros_like(batch["synthetic"]),
        }

    def _batch(
        self,
        sides: tuple[Tensor, Tensor, Tensor],
        lost: Tensor,
        classes: Tensor,
        level: Tensor,
        random: torch.Generator | None,
        *,
        hide: bool,
    ) -> Batch:
        pixels, target, valid = sides
        is_valid = valid.all(1, keepdim=True)
        mask = grow(lost > 0, 3) if random is None else self._errors.drawn(lost, random)
        is_clear = is_valid & ~mask
        fill = fill_windows(pixels, is_clear)
        # without clear pixels there is no fill, and no scene like it is ever translated
        has_clear = is_clear.flatten(1).float().mean(1) > LEAST_CLEAR
        weight = (mask & is_valid).float() * has_clear[:, None, None, None]
        if random is not None and hide:
            level = torch.where(torch.rand(len(level), generator=random) < UNKNOWN_LEVELS, 0, level)
        return {
            "pixels": torch.where(is_valid, pixels, fill),
            "target": target,
            "fill": fill,
            "mask": mask.float(),
            "weight": weight,
            "classes": classes,
            "level": level.to(pixels.device),
            "synthetic": torch.ones(len(pixels), device=pixels.device),
        }

    def _level(self, samples: Samples) -> Tensor:
        return torch.tensor([LEVEL_FLAGS[LEVELS[i]] for i in self._packed.level[samples]])


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


def ways_of(n_windows: int, random: torch.Generator | None) -> list[int]:
    """Return one of the eight ways to lie for each window; without random numbers, as it is."""
    if random is None:
        return [0] * n_windows
    ways: list[int] = torch.randint(0, 8, (n_windows,), generator=random).tolist()
    return ways


def read(
    packed: PackedChips, side: str, samples: Samples, ways: list[int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return values and validity (B, C, S, S) of samples, each turned its way."""
    values, valid = packed.read(side, samples)
    both = []
    for array in (values, valid):
        tensor = torch.from_numpy(array).to(device)
        both.append(torch.stack([turned(t, way) for t, way in zip(tensor, ways, strict=True)]))
    return both[0], both[1]


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
