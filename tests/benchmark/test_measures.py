"""Cases, regions and what is measured of an answer."""

from __future__ import annotations

import numpy as np
import pytest

from geodecloud.benchmark.averages import MEASURES, Tally
from geodecloud.benchmark.case import Case
from geodecloud.benchmark.measures import (
    Sum,
    figure_of,
    grid_figures,
    is_untouched,
    rounded,
    spectra_of,
    sums_of,
)
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.tiling import Window
from geodecloud.learn.cutting import CLEAR, SHADOW, THICK, THIN
from geodecloud.metrics import mae, psnr, sam
from tests.strategies import make_scene

WHOLE = (96, 80)


def make_case(*, all_masked: bool = False, seed: int = 0) -> Case:
    scene = make_scene(WHOLE, seed=seed)
    dn, _ = scene.read(Window.whole(WHOLE))
    classes = np.full(WHOLE, CLEAR, np.uint8)
    classes[10:30], classes[30:50], classes[50:60] = THIN, THICK, SHADOW
    mask = (
        np.ones(WHOLE, bool) if all_masked else np.pad(np.ones((56, 80), bool), ((8, 32), (0, 0)))
    )
    counted = np.ones(WHOLE, bool)
    counted[:, :4] = False
    cloudy = ArrayScene(np.where(classes == THICK, 9000, dn).astype(np.uint16), scene.sensor)
    return Case(
        "it", "here", "test", cloudy, scene.sensor.to_reflectance(dn), classes, mask, counted
    )


def test_the_regions_of_a_case_part_it():
    case = make_case()
    where = case.regions
    assert (where["whole"] == case.counted).all()
    inside = sum(where[name].astype(int) for name in ("thin", "thick", "shadow"))
    assert inside.max() == 1
    assert (where["masked"] >= (inside > 0)).all()
    parts = where["masked"].astype(int) + where["ring"] + where["clear"]
    assert (parts == case.counted).all()
    grounds = sum(where.get(name, 0) for name in ("vegetation", "bare", "water"))
    assert (grounds == where["masked"]).all()


def test_a_region_without_a_pixel_is_left_out():
    assert not {"ring", "clear"} & set(make_case(all_masked=True).regions)


def test_figures_of_one_case_are_those_of_metrics():
    case = make_case()
    random = np.random.default_rng(1)
    answer = (case.target + random.normal(0, 0.03, case.target.shape)).astype(np.float32)
    found = sums_of(answer, case)
    for region, where in case.regions.items():
        sums = {name: figure_of(name, *map(np.array, of)) for name, of in found[region].items()}
        pair = answer, case.target, where
        assert sums["squared"] == pytest.approx(psnr(*pair, data_range=1.0))
        assert sums["absolute"] == pytest.approx(mae(*pair))
        assert sums["sam"] == pytest.approx(sam(*pair))
        assert 0 < sums["ssim"] < 1


def test_what_does_not_count_changes_no_figure():
    case = make_case()
    answer = case.target.copy()
    answer[:, :, :4] = np.nan
    assert figure_of("squared", *map(np.array, sums_of(answer, case)["whole"]["squared"])) == 99


def test_the_spectrum_is_that_of_the_texture_and_not_of_its_place():
    case = make_case(all_masked=True)
    turned = case.target[:, ::-1, ::-1]
    smooth = np.broadcast_to(case.target.mean((1, 2), keepdims=True), case.target.shape)
    assert spectra_of(case.target, case).distance_db == 0
    assert spectra_of(turned, case).distance_db < 1
    assert spectra_of(smooth, case).distance_db > 50


def test_a_changed_clear_pixel_is_told():
    case = make_case()
    answer = case.pasted(np.zeros_like(case.target))
    assert is_untouched(answer, case)
    answer[0, 90, 40] += 1e-4
    assert not is_untouched(answer, case)


def test_a_step_at_a_tile_border_is_a_seam():
    case = make_case(all_masked=True)
    stepped = case.target.copy()
    stepped[:, 32:] += 0.1
    figures = grid_figures((stepped, case.target), case, 32)
    assert figures["seam_index"] > 1.5
    assert figures["shifted_grid_psnr"] < 30
    assert grid_figures((stepped, stepped), case, 32) == {
        "seam_index": 1, "shifted_grid_psnr": 99,
    }  # fmt: skip


def test_json_gets_none_where_nothing_was_measured():
    assert rounded({"a": [np.nan, 1.23456789], "b": "c"}) == {"a": [None, 1.23457], "b": "c"}


def squared(*errors: float) -> list[dict[str, dict[str, Sum]]]:
    return [{"masked": {"squared": Sum(error * 100, 100.0)}} for error in errors]


def tally_of(places: str, **errors: tuple[float, ...]) -> Tally:
    tally = Tally()
    for number, place in enumerate(places):
        tally.add(place, {name: squared(*of)[number] for name, of in errors.items()})
    return tally


def test_no_place_counts_more_because_it_has_more_windows():
    tally = tally_of("aaab", ours=(1e-2, 1e-2, 1e-2, 1e-4))
    assert tally.figure("ours", "masked", "psnr") == pytest.approx((20 + 40) / 2)
    assert tally.by_place("ours", "masked", "psnr") == pytest.approx({"a": 20, "b": 40})


def test_windows_of_a_place_are_pooled_before_the_logarithm():
    tally = tally_of("aa", ours=(1e-2, 3e-2))
    assert tally.figure("ours", "masked", "psnr") == pytest.approx(-10 * np.log10(2e-2))


def test_the_interval_of_a_difference_is_that_of_pairs():
    """Twice the error everywhere is the same difference in each draw, however places vary."""
    errors = (1e-2, 1e-5, 3e-3, 1e-4)
    tally = tally_of("abcd", ours=errors, theirs=tuple(2 * e for e in errors))
    low, high = tally.interval("ours", "masked", "psnr", "theirs")
    assert low == pytest.approx(high) == pytest.approx(10 * np.log10(2))
    wide = tally.interval("ours", "masked", "psnr")
    assert wide[0] < tally.figure("ours", "masked", "psnr") < wide[1]


def test_an_interval_covers_a_known_mean_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    n_covering = 0
    for _ in range(60):
        errors = tuple(10 ** random.normal(-2, 0.3, 12))
        low, high = tally_of("abcdefghijkl", it=errors).interval("it", "masked", "psnr")
        n_covering += low < 20 < high
    assert 48 <= n_covering <= 60


def test_a_place_without_a_region_takes_no_part():
    tally = tally_of("ab", ours=(1e-2, 1e-4))
    tally.add("c", {"ours": {}})
    assert tally.figure("ours", "masked", "psnr") == pytest.approx(30)
    assert np.isfinite(tally.interval("ours", "masked", "psnr")).all()
    assert np.isnan(tally.figure("ours", "thick", "psnr"))
    assert np.isnan(tally.interval("ours", "thick", "psnr")).all()
    assert set(MEASURES) == {"psnr", "ssim", "sam", "mae"}
