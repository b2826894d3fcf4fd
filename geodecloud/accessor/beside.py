"""Beside: what helps to clear an array, as notebooks have it at hand: other dates, and radar."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from xarray import DataArray, Dataset

from geodecloud.accessor.labelled import Labelled
from geodecloud.accessor.scene import LabelledScene
from geodecloud.errors import OptionError
from geodecloud.geo.radiometry import Overrides
from geodecloud.geo.raster import SceneSource

Labels = DataArray | Dataset
Place = Mapping[Hashable, int]
Source = Labels | SceneSource

OTHERS: Literal["others"] = "others"
"""The other dates of the array itself."""

SAME_PASS = np.timedelta64(1, "h")
"""Closer in time are neighbours of one pass, or one scene processed twice: under one cloud."""

CLOUDS = "eo:cloud_cover"
"""What items say of their clouds; a coordinate where stackstac loaded them."""

USUAL_RADAR_DAYS = 3


@dataclass(frozen=True)
class Helpers:
    """What is asked for beside an array.

    Attributes:
        references: other dates: "others" of the array itself, arrays, paths, scenes, or several.
        sar: radar: an array, a path or a scene.
        days: so far away in time "others" lie at most.
        most: so many "others" help with a date.
    """

    references: Literal["others"] | Source | Sequence[Source] = ()
    sar: Source | None = None
    days: float = 60.0
    most: int = 3

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name, value in (("reference_days", self.days), ("max_references", self.most)):
            if not value > 0:
                raise OptionError(f"{name} is {value}", "it is above 0", "leave it out")


class Found(NamedTuple):
    """What helps with one scene."""

    references: Sequence[SceneSource]
    sar: SceneSource | None

    @property
    def scenes(self) -> list[LabelledScene]:
        """What comes from arrays: its pixels may be lazy."""
        return [each for each in (*self.references, self.sar) if isinstance(each, LabelledScene)]


class Beside:
    """What is looked at beside the scenes of an array.

    Args:
        labelled: what is cleared.
        asked: what is to help.

    Attributes:
        has_references: other dates are asked.

    Raises:
        OptionError: it has no dates, and is to be told from others by them.
        InputError: an array says not enough of itself.
    """

    def __init__(self, labelled: Labelled, asked: Helpers) -> None:
        """Take the arrays apart; no pixel is read."""
        self._labelled, self._asked = labelled, asked
        references = asked.references
        self._is_others = isinstance(references, str) and references == OTHERS
        self.has_references = self._is_others or len(_listed(references)) > 0
        self._dates = [] if self._is_others else [_taken(each) for each in _listed(references)]
        self._radar = None if asked.sar is None else _taken(asked.sar)
        if self._is_others and _dim_of_time(labelled) is None:
            raise OptionError(
                "references='others' of an array without a dimension of time",
                "other dates are those along its coordinate time, in datetime64",
                "pass them as arrays, or assign the dates with .assign_coords(time=...)",
            )

    def of(self, at: Place) -> Found:
        """Return what helps with the scene at a place."""
        references = self._others(at) if self._is_others else self._given(at)
        return Found(references, self._nearest_radar(at))

    def _others(self, at: Place) -> list[SceneSource]:
        """Other dates of the array: the clearest where that is told, else the nearest, first."""
        dim = _dim_of_time(self._labelled)
        times = self._labelled.rasters[0].array.coords["time"].values
        here = times[at[dim]]
        limit = self._asked.days * np.timedelta64(1, "D")
        found = [
            (_clouds_of(self._labelled, {**at, dim: other}), abs(time - here), other)
            for other, time in enumerate(times)
            if SAME_PASS < abs(time - here) <= limit
        ]
        if not found:
            warnings.warn(
                f"no other date lies within {self._asked.days:g} days of "
                f"{np.datetime_as_string(here, 'D')}: its clouds are drawn",
                UserWarning,
                stacklevel=2,
            )
        nearest = sorted(found)[: self._asked.most]
        return [self._labelled.scene({**at, dim: other}) for *_, other in nearest]

    def _given(self, at: Place) -> list[SceneSource]:
        """The dates that were passed, but this one."""
        here = _time_of(self._labelled, at)
        scenes: list[SceneSource] = []
        for source in self._dates:
            if isinstance(source, Labelled):
                places = [p for p in source.places if here is None or _time_of(source, p) != here]
                scenes += [source.scene(place) for place in places]
            else:
                scenes.append(source)
        return scenes

    def _nearest_radar(self, at: Place) -> SceneSource | None:
        """The radar that was passed; of several dates the nearest in time."""
        radar = self._radar
        if not isinstance(radar, Labelled):
            return radar
        places = radar.places
        if len(places) == 1:
            return radar.scene(places[0])
        here = _time_of(self._labelled, at)
        times = [_time_of(radar, place) for place in places]
        if here is None or None in times:
            raise OptionError(
                f"radar of {len(places)} dates, and nothing tells which is of this date",
                "the nearest in time is chosen, by the coordinate time of both",
                "select one first, such as with .isel(time=0), or assign time to both",
            )
        apart = [abs(time - here) / np.timedelta64(1, "D") for time in times if time is not None]
        nearest = int(np.argmin(apart))
        if (days := apart[nearest]) > USUAL_RADAR_DAYS:
            warnings.warn(
                f"the nearest radar is {days:.0f} days away from "
                f"{np.datetime_as_string(here, 'D')}",
                UserWarning,
                stacklevel=2,
            )
        return radar.scene(places[nearest])


def _listed(sources: Any) -> Sequence[Any]:
    """One source, or several, as several."""
    is_several = isinstance(sources, Sequence) and not isinstance(sources, str)
    return sources if is_several else [sources]


def _taken(source: Source) -> Labelled | SceneSource:
    if isinstance(source, DataArray | Dataset):
        return Labelled(source, Overrides())
    return source


def _dim_of_time(labelled: Labelled) -> Hashable | None:
    """The dimension along which the dates of an array lie."""
    time = labelled.rasters[0].array.coords.get("time")
    if time is None or time.ndim != 1 or time.dtype.kind != "M":
        return None
    return time.dims[0] if time.dims[0] in labelled.dims.others else None


def _time_of(labelled: Labelled, at: Place) -> np.datetime64 | None:
    """When the scene at a place was taken, where the array tells."""
    time = _coordinate(labelled, "time", at)
    return time if isinstance(time, np.datetime64) and not np.isnat(time) else None


def _clouds_of(labelled: Labelled, at: Place) -> float:
    """The share of cloud, in percent, that is told of the scene at a place; 0 where none is."""
    if CLOUDS not in labelled.rasters[0].array.coords:
        return 0.0
    share = _coordinate(labelled, CLOUDS, at)
    is_told = isinstance(share, np.number | float | int) and not np.isnan(share)
    return float(share) if is_told else 100.0  # untold beside those that are told comes last


def _coordinate(labelled: Labelled, name: str, at: Place) -> Any:
    coordinate = labelled.rasters[0].array.coords.get(name)
    if coordinate is None:
        return None
    here = coordinate.isel({dim: i for dim, i in at.items() if dim in coordinate.dims})
    return here.values[()] if here.ndim == 0 else None
