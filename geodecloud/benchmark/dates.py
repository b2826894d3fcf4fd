"""Cases with other dates: one place on thirty dates, and one band of a tile on two."""

from __future__ import annotations

import datetime
import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from geodecloud.benchmark.archive import BANDS, Archive, part_of, windows_of
from geodecloud.benchmark.case import Case, Flags, mask_of
from geodecloud.benchmark.drafts import Draft
from geodecloud.benchmark.known_skies import (
    SKIES,
    Ground,
    KindOfSky,
    behind_holes,
    in_turn,
    under_sky,
)
from geodecloud.benchmark.real_clouds import harmonised
from geodecloud.errors import InputError
from geodecloud.geo.raster import open_scene
from geodecloud.geo.references import Reference
from geodecloud.geo.scene import ArrayMask, ArrayScene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.geo.warped import WarpedScene
from geodecloud.learn.cutting import CLEAR, mark_clouds

SERIES = "test/sen12mscrts_ROI146_patch0_30dates"
TWO_DATES = "test/multitemporal_pair_T33UUU"
SKIES_A_DATE = 1

# What tells the dates of the series apart, in blue reflectance (it is L1C, so clear is 0.12).
CLEAR_MEDIAN, CLEAR_BRIGHTEST = 0.14, 0.16
PARTLY_CLEAR = (0.1, 0.95)
"""Share of a date that is clear, where it is called partly cloudy."""

BLOCK_PX, LEAST_BLOCK_PX = 512, 384
LEAST_SEEN = 0.3
"""Share of a block that both dates must see clearly."""

# In the one band, whose name is not known: brighter than the other date by this is cloud, and
# darker than this part of it is shadow; both grow, for their rims are softer than any threshold.
CLOUD_ABOVE, SHADOW_BELOW = 0.02, 0.75


class Date(NamedTuple):
    """One date of the series."""

    day: datetime.date
    file: Path

    @property
    def name(self) -> str:
        """The date as text."""
        return self.day.isoformat()

    def scene(self) -> ArrayScene:
        """Return its pixels."""
        with open_scene(self.file, bands=BANDS, scale=1e-4, offset=0, level="L1C") as scene:
            return part_of(scene, Window.whole(shape_of(scene.geobox)))


def known_sky_drafts(archive: Archive) -> list[Draft]:
    """Return the clear dates under known skies, the nearest other clear date beside them."""
    clear, _ = _dates(archive)
    return [
        Draft(date.name, partial(_known_sky, date, _nearest(date, clear), kind))
        for number, date in enumerate(clear)
        for kind in in_turn(number, SKIES_A_DATE)
    ]


def _known_sky(date: Date, other: Date, kind: KindOfSky) -> Case | None:
    scene, beside = date.scene(), other.scene()
    reference = Reference(beside, ArrayMask(np.zeros(shape_of(beside.geobox), bool)))
    return under_sky(Ground(date.name, date.name, scene, references=(reference,)), kind)


def real_cloud_drafts(archive: Archive) -> list[Draft]:
    """Return the partly cloudy dates, the two nearest clear dates as truth and as reference."""
    clear, others = _dates(archive)
    drafts = []
    for date in others:
        truth = _nearest(date, clear)
        reference = _nearest(date, [each for each in clear if each != truth])
        drafts.append(Draft(date.name, partial(_real_cloud, date, truth, reference)))
    return drafts


def _real_cloud(date: Date, truth: Date, reference: Date) -> Case | None:
    cloudy, clear, beside = (each.scene() for each in (date, truth, reference))
    whole = Window.whole(shape_of(cloudy.geobox))
    (dn, valid), (known, is_known) = cloudy.read(whole), clear.read(whole)
    target = clear.sensor.to_reflectance(known)
    classes = mark_clouds(cloudy.sensor.to_reflectance(dn), target)
    if not PARTLY_CLEAR[0] < (classes == CLEAR).mean() < PARTLY_CLEAR[1]:
        return None
    mask = mask_of(classes, cloudy)
    counted = np.asarray((valid & is_known).all(0))
    nowhere = ArrayMask(np.zeros(mask.shape, bool))
    case = Case(
        name=f"{date.name}, truth of {truth.name}, reference of {reference.name}",
        place=date.name,
        kind="real clouds",
        scene=cloudy,
        target=harmonised(cloudy, target, counted & ~mask),
        classes=classes,
        mask=mask,
        counted=counted,
        references=(Reference(beside, nowhere),),
    )
    return case if case.is_usable else None


def _dates(archive: Archive) -> tuple[list[Date], list[Date]]:
    """The clear dates of the series, and all others."""
    clear: list[Date] = []
    others: list[Date] = []
    for date in sorted(map(_date, archive.files(SERIES))):
        scene = date.scene()
        dn, _ = scene.select(["B02"]).read(Window.whole(shape_of(scene.geobox)))
        blue = dn * scene.sensor.bands[0].scale
        is_dark = np.median(blue) < CLEAR_MEDIAN and np.percentile(blue, 99) < CLEAR_BRIGHTEST
        (clear if is_dark else others).append(date)
    if len(clear) < 2:
        raise InputError(
            f"{SERIES} has {len(clear)} clear dates",
            "a date and another one are needed",
            "complete the data",
        )
    return clear, others


def _date(file: Path) -> Date:
    found = re.search(r"\d{4}-\d\d-\d\d", file.name)
    if found is None:
        raise InputError(f"{file} has no date in its name", "such as 2018-05-06", "rename it")
    return Date(datetime.date.fromisoformat(found.group()), file)


def _nearest(date: Date, dates: list[Date]) -> Date:
    return min((each for each in dates if each != date), key=lambda each: abs(each.day - date.day))


def holes_drafts(archive: Archive) -> list[Draft]:
    """Return blocks of the cloudy date of a tile, holes in what it sees, the clear date beside."""
    (reference,), (target,) = (archive.files(TWO_DATES, f"{kind}_*.tif") for kind in ("ref", "tgt"))
    with open_scene(target, bands=["grey"], scale=1e-4, offset=0) as scene:
        shape = shape_of(scene.geobox)
    return [
        Draft(f"{window.row},{window.col}", partial(_holes, target, reference, window))
        for window in windows_of(shape, BLOCK_PX, LEAST_BLOCK_PX)
    ]


def _holes(target: Path, reference: Path, window: Window) -> Case | None:
    with open_scene(target, bands=["grey"], scale=1e-4, offset=0) as scene:
        block = part_of(scene, window)
    with open_scene(reference, bands=["grey"], scale=1e-4, offset=0) as scene:
        warped = WarpedScene(scene, block.geobox)
        if not warped.overlap:
            return None
        beside = part_of(warped, Window(0, 0, *window.shape))
    really_clear = _both_clear(block, beside)
    if really_clear.mean() < LEAST_SEEN:
        return None
    nowhere = ArrayMask(np.zeros(window.shape, bool))
    name = f"{window.row},{window.col}"
    ground = Ground(name, name, block, references=(Reference(beside, nowhere),))
    return behind_holes(ground, SKIES[0], really_clear)


def _both_clear(block: ArrayScene, beside: ArrayScene) -> Flags:
    """Where both dates are measured and the first is neither brighter nor darker by a cloud."""
    whole = Window.whole(shape_of(block.geobox))
    (dn, valid), (other, is_other) = block.read(whole), beside.read(whole)
    seen, known = (block.sensor.to_reflectance(each)[0] for each in (dn, other))
    is_both = (valid & is_other)[0]
    shared = float(np.median((seen - known)[is_both])) if is_both.any() else 0.0
    is_odd = (seen - known - shared > CLOUD_ABOVE) | (seen < SHADOW_BELOW * (known + shared))
    marks = (is_odd | ~is_both).astype(np.uint8)
    return np.asarray(is_both & ~mask_of(marks, block))
