"""Training folders: what lies there is found, described, and packed, or named as wrong."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from geodecloud.datasets import pack_folder, prepare_data
from geodecloud.errors import DataError, OptionError, RadiometryError
from geodecloud.learn.data import ChipData
from geodecloud.learn.dataset_types import DATASET_TYPES, compatible_types
from geodecloud.learn.packed import PackedChips
from geodecloud.split_table import rows_of_table
from tests.training_folders import BANDS, FOLDERS, OPTICAL, export, write_picture, write_raster

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


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str | None, int]:
    _, meant, n_samples, write = FOLDERS[request.param]
    root = tmp_path / "set"
    root.mkdir()
    write(root)
    return root, meant, n_samples


def state_of(root: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file's bytes and every entry's time of change."""
    return {
        path: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in [root, *root.rglob("*")]
    }


def test_every_layout_trains_what_it_is_meant_for(folder, tmp_path: Path) -> None:
    root, meant, n_samples = folder
    before = state_of(root)
    if meant is None:
        with pytest.raises(DataError, match=r"cannot be inferred.*one of Colorize, GAN"):
            prepare_data(root, working_dir=tmp_path / "work")
        assert state_of(root) == before
        meant = "Colorize"
        data = prepare_data(root, working_dir=tmp_path / "work", dataset_type=meant, chip_size=32)
    else:
        data = prepare_data(root, working_dir=tmp_path / "work", chip_size=32)
    assert data.dataset_type == meant
    assert len(data.packed) == n_samples or data.packed.size_px == 256  # scenes are cut
    assert data.notes == ()
    assert not set(data.train) & set(data.valid)
    batch = data.batches.at(0, torch.device("cpu"))
    assert batch["target"].shape[2:] == (32, 32)
    assert state_of(root) == before  # nothing is ever written into the user's folder


def test_only_types_that_suit_are_taken_and_the_others_are_named(folder, tmp_path: Path) -> None:
    root, _, _ = folder
    packed_path = tmp_path / "chips.safetensors"
    pack_folder(root, packed_path)
    compatible = compatible_types(PackedChips(packed_path))
    assert compatible
    for name in DATASET_TYPES:
        if name in compatible:
            data = prepare_data(packed_path, dataset_type=name, chip_size=32, batch_size=2)
            assert data.dataset_type == name
            assert next(data.valid_dl)["target"].isfinite().all()
        else:
            with pytest.raises(DataError, match=f"it suits {', '.join(compatible)}"):
                prepare_data(packed_path, dataset_type=name)


def test_both_domains_are_held_out(tmp_path: Path) -> None:
    FOLDERS["domains by hand"][3](tmp_path / "set")
    data = prepare_data(tmp_path / "set", working_dir=tmp_path / "work", val_split_pct=0.25)
    for side in ("source", "target"):
        assert data.packed.has(side)[data.valid].sum() == 3
        assert data.packed.has(side)[data.train].sum() == 9


def test_pairs_are_taken_apart_for_a_cyclegan(tmp_path: Path) -> None:
    FOLDERS["pairs by hand"][3](tmp_path / "set")
    write_raster(tmp_path / "set" / "TRAIN_A" / "alone.tif", at=900)
    work = tmp_path / "work"
    data = prepare_data(tmp_path / "set", dataset_type="CycleGAN", working_dir=work)
    assert (data.packed.has("source").sum(), data.packed.has("target").sum()) == (13, 12)
    assert not (data.packed.has("source") & data.packed.has("target")).any()


def test_a_small_domain_at_the_end_of_a_large_one_is_seen(tmp_path: Path) -> None:
    for i in range(95):
        write_raster(tmp_path / "set" / "train_a" / f"a{i}.tif", (8, 8), at=20 * i)
    for i in range(3):
        write_raster(tmp_path / "set" / "train_b" / f"b{i}.tif", (8, 8), at=20 * i + 9999)
    data = prepare_data(tmp_path / "set", working_dir=tmp_path / "work", chip_size=8)
    assert data.dataset_type == "CycleGAN"
    assert data.packed.has("target").sum() == 3


TYPES = "CloudRemoval, CloudMask, Pix2Pix, WNet_cGAN, GuidedCloudRemoval, CycleGAN"


@pytest.mark.parametrize("name", ["superres", "Pix3Pix", "Classified_Tiles"])
def test_types_for_other_models_are_refused(chip_folder: Path, name: str) -> None:
    with pytest.raises(OptionError, match=TYPES):
        prepare_data(chip_folder, dataset_type=name)


def test_an_export_for_other_models_says_so(tmp_path: Path) -> None:
    export(tmp_path / "set", OPTICAL)
    about = tmp_path / "set" / "esri_model_definition.emd"
    about.write_text(about.read_text().replace("Export_Tiles", "Classified_Tiles"))
    with pytest.raises(DataError, match="was exported as Classified_Tiles"):
        prepare_data(tmp_path / "set", working_dir=tmp_path / "work")
    about.write_text("{")
    with pytest.raises(DataError, match="is JSON with a MetaDataMode"):
        prepare_data(tmp_path / "set", working_dir=tmp_path / "work")


@pytest.mark.parametrize("count", [1, 4, 13])
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("uint8", 1, 255),
        ("uint16", 1, 9000),
        ("uint16", 1, 65535),
        ("int16", -32768, 32767),
        ("float32", 0.0, 1.0),
        ("float32", -5000.0, 900.0),
        ("float32", -30.0, -2.0),  # radar in dB whose bands have no names
    ],
)
def test_any_number_of_bands_of_any_kind_comes_through(
    tmp_path: Path, count: int, dtype: str, low: float, high: float
) -> None:
    for i in range(4):
        names = tuple(f"channel {n}" for n in range(count))
        plain = {"count": count, "dtype": dtype, "bands": names, "photometric": "MINISBLACK"}
        write_raster(tmp_path / "set" / f"{i}.tif", at=80 * i, low=low, high=high, **plain)
    data = prepare_data(tmp_path / "set", dataset_type="GAN", working_dir=tmp_path / "work")
    side = data.packed.sides["target"]
    assert len(side.bands) == count
    assert (side.unit == "dB") == (high < 0)
    values, valid = data.packed.read("target", np.arange(4))
    assert valid.all()
    with rasterio.open(tmp_path / "set" / "2.tif") as file:
        dn = file.read().astype(np.float64)
    scale = {"uint8": 1 / 255, "uint16": 1e-4, "int16": 1e-4}.get(dtype, 1.0)
    step = side.packing[0] if dtype == "float32" else 1e-6
    assert np.abs(values[2] - dn * scale).max() <= step + 1e-6 * abs(dn * scale).max()
    assert all(tensor.abs().max() < 1.5 for tensor in data.train_ds[0])


def test_sides_of_a_pair_may_have_different_bands_and_units(tmp_path: Path) -> None:
    for i in range(6):
        radar = {"count": 2, "dtype": "float32", "bands": ("VV", "VH"), "low": -25, "high": -3}
        write_raster(tmp_path / "set" / "train_a" / f"{i}.tif", at=80 * i, **radar)
        write_raster(tmp_path / "set" / "train_b" / f"{i}.tif", at=80 * i)
    data = prepare_data(tmp_path / "set", working_dir=tmp_path / "work")
    assert (data.sides["source"].unit, data.sides["source"].bands) == ("dB", ("VV", "VH"))
    drifting = data.batches.at(0, torch.device("cpu"))
    assert drifting["pixels"].mean() < -10
    whole = data.batches.whole(data.train[:1], 0, torch.device("cpu"))
    assert whole["pixels"].max() < -2.9


def test_one_bad_file_in_a_hundred_is_left_out_and_said(tmp_path: Path) -> None:
    for i in range(100):
        write_raster(tmp_path / "set" / f"{i:03}.tif", (8, 8), at=i)
    whole = (tmp_path / "set" / "007.tif").read_bytes()
    (tmp_path / "set" / "007.tif").write_bytes(whole[:300])
    said: list[str] = []
    options = {"working_dir": tmp_path / "work", "chip_size": 8}
    data = prepare_data(tmp_path / "set", listener=lambda p: said.append(p.message), **options)
    (note,) = data.notes
    assert note.startswith("left out 1 of 100 samples: ")
    assert "007.tif" in note
    assert note in said
    assert len(data.packed) == 99
    write_raster(tmp_path / "set" / "050.tif", (8, 9))
    with pytest.raises(DataError, match=r"2 of 100 samples .*007.tif.*050.tif has 8x9 px"):
        prepare_data(tmp_path / "set", **options)
    assert not (tmp_path / "work" / "chips.safetensors.part").exists()


def test_ten_bad_files_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    for i in range(30):
        write_raster(tmp_path / "set" / f"{i:02}.tif", (8, 8 + i % 2 * (i < 28)), at=i)
    with pytest.raises(DataError, match=r"14 of 30 samples .*01.tif.*; and 4 more; .*resize_to"):
        prepare_data(tmp_path / "set", working_dir=tmp_path / "work")


def test_chips_of_any_size_are_brought_to_one(tmp_path: Path) -> None:
    for i in range(8):
        write_raster(tmp_path / "set" / f"{i}.tif", (20 + 3 * i, 300 - 30 * i), at=200 * i)
    data = prepare_data(tmp_path / "set", working_dir=tmp_path / "work", resize_to=(48, 48))
    assert (data.packed.size_px, data.resize_to, len(data.packed)) == (48, 48, 8)
    with pytest.raises(OptionError, match="chips are square"):
        prepare_data(tmp_path / "set", resize_to=(48, 64))


def test_pairs_that_lie_apart_are_one_clear_error(tmp_path: Path) -> None:
    for i in range(4):
        write_raster(tmp_path / "train_a" / f"{i}.tif", at=i)
        write_raster(tmp_path / "train_b" / f"{i}.tif", at=i + (i == 2))
    with pytest.raises(DataError, match="the sides of 2 lie 32 px apart"):
        pack_folder(tmp_path, tmp_path / "chips.safetensors")
    write_raster(tmp_path / "train_b" / "2.tif", (32, 31), at=2)
    with pytest.raises(DataError, match=r"1 of 4 .*train_b/2.tif has 32x31 px"):
        pack_folder(tmp_path, tmp_path / "chips.safetensors")


def test_overlapping_chips_are_on_neither_side_where_they_reach_over(tmp_path: Path) -> None:
    for i in range(120):  # each shares half of its pixels with the next
        write_raster(tmp_path / "set" / f"{i:03}.tif", at=i / 2)
    work = tmp_path / "work"
    data = prepare_data(tmp_path / "set", working_dir=work, val_split_pct=0.3)
    held = sorted(data.valid.tolist())
    assert held
    assert all(abs(i - j) > 1 for i in data.train.tolist() for j in held)
    assert 60 < len(data.train) + len(held) < 120


def test_a_list_is_of_folders_or_of_scenes(tmp_path: Path) -> None:
    for name, at in (("a", 0), ("b", 900)):
        for i in range(6):
            write_raster(tmp_path / name / f"{i}.tif", at=at + 80 * i)
    work = tmp_path / "work"
    data = prepare_data([tmp_path / "a", tmp_path / "b"], working_dir=work)
    assert len(data.packed) == 12
    scenes = [write_raster(tmp_path / f"{i}.tif", (300, 300), at=40 * i) for i in range(3)]
    data = prepare_data(scenes, working_dir=work)
    assert len(data.packed) == 3
    with pytest.raises(DataError, match="an empty list"):
        prepare_data([])


def test_bands_are_named_chosen_and_taken_out(tmp_path: Path) -> None:
    for i in range(4):
        write_raster(tmp_path / "set" / f"{i}.tif", at=80 * i, bands=())
    work = tmp_path / "work"
    named = prepare_data(tmp_path / "set", working_dir=work, bands=BANDS, extract_bands=[2, 0])
    assert named.packed.sides["target"].bands == ("B04", "B02")
    for i in range(4):
        radar = {"count": 2, "bands": (), "dtype": "float32", "low": -25, "high": -3}
        write_raster(tmp_path / "sar" / f"{i}.tif", at=80 * i, **radar)
    options = {"imagery_type": "Sentinel1", "dataset_type": "GAN"}
    data = prepare_data(tmp_path / "sar", working_dir=work, **options)
    assert data.packed.sides["target"].bands == ("VV", "VH")
    with pytest.raises(DataError, match="B99 not among them"):
        prepare_data(tmp_path / "set", working_dir=work, bands=["B99"])
    with pytest.raises(OptionError, match="prepare_data got band"):
        prepare_data(tmp_path / "set", band=["B02"])


def test_what_cannot_be_reflectance_is_refused(tmp_path: Path) -> None:
    for i in range(4):
        write_raster(tmp_path / "set" / f"{i}.tif", at=80 * i, low=30_000, high=60_000)
    with pytest.raises(RadiometryError, match="wrong value range: band B02"):
        prepare_data(tmp_path / "set", working_dir=tmp_path / "work")
    data = prepare_data(tmp_path / "set", working_dir=tmp_path / "work", scale=1 / 65535)
    assert max(data.normalization["target"].high) < 1


def test_transforms_are_those_that_are_given(chip_folder: Path, tmp_path: Path) -> None:
    def darker(batch, random):
        share = torch.rand((), generator=random)
        return {**batch, "target": batch["target"] * share}

    options = {"working_dir": tmp_path / "work", "chip_size": 32, "dataset_type": "GAN"}
    cpu = torch.device("cpu")
    plain = prepare_data(chip_folder, transforms=False, **options)
    own = prepare_data(chip_folder, transforms=(darker, None), **options)
    first, changed = plain.batches.at(3, cpu), own.batches.at(3, cpu)
    share = changed["target"] / first["target"]
    assert 0 < share.mean() < 1
    assert share.std() < 1e-4
    assert torch.equal(own.batches.at(3, cpu)["target"], changed["target"])
    assert torch.equal(next(own.valid_dl)["target"], next(plain.valid_dl)["target"])


def test_the_batch_size_is_estimated_from_memory(chip_folder: Path, tmp_path: Path) -> None:
    data = prepare_data(chip_folder, batch_size=None, working_dir=tmp_path / "work")
    assert data.batch_size in {2**n for n in range(1, 9)}
    with pytest.raises(OptionError, match="batch_size is 1"):
        prepare_data(chip_folder, batch_size=1)


@pytest.mark.slow
def test_a_large_set_takes_little_more_memory_than_a_small_one(tmp_path: Path) -> None:
    """Ten classes of pictures as in EuroSAT; links to a few files, so that no disk is tested."""
    originals = [write_picture(tmp_path / f"{i}.jpg", at=i, size=(64, 64)) for i in range(8)]

    def prepared(n_chips: int) -> tuple[ChipData, int]:
        """The set, and the most bytes that were held; the packed file is mapped, not held."""
        root = tmp_path / f"{n_chips}"
        for name in "abcdefghij":
            (root / f"Class{name}").mkdir(parents=True)
            for i in range(1, n_chips // 10 + 1):
                link = root / f"Class{name}" / f"Class{name}_{i}.jpg"
                link.symlink_to(originals[i % 8])
        options = {"dataset_type": "Colorize", "working_dir": tmp_path / f"work{n_chips}"}
        tracemalloc.start()
        data = prepare_data(root, **options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return data, peak

    (_, few), (data, many) = prepared(600), prepared(6000)
    assert (len(data.packed), len(data.valid)) == (6000, 600)
    assert many - few < data.path.stat().st_size / 50
