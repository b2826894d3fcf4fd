"""What radar adds: what each fold begins with, and models beside themselves without radar."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from geodecloud.benchmark.models import TrainedModel, places_of
from geodecloud.errors import OptionError
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.recipe import Recipe
from geodecloud.run.package import open_package
from tests.benchmark.scripts import load_script
from tests.benchmark.small_archive import (
    BANDS,
    add_triplets,
    make_archive,
    make_guided_model,
    make_model,
    make_radar_model,
)

GUIDED = Recipe("guided", model={"system": "WNet_cGAN", "pretrained_path": "a", "l1_weight": 9})
SMALL = (
    *("data.chip_size=32", "data.batch_size=2", "training.epochs=1", "training.steps_per_epoch=2"),
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("radar")


@pytest.fixture
def archive(script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two places with radar, which the script takes for its own."""
    root = add_triplets(make_archive(tmp_path / "data"))
    monkeypatch.setattr(script, "SPLITS", root / "splits.json")
    return root


@pytest.fixture
def begun(tmp_path: Path) -> TrainedModel:
    north, south = (make_model(tmp_path / name, [name, "far"]) for name in ("north", "south"))
    return TrainedModel.parse(f"begun={north},{south}")


@pytest.mark.parametrize(("held_out", "taught"), [("north", "south"), ("south", "north")])
def test_a_fold_begins_with_what_its_places_did_not_teach(script, begun, held_out, taught) -> None:
    recipe = script.beginning(GUIDED, begun, {held_out, "new"})
    assert places_of(open_package(recipe.model["pretrained_path"])) == {taught, "far"}
    assert recipe.model["l1_weight"] == 9


def test_a_fold_that_taught_every_model_is_refused(script, begun) -> None:
    with pytest.raises(OptionError, match=r"taught by far or north.*held out"):
        script.beginning(GUIDED, begun, {"north", "far"})


def test_a_model_that_does_not_say_what_taught_it_begins_nothing(script, tmp_path: Path) -> None:
    silent = TrainedModel.parse(f"begun={make_model(tmp_path / 'silent', None)}")
    with pytest.raises(OptionError, match="--begin begun"):
        script.beginning(GUIDED, silent, {"north"})


def test_without_models_a_fold_begins_from_nothing(script, begun) -> None:
    model = script.beginning(GUIDED, None, {"north"}).model
    assert model == {"system": "WNet_cGAN", "l1_weight": 9, **script.FROM_NOTHING}
    plain = Recipe("plain", model={"system": "CycleGAN"})
    assert script.beginning(plain, begun, {"far"}) == plain


def test_what_radar_adds_is_the_difference_to_the_same_model_without_it(
    script, archive: Path, tmp_path: Path, capsys
) -> None:
    guided = make_guided_model(tmp_path / "guided", [])
    colours = make_radar_model(tmp_path / "colours", [])
    models = [TrainedModel.parse(f"guided={guided}"), TrainedModel.parse(f"colours={colours}")]
    results = script.measured(models, archive, script.Gallery(None))
    by_suite = {result["suite"]: result for result in results}
    assert by_suite["sar2rgb"]["radar_adds"] == {}
    pairs = by_suite["triplets"]
    shown, hidden = (
        next(row for row in pairs["rows"] if row["name"] == name)
        for name in ("guided", "guided, radar hidden")
    )
    adds = pairs["radar_adds"]["guided"]["masked"]
    assert adds["psnr"] == pytest.approx(
        shown["regions"]["masked"]["psnr"] - hidden["regions"]["masked"]["psnr"], abs=1e-4
    )
    for place, added in adds["psnr_by_place"].items():
        of = [row["psnr_masked_by_place"][place] for row in (shown, hidden)]
        assert added == pytest.approx(of[0] - of[1], abs=1e-4)
        assert 50 * 70 <= adds["pixels_by_place"][place] < 100 * 120  # the cloud, and around it
    low, high = adds["interval"]
    assert 0 < low <= adds["psnr"] <= high
    told = capsys.readouterr().out
    (line,) = (line for line in told.split("triplets: guided, dB by radar")[1].splitlines()
               if line.startswith("| masked"))  # fmt: skip
    assert f"{adds['psnr']:+.2f}" in line


@pytest.mark.slow
def test_a_fold_is_trained_from_a_model_that_does_not_know_it(
    script, archive: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    script.pack_folder(archive, out / "chips.safetensors", bands=BANDS, splits=script.SPLITS)
    plain = Recipe.read("decloud-s2-4band").with_settings([*SMALL, "model.widths=[4, 8, 16]"])
    packed = PackedChips(out / "chips.safetensors")
    script.train_fold(plain, packed, 0, tmp_path / "plain", "cpu")
    settings = [
        word for line in (*SMALL, "model.second_widths=[2, 4, 8]") for word in ("--set", line)
    ]
    asked = [
        *(str(archive), str(out), "--recipes", "decloud-s1s2-4band", *settings),
        *("--device", "cpu", "--begin", str(tmp_path / "plain" / plain.name), "--folds", "0"),
    ]
    assert script.main([*asked, "1"]) == 1
    assert "taught by south" in capsys.readouterr().err
    assert not list(out.glob("decloud-s1s2-4band/*"))
    assert script.main(asked) == 0
    results = {each["suite"]: each for each in json.loads((out / "figures.json").read_text())}
    assert set(results) == {"triplets", "triplets-known-skies"}
    for result in results.values():
        assert set(result["n_cases"]) == {"north"}
        names = [row["name"] for row in result["rows"]]
        assert names[-3:] == ["decloud-s1s2-4band", "decloud-s1s2-4band, radar hidden", plain.name]
    package = open_package(str(out / "decloud-s1s2-4band" / "fold0" / "decloud-s1s2-4band"))
    assert places_of(package) == {"south"}
    assert package.card.directions[0].network.arguments["widths"] == (4, 8, 16)
