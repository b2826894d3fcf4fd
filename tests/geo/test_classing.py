"""Class rasters: shaped as asked, and the same by window as in one piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geodecloud.errors import BandError, OptionError
from geodecloud.geo import classing
from geodecloud.geo.classing import ClassCounts, Shaping, write_classes
from geodecloud.geo.masks import CLEAR, CLOUD, MARGIN, NODATA, SHADOW, THIN, Disk, dilate
from geodecloud.geo.scene import ArrayScene, ArraySink
from geodecloud.geo.sensors import Band, Sensor


class Bright:
    """Cloud where the brightest pixel within two is above a half."""

    bands = ("B02",)
    margin_px = 2
    stride_px = 1

    def classes(self, reflectance, valid):
        near = dilate(valid & (reflectance[0] > 0.5), Disk.of_px(2))
        return np.where(valid, np.where(near, CLOUD, CLEAR), NODATA).astype(np.uint8)


def reflectance_scene(dn, geobox=None):
    return ArrayScene(dn[None], Sensor("s2", (Band("B02", scale=1e-4, nodata=0),)), geobox)


@given(
    npst.arrays(np.uint16, st.tuples(st.integers(1, 70), st.integers(1, 50)),
                elements=st.sampled_from([0, 100, 100, 100, 100, 100, 9000]), fill=st.just(100)),
    st.sampled_from([0.0, 10.0, 35.0, 300.0]),
    st.integers(5, 40),
)  # fmt: skip
def test_written_classes_do_not_depend_on_the_tiles(dn, dilate_m, tile_px) -> None:
    scene = reflectance_scene(dn)
    outs = []
    for size in (tile_px, 10_000):
        with pytest.MonkeyPatch.context() as patch, ArraySink(1, dn.shape, np.uint8) as sink:
            patch.setattr(classing, "DETECTION_TILE_PX", size)
            counts = write_classes(scene, Bright(), sink, Shaping(dilate_m=dilate_m))
        outs.append(sink.dn[0])
        assert np.array_equal(sink.valid[0], dn != 0)
        assert sum(counts.pixels.values()) == dn.size
    assert np.array_equal(*outs)
    source = Bright().classes(np.where(dn, dn * 1e-4, 0)[None], dn != 0)
    grown = dilate(source == CLOUD, Disk.of_px(dilate_m / 10))
    wanted = np.where(grown & (source == CLEAR), MARGIN, source)
    assert np.array_equal(outs[0], wanted)


def test_windows_come_whole_rows_top_to_bottom_and_in_bounded_height(monkeypatch) -> None:
    monkeypatch.setattr(classing, "DETECTION_TILE_PX", 16)
    written = []

    class Sink(ArraySink):
        def write(self, window, pixels, valid):
            written.append(window)
            super().write(window, pixels, valid)

    with Sink(1, (200, 50), np.uint8) as sink:
        write_classes(
            reflectance_scene(np.ones((200, 50), np.uint16)), Bright(), sink, Shaping(dilate_m=50)
        )
    assert [window.row for window in written] == np.cumsum(
        [0, *(window.height for window in written[:-1])]
    ).tolist()
    assert max(window.height for window in written) <= 16 + 5
    assert {(window.col, window.width) for window in written} == {(0, 50)}


def test_shares_are_of_the_valid_pixels() -> None:
    counts = ClassCounts({CLEAR: 40, CLOUD: 20, THIN: 10, SHADOW: 20, MARGIN: 10, NODATA: 900})
    assert counts.n_valid == 100
    assert counts.cloud_share == pytest.approx(0.3)
    assert counts.shadow_share == pytest.approx(0.2)
    assert counts.mask_share == pytest.approx(0.6)
    assert ClassCounts({NODATA: 5}).mask_share == 0.0


def test_a_scene_without_the_wanted_band_is_refused() -> None:
    scene = ArrayScene(np.ones((1, 4, 4), np.uint16), Sensor("s", (Band("B08"),)))
    with pytest.raises(BandError, match="B02"), ArraySink(1, (4, 4), np.uint8) as sink:
        write_classes(scene, Bright(), sink)


def test_progress_is_told_tile_by_tile(monkeypatch) -> None:
    monkeypatch.setattr(classing, "DETECTION_TILE_PX", 16)
    heard = []
    with ArraySink(1, (20, 40), np.uint8) as sink:
        write_classes(
            reflectance_scene(np.ones((20, 40), np.uint16)), Bright(), sink,
            on_progress=heard.append,
        )  # fmt: skip
    assert [progress.done for progress in heard] == [1, 2, 3, 4, 5, 6]
    assert heard[-1].total == 6


class Painted:
    """Takes stored numbers for codes; nodata where they say so."""

    bands = ("B02",)
    margin_px = 0
    stride_px = 1

    def classes(self, reflectance, valid):
        return reflectance[0].astype(np.uint8)


def shaped(codes, tile_px=10_000, **shaping):
    codes = np.asarray(codes, np.uint8)
    scene = ArrayScene(codes[None], Sensor("s", (Band("B02", dtype="uint8"),)))
    with pytest.MonkeyPatch.context() as patch, ArraySink(1, codes.shape, np.uint8) as sink:
        patch.setattr(classing, "DETECTION_TILE_PX", tile_px)
        write_classes(scene, Painted(), sink, Shaping(**shaping))
    return sink.dn[0]


def test_specks_go_before_the_growth_and_holes_shut_after_it() -> None:
    codes = np.zeros((40, 40), np.uint8)
    codes[5, 5:9] = CLOUD  # 400 m2
    codes[20:33, 20:33] = CLOUD
    codes[24:29, 24:29] = CLEAR  # a hole of five pixels a side, three after the growth
    out = shaped(codes, specks_m2=500, dilate_m=10, holes_m2=1_000)
    assert not out[:12].any()
    assert (out[24:29, 24:29] == MARGIN).all()
    assert (out[19, 20:33] == MARGIN).all()
    assert (out[codes == CLOUD][4:] == CLOUD).all()
    kept = shaped(codes, specks_m2=400, dilate_m=10, holes_m2=900)
    assert (kept[5, 5:9] == CLOUD).all()
    assert (kept[25:28, 25:28] == CLEAR).all()


def test_a_hole_is_shut_in_by_the_mask_and_not_by_nodata() -> None:
    codes = np.full((20, 20), NODATA, np.uint8)
    codes[5, 5] = CLEAR  # a pixel in a sea of nodata
    codes[10:15, 10:15] = CLOUD
    codes[12, 12:14] = CLEAR, NODATA  # a hole that is nodata in part
    out = shaped(codes, holes_m2=1_000)
    assert out[5, 5] == CLEAR
    assert out[12, 12:14].tolist() == [MARGIN, NODATA]
    assert ((out == NODATA) == (codes == NODATA)).all()


def test_shadows_can_be_left_out_before_anything_grows() -> None:
    codes = np.zeros((9, 30), np.uint8)
    codes[4, 5], codes[4, 22] = CLOUD, SHADOW
    out = shaped(codes, shadows=False, dilate_m=20)
    assert (out[:, 15:] == CLEAR).all()
    assert (out[:, :10] == MARGIN).sum() == 12


@given(
    npst.arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 30)),
                elements=st.sampled_from([CLEAR, CLEAR, CLEAR, CLOUD, SHADOW, NODATA])),
    st.sampled_from([0, 300, 1_000]),
    st.sampled_from([0, 10, 30]),
    st.sampled_from([0, 300, 2_000]),
    st.integers(3, 20),
)  # fmt: skip
def test_shaping_does_not_depend_on_the_tiles(codes, specks, dilate_m, holes, tile_px) -> None:
    shaping = {"specks_m2": specks, "dilate_m": dilate_m, "holes_m2": holes}
    assert np.array_equal(shaped(codes, tile_px, **shaping), shaped(codes, **shaping))


@pytest.mark.parametrize("name", ["dilate_m", "specks_m2", "holes_m2"])
@pytest.mark.parametrize("value", [-1, 1e7, np.nan])
def test_a_shaping_that_makes_no_sense_is_refused(name, value) -> None:
    with pytest.raises(OptionError, match=name):
        Shaping(**{name: value})


def test_windows_begin_on_the_cells_of_the_source() -> None:
    seen = []

    class Cells(Painted):
        stride_px = 7
        margin_px = 3

        def classes(self, reflectance, valid):
            seen.append(valid.shape)
            return super().classes(reflectance, valid)

    dn = np.ones((50, 40), np.uint8)
    scene = ArrayScene(dn[None], Sensor("s", (Band("B02", dtype="uint8"),)))
    with pytest.MonkeyPatch.context() as patch, ArraySink(1, dn.shape, np.uint8) as sink:
        patch.setattr(classing, "DETECTION_TILE_PX", 15)  # 21 in cells of 7
        write_classes(scene, Cells(), sink)
    assert seen[0] == (28, 28)
    assert seen[1] == (28, 26)
    assert (sink.dn == 1).all()
