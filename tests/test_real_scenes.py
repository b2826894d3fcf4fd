"""The road on real scenes: Sentinel-2 of several levels, encodings and places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from geodecloud import decloud
from geodecloud.errors import BandError
from geodecloud.geo.chips import ChipStore, mosaic_chips
from geodecloud.geo.raster import open_scene
from geodecloud.metrics import psnr
from geodecloud.paste import GENERATED, ORIGINAL

ZURICH = "test/scenes_cloudy/20190530_T32TMT_MSIL2A_S2A_pixel_division_10m.tiff"
BOLZANO = "train/scenes_clear/bolzano_S2_L2A_B02B03B04B08SCL.tif"
PILBARA = "train/scenes_clear/pilbara_20181201_L2A_16bitscaled.tif"
PAIR = "train/sen12mscr_pairs/ROIs1158_spring_s2_{}39_p100.tif"


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read()


@pytest.mark.slow
def test_zurich_is_cleared_in_all_ten_bands(shared_data: Path, tmp_path: Path) -> None:
    scene, out, origin = shared_data / ZURICH, tmp_path / "out.tif", tmp_path / "origin.tif"
    result = decloud(scene, out, provenance=origin)
    before, after, kind = read(scene), read(out), read(origin)[0]
    assert before.shape == after.shape
    assert (before[:, kind == ORIGINAL] == after[:, kind == ORIGINAL]).all()
    assert 0.3 < (kind == GENERATED).mean() < 0.6
    assert (after[0] > 3000).mean() < 0.1 * (before[0] > 3000).mean()
    assert result.identical_share > 0.4


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_tile_size(shared_data: Path, tmp_path: Path) -> None:
    outs = []
    for size in (256, 512):
        outs.append(tmp_path / f"{size}.tif")
        decloud(shared_data / ZURICH, outs[-1], tile_size_px=size)
    np.testing.assert_array_equal(read(outs[0]), read(outs[1]))


def test_a_scene_with_scl_takes_it_and_keeps_it(shared_data: Path, tmp_path: Path) -> None:
    bands = ("B02", "B03", "B04", "B08", "SCL")
    result = decloud(shared_data / BOLZANO, tmp_path / "out.tif", bands=bands, keep_bands=True)
    before, after = read(shared_data / BOLZANO), read(tmp_path / "out.tif")
    np.testing.assert_array_equal(before[4], after[4])
    scl = np.isin(before[4], [3, 8, 9, 10]).mean()
    assert result.cloud_share + result.shadow_share == pytest.approx(scl, abs=0.01)


def test_a_scale_that_the_file_does_not_tell_is_taken(shared_data: Path, tmp_path: Path) -> None:
    # reflectance times 65535; no cloud in it
    result = decloud(shared_data / PILBARA, tmp_path / "out.tif", scale=1 / 65535)
    assert result.generated_share < 0.02


def test_one_band_asks_for_a_mask(shared_data: Path, tmp_path: Path) -> None:
    scene = shared_data / "test/multitemporal_pair_T33UUU/tgt_S2A_20160529T153631_T33UUU_sub.tif"
    with pytest.raises(BandError, match="--mask"):
        decloud(scene, tmp_path / "out.tif")


def test_a_real_cloud_is_filled_better_than_it_was(shared_data: Path, tmp_path: Path) -> None:
    cloudy, clear = (shared_data / PAIR.format(kind) for kind in ("cloudy_", ""))
    decloud(cloudy, tmp_path / "out.tif", provenance=tmp_path / "origin.tif", level="L1C")
    region = read(tmp_path / "origin.tif")[0] == GENERATED
    before, after, truth = (
        read(path).astype(np.float32) / 10_000 for path in (cloudy, tmp_path / "out.tif", clear)
    )
    gain = psnr(after, truth, region, data_range=1.0) - psnr(before, truth, region, data_range=1.0)
    assert gain > 5


@pytest.mark.slow
def test_chips_of_a_real_scene_make_it_again(shared_data: Path, tmp_path: Path) -> None:
    with open_scene(shared_data / BOLZANO) as scene:
        ChipStore.cut(scene, tmp_path / "chips", name="bolzano", size_px=64, overlap_px=16)
    mosaic_chips(tmp_path / "chips", tmp_path / "again.tif")
    np.testing.assert_array_equal(read(shared_data / BOLZANO), read(tmp_path / "again.tif"))


def test_eurosat_chips_open_with_all_thirteen_bands_named(shared_data: Path) -> None:
    with open_scene(shared_data / "train/eurosat_ms_6chips/Forest_1.tif") as scene:
        assert scene.sensor.band_names[1:4] == ("B02", "B03", "B04")
        assert scene.sensor.band_names[-1] == "B8A"
