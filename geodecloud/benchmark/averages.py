"""Tally: sums of many cases, and the figures, differences and intervals they come to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from geodecloud.benchmark.measures import Sums, figure_of

Doubles = npt.NDArray[np.float64]

DRAWS = 2000
SEED = 0
LEVEL = 95.0
"""Percent of the draws that an interval holds."""

MEASURES = {"psnr": "squared", "ssim": "ssim", "sam": "sam", "mae": "absolute"}
"""Figures, and the sums that they are made of."""


@dataclass
class Tally:
    """The sums of each case, by contestant; all contestants have seen the same cases.

    A figure is the mean over places, each of which pools the sums of its cases: so no place counts
    more because it has more windows. The bootstrap draws places anew and in each its cases anew,
    the same ones for all contestants.
    """

    places: list[str] = field(default_factory=list)
    sums: dict[str, list[Sums]] = field(default_factory=lambda: defaultdict(list))

    def add(self, place: str, by_name: Mapping[str, Sums]) -> None:
        """Take one case, answered by every contestant."""
        self.places.append(place)
        for name, sums in by_name.items():
            self.sums[name].append(sums)

    @property
    def regions(self) -> list[str]:
        """Names of the regions that any case has, in order of appearance."""
        cases = next(iter(self.sums.values()), [])
        return list(dict.fromkeys(region for case in cases for region in case))

    def figure(self, name: str, region: str, kind: str) -> float:
        """Return the mean over places of a figure; NaN where no place has the region."""
        return _mean(np.array(list(self.by_place(name, region, kind).values())))

    def by_place(self, name: str, region: str, kind: str) -> dict[str, float]:
        """Return a figure for each place, NaN where it has no such region."""
        total, count = self._columns(name, region, kind)
        found = {}
        for place in dict.fromkeys(self.places):
            here = self._members[place]
            sums = total[here].sum(keepdims=True), count[here].sum(keepdims=True)
            found[place] = float(figure_of(MEASURES[kind], *sums)[0])
        return found

    def interval(
        self, name: str, region: str, kind: str, other: str | None = None
    ) -> tuple[float, float]:
        """Return the bootstrap interval of a figure, or of its difference to another contestant's.

        NaN where no place has the region.
        """
        drawn = self._drawn(name, region, kind)
        if other is not None:
            drawn = drawn - self._drawn(other, region, kind)
        picked = drawn[self._picks]
        known = np.isfinite(picked)
        count = known.sum(1)
        means = np.where(known, picked, 0).sum(1)[count > 0] / count[count > 0]
        if not means.size:
            return math.nan, math.nan
        low, high = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
        return float(low), float(high)

    @cached_property
    def _members(self) -> dict[str, npt.NDArray[np.intp]]:
        """The cases of each place."""
        names = np.array(self.places)
        return {place: np.flatnonzero(names == place) for place in dict.fromkeys(self.places)}

    @cached_property
    def _counts(self) -> list[Doubles]:
        """How often each case of a place is drawn, (DRAWS, n) for each place."""
        random = np.random.default_rng(SEED)
        return [
            random.multinomial(len(here), np.full(len(here), 1 / len(here)), DRAWS).astype(float)
            for here in self._members.values()
        ]

    @cached_property
    def _picks(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Which places are drawn, and which draw of the cases of each, (DRAWS, P) both."""
        random = np.random.default_rng(SEED + 1)
        shape = DRAWS, len(self._members)
        return random.integers(shape[1], size=shape), random.integers(DRAWS, size=shape)

    def _drawn(self, name: str, region: str, kind: str) -> Doubles:
        """The figure of each place, (P, DRAWS), its cases drawn anew."""
        total, count = self._columns(name, region, kind)
        return np.stack(
            [
                figure_of(MEASURES[kind], times @ total[here], times @ count[here])
                for here, times in zip(self._members.values(), self._counts, strict=True)
            ]
        )

    def _columns(self, name: str, region: str, kind: str) -> tuple[Doubles, Doubles]:
        """The sums and counts of each case, 0 where it has no such region."""
        found = [sums.get(region, {}).get(MEASURES[kind], (0.0, 0.0)) for sums in self.sums[name]]
        total, count = np.array(found, np.float64).reshape(-1, 2).T
        return total, count


def _mean(figures: Doubles) -> float:
    known = figures[np.isfinite(figures)]
    return float(known.mean()) if known.size else math.nan


def without_missing(figures: Sequence[float]) -> float:
    """Return the mean of the figures that are numbers; NaN where none is."""
    return _mean(np.array(figures, np.float64))
