"""benchmarks/ship.py: a model taught by all places, with the figures of its folds."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from geodecloud.run.package import CARD, open_package
from tests.benchmark.scripts import load_script
from tests.benchmark.small_archive import PLACES, make_archive, make_model


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    module = load_script("ship")
    monkeypatch.setattr(module, "SPLITS", make_archive(tmp_path / "data") / "splits.json")
    return module


def holding_out(folder: Path, fold: int) -> Path:
    """A model of one place, whose card says which fold it held out."""
    make_model(folder, [PLACES[1 - fold]])
    card = json.loads((folder / CARD).read_text())
    card["training"]["held_out_fold"] = fold
    (folder / CARD).write_text(json.dumps(card))
    return folder


def test_the_figures_are_those_of_models_that_have_not_seen_the_place(
    script: ModuleType, tmp_path: Path
) -> None:
    model = make_model(tmp_path / "all", list(PLACES))
    folds = [str(holding_out(tmp_path / f"part{fold}", fold)) for fold in (0, 1)]
    out, keep = tmp_path / "drawn", tmp_path / "folds"
    given = [str(tmp_path / "data"), str(model), str(out), "--folds", *folds, "--keep", str(keep)]
    assert script.main(given) == 0
    shipped = open_package(out)
    assert shipped.card.name == "drawn"
    masked = shipped.card.metrics["masked"]
    # these models answer the fill, rounded to what the scene can store
    assert masked["psnr"] == pytest.approx(masked["psnr_fill"], abs=0.02)
    assert masked["psnr_identity"] < masked["psnr_fill"]
    assert "every place taught the model" in (out / "README.md").read_text().replace("\n", " ")
    for fold in (0, 1):
        kept = open_package(keep / "drawn" / f"fold-{fold}")
        assert kept.card.directions[0].graph is None
        assert set(kept.card.files) == {"weights.safetensors"}


def test_a_model_that_held_nothing_out_is_no_fold(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(make_model(tmp_path / "all", list(PLACES)))
    out = tmp_path / "drawn"
    assert script.main([str(tmp_path / "data"), model, str(out), "--folds", model]) == 1
    assert "held out no fold" in capsys.readouterr().err
    assert not out.exists()
