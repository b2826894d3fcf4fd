"""What needs no training, and models that are asked only of places new to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geodecloud.benchmark import contestants
from geodecloud.benchmark.case import Case
from geodecloud.benchmark.contestants import (
    as_it_is,
    baselines,
    gain_and_offset,
    harmonised_dates,
    mean_of_clear,
)
from geodecloud.benchmark.models import TrainedModel, untaught
from geodecloud.benchmark.real_clouds import harmonised
from geodecloud.benchmark.suites import SUITES
from geodecloud.errors import ModelError, OptionError
from geodecloud.geo.references import Reference
from geodecloud.geo.scene import ArrayMask, ArrayScene
from geodecloud.geo.sensors import SENSORS
from geodecloud.learn.cutting import CLEAR, THIN
from tests.benchmark.small_archive import BANDS, ground, make_model
from tests.strategies import utm_geobox

SENSOR = SENSORS["sentinel-2-l1c"].select(BANDS)
WHERE = np.s_[:, 40:110, 30:120]


def scene_of(dn: np.ndarray) -> ArrayScene:
    return ArrayScene(dn.astype(np.uint16), SENSOR, utm_geobox(dn.shape[1:]))


def thin_case(seed: int = 0) -> Case:
    """A veil that dims the ground's contrast and adds light, and another date beside it."""
    clear = ground(seed)
    cloudy = clear.astype(float)
    cloudy[WHERE] = 0.6 * cloudy[WHERE] + 1200 * 1.7
    mask = np.zeros(clear.shape[1:], bool)
    mask[WHERE[1:]] = True
    other = scene_of(1.2 * clear - 100)
    reference = Reference(other, ArrayMask(np.zeros(mask.shape, bool)))
    scene = scene_of(cloudy)
    return Case(
        "veil", "here", "veil", scene, SENSOR.to_reflectance(clear),
        np.where(mask, THIN, CLEAR).astype(np.uint8), mask, np.ones(mask.shape, bool), (reference,),
    )  # fmt: skip


def error(answer: np.ndarray, case: Case) -> float:
    return float(np.abs(answer - case.target)[:, case.mask].mean())


def test_the_mean_is_that_of_clear_pixels_alone():
    case = thin_case()
    mean = case.pixels[:, ~case.mask].mean(1)
    np.testing.assert_allclose(mean_of_clear(case)[:, 70, 70], mean, rtol=1e-5)


def test_gain_and_offset_take_off_a_veil():
    case = thin_case()
    veiled, matched = error(case.pixels, case), error(gain_and_offset(case), case)
    assert matched < 0.1 * veiled
    assert matched < error(case.filled.values, case)


def test_another_date_is_better_in_the_light_of_the_scene():
    case = thin_case()
    assert error(harmonised_dates(case), case) < 0.1 * error(as_it_is(case), case)


def test_every_baseline_answers_and_leaves_clear_pixels():
    case = thin_case()
    rows = baselines(with_references=True, is_radiometric=True)
    assert {"identity", "fill", "gain and offset", "other date, harmonised"} <= {
        row.name for row in rows
    }
    for row in rows:
        answer, seconds = row.answer(case)
        assert seconds >= 0
        assert (answer[:, ~case.mask] == case.pixels[:, ~case.mask]).all(), row.name


def test_without_opencv_telea_is_left_out(monkeypatch: pytest.MonkeyPatch):
    def names() -> set[str]:
        return {row.name for row in baselines(with_references=False, is_radiometric=True)}

    monkeypatch.setattr(contestants, "has_opencv", lambda: True)
    assert "Telea inpainting" in names()
    monkeypatch.setattr(contestants, "has_opencv", lambda: False)
    assert "Telea inpainting" not in names()


def test_behind_opaque_holes_nobody_looks_at_them():
    rows = baselines(with_references=False, is_radiometric=False)
    assert not {"identity", "gain and offset"} & {row.name for row in rows}


def test_the_truth_of_a_pair_is_brought_to_the_light_of_its_cloudy_side():
    case = thin_case()
    changed = case.target + np.float32(0.05)  # another date, lighter everywhere
    found = harmonised(case.scene, changed, ~case.mask)
    assert error(found, case) < 0.002


def test_each_fold_answers_where_it_was_not_taught(tmp_path: Path):
    one = make_model(tmp_path / "one", ["north"])
    two = make_model(tmp_path / "two", ["south"], factor=2.0)
    model = TrainedModel.parse(f"both={one},{two}")
    assert model.name == "both"
    assert model.package_for("south").folder == one
    assert model.package_for("north").folder == two
    assert untaught(TrainedModel.parse(str(one)), ["north", "south"]) == {"south"}
    case = thin_case()
    np.testing.assert_allclose(
        model.draw(case)[:, case.mask], case.filled.values[:, case.mask], atol=1e-4
    )


def test_a_model_that_does_not_say_what_taught_it_is_measured_nowhere(tmp_path: Path):
    silent = TrainedModel.parse(str(make_model(tmp_path / "silent", None)))
    assert untaught(silent, ["north", "south"]) == set()
    with pytest.raises(ModelError, match="was taught by here"):
        silent.draw(thin_case())


def test_statistics_are_no_parameters(tmp_path: Path):
    assert TrainedModel.parse(str(make_model(tmp_path / "model", []))).n_parameters == 6


def test_folds_of_one_name_are_of_one_kind(tmp_path: Path):
    one = make_model(tmp_path / "one", [])
    with pytest.raises(ModelError, match="several kinds"):
        TrainedModel.parse(f"both={one},decloud-s2-4band")
    with pytest.raises(OptionError, match="NAME=PATH"):
        TrainedModel.parse(f"={one}")


def test_a_model_suits_what_it_has_the_bands_and_inputs_for(tmp_path: Path):
    model = TrainedModel.parse(str(make_model(tmp_path / "model", [])))
    assert [name for name, suite in SUITES.items() if model.suits(suite)] == [
        "synthetic", "real-pairs", "triplets", "triplets-known-skies", "multidate",
        "multidate-real",
    ]  # fmt: skip


def test_tiles_elsewhere_give_the_same_answer(tmp_path: Path):
    model = TrainedModel.parse(str(make_model(tmp_path / "model", [])))
    (first, side_px), (second, _) = (
        model.by_tiles(thin_case(), is_moved=is_moved) for is_moved in (False, True)
    )
    assert side_px == 128
    np.testing.assert_array_equal(first, second)
