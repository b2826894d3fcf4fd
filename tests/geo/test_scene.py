"""Scenes and sinks in memory, and the grid that windows of one scene agree on."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError, GridError
from geodecloud.geo.scene import (
    ArrayScene,
    ArraySink,
    StackedScene,
    origin_px,
    shape_of,
    without_georeference,
)
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.geo.tiling import Tiling, Window
from tests.strategies import geoboxes, make_scene, scenes, utm_geobox


def windows_of(shape: tuple[int, int]) -> st.SearchStrategy[Window]:
    height, width = shape
    return st.builds(
        lambda row, col, tall, wide: Window(
            row, col, min(tall, height - row), min(wide, width - col)
        ),
        st.integers(0, height - 1),
        st.integers(0, width - 1),
        st.integers(1, height),
        st.integers(1, width),
    )


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def whole(scene: ArrayScene | StackedScene) -> tuple[np.ndarray, np.ndarray]:
    return scene.read(Window.whole(shape_of(scene.geobox)))


@given(scenes(), st.data())
def test_a_window_reads_what_the_whole_scene_holds_there(scene, data):
    window = data.draw(windows_of(shape_of(scene.geobox)))
    dn, valid = scene.read(window)
    all_dn, all_valid = whole(scene)
    assert same(dn, np.ascontiguousarray(all_dn[:, *window.slices]))
    assert same(valid, np.ascontiguousarray(all_valid[:, *window.slices]))


@given(scenes(33))
def test_writing_into_what_was_read_leaves_the_scene_alone(scene):
    before, _ = whole(scene)
    dn, valid = whole(scene)
    dn[:] = 1
    valid[:] = False
    assert same(whole(scene)[0], before)
    assert (whole(scene)[1] == scene.sensor.is_valid(before)).all()


@given(scenes(33), st.data())
def test_selected_bands_are_those_of_the_scene_in_the_order_asked(scene, data):
    names = data.draw(st.permutations(scene.sensor.band_names))
    dn, valid = whole(scene.select(names))
    index = scene.sensor.index(names)
    assert same(dn, whole(scene)[0][index])
    assert same(valid, whole(scene)[1][index])


def test_validity_that_is_given_has_the_last_word():
    scene = make_scene((4, 5), 2)
    given_valid = np.zeros((2, 4, 5), bool)
    known = ArrayScene(whole(scene)[0], scene.sensor, scene.geobox, given_valid)
    assert not whole(known)[1].any()
    assert not whole(known.select(["B03"]))[1].any()


@pytest.mark.parametrize("shape", [(5, 4), (3, 5, 4), (1, 5, 4)])
def test_an_array_that_does_not_fit_the_bands_is_refused(shape):
    with pytest.raises(GridError, match=r"\(2, H, W\) is needed"):
        ArrayScene(np.zeros(shape, np.uint16), Sensor("two", (Band("a"), Band("b"))))


def test_a_geobox_of_another_shape_is_refused():
    with pytest.raises(GridError, match="the geobox has"):
        ArrayScene(np.ones((3, 4, 5), np.uint8), SENSORS["rgb"], utm_geobox((5, 4)))


def test_an_array_alone_lies_nowhere():
    scene = ArrayScene(np.ones((3, 4, 5), np.uint8), SENSORS["rgb"])
    assert scene.geobox.crs is None
    assert origin_px(scene.geobox) == (0, 0)


@given(scenes(33), st.data())
def test_bands_stacked_one_by_one_are_the_scene_again(scene, data):
    names = scene.sensor.band_names
    stack = StackedScene([scene.select([name]) for name in names])
    assert stack.sensor == scene.sensor
    window = data.draw(windows_of(shape_of(scene.geobox)))
    for mine, others in zip(stack.read(window), scene.read(window), strict=True):
        assert same(mine, others)
    chosen = data.draw(st.permutations(names))
    for mine, others in zip(
        stack.select(chosen).read(window), scene.select(chosen).read(window), strict=True
    ):
        assert same(mine, others)


@pytest.mark.parametrize(
    ("dtypes", "common"),
    [
        (("uint8", "uint16"), "uint16"),
        (("int16", "uint16"), "int32"),
        (("uint16", "float32"), "float32"),
    ],
)
def test_a_stack_has_the_dtype_that_holds_every_band_exactly(dtypes, common):
    parts = []
    for i, dtype in enumerate(dtypes):
        dn, _ = whole(make_scene((6, 7), 1, dtype, seed=i))
        parts.append(ArrayScene(dn, Sensor("one", (Band(f"b{i}", dtype=dtype),))))
    stack = StackedScene(parts)
    dn, _ = whole(stack)
    assert dn.dtype == common
    assert {band.dtype for band in stack.sensor.bands} == {common}
    for plane, part in zip(dn, parts, strict=True):
        assert (plane == whole(part)[0][0]).all()


def test_scenes_of_two_grids_cannot_be_stacked():
    near = make_scene((8, 8), 1)
    far = ArrayScene(whole(near)[0], near.sensor, utm_geobox((8, 8), col=1))
    with pytest.raises(GridError, match="one grid"):
        StackedScene([near, far])


def test_a_stack_of_two_bands_of_one_name_is_refused():
    with pytest.raises(BandError, match="its own name"):
        StackedScene([make_scene((8, 8), 1), make_scene((8, 8), 1)])


def test_a_stack_names_the_band_that_it_does_not_have():
    with pytest.raises(BandError, match="B12 not among them"):
        StackedScene([make_scene((8, 8), 2)]).select(["B12"])


@given(geoboxes(), st.data())
def test_windows_of_one_scene_agree_on_the_grid_of_the_crs(geobox, data):
    if geobox.crs is None or geobox.affine.b or geobox.affine.d:
        assert origin_px(geobox) == (0, 0)
        return
    window = data.draw(windows_of(shape_of(geobox)))
    row, col = origin_px(geobox)
    assert origin_px(geobox[window.slices]) == (row + window.row, col + window.col)


def test_grids_of_half_pixels_count_up_by_one():
    """Landsat's corners lie on halves: round() would give 0, 2, 2, 4, …"""
    cols = [
        origin_px(GeoBox((1, 1), Affine(30, 0, 15 + 30 * i, 0, -30, 15), "EPSG:32632"))[1]
        for i in range(6)
    ]
    assert np.diff(cols).tolist() == [1] * 5


@given(scenes(33), st.data())
def test_tiles_written_into_a_sink_are_the_scene_again(scene, data):
    shape = shape_of(scene.geobox)
    tiling = Tiling.for_chips(shape, data.draw(st.integers(1, 40)))
    dn, valid = whole(scene)
    with ArraySink(len(dn), shape, dn.dtype) as sink:
        for tile in tiling:
            sink.write(tile.keep, *scene.read(tile.keep))
    assert sink.is_published
    assert same(sink.dn, dn)
    assert same(sink.valid, valid)


def test_a_sink_that_meets_an_error_publishes_nothing():
    sink = ArraySink(1, (2, 2), "uint8")
    with pytest.raises(KeyboardInterrupt), sink:
        raise KeyboardInterrupt
    assert not sink.is_published


@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 3, 1), (1, 2, 3), (3, 2, 3)])
def test_a_sink_stretches_no_array_into_a_window(shape):
    pixels = np.ones(shape, np.uint8)
    with ArraySink(2, (4, 4), "uint8") as sink, pytest.raises(ValueError, match="pixels"):
        sink.write(Window(0, 0, 2, 3), pixels, pixels.astype(bool))


def test_a_geobox_without_georeference_counts_pixels():
    geobox = without_georeference((3, 4))
    assert shape_of(geobox) == (3, 4)
    assert geobox.crs is None
    assert geobox.affine == Affine.identity()
