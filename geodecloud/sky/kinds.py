"""TYPES: the kinds of cloud, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class CloudType:
    """A kind of cloud, in numbers. Pairs are ranges, from which a chip's own value is drawn.

    Args:
        cell_m: size of the clouds.
        depth: optical depth at 550 nm in the middle of a cloud.
        height_m: of the clouds over the ground.
        edge: how far inside its rim, in standard deviations of the field, a cloud has half its
            depth; less is sharper.
        roughness: fall of amplitude by halving of the cell; less is more ragged.
        angstrom: exponent by which the optical depth falls with wavelength: near 0 for drops
            and ice, over 1 for haze.
        billow: absolute noise added to noise in the finer octaves: round heads, creases between.
        skew: of the field, which billows give it (measured); with it coverage is met.
        relief: how much of a slope's light and shade shows.
        shade: share of the direct light's loss that falls as a shadow; haze lies too near the
            ground, and too wide, to cast one.
    """

    cell_m: Range
    depth: Range
    height_m: Range
    edge: Range
    roughness: float
    angstrom: float
    billow: float = 0.0
    skew: float = 0.0
    relief: float = 0.0
    shade: float = 1.0


TYPES: Mapping[str, CloudType] = MappingProxyType(
    {
        "haze": CloudType((5e3, 2e4), (0.4, 2.5), (300, 1500), (1.2, 2.0), 1.3, 1.5, shade=0.0),
        "cirrus": CloudType((2e3, 9e3), (1, 8), (7000, 11000), (0.7, 1.4), 0.8, 0.5),
        "cumulus": CloudType(
            (950, 2200), (60, 160), (900, 1800), (2.8, 4.6), 0.62, 0.05, 1.25, 0.6, 0.63
        ),
        "deck": CloudType((4e3, 2e4), (15, 90), (800, 2500), (0.4, 1.2), 0.9, 0.05, 1.5, 0.1, 0.6),
        "fog": CloudType((3e3, 1e4), (4, 14), (50, 150), (0.3, 0.6), 1.2, 0.1),
    }
)
"""Kinds of cloud by name; their numbers are fitted to real clouds, see docs/skies.md."""
