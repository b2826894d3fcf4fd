"""Batches of chips as they are: pairs, guided pairs, two domains, grey and colour, one domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from geodecloud.errors import DataError
from geodecloud.geo.sensors import LUMA
from geodecloud.learn.batches import MOST_SKIES, Deal, Samples, Windows, dealt, generator_of
from geodecloud.learn.cloud_batches import real_pairs
from geodecloud.learn.packed import GUIDES, PackedChips
from geodecloud.learn.plan import Batch

COLOURS = (("red", "green", "blue"), ("B04", "B03", "B02"))


class SampleBatches:
    """Batches whose windows are those of samples; a subclass says which sides, and what of them.

    Args:
        packed: where windows come from.
        samples: of the part that is dealt from; those that lack a side are left out.
        **options: those of ``Deal``.

    Raises:
        DataError: no sample has every side.
    """

    sides: ClassVar[tuple[str, ...]] = ("target",)

    def __init__(self, packed: PackedChips, samples: Samples, **options: Any) -> None:
        """Keep the samples that have every side."""
        self._deal = Deal(packed, **options)
        self.samples = having(packed, samples, self.sides)

    def at(self, step: int, device: torch.device) -> Batch:
        """Return the batch of a step: chips of the training size."""
        deal = self._deal
        random = generator_of(deal.seed, step)
        samples = dealt(self.samples, deal.n_windows, step, deal.seed)
        windows = deal.windows(samples, device, random)
        return deal.chips(self._fields(windows, random), random)

    def whole(self, samples: Samples, number: int, device: torch.device) -> Batch:
        """Return windows as they are, the same for each number."""
        return self._fields(self._deal.windows(samples, device, None), None)

    def _fields(self, windows: Windows, random: torch.Generator | None) -> Batch:
        """What a batch holds of windows; without random numbers, as they were measured."""
        raise NotImplementedError


class PairBatches(SampleBatches):
    """Pairs as they are: pixels and target, turned alike; for any two sensors.

    A batch holds ``pixels`` (B, C, H, W), ``target`` (B, C', H, W) and ``weight`` (B, 1, H, W),
    0 where either side is not valid.
    """

    sides = ("source", "target")

    def _fields(self, windows: Windows, random: torch.Generator | None) -> Batch:
        source, seen = windows.read("source", random)
        target, valid = windows.read("target")
        return {"pixels": source, "target": target, "weight": weight_of(seen, valid)}


class GuidedBatches(PairBatches):
    """Pairs with a third side that guides: radar, or another date of the same place.

    A batch holds that of ``PairBatches`` and the guide under its name, "sar" (dB) or "reference",
    (B, C'', H, W). Where source and target are reflectance of the same bands it also holds what
    ``CloudBatches`` deals for real pairs: ``mask``, ``fill``, ``level`` and ``classes``.
    """

    def __init__(self, packed: PackedChips, samples: Samples, **options: Any) -> None:
        """Find the side that guides."""
        self.guide = guide_of(packed, samples)
        super().__init__(packed, having(packed, samples, (self.guide,)), **options)

    def _fields(self, windows: Windows, random: torch.Generator | None) -> Batch:
        guide, known = windows.read(self.guide, random)
        if windows.packed.has("mask")[windows.samples].all():
            pairs = real_pairs(windows, random)
        else:
            pairs = super()._fields(windows, random)
        return {**pairs, self.guide: guide, "weight": pairs["weight"] * weight_of(known)}


class ColorizeBatches(SampleBatches):
    """Colour and the grey that is made of it.

    A batch holds ``target`` (B, C, H, W), ``pixels`` (B, 1, H, W), the luma of its red, green and
    blue, and ``weight`` (B, 1, H, W).
    """

    def __init__(self, packed: PackedChips, samples: Samples, **options: Any) -> None:
        """Find red, green and blue."""
        super().__init__(packed, samples, **options)
        self._colours = colours_of(packed.sides["target"].bands)

    def _fields(self, windows: Windows, random: torch.Generator | None) -> Batch:
        target, valid = windows.read("target")
        grey = (target[:, self._colours] * target.new_tensor(LUMA)[:, None, None]).sum(1, True)
        return {"pixels": grey, "target": target, "weight": weight_of(valid)}


class ChipBatches(SampleBatches):
    """Chips of one domain: ``target`` (B, C, H, W) and ``weight`` (B, 1, H, W)."""

    def _fields(self, windows: Windows, random: torch.Generator | None) -> Batch:
        target, valid = windows.read("target")
        return {"target": target, "weight": weight_of(valid)}


class DomainBatches:
    """Chips of two domains, drawn and turned independently of each other; counts may differ.

    A batch holds ``pixels`` (B, C, H, W) of domain A (side "source") with ``weight`` (B, 1, H, W),
    and ``target`` (B, C', H, W) of domain B (side "target") with ``weight_b``.

    Attributes:
        samples: as many as the larger domain has, those of A; the smaller comes round again.
    """

    def __init__(self, packed: PackedChips, samples: Samples, **options: Any) -> None:
        """Sort the samples by domain."""
        self._deal = Deal(packed, **options)
        self._of = {side: having(packed, samples, (side,)) for side in ("source", "target")}
        self.samples = np.resize(self._of["source"], max(map(len, self._of.values())))

    def at(self, step: int, device: torch.device) -> Batch:
        """Return the batch of a step: chips of the training size."""
        deal = self._deal
        random = generator_of(deal.seed, step)
        chips = []
        for number, (side, samples) in enumerate(self._of.items()):
            drawn = dealt(samples, deal.n_windows, step, deal.seed + number)
            windows = deal.windows(drawn, device, random)
            chips.append(deal.chips(_domain(windows, side, random), random))
        return _both(*chips)

    def whole(self, samples: Samples, number: int, device: torch.device) -> Batch:
        """Return windows as they are; the number says which of domain B go with those of A."""
        others = np.arange(len(samples)) + number // MOST_SKIES
        targets = self._of["target"][others % len(self._of["target"])]
        return _both(
            _domain(self._deal.windows(samples, device, None), "source", None),
            _domain(self._deal.windows(targets, device, None), "target", None),
        )


def having(packed: PackedChips, samples: Samples, sides: Sequence[str]) -> Samples:
    """Return those of the samples that have every one of these sides.

    Raises:
        DataError: there is none.
    """
    found = samples[np.all([packed.has(side)[samples] for side in sides], axis=0)]
    if not len(found):
        what = "pair" if {"source", "target"} <= set(sides) else f"{' and '.join(sides)} side"
        held = [name for name in packed.sides if packed.has(name)[samples].any()]
        raise DataError(
            f"{packed.path} holds no {what} among {len(samples)} samples",
            f"their sides are {', '.join(held)}",
            "give both sides, or choose another dataset_type",
        )
    return found


def guide_of(packed: PackedChips, samples: Samples) -> str:
    """Return the side that guides: radar, or without any another date."""
    return next((side for side in GUIDES if packed.has(side)[samples].any()), GUIDES[0])


def weight_of(*valid: Tensor) -> Tensor:
    """Return 1 where all bands of all of these (B, C, H, W) are valid, else 0; (B, 1, H, W)."""
    return torch.cat(valid, 1).all(1, keepdim=True).float()


def colours_of(bands: Sequence[str]) -> list[int]:
    """Return the channels of red, green and blue.

    Raises:
        DataError: one of them is missing.
    """
    for names in COLOURS:
        if set(names) <= set(bands):
            return [list(bands).index(name) for name in names]
    raise DataError(
        f"target bands {', '.join(bands)}",
        f"colour is {' or '.join(', '.join(names) for names in COLOURS)}",
        "name the bands with bands=, or choose another dataset_type",
    )


def _domain(windows: Windows, side: str, random: torch.Generator | None) -> Batch:
    values, valid = windows.read(side, random)
    return {"values": values, "weight": weight_of(valid)}


def _both(a: Batch, b: Batch) -> Batch:
    return {
        "pixels": a["values"],
        "target": b["values"],
        "weight": a["weight"],
        "weight_b": b["weight"],
    }
