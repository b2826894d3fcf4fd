"""MaskBatches: cloudy windows and what each of their pixels is, to train detectors on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from geodecloud.learn.batches import Windows
from geodecloud.learn.cloud_batches import CloudBatches, hidden, level_of
from geodecloud.learn.clouding import PIXEL_M, cloud_over, gains, wavelengths_of
from geodecloud.learn.cutting import CLEAR, SHADOW
from geodecloud.learn.plan import Batch

SKY_TYPES = (*["cumulus"] * 5, "cirrus", "cirrus", "deck", "fog")
COVERAGE = (0.1, 0.75)
NO_SKIES = 0.35
"""The part of windows that no sky lies over: a detector is asked of clear scenes too."""

STEPS_M = (10.0, 15.0, 20.0, 30.0)
"""Pixel sizes that skies are laid out for: clouds differ in size more than their types do."""

UNKNOWN_LEVELS = 0.4
"""The part of windows whose level is hidden: files that say nothing of it are common."""

UNSURE_LOSS = 0.22
"""What takes less of the ground's light than this is not clear, and hardly cloud or shadow."""

UNSURE_BRIGHT, UNSURE_DARK = (0.02, 0.06), (0.5, 0.85)
"""Differences of a real pair that tell nothing, around the limits of ``mark_clouds``."""
RIM_PX = 2
"""So far into a cloud of a real pair reaches what ``mark_clouds`` adds to it."""
DARK_GROUND = 0.12
"""Ground so dark in the near infrared shows no shadow."""

LIGHT, SEASON = (0.08, 0.027), (0.12, 0.04)
"""How far gains spread by window and by band: of all that is seen, and of the ground alone."""

AIR, AIR_NM = 0.085, 490.0
"""What the air reflects at this wavelength, seen from space; it falls with its fourth power."""
SNOW, SNOW_SHARE = (0.9, 0.8), 0.06
"""What dry snow reflects in the visible and the near infrared (Warren 1982); how often it lies."""


class MaskBatches(CloudBatches):
    """Clear windows under skies drawn on the fly, and real pairs, with the class of each pixel.

    A batch holds ``pixels`` (B, C, H, W) reflectance; ``classes`` (B, 1, H, W): clear, thin,
    thick, shadow; ``weight`` (B, 1, H, W), 0 where the class is not sure or a pixel not valid;
    ``level`` (B,); ``target``, the clear side; ``synthetic`` (B,), 0 for real pairs.

    Synthetic truth is that of the sky. Ground and light are varied: surface reflectance may get
    the air of the top of the atmosphere, snow may lie on open ground, and each band has a gain.
    The classes of real pairs are those of ``mark_clouds``, where the two sides tell them clearly.
    """

    def _skies(self, windows: Windows, random: torch.Generator, *, is_whole: bool = False) -> Batch:
        device = windows.device
        bands, step_m = windows.packed.sides["target"].bands, PIXEL_M
        target, valid = windows.read("target")
        level = level_of(windows)
        if not is_whole:
            target, level = varied_ground(target, level, bands, random)
            step_m = STEPS_M[int(torch.randint(0, len(STEPS_M), (), generator=random))]
        pixels, lost, classes = cloud_over(
            target, bands, level > 0, random, types=SKY_TYPES, coverage=COVERAGE, pixel_m=step_m
        )
        if not is_whole:
            is_bare = drawn(len(target), NO_SKIES, random).to(device)
            pixels = torch.where(is_bare, target, pixels) * gains(pixels, LIGHT, random)
            lost, classes = lost * ~is_bare, torch.where(is_bare, CLEAR, classes)
            level = hidden(level, random, UNKNOWN_LEVELS)
        is_valid = valid.all(1, keepdim=True)
        is_sure = is_valid & ((lost == 0) | (lost > UNSURE_LOSS))
        return {
            "pixels": pixels * is_valid,  # 0 where not valid, as detectors see scenes
            "target": target,
            "classes": classes,
            "weight": is_sure.float(),
            "level": level.to(device),
            "synthetic": torch.ones(len(pixels), device=device),
        }

    def _real(self, windows: Windows, random: torch.Generator | None) -> Batch:
        device = windows.device
        target, valid = windows.read("target")
        pixels, seen = windows.read("source")
        marks, _ = windows.read("mask")
        classes, level = marks.long(), level_of(windows)
        is_valid = (valid & seen).all(1, keepdim=True)
        is_sure = is_valid & told_clearly(pixels, target, classes, is_valid)
        if random is not None:
            pixels = pixels * gains(pixels, LIGHT, random)
            level = hidden(level, random, UNKNOWN_LEVELS)
        return {
            "pixels": pixels * is_valid,
            "target": target,
            "classes": classes,
            "weight": is_sure.float(),
            "level": level.to(device),
            "synthetic": torch.zeros(len(pixels), device=device),
        }


def told_clearly(pixels: Tensor, target: Tensor, classes: Tensor, is_valid: Tensor) -> Tensor:
    """Return where (B, 1, H, W) bool the two sides of real pairs tell the class beyond doubt.

    In doubt is what differs by nearly the limits of ``mark_clouds``, ground too dark to show a
    shadow, and the rim that is added to clouds there.

    Args:
        pixels: (B, C, H, W) reflectance of the cloudy side, near infrared last.
        target: the same of the clear side.
        classes: (B, 1, H, W) of ``mark_clouds``.
        is_valid: (B, 1, H, W) bool.
    """
    difference = _smooth((pixels - target)[:, :-1].amin(1, keepdim=True))
    ratio = _smooth(pixels[:, -1:]) / _smooth(target[:, -1:]).clamp_min(1e-3)
    brighter = torch.stack([
        field - (field[valid].quantile(0.2).clamp(-0.05, 0.05) if valid.any() else 0.0)
        for field, valid in zip(difference, is_valid, strict=True)
    ])  # fmt: skip
    low, high = UNSURE_BRIGHT
    in_doubt = (brighter > low) & (brighter < high)
    is_ground = (classes == CLEAR) | (classes == SHADOW)
    # what is dark stays in doubt where the season may have done it, or where no shadow shows
    low, high = UNSURE_DARK
    in_doubt |= is_ground & (ratio > low) & (ratio < high)
    in_doubt |= (classes == CLEAR) & (target[:, -1:] < DARK_GROUND)
    marked = (classes != CLEAR).float()
    side = 2 * RIM_PX + 1
    inside = 1 - F.max_pool2d(1 - marked, side, 1, RIM_PX)
    around = F.max_pool2d(marked, side, 1, RIM_PX)
    return ~in_doubt & (inside == around)


def _smooth(field: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(field, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def varied_ground(
    ground: Tensor, level: Tensor, bands: Sequence[str], random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return clear windows (B, C, H, W) as another day would show them, and their levels (B,).

    Half of those at the surface are seen from space: the air's own light lies over them. Snow lies
    on some. Each window and each band has a gain.
    """
    device, n_windows = ground.device, len(ground)
    nm = torch.tensor(wavelengths_of(bands), device=device)[:, None, None]
    is_snowy = drawn(n_windows, SNOW_SHARE, random).to(device)
    ground = torch.where(is_snowy, snowed(ground, nm), ground * gains(ground, SEASON, random))
    is_lifted = drawn(n_windows, 0.5, random) & (level < 0).view(-1, 1, 1, 1)
    much = torch.empty(n_windows, 1, 1, 1).uniform_(0.6, 1.3, generator=random).to(device)
    air = much * AIR * (AIR_NM / nm) ** 4
    ground = torch.where(is_lifted.to(device), ground * (1 - air) + air, ground)
    return ground, torch.where(is_lifted.flatten(), 1.0, level)


def snowed(ground: Tensor, nm: Tensor) -> Tensor:
    """Return windows (B, C, H, W) with snow on what is not wooded; near infrared comes last."""
    red, infrared = ground[:, -2:-1], ground[:, -1:]
    is_open = infrared - red <= 0.4 * (infrared + red)
    snow = torch.where(nm < 750, SNOW[0], SNOW[1])
    return torch.where(is_open, 0.25 * ground + 0.75 * snow, ground)


def drawn(n_windows: int, share: float, random: torch.Generator) -> Tensor:
    """Return (B, 1, 1, 1) bool, true for about this share of the windows."""
    return (torch.rand(n_windows, generator=random) < share).view(-1, 1, 1, 1)
