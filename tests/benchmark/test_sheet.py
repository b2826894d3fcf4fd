"""Pictures of cases, and the figure that sees pictures as a trained eye does."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from geodecloud.benchmark.perception import FeatureGallery
from geodecloud.benchmark.sheet import RIM, SHOWN_SHARE, Sheet, _rimmed
from tests.benchmark.test_contestants import thin_case


def test_a_sheet_shows_answers_beside_the_truth():
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    case = thin_case()
    one, two = Sheet(["fill", "not there"]), Sheet([])
    for sheet in (one, two):
        sheet.add(case, {"fill": case.filled.values})
        assert len(sheet) == 1
    wide, narrow = (image.open(io.BytesIO(sheet.encoded())).size[0] for sheet in (one, two))
    assert wide == pytest.approx(1.5 * narrow, rel=0.02)
    assert one.encoded() == one.encoded()


def test_what_may_not_be_published_is_not_shown():
    sheet = Sheet([])
    sheet.add(replace(thin_case(), may_be_shown=False), {})
    assert len(sheet) == 0


def test_each_place_is_shown_once_and_only_where_there_is_something_to_see():
    sheet, case = Sheet([], most=2), thin_case()
    assert SHOWN_SHARE[0] < case.mask.mean() < SHOWN_SHARE[1]
    sheet.add(replace(case, mask=np.zeros_like(case.mask)), {})
    assert len(sheet) == 0
    for place in ("a", "a", "b", "c"):
        sheet.add(replace(case, place=place), {})
    assert len(sheet) == 2


def test_the_rim_of_the_mask_is_drawn_and_nothing_else():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    drawn = _rimmed(np.zeros((8, 8, 3), np.uint8), mask)
    is_rim = (drawn == RIM).all(2)
    assert is_rim.sum() == 12
    assert not is_rim[3:5, 3:5].any()


def test_answers_like_the_truth_have_no_fid():
    torch = pytest.importorskip("torch")
    gallery = FeatureGallery(lambda shown: torch.from_numpy(shown.mean((2, 3))).double())
    for seed in range(3):
        case = thin_case(seed)
        gallery.add(case, {"truth": case.target, "cloudy": case.pixels})
    distances = gallery.close()
    assert distances["truth"] == pytest.approx(0, abs=1e-6)
    assert distances["cloudy"] > 1e-3
