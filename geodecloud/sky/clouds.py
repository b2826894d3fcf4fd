"""A sky over the ground: where its clouds hang, what is seen of both, and the truth about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from geodecloud.errors import InputError
from geodecloud.sky.arrays import Array, array_module, is_numpy, is_on_cpu
from geodecloud.sky.field import CELLS_M, LEAST_DEPTH, depth_at, heights, per_pixel
from geodecloud.sky.ground import WarpedPlaces
from geodecloud.sky.kinds import TYPES
from geodecloud.sky.light import Light, parallax_of, seen_from_above, shadow_strength
from geodecloud.sky.perlin import Places
from geodecloud.sky.skies import Skies, random_skies
from geodecloud.sky.sky import Sky
from geodecloud.sky.threads import share_out

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

THICK_OPTICAL_DEPTH = 7.0
"""From here on less than a tenth of the ground's contrast comes through a cloud of drops."""

_RELIEF_M = 120.0  # a cloud's lit side is told from this far towards the sun
_MOST_RELIEF = 0.4
_PENUMBRA = 0.03  # blur of a shadow by height: the sun's disc, and light scattered at the rim
_TRACK_DEG = 193.0  # where Sentinel-2 flies by day, clockwise from north
_CHIPS_AT_ONCE = 8  # what a processor's cache holds of them


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

    @classmethod
    def of(cls, depth: Array, strength: Array) -> Self:
        """Return what these two say, each (B, 1, H, W)."""
        is_cloud, is_thick = depth > 0, depth >= THICK_OPTICAL_DEPTH
        is_shadow = (strength > 0) & ~is_cloud
        return cls(depth, strength, is_cloud & ~is_thick, is_thick, is_shadow)


class Overhead(NamedTuple):
    """One layer of a sky over the pixels: float32 (B, 1, H, W), or a plane for each band.

    ``depth`` is the clouds' above, ``shading`` that of those before the sun.
    """

    depth: Array
    shading: Array
    relief: Array


def optical_depth(sky: Sky | Skies, places: Places | WarpedPlaces) -> Array:
    """Return the optical depth at 550 nm straight down: float32 (B, 1, H, W), 0 between clouds.

    Args:
        sky: one for all chips, or one for each.
        places: where the chips lie, in metres (``step`` is the pixel size).
    """

    def depth_of(skies: Skies) -> Array:
        def look(here: Places) -> tuple[Array, ...]:
            return (depth_at(heights(skies, here, skies.height_m * 0.0), skies),)

        return places.seen(look)[0]

    return sum(depth_of(skies) for skies in _layers(sky, places))


def apply_sky(
    reflectance: Array,
    wavelengths_nm: Sequence[float],
    sky: Sky | Skies,
    places: Places | WarpedPlaces,
    *,
    is_toa: Array | bool = False,
    around: Array | None = None,
    threads: int = 1,
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
        around: (B, C, H, W) what the ground around each pixel looks like, see ``ground_around``:
            clouds blur the ground into it. None: they blur it into green land.
        threads: how many share the chips of a batch of numpy under ``Skies``, to the same bits;
            torch has its own.

    Raises:
        InputError: shapes that do not belong together.
    """
    _check_shapes(reflectance, wavelengths_nm, places)
    if isinstance(sky, Sky) or isinstance(places, WarpedPlaces) or len(parts := _parts(sky)) <= 1:
        layers = _layers(sky, places)
        return _laid_over(reflectance, wavelengths_nm, layers, places, is_toa, around)
    xp, shape = array_module(reflectance), (len(reflectance), 1, *places.shape)
    cloudy = xp.empty_like(reflectance)
    depth, strength = (
        xp.empty(shape, dtype=xp.float32, device=reflectance.device) for _ in range(2)
    )

    def lay(part: list[int]) -> None:
        level = is_toa if isinstance(is_toa, bool) else is_toa[part]
        ground = None if around is None else around[part]
        layers, here = (sky.of_chips(part),), places.of_chips(part)
        cloudy[part], truth = _laid_over(
            reflectance[part], wavelengths_nm, layers, here, level, ground
        )
        depth[part], strength[part] = truth.optical_depth, truth.shadow_strength

    share_out(lay, parts, threads if is_numpy(reflectance) else 1)
    return cloudy, Truth.of(depth, strength)


def _parts(skies: Skies) -> list[list[int]]:
    """Return how a batch is best cut: like with like, a cache full at a time.

    No parts at all for a GPU, which takes it whole.
    """
    if not is_on_cpu(skies.seed):
        return []
    billows = (skies.billow != 0).tolist()
    parts = []
    for kind in (True, False):
        alike = [chip for chip, billow in enumerate(billows) if billow is kind]
        parts += [alike[i : i + _CHIPS_AT_ONCE] for i in range(0, len(alike), _CHIPS_AT_ONCE)]
    return parts


def _laid_over(
    reflectance: Array,
    wavelengths_nm: Sequence[float],
    layers: Sequence[Skies],
    places: Places | WarpedPlaces,
    is_toa: Array | bool,
    around: Array | None,
) -> tuple[Array, Truth]:
    """Return the ground under layers of cloud, the lowest first, and the truth."""
    xp = array_module(reflectance)
    cloudy, depth, lit = reflectance, None, None
    for skies in layers:
        overhead = _overhead(skies, places, wavelengths_nm)
        strength = shadow_strength(overhead.shading, skies.sun_elevation_deg)
        strength = xp.where(strength < LEAST_DEPTH, 0.0, strength)
        light = Light.of(
            wavelengths_nm, skies.angstrom, skies.sun_elevation_deg, skies.height_m, is_toa
        )
        seen = seen_from_above(cloudy, light, overhead.depth, strength, overhead.relief, around)
        changed = (overhead.depth > 0) | (strength > 0)
        cloudy = xp.where(changed, xp.asarray(seen, dtype=reflectance.dtype), cloudy)
        above = overhead.depth if overhead.depth.shape[1] == 1 else _most(overhead.depth)
        depth = above if depth is None else depth + above
        lit = 1 - strength if lit is None else lit * (1 - strength)
    return cloudy, Truth.of(depth, 1 - lit)  # type: ignore[operator]


def _most(planes: Array) -> Array:
    """Return the largest of C planes (B, C, H, W) as (B, 1, H, W)."""
    most = planes[:, :1]
    for band in range(1, planes.shape[1]):
        most = array_module(planes).maximum(most, planes[:, band : band + 1])
    return most


def _overhead(
    skies: Skies, places: Places | WarpedPlaces, wavelengths_nm: Sequence[float]
) -> Overhead:
    """Return a layer as it hangs over the pixels, and as each band sees it where that differs."""
    if is_on_cpu(skies.parallax) and not bool((skies.parallax != 0).any()):
        return Overhead(*places.seen(lambda here: _looked_at(skies, here)))
    xp, ways = array_module(skies.seed), parallax_of(wavelengths_nm)
    track = math.radians(_TRACK_DEG)
    n_bands, n_chips = len(ways), len(skies.seed)

    def look(here: Places) -> tuple[Array, ...]:
        # each band has chips of its own, which look at the clouds from further along the track
        away_m = xp.concat([skies.height_m * skies.parallax * way for way in ways], 0)
        moved = here.repeated(n_bands).moved(-math.cos(track) * away_m, math.sin(track) * away_m)
        depth, _, relief = _looked_at(skies.repeated(n_bands), moved)
        _, shading, _ = _looked_at(skies, here)

        def by_band(field: Array) -> Array:
            return field.reshape(n_bands, n_chips, *here.shape).swapaxes(0, 1)

        return by_band(depth), shading, by_band(relief)

    return Overhead(*places.seen(look))


def _looked_at(skies: Skies, places: Places) -> tuple[Array, Array, Array]:
    """Return the depth of the clouds above, of those before the sun, and the clouds' relief.

    The same field is looked at from three sides: straight up, up the sun's beam, and a little
    towards the sun. Each (B, 1, H, W) float32.
    """
    xp = array_module(skies.seed)
    azimuth, sharp = skies.sun_azimuth_deg * (math.pi / 180), skies.height_m * 0.0
    south, east = -xp.cos(azimuth), xp.sin(azimuth)
    above = heights(skies, places, sharp)
    depth = depth_at(above, skies)
    shading = relief = above * 0.0
    if _any(skies.shade):
        away_m = skies.height_m / xp.tan(skies.sun_elevation_deg * (math.pi / 180))
        sunwards = places.moved(south * away_m, east * away_m)
        sunward = heights(skies, sunwards, skies.height_m * _PENUMBRA)
        shading = depth_at(sunward, skies) * per_pixel(skies.shade)
    if _any(skies.relief):
        beside = heights(
            skies, places.moved(south * _RELIEF_M, east * _RELIEF_M), skies.height_m * 0.0
        )
        slope = (above - beside) * per_pixel(skies.relief)
        relief = slope / (1 + xp.abs(slope) * (1 / _MOST_RELIEF))
    return depth, shading, relief


def _any(numbers: Array) -> bool:
    """Whether one of (B,) numbers is not 0; taken for granted on a GPU, which had to be asked."""
    return not is_on_cpu(numbers) or bool((numbers != 0).any())


def _layers(sky: Sky | Skies, places: Places | WarpedPlaces) -> tuple[Skies, ...]:
    """Return one sky a chip, for each layer."""
    return (sky,) if isinstance(sky, Skies) else sky.layers(len(places.row0), places.row0)


def _check_shapes(
    reflectance: Array, wavelengths_nm: Sequence[float], places: Places | WarpedPlaces
) -> None:
    """Refuse chips that their bands or places do not fit."""
    shape: tuple[Any, ...] = tuple(reflectance.shape)
    expected = (len(places.row0), len(wavelengths_nm), *places.shape)
    if shape != expected:
        raise InputError(
            f"reflectance of shape {shape}",
            f"chips, wavelengths and places make {expected}",
            "pass one wavelength a band and one place a chip",
        )
