"""Exports as of ArcGIS: files, numbers and back-slashes, and never half of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from geodecloud.errors import DataError, OptionError, OutputError
from geodecloud.geo.chips import cut_scene
from geodecloud.geo.esri import EMD, EsriRaster, is_export, metadata_mode, write_esri
from geodecloud.geo.profile import profile_of
from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import shape_of
from geodecloud.geo.tiling import Window
from geodecloud.progress import Cancelled
from tests.training_folders import OPTICAL, RADAR, export, scene_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return export(tmp_path / "out", OPTICAL, RADAR, mode="Pix2Pix")


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def test_files_lie_where_arcgis_looks_for_them(folder: Path) -> None:
    names = [f"{i:09}.{ending}" for i in range(9) for ending in ("tfw", "tif")]
    for side in ("images", "images2"):
        assert sorted(path.name for path in (folder / side).iterdir()) == names
    assert {path.name for path in folder.iterdir()} == {
        "images", "images2", "map.txt", "stats.txt", EMD, "esri_accumulated_stats.json",
    }  # fmt: skip
    lines = (folder / "map.txt").read_text().splitlines()
    assert lines[3] == "images\\000000003.tif  labels\\000000003.tif"
    assert len(lines) == 9
    assert (folder / "stats.txt").read_text().startswith("images =  9 *4*32*32\n")


def test_chips_are_the_scene_and_world_files_agree_with_them(folder: Path) -> None:
    scene = scene_of(OPTICAL, 0)
    for number, chip in enumerate(cut_scene(scene, size_px=32)):
        with open_scene(folder / "images" / f"{number:09}.tif") as written:
            dn, _ = written.read(Window.whole(shape_of(written.geobox)))
            assert np.array_equal(dn, chip.dn)
            assert written.geobox == chip.geobox
            a, b, c, d, e, f = tuple(written.geobox.affine)[:6]
        world = (folder / "images" / f"{number:09}.tfw").read_text().split()
        assert [float(word) for word in world] == [a, d, b, e, c + a / 2, f + e / 2]


def test_statistics_are_those_of_all_pixels(folder: Path) -> None:
    dn = scene_of(OPTICAL, 0).read(Window(0, 0, 96, 96))[0].astype(float)
    counted = read_json(folder / "esri_accumulated_stats.json")
    assert (counted["Version"], counted["NumBands"], counted["NumTiles"]) == (1, 4, 9)
    assert (counted["TileSizeX"], counted["TileSizeY"]) == (32, 32)
    assert counted["MetaDataMode"] == "Pix2Pix"
    about = read_json(folder / EMD)
    assert about["InputRastersProps"]["BandNames"] == list(OPTICAL.band_names)
    assert about["ImageSpaceUsed"] == "MAP_SPACE"
    assert (about["MinCellSize"], about["MaxCellSize"]) == pytest.approx((10, 10))
    for plane, band, state in zip(
        dn, about["AllTilesStats"], counted["BandStatsState"], strict=True
    ):
        assert (band["Min"], band["Max"]) == (plane.min(), plane.max())
        assert band["Mean"] == pytest.approx(plane.mean(), rel=1e-12)
        assert band["StdDev"] == pytest.approx(plane.std(), rel=1e-9)
        assert state["M2"] == pytest.approx(plane.var() * plane.size, rel=1e-9)
        assert state["Num"] == plane.size
    assert [band["BandName"] for band in about["AllTilesStats2"]] == ["VV", "VH"]


def test_an_export_says_what_it_is_for(folder: Path) -> None:
    assert is_export(folder)
    assert metadata_mode(folder) == "Pix2Pix"
    assert metadata_mode(folder / "images") is None
    (folder / EMD).write_text('["no object"]')
    with pytest.raises(DataError, match="JSON with a MetaDataMode"):
        metadata_mode(folder)


def test_an_export_is_replaced_when_asked_and_never_mixed(folder: Path) -> None:
    with pytest.raises(OutputError, match="pass --overwrite"):
        export(folder, OPTICAL)
    scene = scene_of(OPTICAL, 3, size_px=64)
    rasters = [EsriRaster(scene.sensor, profile_of(scene))]
    chips = ((chip,) for chip in cut_scene(scene, size_px=32))
    assert write_esri(folder, chips, rasters, overwrite=True) == 4
    assert len(list((folder / "images").glob("*.tif"))) == 4
    assert not (folder / "images2").exists()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes.txt"):
        write_esri(folder, chips, rasters, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_run_that_is_stopped_leaves_no_export(tmp_path: Path) -> None:
    def stop(_: object) -> None:
        raise Cancelled

    scene = scene_of(OPTICAL, 0)
    chips = ((chip,) for chip in cut_scene(scene, size_px=32))
    with pytest.raises(Cancelled):
        write_esri(tmp_path, chips, [EsriRaster(scene.sensor, profile_of(scene))], on_progress=stop)
    assert not is_export(tmp_path)


def test_an_export_of_nothing_or_for_other_models_is_refused(tmp_path: Path) -> None:
    scene = scene_of(OPTICAL, 0)
    raster = EsriRaster(scene.sensor, profile_of(scene))
    with pytest.raises(OptionError, match="no chip to export"):
        write_esri(tmp_path, [], [raster])
    for rasters, mode in (([raster] * 3, "Pix2Pix"), ([raster], "RCNN_Masks")):
        with pytest.raises(OptionError, match="modes are Export_Tiles, Pix2Pix"):
            write_esri(tmp_path, [], rasters, mode=mode)
