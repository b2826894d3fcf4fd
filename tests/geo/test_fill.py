"""The fill: a function of the place, true to what is clear, near to what is not."""

from unittest.mock import patch

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

import geodecloud.geo.fill
from geodecloud.geo.fill import BLOCK_PX, Fill
from geodecloud.geo.scene import ArrayMask, ArrayScene
from geodecloud.geo.tiling import Window
from geodecloud.metrics import rmse
from geodecloud.progress import Cancelled
from tests.strategies import (
    dn_arrays,
    geoboxes,
    make_scene,
    make_sensor,
    sensors,
    shapes,
    utm_geobox,
)


def blobs(shape, share=0.4, seed=0, size_px=5):
    """(H, W) bool: some blobs that together hold this share of the pixels."""
    noise = np.random.default_rng(seed).normal(size=shape)
    for axis in (0, 1):
        for _ in range(size_px):
            noise = sum(np.roll(noise, shift, axis) for shift in (-1, 0, 1))
    return noise > np.quantile(noise, 1 - share)


@st.composite
def cloudy_scenes(draw, max_px=97):
    """A scene of any kind and a mask on it, from no to all pixels."""
    shape, sensor = draw(shapes(max_px)), draw(sensors())
    scene = ArrayScene(draw(dn_arrays(sensor, shape)), sensor, draw(geoboxes(shape)))
    share = draw(st.sampled_from((0, 0.1, 0.5, 0.9, 1)))
    return scene, ArrayMask(blobs(shape, share, draw(st.integers(0, 99))))


@st.composite
def windows(draw, shape):
    height, width = (draw(st.integers(1, length)) for length in shape)
    row, col = draw(st.integers(0, shape[0] - height)), draw(st.integers(0, shape[1] - width))
    return Window(row, col, height, width)


def whole(scene):
    return Window.whole(tuple(scene.geobox.shape))


def filled(scene, mask):
    return Fill.build(scene, mask).read(whole(scene))


def bits(array):
    assert array.dtype == np.float32
    return array.view(np.uint32)


@given(cloudy_scenes(), st.data())
def test_a_window_has_the_bits_that_the_whole_scene_has_there(cloudy, data):
    scene, mask = cloudy
    fill = Fill.build(scene, mask)
    window = data.draw(windows(whole(scene).shape))
    there = fill.read(whole(scene))[:, *window.slices]
    np.testing.assert_array_equal(bits(fill.read(window)), bits(there))


@pytest.mark.parametrize("shape", [(700, 90), (90, 700)])
def test_windows_far_from_the_rim_of_the_scene_have_the_same_bits(shape):
    scene, mask = make_scene(shape), ArrayMask(blobs(shape, 0.7, size_px=40))
    fill = Fill.build(scene, mask)
    everywhere = fill.read(whole(scene))
    for start in range(0, 640, 53):
        window = Window(start, 20, 60, 31) if shape[0] > shape[1] else Window(20, start, 31, 60)
        np.testing.assert_array_equal(bits(fill.read(window)), bits(everywhere[:, *window.slices]))


@given(cloudy_scenes(), st.integers(0, 6), st.integers(1, 64), st.integers(1, 64))
def test_neither_the_kept_level_nor_the_blocks_can_be_told_from_the_result(
    cloudy, level, height, width
):
    expected = filled(*cloudy)
    with patch.multiple(geodecloud.geo.fill, FINEST_KEPT=level, BLOCK_PX=(height, width)):
        np.testing.assert_array_equal(bits(filled(*cloudy)), bits(expected))
    with patch.multiple(geodecloud.geo.fill, KEPT_BYTES=16 * height):
        np.testing.assert_array_equal(bits(filled(*cloudy)), bits(expected))


@given(cloudy_scenes())
def test_clear_pixels_leave_as_they_came_and_the_rest_lies_between_them(cloudy):
    scene, mask = cloudy
    fill = filled(scene, mask)
    dn, valid = scene.read(whole(scene))
    values = scene.sensor.to_reflectance(dn)
    clear = valid & ~mask.read(whole(scene))
    if dn.dtype.kind == "f":
        clear &= np.abs(values) < 1e30
    np.testing.assert_array_equal(bits(fill)[clear], bits(values)[clear])
    for band, known, here in zip(fill, values, clear, strict=True):
        low, high = (known[here].min(), known[here].max()) if here.any() else (0, 0)
        slack = 1e-5 * max(abs(low), abs(high))
        assert (band >= low - slack).all()
        assert (band <= high + slack).all()


@given(cloudy_scenes(max_px=40), st.data())
def test_what_is_masked_is_never_looked_at(cloudy, data):
    scene, mask = cloudy
    dn, valid = scene.read(whole(scene))
    hidden = mask.read(whole(scene))
    seed = data.draw(st.integers(0, 2**32 - 1))
    changed = dn.copy()
    noise = np.random.default_rng(seed).integers(0, 255, dn.shape).astype(dn.dtype)
    changed[:, hidden] = noise[:, hidden]
    other = ArrayScene(changed, scene.sensor, scene.geobox, valid)
    np.testing.assert_array_equal(bits(filled(other, mask)), bits(filled(scene, mask)))


@given(cloudy_scenes(max_px=65), st.data())
def test_each_band_is_filled_as_if_it_were_alone(cloudy, data):
    scene, mask = cloudy
    band = data.draw(st.sampled_from(scene.sensor.band_names))
    alone = filled(scene.select([band]), mask)[0]
    np.testing.assert_array_equal(
        bits(filled(scene, mask)[scene.sensor.band_names.index(band)]), bits(alone)
    )


def test_a_scene_without_a_clear_pixel_is_filled_with_zeros_and_says_so():
    scene = make_scene((40, 70))
    for hidden, is_empty in ((np.ones((40, 70), bool), True), (blobs((40, 70), 0.9), False)):
        fill = Fill.build(scene, ArrayMask(hidden))
        assert fill.is_empty == is_empty
        assert fill.read(whole(scene)).any() == (not is_empty)
    nothing = ArrayScene(np.zeros((4, 40, 70), np.uint16), make_sensor())
    assert Fill.build(nothing, ArrayMask(np.zeros((40, 70), bool))).is_empty


def test_a_band_without_a_clear_pixel_is_zero_and_leaves_the_others_alone():
    scene = make_scene((40, 70))
    dn, _ = scene.read(whole(scene))
    dn[1] = 0
    mask = ArrayMask(blobs((40, 70)))
    fill = Fill.build(ArrayScene(dn, scene.sensor, scene.geobox), mask)
    assert not fill.is_empty
    values = fill.read(whole(scene))
    assert not values[1].any()
    np.testing.assert_array_equal(values[[0, 2, 3]], filled(scene, mask)[[0, 2, 3]])


def test_one_clear_pixel_fills_the_scene():
    scene = make_scene((65, 130))
    hidden = np.ones((65, 130), bool)
    hidden[3, 97] = False
    fill = filled(scene, ArrayMask(hidden))
    np.testing.assert_allclose(fill, np.broadcast_to(fill[:, 3:4, 97:98], fill.shape), rtol=1e-5)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -3.4028235e38, 3.4028235e38])
def test_floats_that_measure_nothing_do_not_spread(garbage):
    dn = make_scene((64, 64), dtype="float32").read(Window(0, 0, 64, 64))[0]
    hidden = blobs((64, 64))
    mask = ArrayMask(hidden)
    everywhere = np.ones(dn.shape, bool)
    dn[:, ~hidden & (np.arange(64) % 16 == 0)] = garbage
    scene = ArrayScene(
        dn, make_sensor(dtype="float32", nodata=None), utm_geobox((64, 64)), everywhere
    )
    fill = filled(scene, mask)
    assert np.isfinite(fill).all()
    assert fill.max() < 1


def test_a_slope_goes_on_through_a_hole():
    rows, cols = np.mgrid[:128, :128]
    dn = (2000 + 10 * rows + 5 * cols)[None].astype(np.uint16)
    hidden = (rows - 64) ** 2 + (cols - 64) ** 2 < 20**2
    scene = ArrayScene(dn, make_sensor(1), utm_geobox((128, 128)))
    error = filled(scene, ArrayMask(hidden))[0] - scene.sensor.to_reflectance(dn)[0]
    assert np.abs(error[hidden]).max() < 0.002  # of 0.2 from rim to rim


def test_cells_are_counted_from_the_crs_grid_and_not_from_the_corner_of_the_scene():
    scene = make_scene((256, 256))
    dn, _ = scene.read(whole(scene))
    rows, cols = np.mgrid[:256, :256]
    hidden = (rows - 128) ** 2 + (cols - 128) ** 2 < 25**2
    cut = (slice(5, None), slice(3, None))

    def inner_part(geobox):
        part = ArrayScene(dn[:, *cut], scene.sensor, geobox)
        return filled(part, ArrayMask(hidden[cut]))[:, hidden[cut]]

    expected = filled(scene, ArrayMask(hidden))[:, hidden]
    on_grid = rmse(inner_part(utm_geobox((251, 253), row=5, col=3))[None], expected[None])
    elsewhere = rmse(inner_part(utm_geobox((251, 253)))[None], expected[None])
    assert on_grid < elsewhere / 20


def test_a_rotated_grid_and_one_without_a_crs_are_filled_alike():
    scene = make_scene((50, 61))
    dn, _ = scene.read(whole(scene))
    mask = ArrayMask(blobs((50, 61)))
    rotated = GeoBox((50, 61), utm_geobox((50, 61)).affine * Affine.rotation(30), "EPSG:32632")
    nowhere = ArrayScene(dn, scene.sensor)
    np.testing.assert_array_equal(
        filled(ArrayScene(dn, scene.sensor, rotated), mask), filled(nowhere, mask)
    )


class WatchedScene(ArrayScene):
    """Remembers the sizes of the windows that are read."""

    def read(self, window):
        self.sizes = [*getattr(self, "sizes", []), window.height * window.width]
        return super().read(window)


def test_a_scene_is_read_once_in_bounded_blocks_and_kept_in_a_sixtyfourth_of_its_cells():
    dn = np.full((1, 1400, 2300), 700, np.uint16)
    scene = WatchedScene(dn, make_sensor(1), utm_geobox((1400, 2300)))
    fill = Fill.build(scene, ArrayMask(dn[0] > 700))
    assert sum(scene.sizes) == dn.size
    assert max(scene.sizes) <= BLOCK_PX[0] * BLOCK_PX[1]
    assert fill._kept.size <= 1.05 * dn.size / 64


def test_a_scene_too_large_for_a_fine_level_keeps_a_coarser_one():
    scene, mask = make_scene((512, 512), 2), ArrayMask(blobs((512, 512)))
    with patch.multiple(geodecloud.geo.fill, KEPT_BYTES=9000):
        fill = Fill.build(scene, mask)
    assert fill._kept.nbytes <= 9000
    assert fill._kept.nbytes * 4 > 9000


def test_a_small_window_reads_little_around_it():
    scene = WatchedScene(np.full((1, 600, 600), 9, np.uint16), make_sensor(1))
    fill = Fill.build(scene, ArrayMask(np.ones((600, 600), bool)))
    scene.sizes.clear()
    fill.read(Window(300, 300, 64, 64))
    assert scene.sizes[0] <= (64 + 2 * 43) ** 2
    assert len(scene.sizes) == 1


def test_the_pass_is_told_block_by_block_and_can_be_stopped():
    scene, mask = make_scene((60, 60)), ArrayMask(blobs((60, 60)))
    told = []
    with patch.multiple(geodecloud.geo.fill, BLOCK_PX=(32, 32)):
        Fill.build(scene, mask, on_progress=told.append)
    assert [progress.done for progress in told] == [*range(1, told[0].total + 1)]

    def stop(_):
        raise Cancelled

    with pytest.raises(Cancelled):
        Fill.build(scene, mask, on_progress=stop)


def test_it_is_a_better_guess_than_inpainting_and_than_the_mean_around(shared_data):
    cv2 = pytest.importorskip("cv2")
    rasterio = pytest.importorskip("rasterio")
    path = shared_data / "train/scenes_clear/bolzano_S2_L2A_B02B03B04B08SCL.tif"
    with rasterio.open(path) as dataset:
        dn = dataset.read([1, 2, 3, 4], window=((100, 356), (100, 356)))
    hidden = blobs(dn.shape[1:], 0.4, size_px=120)
    truth = make_sensor().to_reflectance(dn)
    fill = filled(ArrayScene(dn, make_sensor(), utm_geobox(dn.shape[1:])), ArrayMask(hidden))
    inpainted = np.stack(
        [cv2.inpaint(band, hidden.astype(np.uint8), 5, cv2.INPAINT_TELEA) for band in dn]
    )
    mean = np.broadcast_to(truth[:, ~hidden].mean(1)[:, None, None], truth.shape)
    error = rmse(fill, truth, hidden)
    assert error < 0.95 * rmse(make_sensor().to_reflectance(inpainted), truth, hidden)
    assert error < 0.95 * rmse(mean, truth, hidden)
