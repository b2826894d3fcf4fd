"""Sky, Skies, TYPES: what a sky is, in numbers, and how it is drawn from a seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from geodecloud.errors import OptionError
from geodecloud.sky.perlin import Array, array_module, constant, uniform

# In standard deviations: no field comes near the one, and none to speak of falls below the other.
_NO_CLOUD, _ALL_CLOUD = 100.0, -5.0


@dataclass(frozen=True, slots=True)
class CloudType:
    """A kind of cloud, in numbers. Pairs are ranges, from which a chip's own value is drawn.

    Args:
        cell_m: size of the clouds.
        depth: optical depth at 550 nm in the middle of a cloud.
        height_m: of the clouds over the ground.
        roughness: fall of amplitude by halving of the cell; less is more ragged.
        edge: how far inside its rim, in standard deviations of the field, a cloud has half its
            depth; less is sharper.
        angstrom: exponent by which the optical depth falls with wavelength: near 0 for drops
            and ice, over 1 for haze.
        billow: absolute noise added to noise in the finer octaves: round heads, creases between.
        skew: of the field, which billows give it (measured); with it coverage is met.
        relief: how much of a slope's light and shade shows.
        shade: share of the direct light's loss that falls as a shadow; haze lies too near the
            ground, and too wide, to cast one.
    """

    cell_m: tuple[float, float]
    depth: tuple[float, float]
    height_m: tuple[float, float]
    roughness: float
    edge: float
    angstrom: float
    billow: float = 0.0
    skew: float = 0.0
    relief: float = 0.0
    shade: float = 1.0


TYPES: Mapping[str, CloudType] = MappingProxyType(
    {
        "haze": CloudType((5e3, 2e4), (0.4, 2.5), (300, 1500), 1.3, 1.5, 1.2, shade=0.0),
        "cirrus": CloudType((2e3, 9e3), (1, 8), (7000, 11000), 0.8, 1.0, 0.3),
        "cumulus": CloudType((700, 2200), (60, 140), (700, 2000), 0.8, 2.2, 0.05, 1.6, 0.55, 0.8),
        "deck": CloudType((4e3, 2e4), (12, 45), (800, 2500), 0.9, 0.6, 0.05, 1.5, 0.1, 0.6),
        "fog": CloudType((3e3, 1e4), (4, 14), (50, 150), 1.2, 0.4, 0.1),
    }
)
"""Kinds of cloud by name. Mixtures are skies laid one over another, the lowest first."""


@dataclass(frozen=True, slots=True)
class Sky:
    """One sky over a whole scene, in numbers that can be written down: the same at any window.

    Args:
        seed: any integer of 64 bits.
        coverage: share of the ground under cloud that is aimed at, 0 to 1; met on average.
        type: one of ``TYPES``.
        sun_azimuth_deg: where the sun stands, clockwise from north.
        sun_elevation_deg: how high it stands, above 0 and up to 90.
        cloud_height_m: of the clouds over the ground; None: usual for the type.
        cell_m: size of the clouds; None: usual for the type.
        depth: optical depth amid a cloud at 550 nm; None: usual for the type.
        threshold: of the field, in standard deviations, above which there is cloud; None: from
            ``coverage``. It is what a scene stores once its own coverage has been measured.

    Raises:
        OptionError: a number out of its range, or a type that is not known.
    """

    seed: int
    coverage: float = 0.4
    type: str = "cumulus"
    sun_azimuth_deg: float = 150.0
    sun_elevation_deg: float = 50.0
    cloud_height_m: float | None = None
    cell_m: float | None = None
    depth: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no sky."""
        if not -(2**63) <= self.seed < 2**63:
            raise OptionError(f"seed {self.seed}", "a seed has 64 bits", "take a smaller number")
        if self.type not in TYPES:
            raise OptionError(
                f"cloud type {self.type}", "known are " + ", ".join(TYPES), "take one"
            )
        if not 0 <= self.coverage <= 1:
            raise OptionError(f"coverage {self.coverage}", "a share lies in 0 to 1", "pass one")
        if not 0 < self.sun_elevation_deg <= 90:
            raise OptionError(
                f"sun elevation {self.sun_elevation_deg} degrees",
                "the sun stands above 0 and up to 90 degrees high",
                "pass the elevation, not the zenith angle",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Skies:
    """One sky a chip: the numbers of ``Sky`` and ``CloudType`` as float64 arrays (B,).

    ``seed`` is int64. All lie on one device.
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

    @classmethod
    def of(cls, sky: Sky, n_chips: int, like: Array) -> Self:
        """Return the same sky for each of B chips, where the array ``like`` lies."""
        xp, kind = array_module(like), TYPES[sky.type]

        def each(value: float, dtype: Any = xp.float64) -> Array:
            return xp.zeros(n_chips, dtype=dtype, device=like.device) + value

        def usual(given: float | None, bounds: tuple[float, float]) -> Array:
            return each(math.sqrt(bounds[0] * bounds[1]) if given is None else given)

        threshold = each(sky.threshold) if sky.threshold is not None else None
        return cls(
            seed=each(sky.seed, xp.int64),
            threshold=_threshold(each(sky.coverage), kind.skew) if threshold is None else threshold,
            cell_m=usual(sky.cell_m, kind.cell_m),
            depth=usual(sky.depth, kind.depth),
            height_m=usual(sky.cloud_height_m, kind.height_m),
            sun_azimuth_deg=each(sky.sun_azimuth_deg),
            sun_elevation_deg=each(sky.sun_elevation_deg),
            **{name: each(getattr(kind, name)) for name in _FIXED},
        )


_DRAWN = ("cell_m", "depth", "height_m")
_FIXED = ("roughness", "edge", "angstrom", "billow", "relief", "shade")


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
        threshold=_threshold(drawn(1, coverage), of_type([kind.skew for kind in kinds])),
        sun_azimuth_deg=drawn(2, sun_azimuth_deg),
        sun_elevation_deg=drawn(3, sun_elevation_deg),
        **{name: drawn_of_type(4 + i, name) for i, name in enumerate(_DRAWN)},
        **{name: of_type([getattr(kind, name) for kind in kinds]) for name in _FIXED},
    )


def _threshold(coverage: Array, skew: Array | float) -> Array:
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
    return xp.where(coverage <= 0, _NO_CLOUD, xp.where(coverage >= 1, _ALL_CLOUD, threshold))
