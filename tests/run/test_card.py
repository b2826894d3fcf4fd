"""The card in Markdown says what a model does, how good it is, and where it ends."""

from __future__ import annotations

from pathlib import Path

from geodecloud.run.card import describe
from geodecloud.run.package import open_package
from tests.packages import direction, mixing_package
from tests.run.test_package import write_package

FIGURES = {
    "thick": {"psnr": 30.126, "psnr_fill": 28.0, "mae": 0.0123, "values": 123456},
    "clear": {"psnr": 41.0, "ssim": 0.5},
    "AtoB": {"whole": {"psnr": 20.0}},
    "cycle_error": 0.25,
}
TRAINING = {
    "data": {
        "dataset_type": "CloudRemoval", "chip_size": 64, "n_samples": 12, "n_places": 3,
        "places": ["Zürich", "Bern"],
    }
}  # fmt: skip


def card_of(tmp_path: Path, **changed: object) -> str:
    return describe(open_package(write_package(tmp_path / "small", **changed)).card)


def test_a_card_says_that_pixels_are_generated_and_not_observed(tmp_path: Path) -> None:
    text = card_of(tmp_path, summary="Clears fields.", licence="MIT")
    assert text.startswith("# small\n\nClears fields.\n")
    assert "**Generated, not observed:**" in text
    assert "## Limits" in text
    assert text.endswith("## Licence\n\nMIT\n")


def test_figures_stand_beside_the_baselines_a_table_each(tmp_path: Path) -> None:
    text = card_of(tmp_path, metrics=FIGURES)
    assert (
        "| PSNR, dB | this model | the fill |\n| --- | --- | --- |\n| thick | 30.13 | 28 |\n"
        "| clear | 41 |  |\n| AtoB whole | 20 |  |\n"
    ) in text
    assert "| SSIM | this model |\n| --- | --- |\n| clear | 0.5 |\n" in text
    assert "| figure | cycle error |\n| --- | --- |\n| whole | 0.25 |\n" in text
    assert "123456" not in text


def test_a_card_without_figures_says_so(tmp_path: Path) -> None:
    assert "None were computed" in card_of(tmp_path)


def test_data_places_and_attribution_are_named(tmp_path: Path) -> None:
    text = card_of(tmp_path, training=TRAINING, attribution=["Contains Copernicus data 2019"])
    assert "12 samples (CloudRemoval) of 3 places, chips of 64 px: Zürich, Bern and 1 more." in text
    assert "- Contains Copernicus data 2019" in text


def test_a_card_shows_how_the_model_is_used_either_way(tmp_path: Path) -> None:
    assert "geodecloud decloud scene.tif out.tif --model small" in card_of(tmp_path)
    ways = [direction(name, ["red"], ["red"], ("rgb", "rgb")) for name in ("AtoB", "BtoA")]
    both = mixing_package(tmp_path / "two", ways, {"AtoB": [[1]], "BtoA": [[1]]})
    assert "translate scene.tif out.tif --model two --direction AtoB" in describe(
        open_package(both).card
    )


def test_a_bar_in_a_name_does_not_break_a_table(tmp_path: Path) -> None:
    text = card_of(tmp_path, metrics={"a|b": {"psnr": 1}})
    assert "| a/b | 1 |" in text
