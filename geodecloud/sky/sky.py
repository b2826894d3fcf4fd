"""Sky: one sky over a whole scene, a value that can be written down and read back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from geodecloud.errors import InputError, OptionError
from geodecloud.sky.arrays import Array, array_module
from geodecloud.sky.field import heights
from geodecloud.sky.ground import SceneGrid
from geodecloud.sky.kinds import TYPES
from geodecloud.sky.skies import ALL_CLOUD, DRAWN, FIXED, NO_CLOUD, Skies, usual_threshold

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

SAMPLES_A_SIDE = 256
"""Points at which a scene's coverage is counted: 65,536 tell it within half a percent."""

MOST_LAYERS = 4
MOST_JSON = 65_536

_FORMAT = "geodecloud-sky"
_SEED_STEP = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: layers have seeds far apart
_UTM = re.compile(r"EPSG:32[67](0[1-9]|[1-5]\d|60)")

# Numbers of a sky: name, least, most, what is said of it. None is allowed where the type knows.
_BOUNDS = (
    ("coverage", 0.0, 1.0, "a share lies in 0 to 1"),
    ("sun_azimuth_deg", -360.0, 360.0, "degrees clockwise from north, within a full turn"),
    ("sun_elevation_deg", 1.0, 90.0, "the sun stands 1 to 90 degrees above the horizon"),
    ("cloud_height_m", 0.0, 20_000.0, "clouds hang up to 20 km high"),
    ("cell_m", 20.0, 40_960.0, "clouds measure 20 m to 41 km"),
    ("depth", 0.02, 500.0, "optical depth lies in 0.02 to 500"),
    ("edge", 0.01, 20.0, "edges are 0.01 (sharp) to 20 (soft)"),
    ("parallax", 0.0, 1.0, "a share of the sensor's own shift lies in 0 to 1"),
)
_MAY_BE_NONE = ("cloud_height_m", "cell_m", "depth", "edge")


@dataclass(frozen=True, slots=True)
class Sky:
    """One sky over a whole scene, in numbers: the same at any window, in any band and sensor.

    Args:
        seed: any integer of 64 bits.
        coverage: share of the ground under cloud that is aimed at, 0 to 1.
        type: one of ``TYPES``, or several joined by "+", the lowest first: "cumulus+cirrus".
        sun_azimuth_deg: where the sun stands, clockwise from north.
        sun_elevation_deg: how high it stands, 1 to 90.
        cloud_height_m: of the clouds over the ground; None: usual for the type.
        cell_m: size of the clouds; None: usual for the type.
        depth: optical depth amid a cloud at 550 nm; None: usual for the type.
        edge: how soft edges are, see ``CloudType``; None: usual for the type.
        parallax: how much of Sentinel-2's shift of high clouds between bands is seen, 0 to 1.
        thresholds: of the field of each type, in standard deviations, above which there is cloud;
            None: what meets ``coverage`` on average. ``for_scene`` measures and stores them.
        crs: the UTM zone in whose metres the clouds have their places, "EPSG:32632"; None: that of
            the ground, or metres of pixels where it has none.

    Raises:
        OptionError: a number out of its range, or a type that is not known.

    Example:
        >>> Sky.from_json(Sky(7, type="haze").to_json()) == Sky(7, type="haze")
        True
    """

    seed: int = 0
    coverage: float = 0.4
    type: str = "cumulus"
    sun_azimuth_deg: float = 150.0
    sun_elevation_deg: float = 50.0
    cloud_height_m: float | None = None
    cell_m: float | None = None
    depth: float | None = None
    edge: float | None = None
    parallax: float = 0.0
    thresholds: tuple[float, ...] | None = None
    crs: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no sky."""
        _check_kinds(self)
        for name, least, most, meaning in _BOUNDS:
            value = getattr(self, name)
            if value is None and name in _MAY_BE_NONE:
                continue
            if not _is_number(value) or not least <= value <= most:
                raise OptionError(f"{name} is {value}", meaning, "pass such a number")
        if len(self.types) > 1 and any(getattr(self, name) is not None for name in _MAY_BE_NONE):
            raise OptionError(
                f"{self.type} with {', '.join(_MAY_BE_NONE)} given",
                "each type of a mixture has its own",
                "leave them out, or take one type",
            )
        if self.thresholds is not None:
            _check_thresholds(self.thresholds, len(self.types))
        if self.crs is not None and not (isinstance(self.crs, str) and _UTM.fullmatch(self.crs)):
            raise OptionError(f"crs is {self.crs}", "a UTM zone such as EPSG:32632", "name one")

    @property
    def types(self) -> tuple[str, ...]:
        """The names in ``type``, the lowest first."""
        return tuple(self.type.split("+"))

    @classmethod
    def for_scene(
        cls,
        geobox: GeoBox,
        coverage: float = 0.4,
        type: str = "cumulus",
        seed: int = 0,
        sun: tuple[float, float] = (150.0, 50.0),
        **numbers: Any,
    ) -> Self:
        """Return a sky that meets this coverage over this scene, within 2 %.

        The field is looked at once, at some 65,536 points; what was found is stored in
        ``thresholds``, so that windows, bands and other sensors take the same clouds.

        Args:
            geobox: of the scene.
            coverage: share of the scene under cloud, 0 to 1.
            type: see ``Sky``.
            seed: any integer of 64 bits.
            sun: azimuth and elevation in degrees.
            **numbers: further fields of ``Sky``.

        Raises:
            OptionError: a number out of its range, or a type that is not known.
        """
        asked = cls(seed, coverage, type, *sun, **numbers)
        grid = SceneGrid.of(geobox, asked.crs)
        return replace(asked, crs=grid.crs, thresholds=_thresholds(asked, grid))

    def layers(self, n_chips: int, like: Array) -> tuple[Skies, ...]:
        """Return the sky of each type, for each of B chips, where the array ``like`` lies."""
        return tuple(
            self._layer(number, name, n_chips, like) for number, name in enumerate(self.types)
        )

    def _layer(self, number: int, name: str, n_chips: int, like: Array) -> Skies:
        xp, kind = array_module(like), TYPES[name]

        def each(value: float, dtype: Any = xp.float64) -> Array:
            return xp.zeros(n_chips, dtype=dtype, device=like.device) + value

        def usual(key: str) -> Array:
            given = self.cloud_height_m if key == "height_m" else getattr(self, key)
            return each(math.sqrt(math.prod(getattr(kind, key))) if given is None else given)

        # of n layers with no word to each other, each covers the same share of what is left
        share = 1 - (1 - self.coverage) ** (1 / len(self.types))
        if self.thresholds is None:
            threshold = usual_threshold(each(share), kind.skew)
        else:
            threshold = each(self.thresholds[number])
        seed = (self.seed + number * _SEED_STEP + 2**63) % 2**64 - 2**63
        return Skies(
            seed=each(seed, xp.int64),
            threshold=threshold,
            **{key: usual(key) for key in DRAWN},
            **{key: each(getattr(kind, key)) for key in FIXED},
            sun_azimuth_deg=each(self.sun_azimuth_deg),
            sun_elevation_deg=each(self.sun_elevation_deg),
            parallax=each(self.parallax),
        )

    def to_json(self) -> str:
        """Return the sky as JSON text; ``from_json`` reads it back."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps({"format": _FORMAT, "version": 1, **said}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the sky that ``to_json`` wrote.

        Raises:
            InputError: this is no sky, or it is damaged.
        """
        expected = "a file that --sky-out wrote is needed"
        if len(text) > MOST_JSON:
            raise InputError(f"a sky of {len(text)} characters", expected, "check the file")
        try:
            said = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the sky is no JSON: {error}", expected, "check the file") from error
        names = {each.name for each in fields(cls)}
        if not isinstance(said, dict) or said.pop("format", None) != _FORMAT:
            raise InputError("this JSON is no sky", expected, "check the file")
        if said.pop("version", None) != 1:
            raise InputError("the sky has another version", "version 1 is read", "write it anew")
        if strange := sorted(set(said) - names):
            raise InputError(f"the sky has {', '.join(strange)[:200]}", expected, "check the file")
        if "seed" not in said:
            raise InputError("the sky has no seed", expected, "check the file")
        if isinstance(said.get("thresholds"), list):
            said["thresholds"] = tuple(said["thresholds"])
        try:
            return cls(**said)
        except OptionError as error:
            found = f"the sky is damaged: {error.found}"
            raise InputError(found, error.expected, "check the file, or write it anew") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_kinds(sky: Sky) -> None:
    seed: object = sky.seed  # what JSON, or a careless caller, may hold
    if not isinstance(seed, int) or isinstance(seed, bool) or not -(2**63) <= seed < 2**63:
        raise OptionError(
            f"seed {str(seed)[:40]}", "a seed is an integer of 64 bits", "take another"
        )
    kinds: object = sky.type
    known = isinstance(kinds, str) and set(kinds.split("+")) <= set(TYPES)
    if not known or len(sky.types) > MOST_LAYERS:
        raise OptionError(
            f"cloud type {str(kinds)[:40]}",
            f"known are {', '.join(TYPES)}, and up to {MOST_LAYERS} of them joined by +",
            "take one",
        )


def _check_thresholds(thresholds: object, n_layers: int) -> None:
    is_sound = (
        isinstance(thresholds, tuple)
        and len(thresholds) == n_layers
        and all(_is_number(value) and abs(value) <= NO_CLOUD for value in thresholds)
    )
    if not is_sound:
        raise OptionError(
            f"thresholds are {str(thresholds)[:80]}",
            f"one number for each of {n_layers} types, within {NO_CLOUD:g}",
            "leave them out",
        )


def _thresholds(sky: Sky, grid: SceneGrid) -> tuple[float, ...]:
    """Return the threshold of each layer at which their union covers what is asked for."""
    if sky.coverage <= 0 or sky.coverage >= 1:
        return (NO_CLOUD if sky.coverage <= 0 else ALL_CLOUD,) * len(sky.types)
    level = replace(sky, thresholds=(0.0,) * len(sky.types))
    sampled = _sampled(level, grid)
    ranks = [_ranks(field) for field in sampled]
    # a place is clear where every layer is: the highest rank decides
    share = np.quantile(np.maximum.reduce(ranks), 1 - sky.coverage)
    return tuple(float(np.quantile(field, share)) for field in sampled)


def _ranks(field: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return of each value the share of values below it."""
    ranks = np.empty(len(field))
    ranks[np.argsort(field)] = np.arange(len(field)) / len(field)
    return ranks


def _sampled(sky: Sky, grid: SceneGrid) -> list[npt.NDArray[np.float32]]:
    """Return the heights of each layer's field at points all over the scene, flat."""
    coarse = grid.coarsened(SAMPLES_A_SIDE)
    parts: list[list[npt.NDArray[np.float32]]] = [[] for _ in sky.types]
    for window in coarse.windows():
        at = coarse.window(*window)
        for skies, part in zip(sky.layers(1, at.row0), parts, strict=True):
            (height,) = at.seen(_height_of(skies))
            part.append(height.ravel())
    return [np.concatenate(part) for part in parts]


def _height_of(skies: Skies) -> Callable[[Any], tuple[Array, ...]]:
    return lambda places: (heights(skies, places, skies.height_m * 0.0),)
