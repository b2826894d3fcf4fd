"""The learning curve: parts of the places, drawn, trained alike, kept and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from geodecloud.learn.data import ChipData, split
from geodecloud.learn.packed import PackedChips
from tests.benchmark.scripts import load_script
from tests.learn.conftest import write_chips

SMALL = (
    *("data.bands=['B02', 'B03', 'B04', 'B08']", "data.batch_size=2", "data.chip_size=32"),
    *("model.widths=[4, 8]", "model.gan_weight=0.0", "training.steps_per_epoch=2"),
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("learning_curve")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ChipData:
    folder = tmp_path_factory.mktemp("chips")
    packed = PackedChips(write_chips(folder / "chips.safetensors", n_samples=8))
    train, valid = split(packed, val_split_pct=0.2)
    return ChipData(packed, "CloudRemoval", train, valid, chip_size=32, batch_size=2)


def places(part: ChipData) -> set[int]:
    return set(part.packed.place[part.train].tolist())


def test_smaller_parts_lie_in_larger_ones_and_what_is_held_out_in_none(script, data) -> None:
    for draw in range(3):
        parts = [places(script.part_of(data, share, draw)) for share in (0.25, 0.5, 1.0)]
        assert parts[0] < parts[1] < parts[2] == places(data)
        assert not parts[2] & set(data.packed.place[data.valid].tolist())
    drawn = {frozenset(places(script.part_of(data, 0.5, draw))) for draw in range(6)}
    assert len(drawn) > 1


def test_a_part_knows_the_range_of_its_own_places_alone(script, data) -> None:
    part = script.part_of(data, 0.25, 0)
    assert part.normalization["target"] != data.normalization["target"]
    assert script.part_of(data, 1.0, 0).normalization == data.normalization


@pytest.mark.slow
def test_the_curve_is_measured_once_and_drawn(script, data, tmp_path: Path, capsys) -> None:
    settings = [word for line in SMALL for word in ("--set", line)]
    asked = [
        *(str(data.packed.path), str(tmp_path), "--fold", "0", "--shares", "50", "100"),
        *("--epochs", "1", "--device", "cpu", *settings),
    ]
    assert script.main(asked) == 0
    first = capsys.readouterr().out
    assert [line.split()[0] for line in first.splitlines()] == ["share", "50%", "100%"]
    measured = json.loads((tmp_path / "100-0" / "learning-curve.json").read_text())
    told = dict(zip(script.REGIONS, first.splitlines()[-1].split()[5::2], strict=False))
    assert {name: float(told[name]) for name in measured["psnr"]} == {
        name: round(value, 2) for name, value in measured["psnr"].items()
    }
    assert (tmp_path / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/state.json")}
    assert len(kept) == 2
    assert script.main(asked) == 0
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert script.main([*asked, "--recipe", "nonesuch"]) == 1
