"""A sky over the ground: where its clouds hang, what is seen of both, and the truth about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from geodecloud.errors import InputError
from geodecloud.sky.light import Light, seen_from_above, shadow_strength
from geodecloud.sky.perlin import (
    Array,
    HashGradients,
    Places,
    array_module,
    constant,
    layered_noise,
)
from geodecloud.sky.skies import TYPES, Skies, Sky, random_skies

__all__ = [
    "CELLS_M",
    "THICK_OPTICAL_DEPTH",
    "TYPES",
    "Skies",
    "Sky",
    "Truth",
    "apply_sky",
    "optical_depth",
    "random_skies",
]

CELLS_M = tuple(40960.0 / 2**i for i in range(12))
"""Cells of the twelve octaves of every sky, in metres: from weather fronts to two pixels."""

_BILLOWED = (5, 6, 7, 8)  # octaves that may billow: 1280 to 160 m
_SMOOTH = tuple(i for i in range(len(CELLS_M)) if i not in _BILLOWED)

THICK_OPTICAL_DEPTH = 7.0
"""From here on less than a tenth of the ground's contrast comes through a cloud of drops."""

_LEAST = 0.02  # an optical depth or a shadow below this changes less than a sensor's noise
# One octave of noise: its standard deviation (the integral of the fade and its slopes), the mean
# of its absolute value (measured), and what that adds to the variance.
_DEVIATION = 0.2157108
_MEAN_ABSOLUTE = 0.1762
_ABSOLUTE_VARIANCE = 1 - (_MEAN_ABSOLUTE / _DEVIATION) ** 2
_BROAD_FALL = 1.0  # amplitude of octaves coarser than the clouds, by halving of the frequency
_RELIEF_M = 120.0  # a cloud's lit side is told from this far towards the sun
_MOST_RELIEF = 0.4
_PENUMBRA = 0.03  # blur of a shadow by height: the sun's disc, and light scattered at the rim


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What was laid over each pixel: (B, 1, H, W) each, float32 or bool.

    A pixel that has changed is in exactly one of the three classes, a pixel that has not in none.

    Args:
        optical_depth: at 550 nm; 0 where there is no cloud.
        shadow_strength: share of the sun's direct light that is gone, under clouds too.
        is_thin: cloud through which the ground is seen.
        is_thick: cloud of ``THICK_OPTICAL_DEPTH`` and more.
        is_shadow: shadow beside the clouds.
    """

    optical_depth: Array
    shadow_strength: Array
    is_thin: Array
    is_thick: Array
    is_shadow: Array


def optical_depth(sky: Sky | Skies, places: Places) -> Array:
    """Return the optical depth at 550 nm straight down: float32 (B, 1, H, W), 0 between clouds.

    Args:
        sky: one for all chips, or one for each.
        places: where the chips lie, in metres (``step`` is the pixel size).
    """
    skies = _one_each(sky, places)
    return _depth_at(_heights(skies, places, skies.height_m * 0.0), skies)


def apply_sky(
    reflectance: Array,
    wavelengths_nm: Sequence[float],
    sky: Sky | Skies,
    places: Places,
    *,
    is_toa: Array | bool = False,
) -> tuple[Array, Truth]:
    """Return the ground as it looks under the sky, and the truth about the sky.

    Where the sky is clear the ground leaves bit-identical. A window gets what the whole gets:
    apply_sky(whole)[window] == apply_sky(whole[window], places=places.window(...)).

    Args:
        reflectance: (B, C, H, W) floats of numpy or torch, clear ground.
        wavelengths_nm: C central wavelengths.
        sky: one for all chips, or one for each.
        places: where the chips lie, in metres (``step`` is the pixel size), on the same device.
        is_toa: whether reflectance is at the top of the atmosphere (L1C): for all, or (B,).

    Raises:
        InputError: shapes that do not belong together.
    """
    _check_shapes(reflectance, wavelengths_nm, places)
    xp, skies = array_module(reflectance), _one_each(sky, places)
    depth, shading_depth, relief = _sky_over(skies, places)
    strength = shadow_strength(shading_depth, skies.sun_elevation_deg)
    strength = xp.where(strength < _LEAST, 0.0, strength)
    light = Light.of(wavelengths_nm, skies.angstrom, skies.sun_elevation_deg, is_toa)
    cloudy = seen_from_above(reflectance, light, depth, strength, relief)
    cloudy = xp.asarray(cloudy, dtype=reflectance.dtype)
    is_cloud, is_thick = depth > 0, depth >= THICK_OPTICAL_DEPTH
    is_shadow = (strength > 0) & ~is_cloud
    truth = Truth(depth, strength, is_cloud & ~is_thick, is_thick, is_shadow)
    return xp.where(is_cloud | is_shadow, cloudy, reflectance), truth


def _sky_over(skies: Skies, places: Places) -> tuple[Array, Array, Array]:
    """Return the depth of the clouds above, of those before the sun, and the clouds' relief.

    The same field is looked at from three sides at once: straight up, up the sun's beam, and a
    little towards the sun. Each (B, 1, H, W) float32.
    """
    xp, n_chips = array_module(places.row0), len(places.row0)
    azimuth = skies.sun_azimuth_deg * (math.pi / 180)
    south, east = -xp.cos(azimuth), xp.sin(azimuth)
    away_m = skies.height_m / xp.tan(skies.sun_elevation_deg * (math.pi / 180))
    views = [
        (places, skies.height_m * 0.0),
        (places.moved(south * away_m, east * away_m), skies.height_m * _PENUMBRA),
        (places.moved(south * _RELIEF_M, east * _RELIEF_M), skies.height_m * 0.0),
    ]
    thrice = Skies(*(xp.concat([getattr(skies, each.name)] * 3, 0) for each in fields(Skies)))
    everywhere = Places(
        xp.concat([view.row0 for view, _ in views], 0),
        xp.concat([view.col0 for view, _ in views], 0),
        places.step,
        places.shape,
    )
    heights = _heights(thrice, everywhere, xp.concat([blur_m for _, blur_m in views], 0))
    above, sunward, beside = (heights[i * n_chips : (i + 1) * n_chips] for i in range(3))
    slope = (above - beside) * _pixels(skies.relief)
    shading = _depth_at(sunward, skies) * _pixels(skies.shade)
    return _depth_at(above, skies), shading, slope / (1 + xp.abs(slope) * (1 / _MOST_RELIEF))


def _heights(skies: Skies, places: Places, blur_m: Array) -> Array:
    """Return how far the field lies above the threshold, in its standard deviations.

    (B, 1, H, W) float32; ``blur_m`` (B,) is the size under which its detail fades.
    """
    xp, gradients = array_module(skies.seed), HashGradients(skies.seed)
    amplitudes = _amplitudes(skies, blur_m)

    def octaves(numbers: tuple[int, ...]) -> Array:
        cells_m = {i: CELLS_M[i] for i in numbers}
        return layered_noise(gradients, places, cells_m, amplitudes[:, list(numbers)])

    height = octaves(_SMOOTH)
    height -= skies.threshold[:, None, None]
    for octave in _BILLOWED:
        noise = octaves((octave,))
        height += noise
        xp.abs(noise, out=noise)
        noise -= amplitudes[:, octave, None, None] * _MEAN_ABSOLUTE
        noise *= skies.billow[:, None, None]
        height += noise
    return xp.asarray(height, dtype=xp.float32)[:, None]


def _amplitudes(skies: Skies, blur_m: Array) -> Array:
    """Return what each octave adds to a field of unit deviation: float64 (B, octaves)."""
    xp = array_module(skies.cell_m)
    cells_m = constant(CELLS_M, skies.cell_m)[None, :]
    size = xp.log(cells_m) - xp.log(skies.cell_m)[:, None]
    fall = xp.where(size > 0, _BROAD_FALL * size, -skies.roughness[:, None] * size)
    amplitude = xp.exp(-fall)
    may_billow = constant(tuple(float(i in _BILLOWED) for i in range(len(CELLS_M))), cells_m)
    billow = skies.billow[:, None] * may_billow
    variance = amplitude**2 * (1 + billow**2 * _ABSOLUTE_VARIANCE)
    # one after another: xp.sum may add in another order in another batch
    total = sum(variance[:, i] for i in range(len(CELLS_M)))
    deviation = xp.sqrt(total) * _DEVIATION
    sharp = 1 / (1 + (blur_m[:, None] / cells_m) ** 2)
    return amplitude * sharp / deviation[:, None]


def _depth_at(height: Array, skies: Skies) -> Array:
    """Return the optical depth of clouds of this height over the threshold; 0 below it."""
    xp = array_module(height)
    rise = height * _pixels(1 / skies.edge)
    rise = rise * rise
    depth = _pixels(skies.depth) * (rise / (1 + rise)) + _LEAST
    return xp.where(height > 0, depth, 0.0)


def _pixels(values: Array) -> Array:
    """Return values (B,) as float32 (B, 1, 1, 1)."""
    xp = array_module(values)
    return xp.asarray(values, dtype=xp.float32)[:, None, None, None]


def _one_each(sky: Sky | Skies, places: Places) -> Skies:
    """Return one sky a chip."""
    return sky if isinstance(sky, Skies) else Skies.of(sky, len(places.row0), places.row0)


def _check_shapes(reflectance: Array, wavelengths_nm: Sequence[float], places: Places) -> None:
    """Refuse chips that their bands or places do not fit."""
    expected = (len(places.row0), len(wavelengths_nm), *places.shape)
    if tuple(reflectance.shape) != expected:
        raise InputError(
            f"reflectance of shape {tuple(reflectance.shape)}",
            f"chips, wavelengths and places make {expected}",
            "pass one wavelength a band and one place a chip",
        )
