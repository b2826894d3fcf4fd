"""Clouds over clear windows, masks as detectors draw them, the fill under them: in torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from geodecloud.errors import DataError
from geodecloud.geo.sensors import SENSORS
from geodecloud.learn.cutting import SHADOW, THICK, THIN
from geodecloud.sky.adjacency import ground_around
from geodecloud.sky.clouds import apply_sky, random_skies
from geodecloud.sky.light import VIEW_LOSS
from geodecloud.sky.perlin import Places

SKY_TYPES = ("cumulus", "cumulus", "cirrus", "cirrus", "haze", "deck", "fog")
"""What skies are drawn of: broken and thin cloud most, because solid decks leave nothing to see."""

COVERAGE = (0.1, 0.8)
PIXEL_M = 10.0

SWEEPS = 4
"""Relaxations a level, as in ``geodecloud.geo.fill``: training sees the fill that scenes get."""


def fill_windows(pixels: Tensor, clear: Tensor) -> Tensor:
    """Return pixels (B, C, H, W) with what is not ``clear`` (B, 1, H, W) drawn from what is.

    The push-pull pyramid of ``geodecloud.geo.fill`` on windows of their own: upwards a cell takes
    what its four children know, downwards it asks its surroundings for the rest. A window without
    a clear pixel is 0 throughout.
    """
    weight = clear.to(pixels.dtype)
    known = torch.where(clear, pixels, torch.zeros((), dtype=pixels.dtype, device=pixels.device))
    levels = [(weight, known)]
    while max(weight.shape[-2:]) > 1:
        rows, cols = weight.shape[-2] % 2, weight.shape[-1] % 2
        # sums of 2x2 cells; a missing child weighs nothing
        weight, known = (
            4 * F.avg_pool2d(F.pad(field, (0, cols, 0, rows)), 2) for field in (weight, known)
        )
        weight, known = weight / (1 + weight), known / (1 + weight)
        levels.append((weight, known))
    weight, known = levels.pop()
    drawn = torch.where(weight > 0, known / weight.clamp_min(1e-30), known)
    while levels:
        weight, known = levels.pop()
        height, width = weight.shape[-2:]
        around = F.interpolate(
            F.pad(drawn, (1, 1, 1, 1), mode="replicate"),
            scale_factor=2.0,
            mode="bilinear",
            align_corners=False,
        )[..., 2 : 2 + height, 2 : 2 + width]
        rest = 1 - weight
        drawn = known + rest * around
        for _ in range(SWEEPS):
            padded = F.pad(drawn, (1, 1, 1, 1), mode="replicate")
            around = (
                padded[..., :-2, 1:-1]
                + padded[..., 2:, 1:-1]
                + padded[..., 1:-1, :-2]
                + padded[..., 1:-1, 2:]
            ) / 4
            drawn = known + rest * around
    return drawn


def grow(mask: Tensor, radius_px: int) -> Tensor:
    """Return (B, 1, H, W) bool grown by a square of this radius; a negative one shrinks it."""
    if radius_px == 0:
        return mask
    size = 2 * abs(radius_px) + 1
    sign = 1.0 if radius_px > 0 else -1.0
    grown = F.max_pool2d(sign * mask.float(), size, stride=1, padding=abs(radius_px))
    return grown * sign > 0.5


@dataclass(frozen=True, slots=True)
class MaskErrors:
    """How far the masks of training lie from the truth, as those of detectors do.

    Attributes:
        least: where cloud begins, as the part of light that is lost, drawn for each window.
        grown_px: then the mask grows by a number from this range; a negative one shrinks it.
    """

    least: tuple[float, float] = (0.02, 0.12)
    grown_px: tuple[int, int] = (-1, 8)

    def drawn(self, lost: Tensor, random: torch.Generator) -> Tensor:
        """Return masks (B, 1, H, W) bool of the light lost (B, 1, H, W), one error a window."""
        low, high = self.least
        limits = low + (high - low) * torch.rand(len(lost), generator=random)
        grown = torch.randint(
            self.grown_px[0], self.grown_px[1] + 1, (len(lost),), generator=random
        )
        masks = lost > limits.to(lost.device)[:, None, None, None]
        return torch.cat(
            [grow(masks[i : i + 1], radius) for i, radius in enumerate(grown.tolist())]
        )


def cloud_over(
    clear: Tensor,
    bands: Sequence[str],
    is_toa: Tensor,
    random: torch.Generator,
    *,
    types: Sequence[str] = SKY_TYPES,
    coverage: tuple[float, float] = COVERAGE,
    pixel_m: float = PIXEL_M,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return windows under skies of their own, the light lost, and what each pixel is.

    Args:
        clear: (B, C, H, W) reflectance.
        bands: names of C Sentinel-2 bands.
        is_toa: (B,) bool, whether reflectance is at the top of the atmosphere.
        random: where the skies' seeds come from.
        types: of cloud.
        coverage: from the least to the most.
        pixel_m: side of a pixel.

    Returns:
        Cloudy reflectance (B, C, H, W); the part of the ground's light that cloud or shadow takes,
        0 to 1, and classes ``CLEAR``, ``THIN``, ``THICK``, ``SHADOW`` (int64), (B, 1, H, W) each.

    Raises:
        DataError: a band has no wavelength here.
    """
    seeds = torch.randint(0, 2**62, (len(clear),), generator=random)
    # On a CPU numpy makes a sky in half of torch's time.
    here = Tensor.numpy if clear.device.type == "cpu" else partial(Tensor.to, device=clear.device)
    ground, start = here(clear), here(torch.zeros(len(clear), dtype=torch.float64))
    places = Places(start, start, step=pixel_m, shape=(clear.shape[-2], clear.shape[-1]))
    seen, truth = apply_sky(
        ground,
        wavelengths_of(bands),
        random_skies(here(seeds), types, coverage=coverage),
        places,
        is_toa=here(is_toa),
        around=ground_around(ground, pixel_m),
        threads=torch.get_num_threads(),  # which have nothing to do meanwhile
    )
    cloudy, depth, strength, is_thin, is_thick, is_shadow = (
        torch.as_tensor(plane)
        for plane in (
            seen, truth.optical_depth, truth.shadow_strength,
            truth.is_thin, truth.is_thick, truth.is_shadow,
        )
    )  # fmt: skip
    lost = torch.maximum(1 - torch.exp(-VIEW_LOSS * depth), strength)
    classes = THIN * is_thin + THICK * is_thick + SHADOW * is_shadow
    return cloudy, lost, classes


def gains(like: Tensor, spread: tuple[float, float], random: torch.Generator) -> Tensor:
    """Return factors (B, C, 1, 1) around 1, which spread this far by window and by band."""
    by_window = torch.randn(len(like), 1, 1, 1, generator=random) * spread[0]
    by_band = torch.randn(len(like), like.shape[1], 1, 1, generator=random) * spread[1]
    return torch.exp(by_window + by_band).to(like.device)


def wavelengths_of(bands: Sequence[str]) -> list[float]:
    """Return the central wavelengths of Sentinel-2 bands, nm.

    Raises:
        DataError: a band has none here.
    """
    known = {band.name: band.wavelength_nm for band in SENSORS["sentinel-2-l1c"].bands}
    found = [known.get(name) for name in bands]
    if missing := [name for name, nm in zip(bands, found, strict=True) if nm is None]:
        raise DataError(
            f"bands {', '.join(missing)} have no wavelength here",
            f"clouds are drawn over {', '.join(known)}",
            "name the bands as Sentinel-2 does, or train on pairs",
        )
    return [nm for nm in found if nm is not None]


def turned(window: Tensor, way: int) -> Tensor:
    """Return (C, H, W) in one of the eight ways a square can lie."""
    if way >= 4:
        window = window.flip(-1)
    return torch.rot90(window, way % 4, (-2, -1))


def cut(windows: dict[str, Tensor], places: Tensor, size_px: int) -> dict[str, Tensor]:
    """Return chips cut from windows at (N, 3) places (window, row, col); fields (B,) go along.

    Chips lie in memory with their channels last, as convolutions like them best.
    """
    side = torch.arange(size_px)
    chips: dict[str, Tensor] = {}
    for name, field in windows.items():
        window, row, col = places.to(field.device).unbind(1)
        if field.ndim == 1:
            chips[name] = field[window]
            continue
        reach = side.to(field.device)
        rows = (row[:, None] + reach)[:, :, None]
        cols = (col[:, None] + reach)[:, None, :]
        chips[name] = field[window[:, None, None], :, rows, cols].permute(0, 3, 1, 2)
    return chips
