"""Skies: the numbers of one sky a chip, and how they are drawn from seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

from geodecloud.errors import OptionError
from geodecloud.sky.arrays import Array, array_module, constant
from geodecloud.sky.kinds import TYPES
from geodecloud.sky.perlin import uniform

NO_CLOUD, ALL_CLOUD = 100.0, -5.0
"""In standard deviations: no field comes near the one, none to speak of falls below the other."""


@dataclass(frozen=True, slots=True, eq=False)
class Skies:
    """One sky a chip: the numbers of ``Sky`` and ``CloudType`` as float64 arrays (B,).

    ``seed`` is int64, ``parallax`` the share of Sentinel-2's shift between bands that is to be
    seen. All lie on one device.
    """

    seed: Array
    threshold: Array
    cell_m: Array
    depth: Array
    height_m: Array
    roughness: Array
    edge: Array
    angstrom: Array
    billow: Array
    relief: Array
    shade: Array
    sun_azimuth_deg: Array
    sun_elevation_deg: Array
    parallax: Array

    def of_chips(self, part: slice | list[int]) -> Self:
        """Return the skies of a part of the chips."""
        return type(self)(*(getattr(self, each.name)[part] for each in fields(self)))

    def repeated(self, times: int) -> Self:
        """Return the skies of a batch that follows itself so many times."""
        xp = array_module(self.seed)
        return type(self)(
            *(xp.concat([getattr(self, each.name)] * times, 0) for each in fields(self))
        )


DRAWN = ("cell_m", "depth", "height_m", "edge")
"""Numbers of a type that are ranges; the others are its own."""

FIXED = ("roughness", "angstrom", "billow", "relief", "shade")


def random_skies(
    seeds: Array,
    types: Sequence[str] = tuple(TYPES),
    *,
    coverage: tuple[float, float] = (0.1, 0.9),
    sun_azimuth_deg: tuple[float, float] = (20.0, 170.0),
    sun_elevation_deg: tuple[float, float] = (25.0, 70.0),
) -> Skies:
    """Return a sky drawn for each seed, on the seeds' device: the same seed, the same sky.

    Args:
        seeds: (B,) int64.
        types: names in ``TYPES``, drawn alike; a name that stands twice is drawn twice as often.
        coverage: range of the share under cloud.
        sun_azimuth_deg: range; morning passes have the sun in the east.
        sun_elevation_deg: range.

    Raises:
        OptionError: a type is not known.
    """
    if not types or not set(types) <= set(TYPES):
        raise OptionError(
            f"cloud types {', '.join(types) or 'none'}",
            "known are " + ", ".join(TYPES),
            "name one of them or more",
        )
    xp = array_module(seeds)
    kinds = [TYPES[name] for name in types]
    chosen = xp.asarray(uniform(seeds, 0) * len(kinds), dtype=xp.int64)

    def of_type(values: list[float]) -> Array:
        return constant(tuple(values), seeds)[chosen]

    def drawn(key: int, bounds: tuple[float, float]) -> Array:
        return uniform(seeds, key) * (bounds[1] - bounds[0]) + bounds[0]

    def drawn_of_type(key: int, name: str) -> Array:
        low, high = zip(*(getattr(kind, name) for kind in kinds), strict=True)
        logs = [[math.log(value) for value in side] for side in (low, high)]
        share = uniform(seeds, key)
        return xp.exp(of_type(logs[0]) * (1 - share) + of_type(logs[1]) * share)

    return Skies(
        seed=seeds,
        threshold=usual_threshold(drawn(1, coverage), of_type([kind.skew for kind in kinds])),
        sun_azimuth_deg=drawn(2, sun_azimuth_deg),
        sun_elevation_deg=drawn(3, sun_elevation_deg),
        **{name: drawn_of_type(4 + i, name) for i, name in enumerate(DRAWN)},
        **{name: of_type([getattr(kind, name) for kind in kinds]) for name in FIXED},
        parallax=uniform(seeds, 0) * 0.0,
    )


def usual_threshold(coverage: Array, skew: Array | float) -> Array:
    """Return the value above which a field of this skew has this share (B,), in deviations.

    Source: Abramowitz and Stegun 26.2.23 for the normal law, within 4.5e-4, and the first term of
    Cornish and Fisher for the skew.
    """
    xp = array_module(coverage)
    tail = xp.clip(xp.where(coverage < 0.5, coverage, 1 - coverage), 1e-5, None)
    t = xp.sqrt(-2 * xp.log(tail))
    above = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (
        1 + t * (1.432788 + t * (0.189269 + t * 0.001308))
    )
    normal = xp.where(coverage < 0.5, above, -above)
    threshold = normal + skew * (normal**2 - 1) * (1 / 6)
    return xp.where(coverage <= 0, NO_CLOUD, xp.where(coverage >= 1, ALL_CLOUD, threshold))
