"""What clouds do to light: how much they send back, let through and leave in their shade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from geodecloud.sky.arrays import Array, array_module, constant

_BACK = 0.075
"""Half of the light that a drop sends backwards: (1 - g) / 2 with asymmetry g = 0.85."""

VIEW_LOSS = 0.28
"""Share of the optical depth that takes light out of the view; the rest is bent by a few degrees
only: 1 - g**2 with g = 0.85 (Joseph, Wiscombe and Weinman 1976, delta-Eddington)."""

# Wavelength in nm: reflectance of a cloud without end. Seen from the ground (L2A) it is all but
# white; seen through the air (L1C) air and ozone above the cloud take of the blue and green.
# Drops and ice swallow light beyond 1.4 µm.
_WHITE_SURFACE = {492: 1.0, 560: 0.97, 665: 0.96, 833: 1.0, 945: 0.95, 1610: 0.7, 2200: 0.5}
_WHITE_TOP = {
    443: 0.82, 492: 0.87, 560: 0.90, 665: 1.05, 833: 1.15,
    945: 1.05, 1375: 0.85, 1610: 0.75, 2200: 0.5,
}  # fmt: skip

# Wavelength in nm: optical depth of all water vapour on the way down and up. What lies over a cloud
# falls by e with each 2 km, so that B10 sees ice clouds, no low ones, and no ground.
_VAPOUR = {900: 0.0, 935: 0.6, 955: 0.6, 990: 0.0, 1340: 0.0, 1360: 8.0, 1390: 8.0, 1420: 0.0}
_VAPOUR_HEIGHT_M = 2000.0

# Central wavelength in nm: seconds after B02 at which Sentinel-2 sees a place in a band (ESA,
# Sentinel-2 products specification), and what a second is as an angle: way over height of orbit.
_DELAY = {
    443: 2.314, 492: 0.0, 560: 0.527, 665: 1.005, 704: 1.269, 740: 1.525, 783: 1.79, 833: 0.264,
    865: 2.055, 945: 2.586, 1374: 0.851, 1614: 1.468, 2202: 2.085,
}  # fmt: skip
_ANGLE_PER_SECOND = 7.45 / 786

# Wavelength in nm: reflectance of green land, which lights a cloud from below.
_LAND = {500: 0.05, 670: 0.06, 740: 0.25, 1000: 0.3, 1610: 0.2, 2200: 0.1}

# What haze there is under every clear sky: optical depth at 550 nm, and its exponent.
_CLEAR_HAZE = (0.12, 1.3)
_CLOUD_SIDES = 0.06  # light that the clouds around throw into a shadow, of the sun's


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """What C bands of B skies have in common over all pixels: float32 (B, C, 1, 1) each.

    Args:
        depth: optical depth over the one at 550 nm.
        white: reflectance of a cloud without end.
        land: reflectance of the land around.
        diffuse: share of the ground's light that is left in full shade.
        path: reflectance of the air itself, which is in a top-of-atmosphere product.
    """

    depth: Array
    white: Array
    land: Array
    diffuse: Array
    path: Array

    @classmethod
    def of(
        cls,
        wavelengths_nm: Sequence[float],
        angstrom: Array,
        sun_elevation_deg: Array,
        height_m: Array,
        is_toa: Array | bool,
    ) -> Self:
        """Return the light of these bands.

        Args:
            wavelengths_nm: C central wavelengths.
            angstrom: (B,) float64, see ``CloudType``.
            sun_elevation_deg: (B,) float64.
            height_m: (B,) float64, of the clouds.
            is_toa: whether reflectance is at the top of the atmosphere: one for all, or (B,).
        """
        xp, device = array_module(angstrom), angstrom.device
        nm = np.asarray(wavelengths_nm, np.float64)

        def bands(values: np.ndarray[Any, Any]) -> Array:
            return constant(tuple(values.tolist()), angstrom)[None, :]

        def shaped(values: Array) -> Array:
            return xp.asarray(values, dtype=xp.float32)[:, :, None, None]

        is_top = (xp.zeros(angstrom.shape, dtype=xp.bool, device=device) | is_toa)[:, None]
        air = 0.00877 * (nm / 1000) ** -4.05  # Rayleigh (Bucholtz 1995)
        path = bands(0.58 * air)
        vapour = bands(-_between(_VAPOUR, nm))
        above = xp.exp(vapour * xp.exp(height_m * (-1 / _VAPOUR_HEIGHT_M))[:, None])
        white = xp.where(
            is_top, bands(_between(_WHITE_TOP, nm)) * above, bands(_between(_WHITE_SURFACE, nm))
        )
        land = bands(_between(_LAND, nm))
        return cls(
            depth=shaped(xp.exp(-angstrom[:, None] * bands(np.log(nm / 550)))),
            white=shaped(white),
            land=shaped(xp.where(is_top, land * xp.exp(vapour), land)),
            diffuse=shaped(_diffuse_share(bands(air), bands(nm), sun_elevation_deg[:, None])),
            path=shaped(xp.where(is_top, path, path * 0.0)),
        )


def _between(table: Mapping[int, float], nm: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a table's values at wavelengths between its own."""
    return np.asarray(np.interp(nm, list(table), list(table.values())))


def _diffuse_share(air: Array, nm: Array, sun_elevation_deg: Array) -> Array:
    """Return how much of the light on the ground comes from the sky instead of the sun (B, C)."""
    xp = array_module(air)
    slant = 1 / xp.sin(sun_elevation_deg * (np.pi / 180))
    haze = _CLEAR_HAZE[0] * (nm * (1 / 550)) ** -_CLEAR_HAZE[1]
    direct = xp.exp(-(air + haze) * slant)
    # Air sends half of what it scatters down to the ground; haze, which scatters forwards, more.
    sky = 0.5 * (1 - xp.exp(-air * slant)) + 0.8 * (1 - xp.exp(-haze * slant)) + _CLOUD_SIDES
    return sky / (sky + direct)


def shadow_strength(optical_depth: Array, sun_elevation_deg: Array) -> Array:
    """Return the share of the sun's direct light that a cloud keeps from the ground, 0 to 1.

    Args:
        optical_depth: (B, 1, H, W) float32, straight down.
        sun_elevation_deg: (B,) float64.
    """
    xp = array_module(optical_depth)
    slant = VIEW_LOSS / xp.sin(sun_elevation_deg * (np.pi / 180))
    return 1 - xp.exp(-optical_depth * xp.asarray(slant, dtype=xp.float32)[:, None, None, None])


def parallax_of(wavelengths_nm: Sequence[float]) -> tuple[float, ...]:
    """Return how far each band sees a cloud further along the track, over the cloud's height.

    Of the nearest band of Sentinel-2: it sees its bands one after another.
    """
    return tuple(
        _ANGLE_PER_SECOND * _DELAY[min(_DELAY, key=lambda known: abs(known - nm))]
        for nm in wavelengths_nm
    )


def seen_from_above(
    reflectance: Array,
    light: Light,
    optical_depth: Array,
    strength: Array,
    relief: Array,
    around: Array | None = None,
) -> Array:
    """Return what is seen of the ground, shaded and through the clouds, and of the clouds.

    Args:
        reflectance: (B, C, H, W) of the ground under a clear sky.
        light: of its bands.
        optical_depth: (B, 1 or C, H, W) float32 at 550 nm.
        strength: (B, 1, H, W) float32, see ``shadow_strength``.
        relief: (B, 1 or C, H, W) float32; a cloud's brightness is multiplied by 1 + relief.
        around: (B, C, H, W), mean reflectance around each pixel; None: that of green land.
    """
    xp = array_module(optical_depth)
    depth = optical_depth * light.depth
    back = depth * _BACK
    cloud = back / (1 + back)  # the two-stream answer for a cloud that swallows nothing
    through = 1 - cloud
    view = xp.exp(depth * -VIEW_LOSS)
    ground = (reflectance - light.path) * (1 - strength * (1 - light.diffuse))
    # What has lost its way in the cloud on its way up comes from the ground around.
    land = light.land if around is None else xp.clip(around - light.path, 0.0, 0.9)
    lost = through * through * (1 - view) * land / (1 - cloud * land)
    return (
        light.path + ground * (through * view) + light.white * cloud * (1 + relief * cloud) + lost
    )
