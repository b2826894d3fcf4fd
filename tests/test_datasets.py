"""Training folders: what lies there is found, described, and packed, or named as wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geodecloud.datasets import pack_folder, prepare_data
from geodecloud.errors import DataError
from geodecloud.learn.data import ChipData
from geodecloud.learn.packed import PackedChips
from geodecloud.split_table import rows_of_table
from tests.training_folders import BANDS, write_raster

SPLITS = Path(__file__).resolve().parents[1] / "benchmarks" / "splits.json"


@pytest.fixture
def chip_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "chips"
    for i in range(20):
        write_raster(folder / f"chip{i:02}.tif", at=i)
    return folder


def test_a_folder_of_chips_becomes_a_training_set(chip_folder: Path, tmp_path: Path) -> None:
    data = prepare_data(chip_folder, working_dir=tmp_path / "work", chip_size=32)
    assert isinstance(data, ChipData)
    assert (data.dataset_type, data.packed.size_px, len(data.packed)) == ("CloudRemoval", 32, 20)
    assert data.packed.sides["target"].bands == BANDS


def test_nothing_is_written_into_the_users_folder(chip_folder: Path, tmp_path: Path) -> None:
    before = sorted(chip_folder.iterdir())
    prepare_data(chip_folder, working_dir=tmp_path / "work")
    assert sorted(chip_folder.iterdir()) == before


def test_neighbouring_chips_stay_on_one_side_of_the_split(tmp_path: Path) -> None:
    for i in range(60):
        write_raster(tmp_path / "chips" / f"{i:02}.tif", at=i)
    data = prepare_data(tmp_path / "chips", working_dir=tmp_path / "work")
    places = data.packed.place
    assert len(data.packed.places) == 30  # squares of two chips a side
    assert not set(places[data.train]) & set(places[data.valid])
    assert len(data.train) + len(data.valid) == 60


def test_a_scene_is_cut_into_windows(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", (600, 300))
    out = tmp_path / "chips.safetensors"
    assert pack_folder(scene, out, size_px=128) == 14  # the last corner is too small
    assert len(PackedChips(out).places) == 14


def test_packed_chips_are_taken_as_they_are(chip_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "chips.safetensors"
    pack_folder(chip_folder, out)
    assert prepare_data(out).path == out


@pytest.mark.parametrize(("first", "second"), [("train_a", "train_b"), ("images", "images2")])
def test_folders_of_two_sides_become_pairs(tmp_path: Path, first: str, second: str) -> None:
    for folder in (first, second):
        for i in range(20):
            write_raster(tmp_path / folder / f"{i}.tif", at=i)
    out = tmp_path / "work"
    data = prepare_data(tmp_path, dataset_type="Pix2Pix", working_dir=out)
    assert data.packed.has("source").all()
    assert data.packed.has("target").all()


def test_orphans_of_a_pair_are_listed_all_at_once(tmp_path: Path) -> None:
    for i in range(3):
        write_raster(tmp_path / "train_a" / f"{i}.tif")
    write_raster(tmp_path / "train_b" / "1.tif")
    with pytest.raises(DataError, match=r"2 of 3 samples .*/0.tif has no .*/2.tif has no"):
        pack_folder(tmp_path, tmp_path / "chips.safetensors")


def test_chips_of_several_sizes_are_one_clear_error(chip_folder: Path, tmp_path: Path) -> None:
    write_raster(chip_folder / "odd.tif", (32, 40))
    with pytest.raises(
        DataError, match=r"1 of 21 .* has 32x40 px \(others have 32x32\).* resize_to"
    ):
        prepare_data(chip_folder, working_dir=tmp_path / "work")


def test_chips_of_several_band_counts_are_one_clear_error(
    chip_folder: Path, tmp_path: Path
) -> None:
    write_raster(chip_folder / "odd.tif", count=3)
    with pytest.raises(DataError, match=r"odd.tif has bands B02, B03, B04 \(others have"):
        prepare_data(chip_folder, working_dir=tmp_path / "work")


def test_chips_with_nan_are_one_clear_error(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "chips" / "a.tif", dtype="float32")
    with rasterio.open(path, "r+") as file:
        file.write(np.full((4, 32, 32), np.nan, np.float32))
        file.write(np.ones((3, 32, 32), np.float32), [2, 3, 4])
    with pytest.raises(DataError, match=r"holds NaN|of valid pixels"):
        pack_folder(path.parent, tmp_path / "chips.safetensors")


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_an_empty_folder_is_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no raster|does not exist"):
        prepare_data(tmp_path / name, working_dir=tmp_path / "work")


def test_too_few_chips_for_the_split_is_one_clear_error(tmp_path: Path) -> None:
    write_raster(tmp_path / "chips" / "a.tif")
    with pytest.raises(DataError, match="1 samples of one place"):
        prepare_data(tmp_path / "chips", working_dir=tmp_path / "work")


def test_a_table_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    table = tmp_path / "splits.json"
    table.write_text('{"rows": 3}')
    with pytest.raises(DataError, match="it is a table of splits"):
        rows_of_table(table, BANDS)
    with pytest.raises(DataError, match=r"no row .* has bands B99"):
        rows_of_table(SPLITS, ["B99"])


def test_the_table_keeps_a_place_in_one_fold_and_hides_what_is_no_target() -> None:
    table = json.loads(SPLITS.read_text())
    folds: dict[str, set[int]] = {}
    for row in table["rows"]:
        folds.setdefault(row["place"], set()).add(row["fold"])
    assert all(len(numbers) == 1 for numbers in folds.values())
    assert {row["fold"] for row in table["rows"]} == set(range(table["folds"]))
    rows = rows_of_table(SPLITS, BANDS)
    assert all("state" not in row and row.get("publishable", True) for row in rows)
    assert all(row.get("cloudy_state", "thin") == "thin" for row in rows if "cloudy" in row)
    assert all(row["attribution"] for row in rows)
    assert not any(row["clear"].startswith("test/") for row in table["rows"])


def test_every_file_of_the_table_is_there(shared_data: Path) -> None:
    for row in json.loads(SPLITS.read_text())["rows"]:
        for side in ("clear", "cloudy", "sar"):
            if side in row:
                assert (shared_data / row[side]).is_file(), row[side]


def test_the_real_data_are_packed_by_the_table(shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "chips.safetensors"
    assert pack_folder(shared_data, out, splits=SPLITS) > 70
    packed = PackedChips(out)
    values, valid = packed.read("target", np.arange(len(packed)))
    by_level = [values[packed.level == level][:, 0] for level in (1, 2)]
    flags = [valid[packed.level == level][:, 0] for level in (1, 2)]
    toa, surface = (float(np.median(v[f])) for v, f in zip(by_level, flags, strict=True))
    assert 0.08 < toa < 0.16  # clear B02 of L1C and L2A
    assert 0.01 < surface < 0.09
