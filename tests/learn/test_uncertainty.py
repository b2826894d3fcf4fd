"""How far a model may be off: learnt, calibrated on held-out places, kept, and written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from geodecloud.cli.calibrate import calibrate
from geodecloud.cli.progress import Reporter
from geodecloud.errors import DataError, ModelError
from geodecloud.geo.raster import open_scene
from geodecloud.geo.tiling import Window
from geodecloud.learn.data import ChipData, split
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.plan import Plan
from geodecloud.learn.translator import TorchTranslator
from geodecloud.learn.uncertainty import Uncertainty, calibration
from geodecloud.models import load_translator
from geodecloud.run.onnx import OnnxTranslator
from geodecloud.run.package import UNCERTAINTY, open_package
from geodecloud.tasks import decloud
from geodecloud.translator import Request
from tests.learn.conftest import BANDS, write_chips
from tests.makers import write_raster

PLAN = Plan(2, 12, lr=1e-2, device="cpu", average_decay=0.8)


def cloudy_scene(folder: Path, dn: np.ndarray) -> Path:
    return write_raster(folder / "scene.tif", dn, 10, nodata=0)


def held_out(packed: PackedChips, val_split_pct: float = 0.5) -> ChipData:
    train, valid = split(packed, val_split_pct=val_split_pct)
    return ChipData(packed, "CloudRemoval", train, valid, chip_size=64, batch_size=4)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> PackedChips:
    folder = tmp_path_factory.mktemp("chips")
    # other places than those that taught the model
    path = write_chips(folder / "chips.safetensors", n_samples=8, pairs=4, called="field")
    return PackedChips(path)


@pytest.fixture(scope="module")
def trained(packed: PackedChips, package_folder: Path) -> Uncertainty:
    system = Uncertainty(held_out(packed), package_folder)
    system.history = system.fit(PLAN)
    return system


@pytest.fixture(scope="module")
def sure(trained: Uncertainty, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sure") / "small"
    trained.save(folder)
    return folder


def test_the_likelihood_of_errors_rises(trained: Uncertainty) -> None:
    rows = trained.history.rows
    assert rows[-1]["likelihood_loss"] < rows[0]["likelihood_loss"] - 0.1


def test_each_place_is_calibrated_by_the_others(trained: Uncertainty) -> None:
    assert trained.figures["n_places"] == 2
    assert 0.6 < trained.figures["rms_of_error_over_sigma"] < 1.6
    assert 0.5 < trained.figures["within_1_sigma"] < 0.9


def test_calibration_knows_a_spread_that_is_right_from_one_that_is_not() -> None:
    random = np.random.default_rng(0)
    spread = random.uniform(0.01, 0.2, (4, 20_000))
    error = random.normal(size=spread.shape) * spread
    right, wide, flat = (
        calibration(error, said) for said in (spread, 2 * spread, np.full(spread.shape, 0.1))
    )
    assert right["within_1_sigma"] == pytest.approx(0.683, abs=0.01)
    assert right["within_2_sigma"] == pytest.approx(0.954, abs=0.01)
    assert right["calibration_error"] < 0.05
    assert right["surest_half"] < 0.5
    assert wide["rms_of_error_over_sigma"] == pytest.approx(0.5, abs=0.01)
    assert wide["calibration_error"] == pytest.approx(0.5, abs=0.03)
    assert flat["surest_half"] == pytest.approx(1, abs=0.05)


def test_the_model_itself_stays_as_it_is_byte_for_byte(sure: Path, package_folder: Path) -> None:
    before, after = open_package(package_folder), open_package(sure)
    for name in before.card.files:
        assert after.read(name) == before.read(name)
    assert after.card.uncertainty.bands_out == before.card.directions[0].bands_out
    assert after.card.metrics[UNCERTAINTY]["n_places"] == 2
    assert "uncertainty" in (sure / "README.md").read_text()


def test_both_engines_say_the_same_spread(sure: Path) -> None:
    package, random = open_package(sure), np.random.default_rng(1)
    pixels, fill = (random.uniform(0, 1, (2, 4, 32, 48)).astype("f4") for _ in range(2))
    request = Request(pixels, pixels > -1, pixels[:, :1] > 0.5, fill, level="L2A")
    told = [
        engine(package, "cpu", direction=UNCERTAINTY)(request).pixels
        for engine in (OnnxTranslator, TorchTranslator.of)
    ]
    assert (told[0] > 0).all()
    np.testing.assert_allclose(*told, rtol=1e-3, atol=1e-5)


def test_decloud_writes_it_where_pixels_are_generated_and_nought_elsewhere(
    sure: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(2)
    dn = random.integers(300, 2000, (4, 96, 80)).astype(np.uint16)
    dn[:, 20:50, 20:50], dn[:, :4, :4] = 9000, 0
    drawn = np.zeros((1, 96, 80), np.uint8)
    drawn[:, 20:50, 20:50] = 1
    scene = cloudy_scene(tmp_path, dn)
    mask = write_raster(tmp_path / "mask.tif", drawn, 10)
    kwargs = {"model": str(sure), "mask": str(mask), "dilate_m": 0, "feather_m": 0, "level": "L2A"}
    kwargs["bands"] = BANDS
    plain = decloud(scene, tmp_path / "plain.tif", **kwargs)
    out, spread = tmp_path / "clear.tif", tmp_path / "spread.tif"
    result = decloud(scene, out, uncertainty=spread, **kwargs)
    assert result.files["uncertainty"] == str(spread)
    assert out.read_bytes() == (tmp_path / "plain.tif").read_bytes()
    assert plain.generated_share == result.generated_share
    with open_scene(spread) as told, open_scene(scene) as given:
        assert told.geobox == given.geobox
        assert told.sensor.band_names == BANDS
        stored, valid = told.read(Window(0, 0, 96, 80))
        sigma = told.sensor.to_reflectance(stored)
    is_drawn = np.broadcast_to(drawn > 0, sigma.shape)
    assert (sigma[is_drawn] > 0).all()
    assert (sigma[~is_drawn & valid] == 0).all()
    assert not valid[:, :4, :4].any()


def test_a_model_that_does_not_know_says_so(package_folder: Path, tmp_path: Path) -> None:
    dn = np.full((4, 16, 16), 900, np.uint16)
    scene = cloudy_scene(tmp_path, dn)
    with open_scene(scene) as opened:
        for model in ("fill", package_folder):
            with pytest.raises(ModelError, match="does not say how uncertain it is"):
                load_translator(model, opened, "cpu", with_uncertainty=True)


def test_one_place_cannot_be_calibrated_by_others(
    packed: PackedChips, package_folder: Path
) -> None:
    system = Uncertainty(held_out(packed, 0.25), package_folder)
    with pytest.raises(DataError, match="held-out places"):
        system.calibrate()
    with pytest.raises(DataError, match="held-out places"):
        system.fit(PLAN)  # before it trains


def test_the_command_refuses_few_places_before_it_trains(
    packed: PackedChips, package_folder: Path, tmp_path: Path
) -> None:
    arguments = [str(packed.path), "--model", str(package_folder), "--out", str(tmp_path / "sure")]
    short = ["--epochs", "1", "--steps", "2", "--chip-size", "32", "--batch-size", "2"]
    runner = CliRunner()
    few = runner.invoke(calibrate, [*arguments, *short], obj=Reporter())
    assert isinstance(few.exception, DataError)  # a tenth of four places is one
    assert not (tmp_path / "sure").exists()
    assert not (tmp_path / "sure.training").exists()


def test_places_that_taught_the_model_are_refused(
    packed: PackedChips, package_folder: Path
) -> None:
    data = held_out(packed)
    uncertainty = Uncertainty(data, package_folder)
    taught = {**uncertainty.package.card.training, "data": {"places": packed.places}}
    card = uncertainty.package.card.model_copy(update={"training": taught})
    uncertainty.package = replace(uncertainty.package, card=card)
    with pytest.raises(DataError, match="was taught by"):
        uncertainty.fit(PLAN)


def test_data_of_another_kind_is_refused(packed: PackedChips, package_folder: Path) -> None:
    train, valid = split(packed, val_split_pct=0.5)
    data = ChipData(packed, "Pix2Pix", train, valid, chip_size=64, batch_size=4)
    with pytest.raises(DataError, match="CloudRemoval data of B02"):
        Uncertainty(data, package_folder)
