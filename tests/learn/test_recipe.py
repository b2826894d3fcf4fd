"""Recipes: read, trained, resumed; as a script on a bare machine and as a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from geodecloud.cli.learn import pack, train
from geodecloud.cli.progress import Reporter
from geodecloud.errors import DataError, OptionError, OutputError
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.recipe import RECIPES, Recipe, main
from geodecloud.learn.state import BEST_WEIGHTS, load_averages
from geodecloud.run.package import open_package
from tests.test_datasets import write_raster

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = """
[data]
dataset_type = "CloudRemoval"
bands = ["B02", "B03", "B04", "B08"]
chip_size = 32
batch_size = 4

[model]
system = "Pix2Pix"
widths = [4, 8]
gan_weight = 0.1

[training]
epochs = 1
steps_per_epoch = 2
lr = 1e-3

[card]
summary = "tiny"
"""

BARE = """
import sys
sys.modules.update(dict.fromkeys({absent!r}))  # None: not installed
from geodecloud.learn.recipe import main
sys.exit(main(sys.argv[1:]))
"""
ABSENT = (
    *("affine", "click", "lightning_fabric", "matplotlib", "odc", "onnx", "onnxruntime"),
    *("onnxscript", "pydantic", "rasterio", "rich", "shapely", "xarray"),
)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def trained(chips: PackedChips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the tiny recipe, what the script made of it and what it said."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(TINY)
    arguments = [str(folder / "tiny.toml"), str(chips.path), str(folder / "out")]
    with redirect_stdout(StringIO()) as said:
        assert main([*arguments, "--device", "cpu"]) == 0
    (folder / "said").write_text(said.getvalue())
    return folder


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_house_makes_its_model(
    path: Path, chips: PackedChips, guided_chips: PackedChips
) -> None:
    recipe = Recipe.read(path.stem).with_settings(["data.chip_size=64"])
    sees_radar = "radar" in path.read_text()
    model = recipe.make(recipe.chips(guided_chips if sees_radar else chips))
    assert model.phases


def test_a_recipe_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(OptionError, match=r"known by name are .*decloud-s2-4band"):
        Recipe.read("nonsense")


def test_a_file_that_is_no_recipe_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("[wrong]\nx = 1")
    with pytest.raises(OptionError, match="the tables data, model, training, card"):
        Recipe.read(path)


def test_a_setting_is_a_line_of_toml_in_one_of_the_tables() -> None:
    recipe = Recipe.read("eurosat-perlin-2024")
    settings = ["data.one_sky=true", 'training.keep="last"', "model.widths=[4, 8]"]
    changed = recipe.with_settings(settings)
    assert (changed.data["one_sky"], changed.training["keep"]) == (True, "last")
    assert changed.model == {**recipe.model, "widths": [4, 8]}
    assert "one_sky" not in recipe.data


@pytest.mark.parametrize("setting", ["data.one_sky", "other.lr=1", "lr=1", "training.lr=fast"])
def test_a_setting_that_is_none_says_how_they_look(setting: str) -> None:
    with pytest.raises(OptionError, match=r"TABLE\.KEY=VALUE.*data, model, training, card"):
        Recipe("r").with_settings([setting])


@pytest.mark.parametrize("setting", ["data.two_skies=true", "model.judge=3", "training.speed=1"])
def test_a_setting_that_nobody_knows_is_refused_by_name(
    setting: str, chips: PackedChips, tmp_path: Path
) -> None:
    recipe = Recipe("r", {"dataset_type": "GAN", "chip_size": 32}, {"system": "GAN"})
    recipe = recipe.with_settings(["data.batch_size=4", "model.width=8", setting])
    with pytest.raises(OptionError, match=setting.split(".")[1].split("=")[0]):
        recipe.train(recipe.chips(chips), tmp_path)


def test_chips_of_other_bands_are_refused(chips: PackedChips) -> None:
    recipe = Recipe("r", {"dataset_type": "CloudRemoval", "bands": ["B04", "B11"]}, {}, {})
    with pytest.raises(DataError, match=r"B11 not among them.*pack with --bands B04,B11"):
        recipe.chips(chips)


def test_a_recipe_takes_its_bands_out_of_those_that_are_packed(chips: PackedChips) -> None:
    recipe = Recipe("r", {"dataset_type": "CloudRemoval", "bands": ["B04", "B02"]}, {}, {})
    assert recipe.chips(chips).sides["target"].bands == ("B04", "B02")


def test_a_recipe_may_draw_from_a_guide(guided_chips: PackedChips) -> None:
    data = {"dataset_type": "Pix2Pix", "source": "sar", "bands": ["B04", "B03"], "chip_size": 32}
    found = Recipe("r", data).chips(guided_chips, fold=0)
    assert found.sides["source"].bands == ("VV", "VH")
    assert found.sides["target"].bands == ("B04", "B03")
    assert set(found.packed.fold[found.train]) == {1, 2, 3}
    batch = found.batches.at(0, torch.device("cpu"))
    assert batch["pixels"].max() < -5 < batch["target"].min()
    with pytest.raises(DataError, match="drawn from reference"):
        Recipe("r", {**data, "source": "reference"}).chips(guided_chips, fold=0)


def test_the_script_trains_and_saves_a_package(trained: Path) -> None:
    assert open_package(trained / "out" / "tiny").card.summary == "tiny"
    lines = [json.loads(line) for line in (trained / "said").read_text().splitlines()]
    assert lines[-1]["event"] == "metrics"


def test_the_weights_alone_are_enough_for_a_package(
    trained: Path, chips: PackedChips, tmp_path: Path
) -> None:
    weights = trained / "out" / BEST_WEIGHTS
    start = [str(trained / "tiny.toml"), str(chips.path), str(tmp_path / "again")]
    assert main([*start, "--weights", str(weights)]) == 0
    first = (trained / "out" / "tiny" / "weights.safetensors").read_bytes()
    assert (tmp_path / "again" / "tiny" / "weights.safetensors").read_bytes() == first
    damaged = tmp_path / "other.safetensors"
    damaged.write_bytes(weights.read_bytes()[:-9])
    assert main([*start, "--weights", str(damaged)]) == 1


def test_several_weights_give_their_mean(chips: PackedChips, tmp_path: Path) -> None:
    recipe = Recipe("tiny", **tomllib.loads(TINY))
    model = recipe.make(recipe.chips(chips))
    (network,) = (model.networks[name] for name in model.directions)
    paths = [tmp_path / f"{i}.safetensors" for i in range(2)]
    for i, path in enumerate(paths):
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, 1.0 + 2 * i)
        save_file({f"forward.{k}": v.clone() for k, v in network.state_dict().items()}, path)
    load_averages(paths, model.networks)
    assert all((parameter == 2).all() for parameter in network.parameters())


def test_the_script_says_what_is_wrong_in_one_line(
    chips: PackedChips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nonsense", str(chips.path), str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: recipe 'nonsense'")


@pytest.mark.slow
def test_a_machine_with_torch_numpy_and_safetensors_alone_trains(
    tiny: Path, chips: PackedChips, tmp_path: Path
) -> None:
    arguments = [str(tiny), str(chips.path), str(tmp_path / "out"), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", BARE.format(absent=ABSENT), *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "for the package run again with --resume" in done.stdout
    assert main([*arguments, "--resume"]) == 0  # where all is installed
    assert open_package(tmp_path / "out" / "tiny")


def test_the_commands_pack_and_train(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        write_raster(tmp_path / "data" / f"{i}.tif", (64, 64), at=2 * i)
    runner = CliRunner()
    packed = tmp_path / "chips.safetensors"
    done = runner.invoke(pack, [str(tmp_path / "data"), str(packed)], obj=Reporter())
    assert "20 samples" in done.output
    arguments = [str(packed), "--recipe", str(tiny), "--out", "model"]
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(train, [*arguments, "--device", "cpu"], obj=Reporter())
    assert done.exception is None, done.output
    assert "PSNR dB" in done.output
    assert open_package(tmp_path / "model").card.name == "model"
    assert str(tmp_path / "model") in done.output.splitlines()
    refused = runner.invoke(train, arguments, obj=Reporter())
    assert isinstance(refused.exception, OutputError)
