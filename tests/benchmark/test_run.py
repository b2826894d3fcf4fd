"""The benchmark from a folder of scenes to figures and a page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from geodecloud.benchmark.archive import Archive, windows_of
from geodecloud.benchmark.contest import _place_by_place, run_suite
from geodecloud.benchmark.drafts import Draft
from geodecloud.benchmark.known_skies import SKIES, Ground, behind_holes, under_sky
from geodecloud.benchmark.models import TrainedModel
from geodecloud.benchmark.run import BenchmarkOptions, _with_rows, run_benchmark
from geodecloud.benchmark.suites import SUITES, pair_drafts
from geodecloud.errors import DataError, InputError, OptionError, OutputError
from geodecloud.progress import Cancelled, Progress
from tests.benchmark.small_archive import (
    BANDS,
    PLACES,
    add_triplets,
    ground,
    make_archive,
    make_colour_model,
    make_guided_model,
    make_model,
    make_radar_model,
)
from tests.benchmark.test_contestants import scene_of


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("archive"))


def row_of(result: dict, name: str) -> dict:
    return next(row for row in result["rows"] if row["name"] == name)


@pytest.mark.parametrize("kind", SKIES, ids=lambda kind: kind.type)
def test_a_known_sky_leaves_what_it_does_not_cover(kind):
    clear = scene_of(ground(3))
    grounds = (Ground(f"window {number}", "here", clear) for number in range(9))
    # a sky may leave a small window clear, or nothing of it
    made, case = next((g, case) for g in grounds if (case := under_sky(g, kind)) is not None)
    outside = case.counted & ~case.mask
    assert np.abs(case.pixels - case.target)[:, outside].max() < 0.03
    assert np.abs(case.pixels - case.target)[:, case.mask].mean() > 0.01
    again = under_sky(made, kind)
    np.testing.assert_array_equal(case.pixels, again.pixels)


def test_behind_a_hole_nothing_is_seen_of_the_truth():
    scene = scene_of(ground(3))
    clear = np.ones((160, 160), bool)
    clear[:, :40] = False
    case = behind_holes(Ground("window", "here", scene), SKIES[0], clear)
    is_hole = case.classes > 0
    assert (case.pixels[:, is_hole] == 1).all()
    assert case.mask[:, :40].all()
    assert not case.counted[:, :40].any()


def test_windows_lie_side_by_side_and_slivers_are_left_out():
    found = windows_of((600, 300), 256, 128)
    assert [(w.row, w.col, *w.shape) for w in found] == [(0, 0, 256, 256), (256, 0, 256, 256)]


def test_a_limit_cuts_all_places_alike():
    drafts = [Draft(place, lambda: None) for place in "aaabbc"]
    assert [draft.place for draft in _place_by_place(drafts)[:4]] == ["a", "b", "c", "a"]


def test_rows_are_measured_where_no_model_was_taught(archive: Path, tmp_path: Path):
    model = TrainedModel.parse(f"drawn={make_model(tmp_path / 'model', ['north'])}")
    result = run_suite(
        SUITES["synthetic"], Archive.open(archive), [model], limit=2, drawn_twice=["drawn"]
    )
    assert list(result["n_cases"]) == ["south"]
    drawn, fill = row_of(result, "drawn"), row_of(result, "fill")
    assert drawn["n_parameters"] == 6
    assert drawn["untouched_share"] == 1
    assert drawn["shifted_grid_psnr"] == 99
    # it answers the fill, rounded to what the scene can store
    for kind in ("psnr", "mae", "ssim"):
        figures = (row["regions"]["masked"][kind] for row in (drawn, fill))
        assert next(figures) == pytest.approx(next(figures), rel=1e-3)
    over = drawn["regions"]["masked"]["psnr_over"]
    best = row_of(result, over["baseline"])
    assert best["regions"]["masked"]["psnr"] == max(
        row["regions"]["masked"]["psnr"] for row in result["rows"] if row["kind"] == "baseline"
    )
    assert over["interval"][0] <= over["difference"] <= over["interval"][1]


def test_a_model_that_knows_every_place_is_left_out_with_a_word(archive: Path, tmp_path: Path):
    model = TrainedModel.parse(f"knows={make_model(tmp_path / 'model', list(PLACES))}")
    result = run_suite(SUITES["real-pairs"], Archive.open(archive), [model])
    assert set(result["n_cases"]) == set(PLACES)
    assert "knows" not in {row["name"] for row in result["rows"]}
    assert "knows is left out" in result["notes"][0]


def test_models_new_to_fewer_places_get_a_table_more(archive: Path, tmp_path: Path):
    narrow = make_model(tmp_path / "narrow", ["north"])
    for fold, place in enumerate(PLACES):
        make_model(tmp_path / "folds" / "wide" / str(fold), [place])
    options = BenchmarkOptions(
        ("real-pairs",), ("wide", f"narrow={narrow}"), folds=tmp_path / "folds",
        out=tmp_path / "page.md",
    )  # fmt: skip
    everywhere, south = run_benchmark(archive, options)["suites"]
    assert set(everywhere["n_cases"]) == set(PLACES)
    assert "narrow" not in {row["name"] for row in everywhere["rows"]}
    assert list(south["n_cases"]) == ["south"]
    assert {"wide", "narrow"} <= {row["name"] for row in south["rows"]}
    assert row_of(south, "wide")["psnr_masked_by_place"]["south"] == pytest.approx(
        row_of(everywhere, "wide")["psnr_masked_by_place"]["south"]
    )
    page = (tmp_path / "page.md").read_text()
    assert page.index("## real-pairs\n") < page.index("### real-pairs, beside narrow\n")


def test_real_pairs_are_masked_where_they_differ(archive: Path):
    (case, _) = (draft.make() for draft in pair_drafts(Archive.open(archive), with_radar=False))
    assert case.mask[42:88, 32:98].all()
    assert not case.mask[:, 120:].any()
    assert np.abs(case.pixels - case.target)[:, ~case.mask].max() < 1e-6


def test_the_page_says_what_the_figures_say(archive: Path, tmp_path: Path):
    model = make_model(tmp_path / "drawn", ["north"])
    out = tmp_path / "page.md"
    options = BenchmarkOptions(("synthetic", "real-pairs"), (str(model),), limit=2, out=out)
    result = run_benchmark(archive, options)
    json.dumps(result, allow_nan=False)
    page = out.read_text()
    for suite in result["suites"]:
        assert f"## {suite['suite']}" in page
        for row in suite["rows"]:
            assert f"{row['regions']['masked']['psnr']:.2f}" in page
    assert result["suites"][0]["rows"][-1]["seam_index"] is not None
    assert result["suites"][1]["rows"][-1]["seam_index"] is None
    for line in page.splitlines():
        if line.startswith("!["):
            assert (out.parent / line.split("](")[1].rstrip(")")).read_bytes()[:2] == b"\xff\xd8"
    assert str(tmp_path) not in page
    with pytest.raises(OutputError, match="--overwrite"):
        run_benchmark(archive, options)


def test_a_stopped_benchmark_leaves_no_page(archive: Path, tmp_path: Path):
    def stop(progress: Progress) -> None:
        raise Cancelled

    options = BenchmarkOptions(("real-pairs",), limit=1, out=tmp_path / "page.md")
    with pytest.raises(Cancelled):
        run_benchmark(archive, options, on_progress=stop)
    assert not list(tmp_path.iterdir())


def test_suites_of_radar_alone_wait_for_a_model_that_draws_from_it(tmp_path: Path):
    model = TrainedModel.parse(str(make_model(tmp_path / "model", [])))
    radar = TrainedModel.parse(str(make_radar_model(tmp_path / "radar", [])))
    assert "sar2rgb" not in _with_rows([model])
    assert "sar2rgb" in _with_rows([model, radar])


def test_colours_are_drawn_from_radar_alone(tmp_path: Path):
    archive = Archive.open(add_triplets(make_archive(tmp_path / "data")))
    model = TrainedModel.parse(f"colours={make_radar_model(tmp_path / 'radar', ['north'])}")
    seen: dict[str, np.ndarray] = {}
    result = run_suite(
        SUITES["sar2rgb"], archive, [model], drawn_twice=["colours"],
        on_case=lambda case, answers: seen.update(answers),
    )  # fmt: skip
    assert list(result["n_cases"]) == ["south"]
    assert [row["name"] for row in result["rows"]] == [
        "mean of other places", "radar as grey", "line of other places", "colours",
    ]  # fmt: skip
    psnr = {row["name"]: row["regions"]["whole"]["psnr"] for row in result["rows"]}
    # red and blue are lines of this radar, green is not in it
    assert psnr["line of other places"] > psnr["mean of other places"] + 1
    # what "other places" are is not changed by the places that a model may be measured on
    north = 1e-4 * ground(0)[[2, 1, 0]].mean((1, 2))
    np.testing.assert_allclose(seen["mean of other places"][:, 0, 0], north, rtol=1e-3)
    colours = row_of(result, "colours")
    # a hundredth of the range off, as the matrix is
    assert 30 < colours["regions"]["whole"]["psnr"] < 99
    assert colours["shifted_grid_psnr"] == 99


def test_colours_are_drawn_from_brightness_alone(archive: Path, tmp_path: Path):
    model = TrainedModel.parse(f"mine={make_colour_model(tmp_path / 'colours', ['north'])}")
    assert "colorize" in _with_rows([model])
    result = run_suite(SUITES["colorize"], Archive.open(archive), [model])
    assert list(result["n_cases"]) == ["south"]
    grey, line, stretch, mine = (
        row_of(result, name)["regions"]["whole"]
        for name in ("grey", "line of other places", "stretch of other places", "mine")
    )
    assert mine["psnr"] == pytest.approx(grey["psnr"], abs=0.01)  # stored in whole numbers
    # alone in its suite, a place is measured by its own line: none has less squared error
    assert line["psnr"] > max(grey["psnr"], stretch["psnr"])
    assert grey["sam"] > line["sam"]


def test_cases_of_three_bands_are_those_of_four_without_the_fourth(archive: Path, tmp_path: Path):
    three = TrainedModel.parse(str(make_model(tmp_path / "three", [], bands=BANDS[:3])))
    four = TrainedModel.parse(str(make_model(tmp_path / "four", [])))
    assert {"synthetic-rgb", "real-pairs-rgb"} <= set(_with_rows([three]))
    assert not {"synthetic-rgb", "real-pairs-rgb"} & set(_with_rows([four]))
    whole, part = (
        SUITES[name].drafts(Archive.open(archive)) for name in ("synthetic", "synthetic-rgb")
    )
    case, selected = whole[0].make(), part[0].make()
    assert selected.bands == BANDS[:3]
    assert np.array_equal(selected.pixels, case.pixels[:3])
    assert np.array_equal(selected.target, case.target[:3])
    assert np.array_equal(selected.mask, case.mask)
    result = run_suite(SUITES["real-pairs-rgb"], Archive.open(archive), [three, four])
    names = [row["name"] for row in result["rows"]]
    assert "three" in names
    assert "four" not in names
    three, fill = (row_of(result, name)["regions"]["masked"] for name in ("three", "fill"))
    assert three["psnr"] == pytest.approx(fill["psnr"], abs=0.01)  # stored in whole numbers


@pytest.mark.parametrize("suite", ["triplets", "triplets-known-skies"])
def test_a_model_that_looks_at_radar_is_also_measured_without_it(suite: str, tmp_path: Path):
    archive = Archive.open(add_triplets(make_archive(tmp_path / "data")))
    model = TrainedModel.parse(f"guided={make_guided_model(tmp_path / 'model', ['north'])}")
    result = run_suite(SUITES[suite], archive, [model], limit=2)
    assert list(result["n_cases"]) == ["south"]
    seeing, blind = (row_of(result, f"guided{which}") for which in ("", ", radar hidden"))
    # hidden radar is 0 dB, of which the matrix makes black ground
    assert blind["regions"]["masked"]["psnr"] < 20 < seeing["regions"]["masked"]["psnr"]
    assert blind["untouched_share"] == seeing["untouched_share"] == 1


def test_what_draws_no_ground_is_left_out(archive: Path, tmp_path: Path):
    mask = make_model(tmp_path / "mask", [], bands_out=("clear", "thin", "thick", "shadow"))
    notes: list[str] = []
    options = BenchmarkOptions(("real-pairs",), (str(mask),), limit=1)
    result = run_benchmark(archive, options, on_note=notes.append)
    assert result["models"] == {}
    assert any("mask is left out" in note for note in notes)


def test_two_rows_of_one_name_are_refused(archive: Path, tmp_path: Path):
    one, two = (str(make_model(tmp_path / folder / "mine", [])) for folder in "ab")
    with pytest.raises(OptionError, match="two models named mine"):
        run_benchmark(archive, BenchmarkOptions(("real-pairs",), (one, two)))


def test_what_is_missing_is_named(archive: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere does not exist.*--splits"):
        Archive.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"ROI146.*holds no \*\.tif"):
        run_benchmark(archive, BenchmarkOptions(("multidate",)))
    with pytest.raises(OptionError, match="there are synthetic, real-pairs"):
        BenchmarkOptions(("sythetic",))
    with pytest.raises(DataError, match="has no case"):
        run_benchmark(archive, BenchmarkOptions(("triplets",)))
