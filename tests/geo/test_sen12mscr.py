"""SEN12MS-CR: its patches are told by their names, and packed as what they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from geodecloud.datasets import pack_folder
from geodecloud.errors import DataError
from geodecloud.geo.layouts import find_layout
from geodecloud.geo.sen12mscr import is_patch, patches_below
from geodecloud.learn.packed import LEVELS, PackedChips
from tests.training_folders import BANDS, FOLDERS, write_raster

FILE = "ROIs1158_spring_s2_39/ROIs1158_spring_s2_39_p30.tif"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """As the archives are unpacked: a folder for each season and kind, one inside for a place."""
    root = tmp_path / "SEN12MS_CR"
    FOLDERS["SEN12MS-CR"][3](root)
    return root


def test_the_three_files_of_a_patch_belong_together(tree: Path) -> None:
    samples = find_layout(tree).samples(tree)
    assert samples[0].name == "ROIs1158_spring_39_p30"
    assert {side: path.name for side, path in samples[0].files.items()} == {
        "source": "ROIs1158_spring_s2_cloudy_39_p30.tif",
        "target": "ROIs1158_spring_s2_39_p30.tif",
        "guide": "ROIs1158_spring_s1_39_p30.tif",
    }
    assert all(path.is_file() for sample in samples for path in sample.files.values())
    assert {sample.place for sample in samples} == {"ROIs1158_spring_39", "ROIs1970_fall_8"}


def test_bands_level_and_places_come_from_the_layout(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "chips.safetensors"
    assert pack_folder(tree, out, bands=BANDS) == 6
    packed = PackedChips(out)
    assert packed.sides["source"].bands == packed.sides["target"].bands == BANDS
    assert (packed.sides["sar"].bands, packed.sides["sar"].unit) == (("VV", "VH"), "dB")
    assert {LEVELS[level] for level in packed.level} == {"L1C"}
    # patches of a place overlap by half: they stay together, and reach into no other
    assert packed.places == ["ROIs1158_spring_39", "ROIs1970_fall_8"]
    assert packed.place.tolist() == [0, 0, 0, 1, 1, 1]
    assert (packed.touches == -1).all()


def test_the_folders_may_be_sorted_in_any_way(tree: Path, tmp_path: Path) -> None:
    flat, by_season = tmp_path / "flat", tmp_path / "by_season"
    for file in tree.rglob("*.tif"):
        for place in (flat, by_season / "_".join(file.name.split("_")[:2]) / file.parent.name):
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    names = [sample.name for sample in find_layout(tree).samples(tree)]
    for root in (flat, by_season):
        assert [sample.name for sample in find_layout(root).samples(root)] == names


def test_without_radar_they_are_pairs(tree: Path, tmp_path: Path) -> None:
    for folder in tree.glob("*_s1"):
        shutil.rmtree(folder)
    pack_folder(tree, tmp_path / "chips.safetensors", bands=BANDS)
    packed = PackedChips(tmp_path / "chips.safetensors")
    assert set(packed.sides) == {"source", "target", "mask"}


def test_a_patch_without_its_cloudy_side_is_named(tree: Path, tmp_path: Path) -> None:
    next(tree.glob("*/*/ROIs1970_fall_s2_cloudy_8_p31.tif")).unlink()
    with pytest.raises(DataError, match=r"ROIs1970_fall_s2_8_p31\.tif has no partner"):
        pack_folder(tree, tmp_path / "chips.safetensors", bands=BANDS)
    assert not (tmp_path / "chips.safetensors").exists()


def test_a_patch_that_lies_there_twice_is_named(tree: Path) -> None:
    (tree / "again").mkdir()
    shutil.copy(next(tree.rglob("ROIs1158_spring_s2_39_p30.tif")), tree / "again")
    (fault,) = patches_below(tree)["target"].faults
    assert "ROIs1158_spring_s2_39_p30.tif has the name of" in fault


@pytest.mark.parametrize(
    ("file", "is_one"),
    [
        (FILE, True),
        ("ROIs2017_winter_s2_cloudy_102_p9.tif", True),
        ("ROIs2017_winter_lc_102_p9.tif", True),
        ("s2_ROIs2017_146_ImgNo_0_2018-01-06_patch_17.tif", False),
        ("ROIs1158_spring_39_p30.tif", False),
    ],
)
def test_patches_are_told_by_their_names(file: str, is_one: bool) -> None:
    assert is_patch(file) is is_one


def test_radar_alone_is_no_such_set(tmp_path: Path) -> None:
    write_raster(tmp_path / "ROIs1158_spring_s1_39_p30.tif")
    assert find_layout(tmp_path).shows.startswith("scenes or chips")
