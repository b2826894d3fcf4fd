"""Radar in decibels, whatever a file stores, and nothing else taken for it."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from geodecloud.errors import BandError, InputError, RadiometryError
from geodecloud.geo.backscatter import CONVERTED_TAG
from geodecloud.geo.raster import RasterSink, open_scene, profile_of
from geodecloud.geo.scene import shape_of
from geodecloud.geo.tiling import Window
from tests import makers

POWER = makers.backscatter()
DECIBELS = 10 * np.log10(POWER)


def whole(scene):
    return scene.read(Window.whole(shape_of(scene.geobox)))


def one_file(path, values, *, names=("VV", "VH"), units=None, **options):
    makers.write_raster(path, values, 20, **options)
    with rasterio.open(path, "r+") as dataset:
        if names:
            dataset.descriptions = names
        if units:
            dataset.units = units
    return path


@pytest.mark.parametrize("letters", ["gpuned", "spuned", "gdwfcm", "gaunem"])
def test_a_hyp3_product_is_read_as_its_name_says_and_its_maps_are_left_out(tmp_path, letters):
    root = makers.make_rtc(tmp_path, letters=letters)
    for source in (root, makers.zipped(root)):
        with open_scene(source) as scene:
            assert scene.sensor.band_names == ("VV", "VH")
            assert (scene.sensor.name, scene.sensor.unit) == ("sentinel-1-rtc", "dB")
            dn, valid = whole(scene)
        assert valid.all()
        np.testing.assert_allclose(dn, DECIBELS, atol=1e-4)


@pytest.mark.parametrize(
    ("stored", "names", "units"),
    [
        (POWER, ("VV", "VH"), None),  # the pixels tell
        (DECIBELS, ("VV", "VH"), None),
        (DECIBELS, ("Gamma0_VV_db", "Gamma0_VH_db"), None),
        (np.sqrt(POWER), ("Amplitude_VV", "Amplitude_VH"), None),
        (POWER, ("VV", "VH"), ("linear", "linear")),
        (np.sqrt(POWER), ("VV", "VH"), ("amplitude", "amplitude")),
    ],
)
def test_one_file_is_read_by_its_units_its_descriptions_or_its_pixels(
    tmp_path, stored, names, units
):
    path = one_file(tmp_path / "s1.tif", stored.astype(np.float32), names=names, units=units)
    with open_scene(path) as scene:
        assert scene.sensor.band_names == ("VV", "VH")
        np.testing.assert_allclose(whole(scene)[0], DECIBELS, atol=1e-4)
        assert np.array_equal(whole(scene.select(["VH"]))[0][0], whole(scene)[0][1])


@pytest.mark.parametrize("hole", [0, -1e-3, np.nan, -32_768.0])
def test_what_is_no_power_is_no_measurement(tmp_path, hole):
    power = POWER.copy()
    power[:, :9, :9] = hole
    path = one_file(tmp_path / "s1.tif", power, nodata=-32_768)
    with open_scene(path) as scene:
        dn, valid = whole(scene)
    assert not valid[:, :9, :9].any()
    assert np.isnan(dn[:, :9, :9]).all()
    assert valid[:, 9:].all()


def test_beyond_a_swath_decibels_are_0_and_no_measurement(tmp_path):
    decibels = DECIBELS.copy()
    decibels[:, :9] = 0
    with open_scene(one_file(tmp_path / "s1.tif", decibels)) as scene:
        _, valid = whole(scene)
    assert not valid[:, :9].any()
    assert valid[:, 9:].all()


def test_decibels_written_are_decibels_read(tmp_path):
    with open_scene(makers.make_rtc(tmp_path)) as scene:
        dn, valid = whole(scene)
        profile = profile_of(scene)
        assert profile.band_tags[0][CONVERTED_TAG] == "10 log10 of power"
        with RasterSink(tmp_path / "db.tif", scene.geobox, profile) as sink:
            sink.write(Window.whole(dn.shape[1:]), dn, valid)
    with open_scene(tmp_path / "db.tif") as again:
        assert np.array_equal(whole(again)[0], dn, equal_nan=True)
        assert again.sensor.unit == "dB"


def test_stored_whole_numbers_need_a_scale(tmp_path):
    path = one_file(tmp_path / "s1.tif", np.rint(DECIBELS * 100).astype(np.int16))
    with pytest.raises(RadiometryError, match="without a scale"), open_scene(path):
        pass
    with open_scene(path, scale=0.01) as scene:
        dn, _ = whole(scene)
        np.testing.assert_allclose(scene.sensor.to_reflectance(dn), DECIBELS, atol=0.006)


def test_an_image_that_is_not_calibrated_is_refused(tmp_path):
    path = one_file(tmp_path / "s1.tif", (POWER * 1e5).astype(np.float32))
    with pytest.raises(RadiometryError, match="calibrate"), open_scene(path):
        pass


@pytest.mark.parametrize(
    "name",
    [
        "S1A_IW_GRDH_1SDV_20220728T053444.SAFE/measurement/s1a-iw-grd-vv-20220728t053444-001.tiff",
        "S1A_IW_SLC__1SDV_20220728T053444.SAFE/measurement/s1a-iw1-slc-vv-20220728t053444-001.tiff",
    ],
)
def test_the_radars_own_geometry_is_refused_with_advice(tmp_path, name):
    path = makers.write_raster(tmp_path / name, np.ones((9, 9), np.uint16), 10)
    for source in (path.parents[1], makers.zipped(path.parents[1])):
        with pytest.raises(InputError, match=r"own geometry.*RTC.*SNAP"), open_scene(source):
            pass


def test_two_passes_in_one_folder_are_refused(tmp_path):
    first = makers.make_rtc(tmp_path)
    for path in makers.make_rtc(tmp_path / "b", letters="gdwfcm").glob("*_V?.tif"):
        path.rename(first / path.name)
    with pytest.raises(InputError, match="2 products"), open_scene(first):
        pass


def test_a_polarisation_that_is_not_there_is_named(tmp_path):
    root = makers.make_rtc(tmp_path)
    next(root.glob("*_VH.tif")).unlink()
    with open_scene(root) as scene:
        assert scene.sensor.band_names == ("VV",)
    with pytest.raises(BandError, match="VH not among them"), open_scene(root, bands=["VH"]):
        pass


def test_real_radar_is_in_decibels(shared_data):
    with open_scene(shared_data / "train/sen12mscr_s1s2/1302_s1_dB.tif") as scene:
        dn, valid = whole(scene)
        assert scene.sensor.unit == "dB"
        assert -25 < np.median(dn[valid]) < -5
