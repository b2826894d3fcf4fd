"""CloudBatches: clear chips under skies drawn on the fly, and real pairs of cloudy and clear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from geodecloud.errors import DataError
from geodecloud.learn.batches import Deal, Samples, Windows, dealt, generator_of
from geodecloud.learn.clouding import PIXEL_M, MaskErrors, cloud_over, fill_windows, gains, grow
from geodecloud.learn.packed import LEVELS, PackedChips
from geodecloud.learn.plan import Batch
from geodecloud.learn.tones import Tones

LEVEL_FLAGS = {"unknown": 0.0, "L1C": 1.0, "L2A": -1.0}
UNKNOWN_LEVELS = 0.1
"""The part of windows whose level is hidden, so that a model also works where it is not known."""

LEAST_CLEAR = 0.02
"""The part of a window that must be clear for its fill to mean anything."""

SEASON, LIGHT = (0.2, 0.12), (0.1, 0.08)
"""How far gains spread by window and by band: of clear ground; and of ground and clouds alike.

Training places are few; ground as bright or as green as theirs alone would be learnt by heart. Nor
have real clouds one colour: within thick ones the near infrared varies 0.88 to 1.05 times as much
as the mean of the bands in the pairs, and 1.03 to 1.10 times in drawn ones.
"""

BRIGHTEST = 1.2
"""Reflectance that no gain lifts ground above."""

STEPS_M = (10.0, 10.0, 15.0, 20.0)
"""Pixel sizes that skies are laid out for: clouds differ in size more than their types do."""


class CloudBatches:
    """Clear chips under skies drawn on the fly, and real pairs where the set has some.

    A batch holds ``pixels`` (cloudy), ``target`` (clear) and ``fill``, (B, C, H, W) reflectance;
    ``mask``, ``valid`` and ``weight`` (B, 1, H, W), the last 0 where nothing is learnt; ``classes``
    (B, 1, H, W): clear, thin, thick, shadow; ``level`` (B,); ``synthetic`` (B,), 0 for real pairs.

    The target of a real pair is harmonised: the difference between its two dates, drawn under
    the mask from the clear pixels around, is added to its clear side.

    Skies, masks and fills are made on whole windows, so that chips know of clouds and clear
    pixels beyond their rim, as tiles of a scene do. In training the ground's light and the size
    of the clouds vary besides.

    Args:
        packed: where windows come from.
        samples: of the part that is dealt from.
        pair_share: the part of training windows that real pairs take, where there are some.
        **options: those of ``Deal``.

    Raises:
        DataError: no sample has a clear side.
    """

    is_varied: ClassVar[bool] = True

    def __init__(
        self,
        packed: PackedChips,
        samples: Samples,
        *,
        pair_share: float = 0.25,
        **options: Any,
    ) -> None:
        """Sort the samples into clear ones and pairs."""
        self.samples = samples[packed.has("target")[samples]]
        if not len(self.samples):
            raise DataError(
                f"{packed.path} holds no clear chip among {len(samples)} samples",
                "clouds are put over clear chips",
                "give clear scenes as the target side",
            )
        self._clear = self.samples
        self._pairs = samples[packed.has("source")[samples] & packed.has("mask")[samples]]
        self._pair_share = pair_share if len(self._pairs) else 0.0
        self._deal = Deal(packed, **options)

    def at(self, step: int, device: torch.device) -> Batch:
        """Return the batch of a step: chips of the training size."""
        deal = self._deal
        random = generator_of(deal.seed, step)
        lot = float(torch.rand((), generator=random))
        n_pairs = min(deal.n_windows, int(deal.n_windows * self._pair_share + lot))
        parts = []
        if n_pairs < deal.n_windows:
            clear = dealt(self._clear, deal.n_windows - n_pairs, step, deal.seed)
            parts.append(self._skies(deal.windows(clear, device, random), random))
        if n_pairs:
            pairs = dealt(self._pairs, n_pairs, step, deal.seed + 1)
            parts.append(self._real(deal.windows(pairs, device, random), random))
        batch = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return deal.chips(batch, random)

    def whole(self, samples: Samples, number: int, device: torch.device) -> Batch:
        """Return windows under a sky that is the same for each number."""
        random = generator_of(self._deal.seed, number)
        return self._skies(self._deal.windows(samples, device, None), random, is_whole=True)

    def pairs(self, device: torch.device) -> Iterator[Batch]:
        """Walk the real pairs as whole windows, one by one, masks grown as those of scenes."""
        for pair in self._pairs:
            yield self._real(self._deal.windows(pair[None], device, None), None)

    def _skies(self, windows: Windows, random: torch.Generator, *, is_whole: bool = False) -> Batch:
        """Clear windows under skies; whole ones are not varied, and their levels are told."""
        target, valid = windows.read("target")
        level = level_of(windows)
        bands = windows.packed.sides["target"].bands
        step_m = PIXEL_M
        if self.is_varied and not is_whole:
            target = (target * gains(target, SEASON, random)).clamp(max=BRIGHTEST)
            step_m = STEPS_M[int(torch.randint(0, len(STEPS_M), (), generator=random))]
        pixels, lost, classes = self._clouded(target, bands, level > 0, random, step_m)
        if self.is_varied and not is_whole:
            light = gains(target, LIGHT, random)
            pixels, target = pixels * light, target * light
        tones = self._tones(len(windows), None if is_whole else random)
        if tones is not None:
            pixels, target, level = tones.shown(pixels), tones.shown(target), tones.known(level)
        batch = _covered((pixels, target, valid), lost, classes, random)
        level = level if is_whole else hidden(level, random)
        return {**batch, "level": level.to(windows.device)}

    def _tones(self, n_windows: int, random: torch.Generator | None) -> Tones | None:
        """How windows are shown; None as they were measured. Without random numbers: not varied."""
        return None

    def _real(self, windows: Windows, random: torch.Generator | None) -> Batch:
        """Real pairs; without random numbers, as they were measured."""
        return real_pairs(windows, random, self._tones(len(windows), random))

    def _clouded(
        self,
        target: Tensor,
        bands: Sequence[str],
        is_toa: Tensor,
        random: torch.Generator,
        step_m: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return cloud_over(target, bands, is_toa, random, pixel_m=step_m)


class PictureBatches(CloudBatches):
    """The same, in training a share of the windows shown as pictures of 8 bits of all kinds."""

    def __init__(
        self, packed: PackedChips, samples: Samples, *, pictures: float, **options: Any
    ) -> None:
        """Take the share of pictures, and the options of ``CloudBatches``."""
        super().__init__(packed, samples, **options)
        self._pictures = pictures

    def _tones(self, n_windows: int, random: torch.Generator | None) -> Tones | None:
        return None if random is None else Tones.drawn(n_windows, self._pictures, random)


class EsaPictureBatches(CloudBatches):
    """The same, every window shown as one of ESA's true-colour images."""

    def _tones(self, n_windows: int, random: torch.Generator | None) -> Tones:
        return Tones.esa(n_windows)


class OneSkyBatches(CloudBatches):
    """The same sky over every chip: to repeat trainings whose noise has one seed."""

    is_varied = False

    def _clouded(
        self,
        target: Tensor,
        bands: Sequence[str],
        is_toa: Tensor,
        random: torch.Generator,
        step_m: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        each = [
            cloud_over(
                target[i : i + 1], bands, is_toa[i : i + 1], generator_of(0, 0), pixel_m=step_m
            )
            for i in range(len(target))
        ]
        pixels, lost, classes = (torch.cat(parts) for parts in zip(*each, strict=True))
        return pixels, lost, classes


def real_pairs(
    windows: Windows, random: torch.Generator | None, tones: Tones | None = None
) -> Batch:
    """Return real pairs as ``CloudBatches`` deals them.

    Without random numbers masks have the same error each time, levels are not hidden, and the
    light is as it was.
    """
    target, valid = windows.read("target")
    pixels, seen = windows.read("source")
    if random is not None:
        light = gains(target, LIGHT, random)
        target, pixels = target * light, pixels * light
    level = level_of(windows)
    if tones is not None:
        target, pixels, level = tones.shown(target), tones.shown(pixels), tones.known(level)
    marks, _ = windows.read("mask")
    classes = marks.long()
    batch = _covered((pixels, target, valid & seen), (classes > 0).float(), classes, random)
    is_clear = (batch["mask"] == 0) & valid.all(1, keepdim=True) & seen.all(1, keepdim=True)
    # the clear side is of another date: what differs around is taken for what differs beneath
    change = fill_windows(pixels - target, is_clear)
    return {
        **batch,
        "target": target + change,
        "synthetic": torch.zeros_like(batch["synthetic"]),
        "level": (level if random is None else hidden(level, random)).to(windows.device),
    }


def level_of(windows: Windows) -> Tensor:
    """Return the product level of windows, (B,): 1 L1C, -1 L2A, 0 unknown."""
    levels = windows.packed.level[windows.samples]
    return torch.tensor([LEVEL_FLAGS[LEVELS[level]] for level in levels])


def hidden(level: Tensor, random: torch.Generator, share: float = UNKNOWN_LEVELS) -> Tensor:
    """Return levels (B,), about this share of them unknown."""
    return torch.where(torch.rand(len(level), generator=random) < share, 0, level)


def _covered(
    sides: tuple[Tensor, Tensor, Tensor],
    lost: Tensor,
    classes: Tensor,
    random: torch.Generator | None,
) -> Batch:
    """What follows from pixels, target, validity and the light that is lost."""
    pixels, target, valid = sides
    is_valid = valid.all(1, keepdim=True)
    mask = grow(lost > 0, 3) if random is None else MaskErrors().drawn(lost, random)
    is_clear = is_valid & ~mask
    fill = fill_windows(pixels, is_clear)
    # without clear pixels there is no fill, and no scene like it is ever translated
    has_clear = is_clear.flatten(1).float().mean(1) > LEAST_CLEAR
    weight = (mask & is_valid).float() * has_clear[:, None, None, None]
    return {
        "pixels": torch.where(is_valid, pixels, fill),
        "target": target,
        "fill": fill,
        "mask": mask.float(),
        "weight": weight,
        "valid": is_valid.float(),
        "classes": classes,
        "synthetic": torch.ones(len(pixels), device=pixels.device),
    }
