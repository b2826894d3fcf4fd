"""translate and models as their users run them: a process, its exit code, its words."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result

from geodecloud import translate
from geodecloud.cli.models import models
from geodecloud.errors import OutputError
from geodecloud.geo.chips import ChipStore, mosaic_chips
from geodecloud.geo.raster import open_scene
from geodecloud.geo.tiling import Window
from geodecloud.run.package import open_package
from tests.cli.test_decloud_command import SAMPLE, run
from tests.packages import direction, mixing_package

BANDS = ("B02", "B03", "B04")
RGB = ("red", "green", "blue")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that shows a scene in its colours, three times brighter."""
    ways = [direction("AtoB", BANDS, RGB, ("sentinel-2-l2a", "rgb"), graph="model.onnx")]
    folder = tmp_path_factory.mktemp("models") / "colours"
    return mixing_package(
        folder, ways, {"AtoB": [[0, 0, 3], [0, 3, 0], [3, 0, 0]]}, summary="Shows the colours."
    )


def test_a_scene_is_translated_and_the_last_event_says_how(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    done = run("translate", SAMPLE, out, "--model", model, "--device", "cpu", "--progress", "json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (events[0]["event"], events[0]["model"]) == ("start", "colours")
    assert events[-1]["event"] == "result"
    assert events[-1]["bands"] == list(RGB)
    assert events[-1]["files"] == {"output": str(out)}
    with rasterio.open(out) as dataset, rasterio.open(SAMPLE) as before:
        assert (dataset.count, dataset.dtypes[0], dataset.crs) == (3, "uint8", before.crs)


def test_a_sensor_and_a_pixel_size_are_taken_as_said(model: Path, tmp_path: Path) -> None:
    with rasterio.open(SAMPLE) as before:
        n_bands, shape = before.count, before.shape
    names = [*BANDS, *(f"other{i}" for i in range(n_bands))][:n_bands]
    bands = (f'[[band]]\nname = "{name}"\nscale = 0.0002\nnodata = 0\n' for name in names)
    (tmp_path / "own.toml").write_text('name = "own"\n' + "".join(bands))
    options = ["--sensor", tmp_path / "own.toml", "--resolution", "20", "--device", "cpu"]
    done = run("translate", SAMPLE, tmp_path / "out.tif", "--model", model, *options)
    assert done.returncode == 0, done.stderr
    with (
        open_scene(SAMPLE, bands=names, scale=2e-4, offset=0, resolution_m=20) as scene,
        rasterio.open(tmp_path / "out.tif") as out,
    ):
        assert out.shape == tuple(scene.geobox.shape) == (shape[0] // 2, shape[1] // 2)
        seen = scene.select(BANDS)
        dn, valid = seen.read(Window.whole(out.shape))
        red = seen.sensor.to_reflectance(dn)[2] * 3 * 255
        assert np.abs(out.read(1) - np.clip(red, 0, 255))[valid.all(0)].max() <= 1


def test_the_mosaic_of_translated_chips_is_the_translated_scene(
    model: Path, tmp_path: Path
) -> None:
    chips, drawn = tmp_path / "chips", tmp_path / "drawn"
    with open_scene(SAMPLE) as scene:
        ChipStore.cut(scene, chips, size_px=256)
    done = run("translate", chips, drawn, "--model", model, "--direction", "AtoB")
    assert done.returncode == 0, done.stderr
    mosaic_chips(drawn, tmp_path / "mosaic.tif")
    translate(SAMPLE, tmp_path / "whole.tif", model=model, tile_size_px=128, device="cpu")
    with (
        rasterio.open(tmp_path / "mosaic.tif") as one,
        rasterio.open(tmp_path / "whole.tif") as other,
    ):
        np.testing.assert_array_equal(one.read(), other.read())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nothing"], "no model 'nothing'"),
        (["--model", "MODEL", "--direction", "BtoA"], "has no direction 'BtoA'"),
        (["--model", "MODEL", "--extra", "sar"], "no NAME=FILE"),
        (["--model", "MODEL", "--batch-size", "many"], "neither 'auto' nor a number"),
        ([], "Missing option '--model'"),
    ],
)
def test_an_error_says_what_is_wrong_and_leaves_nothing(
    model: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    asked = [str(model) if text == "MODEL" else text for text in arguments]
    done = run("translate", SAMPLE, tmp_path / "out.tif", *asked)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def invoke(*arguments: object) -> Result:
    """The models command in this process, which starts sooner."""
    return CliRunner().invoke(models, [str(argument) for argument in arguments])


def test_a_models_card_is_shown(model: Path) -> None:
    done = run("models", model)
    assert done.returncode == 0, done.stderr
    assert "Shows the colours." in done.stdout
    assert "Generated, not observed" in done.stdout
    assert json.loads(invoke(model, "--json").stdout)["name"] == "colours"
    assert invoke("fill").stdout.startswith("# fill\n")


def test_models_are_listed() -> None:
    listed = json.loads(invoke("--json").stdout)
    assert {"fill", "identity"} <= {model["name"] for model in listed}
    lines = invoke().stdout.splitlines()
    assert max(map(len, lines)) <= 120
    assert {model["name"] for model in listed} <= {line.split(" ")[0] for line in lines}


def test_a_model_is_handed_on_as_one_file(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "colours.dlpk"
    assert invoke(model, out, "--export", "dlpk").exit_code == 0
    assert open_package(out).card == open_package(model).card
    assert isinstance(invoke(model, out, "--export", "dlpk").exception, OutputError)
    assert invoke(model, out, "--export", "dlpk", "--overwrite").exit_code == 0
    assert translate(SAMPLE, tmp_path / "out.tif", model=out, device="cpu").model == "colours"


def test_a_program_in_a_dlpk_is_named_beside_its_card(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "colours.dlpk"
    invoke(model, out, "--export", "dlpk")
    with zipfile.ZipFile(out, "a") as file:
        file.writestr("Inference.py", "raise SystemExit")
    assert "note: Inference.py is a program: it was never run" in invoke(out).stderr


def test_a_model_is_handed_on_as_a_stac_item(model: Path, tmp_path: Path) -> None:
    assert invoke(model, tmp_path / "item.json", "--export", "mlm").exit_code == 0
    item = json.loads((tmp_path / "item.json").read_text())
    assert (item["id"], item["properties"]["mlm:name"]) == ("colours", "colours")


def test_deepness_takes_no_model_of_reflectance(model: Path, tmp_path: Path) -> None:
    done = run("models", model, tmp_path / "out.onnx", "--export", "deepness")
    assert done.returncode == 1
    assert "Deepness feeds the colours" in done.stderr
    assert not list(tmp_path.iterdir())


def test_deepness_takes_a_model_of_pictures(tmp_path: Path) -> None:
    way = direction("forward", RGB, RGB, ("rgb", "rgb"))
    folder = mixing_package(tmp_path / "pictures", [way], {"forward": np.eye(3).tolist()})
    assert invoke(folder, tmp_path / "out.onnx", "--export", "deepness").exit_code == 0
    assert (tmp_path / "out.onnx").stat().st_size > 100


@pytest.mark.parametrize(
    "arguments", [["--export", "dlpk"], ["x", "y"], ["x", "y", "--export", "word"]]
)
def test_wrong_usage_of_models_is_refused(arguments: list[str]) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert "Error" in done.output
