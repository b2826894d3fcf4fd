"""docs/train-on-your-own.md: its commands run one after the other, on small generated data."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geodecloud.cli.main import root
from geodecloud.cli.progress import Reporter
from geodecloud.geo.raster import open_scene
from geodecloud.geo.tiling import Window
from geodecloud.learn import model
from geodecloud.learn.packed import PackedChips
from geodecloud.run.package import UNCERTAINTY, open_package
from tests.benchmark.small_archive import BANDS, ground, write
from tests.training_folders import FOLDERS

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "train-on-your-own.md").read_text()
COMMANDS = [
    shlex.split(text)[1:]
    for text in re.findall(r"^    (geodecloud .*)$", PAGE.replace("\\\n", ""), re.MULTILINE)
]
TABLE = json.loads(re.search(r"^    \{\n(?:    .*\n)+", PAGE, re.MULTILINE)[0])

# The page's own values are for hours and for scenes: these, said after them, are for seconds.
STEPS = ("training.steps_per_epoch=2", "training.lr=1e-3", "model.widths=[4,8]")
SMALL = {
    "train": [
        *("--epochs", "1", "--batch-size", "2", "--chip-size", "32", "--device", "cpu"),
        *("--val-split", "0.3"),
        *(word for step in STEPS for word in ("--set", step)),
    ],
    "evaluate": ["--limit", "1", "--device", "cpu"],
    "benchmark": ["--limit", "1"],
    "calibrate": [
        *("--epochs", "1", "--steps", "2", "--batch-size", "2", "--chip-size", "32"),
        *("--device", "cpu"),
    ],
}


def run(command: list[str]) -> None:
    """Run a command of the page, small."""
    words = [*command, *SMALL.get(command[0], [])]
    if "--resume" in words:
        words += ["--overwrite"]  # here nothing stopped the line before
    if command[0] != "models":
        words += ["--progress", "none"]
    root.main(words, standalone_mode=False, obj=Reporter())


def own_archive(folder: Path) -> None:
    """Four places in two folds, a pair each, in the words of the page's table."""
    (row,) = TABLE["rows"]
    rows = []
    for number, place in enumerate(("north", "south", "east", "west")):
        clear = ground(number)
        cloudy = clear.copy()
        cloudy[:, 40:90, 30:100] += np.uint16(2500)
        files = {side: row[side].replace("north", place) for side in ("clear", "cloudy")}
        for side, dn in (("clear", clear), ("cloudy", cloudy)):
            write(folder / files[side], dn, row=1000 * number)
        rows.append({**row, **files, "place": place, "fold": number // 2})
    (folder / "splits.json").write_text(json.dumps({**TABLE, "rows": rows}))


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the page names."""
    for name, folder in (
        ("EuroSAT 13 bands", "EuroSAT_MS"),
        ("EuroSAT pictures", "EuroSAT_RGB"),
        ("SEN12MS-CR", "SEN12MS_CR"),
        ("SEN12MS-CR", "SEN12MS_CR_held_out"),
        ("loose scenes", "scenes"),
    ):
        FOLDERS[name][3](tmp_path / folder)
    own_archive(tmp_path / "archive")
    cloudy = ground(9)
    cloudy[:, 40:90, 30:100] = 7000
    write(tmp_path / "cloudy.tif", cloudy)
    with rasterio.open(tmp_path / "cloudy.tif", "r+") as raster:
        raster.descriptions = BANDS
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model, "METRIC_SKIES", 1)
    return tmp_path


def test_the_page_goes_from_packing_to_use() -> None:
    kinds = [command[0] for command in COMMANDS]
    assert len(COMMANDS) == 19
    assert list(dict.fromkeys(kinds)) == [
        *("pack", "train", "evaluate", "benchmark", "calibrate", "models", "decloud"),
    ]
    assert TABLE["rows"][0]["bands"] == list(BANDS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:no cloud was found", "ignore:the darkest numbers")
def test_the_commands_of_the_page_run(downloads: Path) -> None:
    for command in COMMANDS:
        run(command)
    packed = PackedChips("sen12mscr.safetensors")
    assert {"source", "target", "sar", "mask"} <= set(packed.sides)
    assert PackedChips("eurosat.safetensors").sides["target"].bands == BANDS
    card = open_package("tuned-sigma").card
    assert card.summary == "Clouds out of scenes of the north, L1C"
    places = set(card.training["data"]["places"])
    assert {"east", "west", "bolzano"} <= places  # and those of the model that it began from
    assert not {"north", "south"} & places
    assert card.uncertainty is not None
    assert card.metrics[UNCERTAINTY]["n_places"] == 2
    assert "tuned" in Path("benchmark.md").read_text()
    assert Path("tuned.dlpk").is_file()
    with open_scene("clear.tif") as clear, open_scene("sigma.tif") as sigma:
        assert clear.sensor.band_names == sigma.sensor.band_names
        spread, _ = sigma.read(Window(0, 0, 160, 160))
        assert spread.any()
