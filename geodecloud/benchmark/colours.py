"""Cases drawn from brightness alone, and those of fewer bands: the colours of clear ground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geodecloud.benchmark.archive import Archive, Row, part_of
from geodecloud.benchmark.case import Case, Floats
from geodecloud.benchmark.contestants import SINGLE_IMAGE, Contestant
from geodecloud.benchmark.drafts import Draft
from geodecloud.geo.scene import ArrayScene, shape_of
from geodecloud.geo.sensors import LUMA, Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.learn.cutting import CLEAR

COLOURS = ("B04", "B03", "B02")
GREY = "luma"
ENDS = (0.1, 99.9)
"""Percentiles that are the darkest and the brightest."""

Doubles = npt.NDArray[np.float64]


def of_bands(
    drafts: Callable[[Archive], list[Draft]], bands: Sequence[str]
) -> Callable[[Archive], list[Draft]]:
    """Return what makes the same cases of some of their bands."""

    def chosen(archive: Archive) -> list[Draft]:
        return [Draft(draft.place, partial(_selected, draft, bands)) for draft in drafts(archive)]

    return chosen


def _selected(draft: Draft, bands: Sequence[str]) -> Case | None:
    case = draft.make()
    if case is None:
        return None
    index = case.scene.sensor.index(bands)
    return replace(case, scene=case.scene.select(bands), target=case.target[index])


def grey_draft(archive: Archive, row: Row, window: Window) -> Draft:
    """Return a clear window of which the luma is seen."""
    return Draft(row["place"], partial(_grey, archive, row, window))


def _grey(archive: Archive, row: Row, window: Window) -> Case:
    with archive.opened(row) as scene:
        clear = part_of(scene.sides["target"], window).select(COLOURS)
    whole = Window.whole(shape_of(clear.geobox))
    dn, valid = clear.read(whole)
    target = clear.sensor.to_reflectance(dn)
    is_known = np.asarray(valid.all(0))
    luma = np.tensordot(np.array(LUMA, np.float32), target, 1)[None]
    sensor = Sensor("grey", (Band(GREY, dtype="float32"),), level=clear.sensor.level)
    return Case(
        name=f"{row['clear']} band {row.get('first_band', 1)} {window.row},{window.col}",
        place=row["place"],
        kind="grey",
        scene=ArrayScene(np.ones_like(dn), clear.sensor, clear.geobox, valid),
        target=target,
        classes=np.full(whole.shape, CLEAR, np.uint8),
        mask=np.ones(whole.shape, bool),
        counted=is_known,
        source=ArrayScene(luma, sensor, clear.geobox, is_known[None]),
        may_be_shown=row.get("publishable", True),
    )


def grey_baselines(drafts: list[Draft]) -> list[Contestant]:
    """Return what needs no network where brightness alone is seen.

    "grey" is the brightness in every band. The others are a gain and an offset a band, by the
    ground elsewhere in the suite: "line" its least squares, "stretch" what takes the darkest and
    the brightest thousandth of brightness to those of the band.
    """
    found: dict[str, list[Brightness]] = {}
    for draft in drafts:
        case = draft.make()
        if case is not None:
            found.setdefault(draft.place, []).append(Brightness.of(case))

    def elsewhere(case: Case) -> list[Brightness]:
        known = [
            each for place, grounds in found.items() if place != case.place for each in grounds
        ]
        return known or found[case.place]

    def line(case: Case) -> Floats:
        known = elsewhere(case)
        squares = np.sum([each.squares for each in known], axis=0)
        products = np.sum([each.products for each in known], axis=0)
        gain, offset = np.linalg.lstsq(squares, products)[0]
        return _drawn(_luma(case), gain, offset)

    def stretch(case: Case) -> Floats:
        low, high = np.mean([each.ends for each in elsewhere(case)], axis=0)
        gain = (high[1:] - low[1:]) / (high[0] - low[0])
        return _drawn(_luma(case), gain, low[1:] - gain * low[0])

    return [
        Contestant("grey", SINGLE_IMAGE, lambda case: np.repeat(_luma(case), len(case.bands), 0)),
        Contestant("line of other places", SINGLE_IMAGE, line),
        Contestant("stretch of other places", SINGLE_IMAGE, stretch),
    ]


class Brightness(NamedTuple):
    """What is kept of a window: sums of least squares, and the ends of luma and of each band."""

    squares: Doubles
    products: Doubles
    ends: Doubles

    @classmethod
    def of(cls, case: Case) -> Brightness:
        """Count the pixels of a case that count."""
        luma, bands = (
            each[:, case.counted].astype(np.float64) for each in (_luma(case), case.target)
        )
        both = np.stack([luma[0], np.ones_like(luma[0])])
        ends = np.percentile(np.concatenate([luma, bands]), ENDS, axis=1)
        return cls(both @ both.T, both @ bands.T, ends)


def _drawn(luma: Floats, gain: Doubles, offset: Doubles) -> Floats:
    """Bands (C, H, W) of a luma (1, H, W)."""
    return np.asarray(gain[:, None, None] * luma + offset[:, None, None], np.float32)


def _luma(case: Case) -> Floats:
    assert case.source is not None  # each case here has one
    return case.source.sensor.to_reflectance(case.source.read(case.whole)[0])
