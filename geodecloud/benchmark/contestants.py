"""Contestant: who answers a case: what needs no training, other dates, and trained models."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from geodecloud.benchmark.case import Case, Floats
from geodecloud.geo.inpainting import inpainted
from geodecloud.geo.masks import Disk, dilate
from geodecloud.geo.references import ReferenceFill
from geodecloud.geo.scene import ArrayMask
from geodecloud.learn.cutting import CLEAR, THICK

SINGLE_IMAGE, OTHER_DATE, MODEL = "baseline", "other date", "model"

RIM_M = 200.0
"""How far around a cloud its clear surroundings are looked at."""

LEAST_VALUES = 50
"""Fewer pixels have no spread worth matching."""


@dataclass(frozen=True)
class Contestant:
    """A row of the table.

    Attributes:
        name: of the row.
        kind: "baseline" sees the one window, "other date" a reference, "model" was trained.
        draw: answers a case with (C, H, W) values; what it says outside of the mask is not used.
        uses_fill: whether the seconds of the case's fill are its own.
        is_radiometric: whether it looks at the pixels under the mask.
        n_parameters: weights that were trained.
    """

    name: str
    kind: str
    draw: Callable[[Case], Floats]
    uses_fill: bool = False
    is_radiometric: bool = False
    n_parameters: int = 0

    def answer(self, case: Case) -> tuple[Floats, float]:
        """Return the case with its mask drawn, (C, H, W), and the CPU seconds it took."""
        shared = case.filled.seconds if self.uses_fill else 0.0
        start = time.process_time()
        drawn = self.draw(case)
        return case.pasted(drawn), time.process_time() - start + shared


def baselines(*, with_references: bool, is_radiometric: bool) -> list[Contestant]:
    """Return what needs no training.

    Telea's inpainting is among them where OpenCV is installed. Without references none looks at
    other dates; without radiometry none looks at what is under the mask.
    """
    found = [
        Contestant("identity", SINGLE_IMAGE, lambda case: case.pixels, is_radiometric=True),
        Contestant("mean of clear pixels", SINGLE_IMAGE, mean_of_clear),
        Contestant("Telea inpainting", SINGLE_IMAGE, _telea),
        Contestant("gain and offset", SINGLE_IMAGE, gain_and_offset, True, is_radiometric=True),
        Contestant("fill", SINGLE_IMAGE, lambda case: case.filled.values, True),
    ]
    if not has_opencv():
        found = [each for each in found if each.draw is not _telea]
    if with_references:
        found += [
            Contestant("other date as it is", OTHER_DATE, as_it_is),
            Contestant("other date, harmonised", OTHER_DATE, harmonised_dates),
        ]
    return [each for each in found if is_radiometric or not each.is_radiometric]


def has_opencv() -> bool:
    """Say whether Telea's inpainting can be had."""
    return find_spec("cv2") is not None


def mean_of_clear(case: Case) -> Floats:
    """Return the mean of each band's clear pixels, everywhere."""
    is_clear = case.counted & ~case.mask
    mean = case.pixels[:, is_clear].mean(1)
    return np.broadcast_to(mean[:, None, None], case.pixels.shape)


def gain_and_offset(case: Case) -> Floats:
    """Return the window with thin cloud and shadow brought to their clear surroundings.

    A gain and an offset a band and class, which give the masked pixels of the class the mean and
    the spread of the clear pixels around; the classes are the true ones, as no detector knows
    them. Under thick cloud, and where the mask holds too much, stands the fill.
    """
    answer = case.filled.values.copy()
    is_clear = case.counted & ~case.mask
    for kind in np.unique(case.classes[case.mask]):
        where = case.mask & (case.classes == kind)
        if kind in (CLEAR, THICK):
            continue
        around = is_clear & dilate(where, Disk.of_metres(RIM_M, case.scene.geobox))
        if min(np.count_nonzero(around), np.count_nonzero(where)) < LEAST_VALUES:
            continue
        answer[:, where] = _matched(case.pixels[:, where], case.pixels[:, around])
    return answer


def _matched(values: Floats, wanted: Floats) -> Floats:
    """Values (C, N) with the mean and the spread, band by band, of those wanted (C, M)."""
    spread = np.maximum(values.std(1, keepdims=True), 1e-6)
    gain = wanted.std(1, keepdims=True) / spread
    matched: Floats = (values - values.mean(1, keepdims=True)) * gain
    matched += wanted.mean(1, keepdims=True)
    return matched


def as_it_is(case: Case) -> Floats:
    """Return the nearest reference unchanged, and the fill where it saw nothing."""
    reference = case.references[0]
    dn, valid = reference.scene.read(case.whole)
    is_seen = valid.all(0) & ~reference.mask.read(case.whole)
    return np.where(is_seen, reference.scene.sensor.to_reflectance(dn), case.filled.values)


def harmonised_dates(case: Case) -> Floats:
    """Return what ``decloud --reference`` draws: the references in the light of the case."""
    return ReferenceFill.build(case.scene, ArrayMask(case.mask), case.references).read(case.whole)


def _telea(case: Case) -> Floats:
    drawn = inpainted(case.pixels, case.mask)
    assert drawn is not None  # baselines() asked first
    return drawn
