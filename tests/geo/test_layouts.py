"""Layouts: each folder is of exactly one, and what belongs together is found."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from geodecloud.errors import DataError, InputError
from geodecloud.geo import listing
from geodecloud.geo.chips import ChipStore
from geodecloud.geo.layouts import LAYOUTS, find_layout
from geodecloud.geo.listing import Folder, Joined, Listing
from geodecloud.geo.manifest import MANIFEST, ChipRecord, Manifest, file_names
from geodecloud.geo.raster import open_scene
from geodecloud.geo.sensors import SENSORS
from geodecloud.geo.tiling import Tiling
from tests.training_folders import BANDS, FOLDERS, scene_of, write_picture, write_raster

SHA256 = "0" * 64


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, int]:
    layout, _, n_samples, write = FOLDERS[request.param]
    root = tmp_path / "set"
    root.mkdir()
    write(root)
    return root, layout, n_samples


def test_exactly_one_layout_matches(folder) -> None:
    root, layout, _ = folder
    assert [name for name, each in LAYOUTS.items() if each.matches(root)] == [layout]
    assert find_layout(root) is LAYOUTS[layout]


def test_every_layout_is_tried() -> None:
    assert {layout for layout, *_ in FOLDERS.values()} == set(LAYOUTS)


def test_samples_are_files_that_agree_in_shape_and_grid(folder) -> None:
    root, layout, n_samples = folder
    samples = LAYOUTS[layout].samples(root)
    assert len(samples) == n_samples
    assert samples.faults == []
    assert len({sample.name for sample in samples}) == n_samples or layout in {"domains"}
    for sample in samples:
        assert set(sample.files) <= samples.sides
        scenes = [open_scene(path) for path in sample.files.values()]
        assert len({scene.geobox for scene in scenes}) == 1
        for scene in scenes:
            scene.close()


def test_listing_and_index_agree(folder) -> None:
    root, layout, n_samples = folder
    samples = LAYOUTS[layout].samples(root, "first/")
    assert [samples[i] for i in range(n_samples)] == list(samples) == list(samples[:])
    assert samples[-1] == list(samples)[-1]
    assert all(sample.name.startswith("first/") for sample in samples)
    apart = samples.apart()
    assert all(len(sample.files) == 1 for sample in apart)


def test_looking_writes_nothing(folder) -> None:
    root, layout, _ = folder
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    list(LAYOUTS[layout].samples(root))
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_partners_are_found_by_name_whatever_the_ending(tmp_path: Path) -> None:
    for name in "ab":
        write_raster(tmp_path / "train_a" / f"{name}.tif")
        write_picture(tmp_path / "train_b" / f"{name}.png")
    write_raster(tmp_path / "train_a" / "alone.tif")
    write_raster(tmp_path / "train_a" / "a.tiff")
    samples = find_layout(tmp_path).samples(tmp_path)
    assert [sample.name for sample in samples] == ["a", "b"]
    assert samples[0].files["target"] == tmp_path / "train_b" / "a.png"
    double, alone = sorted(samples.faults)
    assert re.search(r"train_a/a.tiff? has the name of a.tiff?$", double)
    assert alone == f"{tmp_path}/train_a/alone.tif has no partner"


def test_pictures_beside_rasters_are_previews(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    write_picture(tmp_path / "a_preview.jpg")
    write_picture(tmp_path / ".hidden.png")
    assert [sample.name for sample in find_layout(tmp_path).samples(tmp_path)] == ["a"]


def test_a_folder_that_holds_nothing_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "read.me").write_text("hello")
    with pytest.raises(DataError) as caught:
        find_layout(tmp_path)
    assert "holds no raster: folders notes and 1 files" in str(caught.value)
    assert all(layout.shows in str(caught.value) for layout in LAYOUTS.values())


def test_a_folder_of_two_layouts_is_one_clear_error(tmp_path: Path) -> None:
    for name in ("images", "images2", "train_a", "train_b"):
        write_raster(tmp_path / name / "a.tif")
    with pytest.raises(DataError, match=r"images2/, exported .* as well as train_a/"):
        find_layout(tmp_path)


def test_a_folder_that_may_not_be_read_is_one_clear_error(monkeypatch, tmp_path: Path) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "images").mkdir()
    monkeypatch.setattr(listing.os, "scandir", refuse)
    with pytest.raises(InputError, match=r"images cannot be listed \(Permission denied\)"):
        Folder(tmp_path / "images")


class Lister:
    """A folder of a million chips that is nowhere: names come one by one, as from a disk."""

    def __init__(self, n_files: int) -> None:
        self.n_files, self.asked = n_files, 0

    def __call__(self, folder: Path, *, deep: bool) -> Iterator[str]:
        for i in range(self.n_files):
            self.asked += 1
            yield f"chip_{i:07}.tif"


@pytest.mark.parametrize(
    "n_files", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)], ids=str
)
def test_a_million_chips_are_listed_in_little_memory(
    monkeypatch, tmp_path: Path, n_files: int
) -> None:
    lister = Lister(n_files)
    monkeypatch.setattr(listing, "files_below", lister)
    for side in ("images", "images2"):
        (tmp_path / side).mkdir()
    tracemalloc.start()
    folders = {"source": Folder(tmp_path / "images"), "target": Folder(tmp_path / "images2")}
    samples = Joined([Listing(folders)])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lister.asked == 2 * n_files  # each name once: nothing is quadratic
    assert len(samples) == n_files
    assert samples[n_files - 1].files["target"].name == f"chip_{n_files - 1:07}.tif"
    assert most < 450 * n_files  # bytes, for two files and their partnership


def test_of_a_manifest_the_names_of_its_chips_stay_in_memory(tmp_path: Path) -> None:
    scene = scene_of(SENSORS["sentinel-2-l2a"].select(BANDS), 0, size_px=8)
    first = ChipStore.cut(scene, tmp_path, name="scene", size_px=8).manifest
    tiling = Tiling.for_chips((400, 400), 8)
    files = file_names("scene", tiling)
    chips = [ChipRecord.of(tile, file, SHA256) for tile, file in zip(tiling, files, strict=True)]
    changed = {**dict(first), "shape": tiling.shape, "chips": tuple(chips)}
    (tmp_path / MANIFEST).write_bytes(Manifest(**changed).dumped())
    tracemalloc.start()
    samples = LAYOUTS["store"].samples(tmp_path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(samples) == 2500
    assert samples[2499].files["target"] == tmp_path / files[2499]
    assert held < 250 * 2500  # bytes; a whole record takes over a thousand
