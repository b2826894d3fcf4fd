"""The shipped models that look at radar: experimental, and their cards say how good they are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from geodecloud.benchmark.archive import Archive
from geodecloud.benchmark.contest import run_suite
from geodecloud.benchmark.models import TrainedModel, places_of
from geodecloud.benchmark.suites import SUITES
from geodecloud.geo.raster import open_scene
from geodecloud.geo.tiling import Window
from geodecloud.run.onnx import OnnxTranslator
from geodecloud.run.package import open_package
from geodecloud.tasks import decloud
from geodecloud.translating import translate
from geodecloud.translator import Request
from tests import makers
from tests.strategies import make_scene

COLOURS = ("sar2rgb-pix2pix", "sar2rgb-cyclegan")
GUIDED = "decloud-s1s2-4band"
HELD_OUT = "hood316"
SPLITS = Path(__file__).resolve().parents[1] / "benchmarks/splits.json"
CARD_STEP = 0.005
"""Figures of a card are shown with four digits."""


@pytest.mark.parametrize("name", [*COLOURS, GUIDED])
def test_a_card_begins_with_a_warning_and_names_what_beats_it(name: str) -> None:
    package = open_package(name)
    text = (package.folder / "README.md").read_text()
    assert re.match(rf"# {name}\n\nExperimental", text)
    others = ("radar hidden", "decloud-s2-4band") if name == GUIDED else ("mean of other places",)
    for other in others:
        assert other in text
    assert HELD_OUT not in (places_of(package) or {HELD_OUT})


def radar_request(random: np.random.Generator) -> Request:
    radar = random.uniform(-25, 0, (2, 2, 64, 96)).astype(np.float32)
    return Request(radar, np.ones(radar.shape, bool), mask=None, fill=None, extra={}, level=None)


def guided_request(random: np.random.Generator) -> Request:
    pixels, fill = random.uniform(0, 1, (2, 2, 4, 64, 96)).astype(np.float32)
    radar = random.uniform(-25, 0, (2, 2, 64, 96)).astype(np.float32)
    radar[0, :, :20] = 0  # beyond its swath
    mask = random.random((2, 1, 64, 96)) < 0.5
    valid = np.ones(pixels.shape, bool)
    return Request(pixels, valid, mask=mask, fill=fill, extra={"sar": radar}, level="L1C")


@pytest.mark.parametrize("name", [*COLOURS, GUIDED])
def test_both_engines_answer_alike(name: str) -> None:
    pytest.importorskip("torch")
    from geodecloud.learn.translator import TorchTranslator

    random = np.random.default_rng(1)
    request = guided_request(random) if name == GUIDED else radar_request(random)
    package = open_package(name)
    answers = [
        make(package, "cpu")(request).pixels for make in (OnnxTranslator, TorchTranslator.of)
    ]
    assert np.isfinite(answers[0]).all()
    np.testing.assert_allclose(*answers, atol=1e-4)


@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_drawn_from_backscatter(name: str, tmp_path: Path) -> None:
    power = np.full((2, 64, 64), 0.05, np.float32)
    power[:, :, 32:] = 0.002  # open water
    source = makers.make_rtc(tmp_path, values=power)
    out = tmp_path / "colours.tif"
    result = translate(source, out, model=name)
    assert result.bands == ("B04", "B03", "B02")
    with open_scene(out) as scene:
        dn, valid = scene.read(Window(0, 0, 64, 64))
        colours = scene.sensor.to_reflectance(dn)
    assert valid.all()
    assert ((colours > 0) & (colours < 0.6)).all()


def test_clear_pixels_stay_beside_radar(tmp_path: Path) -> None:
    scene = make_scene((96, 80))
    mask = np.zeros((96, 80), bool)
    mask[30:60, 20:50] = True
    power = np.full((2, 60, 60), 0.05, np.float32)
    out = tmp_path / "clear.tif"
    decloud(
        scene, out, model=GUIDED, mask=mask, feather_m=0,
        sar=makers.make_rtc(tmp_path, values=power),
    )  # fmt: skip
    whole = Window(0, 0, 96, 80)
    with open_scene(out) as written:
        dn = written.read(whole)[0]
    before = scene.read(whole)[0]
    assert (dn[:, ~mask] == before[:, ~mask]).all()
    assert (dn[:, mask] != before[:, mask]).any()


@pytest.mark.parametrize("name", COLOURS)
def test_the_benchmark_says_what_the_card_says(name: str, shared_data: Path) -> None:
    archive = Archive.open(shared_data, SPLITS)
    result = run_suite(SUITES["sar2rgb"], archive, [TrainedModel.parse(name)])
    assert list(result["n_cases"]) == [HELD_OUT]
    (row,) = (row for row in result["rows"] if row["name"] == name)
    said = open_package(name).card.metrics[HELD_OUT]["psnr"]
    assert row["psnr_masked_by_place"][HELD_OUT] == pytest.approx(said, abs=CARD_STEP)
