"""Classes, dilation, rims and class rasters: the same by window as in one piece."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geodecloud.errors import GridError
from geodecloud.geo.masks import (
    CLASSES,
    CLOUD,
    SHADOW,
    THIN,
    ClassMask,
    Disk,
    classes_of_scl,
    dilate,
    erode,
    feather,
    pixel_size_m,
    without_specks,
)
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Window

UTM = GeoBox((40, 30), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")

flags = npst.arrays(
    bool,
    npst.array_shapes(min_dims=2, max_dims=2, max_side=40),
    elements=st.integers(0, 9).map(lambda n: n == 0),
    fill=st.just(False),
)


def mask_scene(codes, geobox=None, nodata=None, n_bands=1):
    bands = tuple(Band(f"mask{i}", nodata=nodata, dtype="uint8") for i in range(n_bands))
    dn = np.broadcast_to(np.asarray(codes, np.uint8), (n_bands, *np.shape(codes))).copy()
    return ArrayScene(dn, Sensor("mask", bands, unit="class"), geobox)


def reflectance_scene(dn, geobox=None):
    return ArrayScene(dn[None], Sensor("s2", (Band("B02", scale=1e-4, nodata=0),)), geobox)


def test_the_codes_of_the_classes_are_a_promise_to_files_already_written() -> None:
    names = {code: kind.name for code, kind in CLASSES.items()}
    assert names == {
        0: "clear", 1: "cloud", 2: "thin cloud", 3: "shadow", 4: "margin", 255: "nodata",
    }  # fmt: skip
    assert all(len(kind.colour) == 4 and kind.code == code for code, kind in CLASSES.items())


def test_scl_gives_shadow_cloud_and_cirrus_and_keeps_snow_and_dark_ground_clear() -> None:
    codes = classes_of_scl(np.arange(12, dtype=np.uint8)[None])[0]
    assert codes.tolist() == [255, 0, 0, SHADOW, 0, 0, 0, 0, CLOUD, CLOUD, THIN, 0]


@given(flags, st.floats(0, 9))
def test_dilation_is_the_exact_euclidean_disk(mask, radius) -> None:
    reach = int(radius) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    wanted = ndimage.binary_dilation(mask, y * y + x * x <= radius * radius + 1e-9)
    assert np.array_equal(dilate(mask, Disk.of_px(radius)), wanted)


def test_dilation_across_blocks_of_rows_leaves_no_seam(monkeypatch) -> None:
    mask = np.zeros((200, 300_000 // 100), bool)
    mask[[31, 32, 64, 150], [5, 2000, 1000, 2999]] = True
    blocks = dilate(mask, Disk.of_px(40))
    assert np.array_equal(blocks, dilate(mask.T.copy(), Disk.of_px(40)).T)


@given(flags, st.integers(0, 6), st.data())
def test_a_window_with_its_margin_dilates_as_the_whole(mask, radius, data) -> None:
    disk = Disk.of_px(radius)
    row = data.draw(st.integers(0, mask.shape[0] - 1))
    col = data.draw(st.integers(0, mask.shape[1] - 1))
    window = Window(row, col, mask.shape[0] - row, 1 + (mask.shape[1] - col) // 2)
    window = window & Window.whole(mask.shape)
    read = window.padded(disk.reach_px) & Window.whole(mask.shape)
    kept = window.relative_to(read).slices
    assert np.array_equal(dilate(mask[read.slices], disk)[kept], dilate(mask, disk)[window.slices])


def test_a_disk_in_metres_is_round_on_the_ground_where_pixels_are_not_square() -> None:
    degrees = GeoBox((10, 10), Affine(1e-4, 0, 11.0, 0, -1e-4, 60.0005), "EPSG:4326")
    height_m, width_m = pixel_size_m(degrees)
    assert height_m == pytest.approx(11.12, abs=0.01)
    assert width_m == pytest.approx(5.56, abs=0.01)
    assert Disk.of_metres(100, degrees).half_widths[0] == 17
    assert len(Disk.of_metres(100, degrees).half_widths) == 9
    assert Disk.of_metres(100, UTM) == Disk.of_px(10)


def test_a_rotated_and_a_south_up_grid_have_the_same_pixel_size() -> None:
    turned = GeoBox((4, 4), Affine.rotation(30) @ Affine.scale(20, 20), "EPSG:32632")
    assert pixel_size_m(turned) == pytest.approx((20, 20))
    assert pixel_size_m(GeoBox((4, 4), Affine(20, 0, 0, 0, 20, 0), "EPSG:32632")) == (20, 20)


def test_specks_go_and_what_remains_keeps_every_pixel() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5, 5] = mask[30:32, 3:5] = True
    mask[10:25, 10:25] = True
    left = without_specks(mask, Disk.of_px(2))
    assert not left[:8].any()
    assert not left[28:].any()
    assert left[10:25, 10:25].all()


@given(flags, st.integers(0, 4))
def test_erosion_and_dilation_mirror_each_other(mask, radius) -> None:
    disk = Disk.of_px(radius)
    assert np.array_equal(erode(~mask, disk), ~dilate(mask, disk))


@given(flags, st.integers(1, 8))
def test_the_feather_is_the_distance_to_the_rim_and_never_leaves_the_mask(mask, wide) -> None:
    mask = ndimage.binary_dilation(mask, iterations=3)
    weight = feather(mask, wide)
    assert weight.dtype == np.float32
    assert (weight[~mask] == 0).all()
    assert (weight[mask] > 0).all()
    wanted = np.ones(mask.shape)
    if not mask.all():
        wanted = np.minimum(1, ndimage.distance_transform_edt(mask) / (wide + 1))
    np.testing.assert_allclose(weight, wanted, atol=1e-6)


@given(flags, st.integers(0, 5), st.data())
def test_a_window_with_its_margin_feathers_as_the_whole(mask, wide, data) -> None:
    mask = ~mask
    row = data.draw(st.integers(0, mask.shape[0] - 1))
    window = Window(row, 0, 1, mask.shape[1])
    read = window.padded(wide) & Window.whole(mask.shape)
    kept = window.relative_to(read).slices
    assert np.array_equal(
        feather(mask[read.slices], wide)[kept], feather(mask, wide)[window.slices]
    )


def test_a_feather_of_zero_generates_the_whole_mask() -> None:
    mask = np.eye(4, dtype=bool)
    assert np.array_equal(feather(mask, 0), mask)


def test_a_painted_mask_counts_every_value_that_is_neither_zero_nor_nodata() -> None:
    scene = reflectance_scene(np.ones((2, 2), np.uint16))
    painted = ClassMask(mask_scene([[0, 1], [255, 7]]), scene)
    assert painted.read(Window(0, 0, 2, 2)).tolist() == [[False, True], [True, True]]
    written = ClassMask(mask_scene([[0, 1], [255, 4]], nodata=255), scene)
    assert written.read(Window(0, 0, 2, 2)).tolist() == [[False, True], [False, True]]


def test_a_mask_of_another_size_is_refused_naming_both_sizes() -> None:
    scene = reflectance_scene(np.ones((40, 30), np.uint16), UTM)
    with pytest.raises(GridError, match=r"20x10 px.*40x30 px"):
        ClassMask(mask_scene(np.zeros((20, 10))), scene)


def test_a_mask_that_lies_elsewhere_is_refused() -> None:
    scene = reflectance_scene(np.ones((40, 30), np.uint16), UTM)
    moved = GeoBox((40, 30), UTM.affine * Affine.translation(1, 0), UTM.crs)
    other = GeoBox((40, 30), UTM.affine, "EPSG:32633")
    for geobox in (moved, other):
        with pytest.raises(GridError, match="reproject"):
            ClassMask(mask_scene(np.zeros((40, 30)), geobox), scene)


def test_a_mask_on_the_grid_or_without_georeference_is_taken() -> None:
    scene = reflectance_scene(np.ones((40, 30), np.uint16), UTM)
    rounded = GeoBox((40, 30), UTM.affine * Affine.translation(1e-6, 0), UTM.crs)
    for geobox in (UTM, rounded, None):
        assert (
            not ClassMask(mask_scene(np.zeros((40, 30)), geobox), scene)
            .read(Window(0, 0, 5, 5))
            .any()
        )


def test_a_mask_of_several_bands_is_refused() -> None:
    with pytest.raises(GridError, match="3 bands"):
        ClassMask(
            mask_scene(np.zeros((2, 2)), n_bands=3), reflectance_scene(np.ones((2, 2), np.uint16))
        )
