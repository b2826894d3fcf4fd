"""A scene on the grid of another: places, mixtures, validity, and no trace of the windows."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject

from geodecloud.errors import GridError
from geodecloud.geo.profile import profile_of
from geodecloud.geo.scene import ArrayScene, without_georeference
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.geo.warped import RESAMPLED_TAG, WarpedScene
from tests.strategies import utm_geobox

DEGREES = GeoBox((300, 400), Affine(2e-4, 0, 10.28, 0, -1.4e-4, 46.05), "EPSG:4326")


def grid(shape, pixel_m, *, right_m=0.0, down_m=0.0):
    corner = Affine.translation(600_000 + right_m, 5_100_000 - down_m)
    return GeoBox(shape, corner * Affine.scale(pixel_m, -pixel_m), "EPSG:32632")


def one_band(dn, geobox, name="B11", **band):
    dn = np.asarray(dn)
    dn = dn[None] if dn.ndim == 2 else dn
    return ArrayScene(dn, Sensor("test", (Band(name, dtype=dn.dtype.name, **band),)), geobox)


def noise(shape, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(1, 10_000, shape).astype(dtype)


def whole(scene):
    return scene.read(Window.whole(tuple(scene.geobox.shape)))


def test_on_its_own_grid_a_scene_is_itself():
    scene = one_band(noise((17, 23)), grid((17, 23), 10))
    for method in ("bilinear", "nearest"):
        dn, valid = whole(WarpedScene(scene, scene.geobox, method))
        assert np.array_equal(dn, whole(scene)[0])
        assert valid.all()


def test_onto_larger_pixels_that_nest_it_is_the_plain_mean():
    dn = noise((30, 42), np.float32)
    warped = WarpedScene(one_band(dn, grid((30, 42), 10)), grid((5, 7), 60))
    expected = dn.reshape(5, 6, 7, 6).mean((1, 3))
    np.testing.assert_allclose(whole(warped)[0][0], expected, rtol=1e-6)


def test_a_plane_stays_a_plane_on_smaller_pixels():
    right = np.broadcast_to(np.arange(20) * 100 + 1000, (10, 20)).astype(np.float64)
    warped = WarpedScene(one_band(right, grid((10, 20), 20)), grid((20, 40), 10))
    middle = whole(warped)[0][0][:, 1:-1]
    np.testing.assert_allclose(middle, np.broadcast_to(1025 + np.arange(38) * 50, (20, 38)))


def test_it_agrees_with_gdal_across_coordinate_systems():
    rows, cols = np.mgrid[:300, :400] / 30
    smooth = (3000 + 1000 * np.sin(rows) * np.cos(cols)).astype(np.float32)
    target = GeoBox((200, 200), Affine(15, 0, 600_500, 0, -15, 5_099_500), "EPSG:32632")
    ours, valid = whole(WarpedScene(one_band(smooth, DEGREES), target))
    theirs = np.zeros((200, 200), np.float32)
    reproject(
        smooth, theirs, src_transform=DEGREES.affine, src_crs="EPSG:4326",
        dst_transform=target.affine, dst_crs="EPSG:32632", resampling=Resampling.bilinear,
        tolerance=0,
    )  # fmt: skip
    assert valid.all()
    assert np.abs(ours[0] - theirs).max() < 5  # of an amplitude of 1000; 100 a pixel at most


@given(
    st.tuples(*[st.integers(0, 60)] * 2),
    st.tuples(*[st.integers(1, 70)] * 2),
    st.sampled_from(("bilinear", "nearest")),
    st.sampled_from((DEGREES, grid((40, 50), 33, right_m=-70), grid((900, 900), 1.7))),
)
def test_a_pixel_does_not_depend_on_the_window(corner, size, method, source):
    dn = noise(tuple(source.shape))
    dn[::7, ::5] = 0
    warped = WarpedScene(one_band(dn, source, nodata=0), grid((130, 130), 10), method)
    all_dn, all_valid = whole(warped)
    window = Window(*corner, *size)
    part, valid = warped.read(window)
    rows, cols = window.slices
    assert np.array_equal(part, all_dn[:, rows, cols])
    assert np.array_equal(valid, all_valid[:, rows, cols])


def test_nodata_is_never_mixed_in_and_never_made():
    dn = np.full((20, 20), 1000, np.int16)
    dn[5:9, 5:9] = -10_000
    warped = WarpedScene(one_band(dn, grid((20, 20), 20), nodata=-10_000), grid((40, 40), 10))
    out, valid = whole(warped)
    assert set(np.unique(out[valid])) == {1000}
    assert set(np.unique(out[~valid])) == {-10_000}
    assert np.array_equal(~valid[0], np.kron(dn == -10_000, np.ones((2, 2), bool)))


def test_what_the_other_does_not_cover_is_invalid():
    source = grid((10, 10), 10, right_m=50)
    warped = WarpedScene(one_band(noise((10, 10)), source, nodata=0), grid((10, 10), 10))
    _, valid = whole(warped)
    assert not valid[:, :, :5].any()
    assert valid[:, :, 5:].all()
    assert warped.overlap == pytest.approx(0.5, abs=0.02)


def test_classes_are_taken_and_never_mixed():
    codes = noise((20, 20), np.uint8) % 12
    out, _ = whole(WarpedScene(one_band(codes, grid((20, 20), 20)), grid((40, 40), 10), "nearest"))
    assert np.array_equal(out[0], np.kron(codes, np.ones((2, 2), np.uint8)))


def test_decibels_are_mixed_as_power():
    radar = replace_names(SENSORS["sentinel-1-rtc"])
    dn = np.array([[[-10.0, -20.0], [-10.0, -20.0]]], np.float32)
    scene = ArrayScene(dn, radar, grid((2, 2), 10))
    out, _ = whole(WarpedScene(scene, grid((1, 1), 20)))
    assert out.item() == pytest.approx(10 * np.log10((0.1 + 0.01) / 2), abs=1e-5)


def replace_names(sensor):
    return sensor.select(["VV"])


def test_the_method_is_told_in_the_tags():
    scene = one_band(noise((5, 5)), grid((5, 5), 20))
    tags = profile_of(WarpedScene(scene, grid((10, 10), 10))).band_tags[0]
    assert tags[RESAMPLED_TAG] == "bilinear from 20 m"


def test_bands_are_chosen_by_name():
    scene = ArrayScene(
        np.stack([noise((6, 6)), noise((6, 6), seed=1)]),
        Sensor("test", (Band("B11"), Band("B12"))),
        grid((6, 6), 20),
    )
    warped = WarpedScene(scene, grid((12, 12), 10))
    assert np.array_equal(whole(warped.select(["B12"]))[0][0], whole(warped)[0][1])


def test_a_place_across_the_date_line_is_found():
    target = GeoBox((20, 20), Affine(1000, 0, 500_000, 0, -1000, 10_000), "EPSG:32601")  # at -177
    source = GeoBox((100, 100), Affine(0.01, 0, 182.6, 0, -0.01, 0.5), "EPSG:4326")
    assert WarpedScene(one_band(noise((100, 100)), source), target).overlap == 1


def test_a_scene_that_lies_elsewhere_is_refused_at_once():
    scene = one_band(noise((9, 9)), utm_geobox((9, 9)))
    with pytest.raises(GridError, match="does not lie on the scene"):
        WarpedScene(scene, grid((9, 9), 10, right_m=50_000))


def test_without_georeference_one_size_is_one_grid_and_another_an_error():
    nowhere = one_band(noise((9, 9)), without_georeference((9, 9)))
    here = grid((9, 9), 10)
    assert np.array_equal(whole(WarpedScene(nowhere, here))[0], whole(nowhere)[0])
    assert np.array_equal(
        whole(WarpedScene(one_band(noise((9, 9)), here), without_georeference((9, 9))))[0],
        whole(nowhere)[0],
    )
    with pytest.raises(GridError, match="no georeference"):
        WarpedScene(nowhere, grid((10, 9), 10))
