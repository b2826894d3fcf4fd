"""Pictures of scenes: thinned, stretched, encoded."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import ArrayScene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.picture import (
    STRIP_PX,
    bands_to_show,
    block_centres,
    block_means,
    encode_png,
    limits,
    overview,
    step_for,
    stretched,
    strips,
)
from tests.strategies import make_scene, make_sensor


@given(st.integers(1, 3000), st.integers(1, 700))
def test_strips_follow_one_another_in_whole_steps(height, step):
    row = 0
    for window in strips((height, 7), step):
        assert (window.row, window.col, window.width) == (row, 0, 7)
        assert window.row % step == 0
        assert window.height <= max(STRIP_PX, step)
        row = window.row_stop
    assert row == height


@given(st.integers(1, 200_000), st.integers(1, 200_000), st.integers(1, 4000))
def test_a_picture_is_never_larger_than_asked(height, width, most):
    step = step_for((height, width), most)
    assert max(-(-height // step), -(-width // step)) <= most


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 25), st.integers(0, 2**32 - 1))
def test_pixels_of_a_picture_are_means_of_valid_pixels(height, width, step, seed):
    random = np.random.default_rng(seed)
    values = random.normal(size=(2, height, width)).astype(np.float32)
    valid = random.random(values.shape) < 0.7
    values[~valid] = np.nan
    means = block_means(values, valid, step)
    assert means.shape == (2, -(-height // step), -(-width // step))
    for channel, row, col in np.ndindex(means.shape):
        block = values[channel, row * step : (row + 1) * step, col * step : (col + 1) * step]
        if np.isnan(block).all():
            assert np.isnan(means[channel, row, col])
        else:
            assert means[channel, row, col] == pytest.approx(np.nanmean(block), abs=1e-5)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 25))
def test_classes_are_taken_and_not_averaged(height, width, step):
    classes = np.arange(height * width).reshape(height, width)
    taken = block_centres(classes, step)
    assert taken.shape == (-(-height // step), -(-width // step))
    for row, col in np.ndindex(taken.shape):
        block = classes[row * step : (row + 1) * step, col * step : (col + 1) * step]
        assert taken[row, col] in block


def test_an_overview_reads_strips():
    class Watched(ArrayScene):
        def read(self, window):
            assert window.height <= STRIP_PX
            return super().read(window)

    scene = make_scene((1200, 40))
    dn, valid = scene.read(Window.whole(shape_of(scene.geobox)))
    thin = overview(Watched(dn, scene.sensor, scene.geobox), 7)
    np.testing.assert_array_equal(thin, block_means(scene.sensor.to_reflectance(dn), valid, 7))


def test_memory_of_an_overview_does_not_grow_with_the_scene():
    class Endless:
        def __init__(self, n_rows):
            self.geobox = make_scene((1, 1)).geobox.zoom_to((n_rows, 300))
            self.sensor = make_sensor(3)

        def read(self, window):
            dn = np.ones((3, *window.shape), np.uint16)
            return dn, dn > 0

    def peak(n_rows):
        tracemalloc.start()
        try:
            overview(Endless(n_rows), 50)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(8000) < 1.2 * peak(2000)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("B02", "B03", "B04", "B08"), ("B04", "B03", "B02")),
        (("blue", "green", "red", "nir"), ("red", "green", "blue")),
        (("tci_r", "tci_g", "tci_b"), ("tci_r", "tci_g", "tci_b")),
        (("B8A", "B11", "B12", "SCL"), ("B8A", "B11", "B12")),
        (("B4", "B3", "B2"), ("B4", "B3", "B2")),
        (("VV", "VH"), ("VV",)),
        (("B08",), ("B08",)),
    ],
)
def test_true_colour_is_shown_where_it_can_be(names, shown):
    assert bands_to_show(names) == shown


def test_one_value_everywhere_is_shown_in_mid_grey():
    values = np.full((1, 2, 2), 0.3, np.float32)
    picture = stretched(values, [limits(values[0])])
    assert 100 < picture[0, 0, 0] < 180


def test_limits_leave_out_what_is_no_number_and_the_outermost():
    values = np.append(np.linspace(0, 1, 1001), [np.nan, 1e9]).astype(np.float32)
    low, high = limits(values)
    assert low == pytest.approx(0.01, abs=2e-3)
    assert high == pytest.approx(0.99, abs=2e-3)
    assert limits(np.full(3, np.nan, np.float32)) == (0.0, 1.0)


def test_black_is_kept_for_pixels_without_a_value():
    values = np.array([[[0.0, 0.5, 9.0, np.nan]]], np.float32)
    picture = stretched(np.repeat(values, 3, axis=0), [(0.0, 1.0)] * 3)
    assert picture[0, :, 0].tolist()[0] == 1
    assert picture[0, :, 0].tolist()[2:] == [255, 0]


def test_one_band_is_grey():
    picture = stretched(np.array([[[0.2, 0.8]]], np.float32), [(0.0, 1.0)])
    assert picture.shape == (1, 2, 3)
    assert (picture == picture[..., :1]).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_png_reads_back_as_what_was_encoded(tmp_path_factory, height, width, seed):
    random = np.random.default_rng(seed)
    pixels = random.integers(1, 256, (height, width, 3), np.uint8)
    path = tmp_path_factory.getbasetemp() / "rgb.png"
    path.write_bytes(encode_png(pixels))
    with open_scene(path) as scene:
        dn, _ = scene.read(Window.whole((height, width)))
    np.testing.assert_array_equal(dn[:3].transpose(1, 2, 0), pixels)


def test_a_png_of_indices_carries_its_palette(tmp_path):
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    palette = [(0, 0, 0, 0), (255, 79, 163, 56), (1, 2, 3, 255)]
    (tmp_path / "classes.png").write_bytes(encode_png(indices, palette))
    with open_scene(tmp_path / "classes.png", bands=["classes"]) as scene:
        dn, _ = scene.read(Window.whole((2, 2)))
        colours = [scene.profile.colormap[i] for i in range(3)]
    np.testing.assert_array_equal(dn[0], indices)
    assert colours == palette
