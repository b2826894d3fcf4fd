"""translate: scenes and stores of chips in, the target's bands, encoding and grid out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud import translate
from geodecloud.errors import (
    BandError,
    GridError,
    InputError,
    ModelError,
    OptionError,
    OutputError,
)
from geodecloud.geo.chips import ChipStore, mosaic_chips
from geodecloud.geo.manifest import MANIFEST
from geodecloud.geo.raster import Profile, open_scene, write_array
from geodecloud.geo.sensors import SENSORS
from geodecloud.geo.tiling import Window
from geodecloud.run.baselines import FunctionTranslator
from tests.packages import direction, mixing_package
from tests.test_tasks import ground

S2 = SENSORS["sentinel-2-l2a"].select(["B02", "B03", "B04", "B08"])
RGB = SENSORS["rgb"]
GRID = Affine(10, 0, 600_000, 0, -10, 5_000_000)
TO_RGB = [[0, 0, 2, 0], [0, 2, 0, 0], [2, 0, 0, 0]]
TO_S2 = [[0, 0, 0.5], [0, 0.5, 0], [0.5, 0, 0], [0.25, 0.25, 0.25]]


def write(path: Path, dn: np.ndarray, sensor=S2, affine: Affine = GRID) -> Path:
    profile = Profile.for_sensor(sensor)
    write_array(path, dn, GeoBox(dn.shape[1:], affine, "EPSG:32632"), profile)
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    dn = ground((96, 80)) // 4 + 1
    dn[:, 40:50, 30:50] = 0  # a hole
    return write(tmp_path / "scene ü.tif", dn)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of two directions, with answers that are known."""
    ways = [
        direction("AtoB", S2.band_names, RGB.band_names, ("sentinel-2-l2a", "rgb")),
        direction("BtoA", RGB.band_names, S2.band_names, ("rgb", "sentinel-2-l2a")),
    ]
    return mixing_package(tmp_path / "seasons", ways, {"AtoB": TO_RGB, "BtoA": TO_S2})


def expected(dn: np.ndarray) -> np.ndarray:
    """What the first direction answers, as 8 bits."""
    drawn = np.einsum("oc,chw->ohw", TO_RGB, S2.to_reflectance(dn).astype(np.float64))
    return np.clip(np.rint(drawn * 255), 0, 255)


def test_a_scene_is_drawn_in_the_bands_and_encoding_of_the_target(
    scene: Path, model: Path, tmp_path: Path
) -> None:
    result = translate(scene, tmp_path / "out.tif", model=model, device="cpu")
    with rasterio.open(scene) as before, rasterio.open(tmp_path / "out.tif") as after:
        dn = before.read()
        assert (after.crs, after.transform, after.shape) == (
            before.crs, before.transform, before.shape
        )  # fmt: skip
        assert set(after.dtypes) == {"uint8"}
        assert after.descriptions == RGB.band_names
        assert [color.name for color in after.colorinterp] == list(RGB.band_names)
        assert after.tags(1)["GEODECLOUD_GENERATED_BY"] == "seasons"
        hole = (dn == 0).all(0)
        assert ((after.dataset_mask() == 0) == hole).all()
        assert np.abs(after.read()[:, ~hole] - expected(dn)[:, ~hole]).max() <= 1
    assert (result.model, result.generated_share) == ("seasons", 1.0)
    assert result.n_valid == (~hole).sum()


def test_the_other_direction_leads_back(scene: Path, model: Path, tmp_path: Path) -> None:
    translate(scene, tmp_path / "rgb.tif", model=model, device="cpu")
    translate(
        tmp_path / "rgb.tif", tmp_path / "back.tif", model=model, direction="BtoA", device="cpu"
    )
    with open_scene(scene) as one, open_scene(tmp_path / "back.tif") as other:
        assert other.sensor.band_names == S2.band_names
        window = Window(0, 0, 30, 80)
        before = one.sensor.to_reflectance(one.read(window)[0])[:3]
        after = other.sensor.to_reflectance(other.read(window)[0])[:3]
    dark = before < 0.45  # brighter than 255 of 8 bits is cut
    assert np.abs(after - before)[dark].max() < 0.003
    assert dark.mean() > 0.9


def test_chips_become_chips_of_the_same_tiles_with_new_checksums(
    scene: Path, model: Path, tmp_path: Path
) -> None:
    with open_scene(scene) as opened:
        store = ChipStore.cut(opened, tmp_path / "chips", size_px=32, overlap_px=8)
    result = translate(tmp_path / "chips", tmp_path / "drawn", model=model, device="cpu")
    drawn = ChipStore.open(tmp_path / "drawn")
    drawn.verify()
    assert result.n_chips == len(drawn) == len(store)
    for before, after in zip(store.manifest.chips, drawn.manifest.chips, strict=True):
        assert (after.row, after.col, after.window) == (before.row, before.col, before.window)
        assert after.file == before.file
        assert after.sha256 != before.sha256
    assert drawn.geobox == store.geobox
    assert drawn.manifest.sensor.band_names == RGB.band_names


def test_the_mosaic_of_translated_chips_is_the_translated_scene(
    scene: Path, model: Path, tmp_path: Path
) -> None:
    with open_scene(scene) as opened:
        ChipStore.cut(opened, tmp_path / "chips", size_px=32, overlap_px=8)
    translate(tmp_path / "chips", tmp_path / "drawn", model=model, device="cpu")
    mosaic_chips(tmp_path / "drawn", tmp_path / "mosaic.tif")
    translate(scene, tmp_path / "whole.tif", model=model, device="cpu")
    with (
        rasterio.open(tmp_path / "mosaic.tif") as one,
        rasterio.open(tmp_path / "whole.tif") as other,
    ):
        np.testing.assert_array_equal(one.read(), other.read())
        np.testing.assert_array_equal(one.dataset_mask(), other.dataset_mask())
        assert (one.transform, one.crs) == (other.transform, other.crs)


def test_a_scene_smaller_than_a_chip_comes_back_in_its_padded_chip(
    model: Path, tmp_path: Path
) -> None:
    small = write(tmp_path / "small.tif", ground((20, 30)))
    with open_scene(small) as opened:
        ChipStore.cut(opened, tmp_path / "chips", size_px=64)
    translate(tmp_path / "chips", tmp_path / "drawn", model=model, device="cpu")
    assert ChipStore.open(tmp_path / "drawn")[0].dn.shape == (3, 64, 64)
    mosaic_chips(tmp_path / "drawn", tmp_path / "mosaic.tif")
    with rasterio.open(tmp_path / "mosaic.tif") as out:
        assert out.shape == (20, 30)


def test_chips_mean_what_their_manifest_says(tmp_path: Path) -> None:
    """Bands and a scale that were given when the scene was cut, and that no file knows."""
    nameless = replace(Profile.for_sensor(S2), descriptions=(None,) * 4, scales=(1,) * 4)
    path, dn = tmp_path / "nameless.tif", ground((40, 40)) // 4
    write_array(path, dn, GeoBox((40, 40), GRID, "EPSG:32632"), nameless)
    with open_scene(path, bands=["B8A", "B11", "B12", "B05"], scale=2e-4) as scene:
        ChipStore.cut(scene, tmp_path / "chips", size_px=32)
    seen = []

    def look(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels)
        return pixels

    looking = FunctionTranslator(look, ["B12"])
    result = translate(tmp_path / "chips", tmp_path / "drawn", model=looking)
    np.testing.assert_allclose(seen[0][0, 0, :40, :40], dn[2] * 2e-4, atol=1e-6)
    assert result.bands == ("B12",)
    chips = [chip.dn for chip in ChipStore.open(tmp_path / "drawn")]
    np.testing.assert_array_equal(chips[0][0], dn[2, :32, :32])


def test_a_cloud_removing_model_draws_chips_under_the_mask_alone(tmp_path: Path) -> None:
    dn = ground((96, 80))
    with open_scene(write(tmp_path / "cloudy.tif", dn)) as scene:
        ChipStore.cut(scene, tmp_path / "chips", size_px=32)
    result = translate(tmp_path / "chips", tmp_path / "clear", model="fill")
    mosaic_chips(tmp_path / "clear", tmp_path / "clear.tif")
    with rasterio.open(tmp_path / "clear.tif") as out:
        changed = (out.read() != dn).any(0)
    assert 0 < changed.mean() <= result.generated_share + 1e-9 < 0.5
    assert changed[48, 40]
    assert not changed[:8].any()


def test_a_hand_drawn_mask_decides_where_a_cloud_removing_model_draws(tmp_path: Path) -> None:
    dn = ground((96, 80))
    cloudy = write(tmp_path / "cloudy.tif", dn)
    drawn = np.zeros((1, 96, 80), np.uint8)
    drawn[0, 10:20, 10:20] = 1
    band = replace(RGB.bands[0], nodata=None)
    write(tmp_path / "mask.tif", drawn, replace(RGB, bands=(band,)))
    translate(cloudy, tmp_path / "out.tif", model="fill", mask=tmp_path / "mask.tif")
    with rasterio.open(tmp_path / "out.tif") as out:
        changed = (out.read() != dn).any(0)
    assert changed[12:18, 12:18].mean() > 0.9
    changed[10:20, 10:20] = False
    assert not changed.any()


def test_a_further_input_is_read_beside_the_scene(scene: Path, tmp_path: Path) -> None:
    way = direction(
        "forward", S2.band_names, ["VV", "VH"], ("sentinel-2-l2a", "sentinel-1-rtc"),
        inputs=["pixels", "other"], graph="model.onnx",
    )  # fmt: skip
    matrix = [[1, 0, 0, 0, 0, 0, 0, 10], [0, 1, 0, 0, 0, 0, 0, 0]]
    model = mixing_package(tmp_path / "guided", [way], {"forward": matrix})
    other = write(tmp_path / "other.tif", np.full((4, 96, 80), 2000, np.uint16))
    translate(scene, tmp_path / "out.tif", model=model, extra={"other": other}, device="cpu")
    with rasterio.open(tmp_path / "out.tif") as out, rasterio.open(scene) as before:
        values, blue = out.read(1), before.read(1) * 1e-4
        assert out.dtypes[0] == "float32"
    valid = np.isfinite(values)
    np.testing.assert_allclose(values[valid], blue[valid] + 2, atol=1e-4)
    with pytest.raises(ModelError, match="no 'other'"):
        translate(scene, tmp_path / "none.tif", model=model, device="cpu")


def test_an_input_that_a_model_does_not_look_at_is_said(
    scene: Path, model: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    radar = tmp_path / "radar.tif"
    write(radar, np.full((2, 96, 80), -10, np.float32), SENSORS["sentinel-1-rtc"])
    translate(scene, tmp_path / "out.tif", model=model, extra={"sar": radar}, on_note=notes.append)
    assert notes == ["seasons does not look at sar: it changes nothing"]


def test_a_result_is_json(scene: Path, model: Path, tmp_path: Path) -> None:
    result = translate(scene, tmp_path / "out.tif", model=model, device="cpu")
    told = json.loads(json.dumps(result.to_json()))
    assert told["files"] == {"output": str(tmp_path / "out.tif")}
    assert "seasons on cpu" in result.summary()


def _bad(name: str, scene: Path, model: Path, folder: Path):  # noqa: C901 - a table
    """Arguments of translate, the error, and a word of it."""
    out, usual = folder / "out.tif", {"model": model, "device": "cpu"}
    if name == "no such direction":
        return (scene, out), {**usual, "direction": "CtoD"}, ModelError, "AtoB, BtoA"
    if name == "direction of a baseline":
        return (scene, out), {"model": "fill", "direction": "AtoB"}, ModelError, "leave it out"
    if name == "no such model":
        return (scene, out), {"model": "nothing"}, ModelError, "nothing"
    if name == "output exists":
        out.write_bytes(b"mine")
        return (scene, out), usual, OutputError, "--overwrite"
    if name == "bands that are not there":
        return (scene, out), {**usual, "direction": "BtoA"}, BandError, "red"
    if name == "no such scene":
        return (folder / "none.tif", out), usual, InputError, "none.tif"
    if name == "extra of another place":
        far = Affine(10, 0, 900_000, 0, -10, 5_000_000)
        other = write(folder / "other.tif", np.ones((4, 9, 9), np.uint16), affine=far)
        return (scene, out), {**usual, "extra": {"other": other}}, GridError, "scene"
    if name == "tile size":
        return (scene, out), {**usual, "tile_size_px": 3}, OptionError, "tile_size_px"
    with open_scene(scene) as opened:
        store = ChipStore.cut(opened, folder / "chips", size_px=32)
    chips = folder / "chips"
    if name == "chips onto themselves":
        return (chips, chips), usual, OutputError, "another folder"
    if name == "a changed chip":
        chip = chips / store.manifest.chips[0].file
        chip.write_bytes(chip.read_bytes()[:-1] + b"x")
        return (chips, folder / "drawn"), usual, InputError, "damaged or changed"
    if name == "a missing chip":
        (chips / store.manifest.chips[0].file).unlink()
        return (chips, folder / "drawn"), usual, InputError, "missing"
    if name == "a damaged manifest":
        (chips / MANIFEST).write_text("{}")
        return (chips, folder / "drawn"), usual, InputError, "cannot be used"
    if name == "a folder with other things":
        (folder / "drawn").mkdir()
        (folder / "drawn" / "letter.txt").write_text("mine")
        return (chips, folder / "drawn"), usual, OutputError, "letter.txt"
    raise ValueError(name)


BAD = (
    "no such direction", "direction of a baseline", "no such model", "output exists",
    "bands that are not there", "no such scene", "extra of another place", "tile size",
    "chips onto themselves", "a changed chip", "a missing chip", "a damaged manifest",
    "a folder with other things",
)  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    name: str, scene: Path, model: Path, tmp_path: Path
) -> None:
    paths, options, kind, word = _bad(name, scene, model, tmp_path)
    before = {path: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(kind) as error:
        translate(*paths, **options)
    assert word in str(error.value)
    assert "\n" not in str(error.value)
    after = {path: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
