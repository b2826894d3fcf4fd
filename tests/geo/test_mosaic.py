"""Mosaic: what goes in comes out, and what differs is blended."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geodecloud.errors import InputError
from geodecloud.geo.mosaic import STRIP_PX, Mosaic
from geodecloud.geo.scene import ArraySink
from geodecloud.geo.tiling import Tiling, Window

DTYPES = ("uint8", "int16", "uint16", "float32")


def bits(array):
    return array.view(f"u{array.dtype.itemsize}")


def stored(dtype, shape):
    """Any bit pattern of a dtype: NaN payloads, infinities and -0.0 among them."""
    unsigned = f"u{np.dtype(dtype).itemsize}"
    return arrays(unsigned, shape).map(lambda array: array.view(dtype))


@st.composite
def cut_scenes(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.tuples(st.integers(1, 2), st.integers(1, 40), st.integers(1, 40)))
    size_px = draw(st.integers(1, 12))
    overlap_px = draw(st.integers(0, min(size_px - 1, 6)))
    return draw(stored(dtype, shape)), Tiling.for_chips(shape[1:], size_px, overlap_px)


def padded(dn, window):
    """The pixels of a window that may reach beyond the scene below and to the right."""
    rows, cols = window.slices
    cut = dn[:, rows, cols]
    below, right = window.height - cut.shape[1], window.width - cut.shape[2]
    return np.pad(cut, ((0, 0), (0, below), (0, right)), mode="edge")


def put_together(windows, pieces, shape, dtype, *, valids=None, **options):
    valids = valids or [None] * len(windows)
    with ArraySink(len(pieces[0]), shape, dtype) as sink:
        mosaic = Mosaic(sink, shape, len(pieces[0]), dtype, **options)
        for window, piece, valid in zip(windows, pieces, valids, strict=True):
            mosaic.add(window, piece, valid)
        mosaic.close()
    return sink, mosaic


@given(cut_scenes(), st.integers(0, 8), st.data())
def test_tiles_of_a_scene_give_it_back_bit_for_bit(cut, blend_px, data):
    dn, tiling = cut
    valid = data.draw(arrays(bool, dn.shape))
    windows = [tile.read for tile in tiling]
    sink, mosaic = put_together(
        windows,
        [padded(dn, window) for window in windows],
        dn.shape[1:],
        dn.dtype,
        valids=[padded(valid, window) for window in windows],
        blend_px=blend_px,
    )
    np.testing.assert_array_equal(bits(sink.dn), bits(dn))
    np.testing.assert_array_equal(sink.valid, valid)
    assert mosaic.peak_rows <= tiling.tallest_px


@st.composite
def loose_windows(draw):
    """Windows anywhere over a scene, in order of their first row, with pixels that disagree."""
    shape = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    place = st.tuples(
        st.integers(-4, shape[0]), st.integers(-4, shape[1]), st.integers(1, 12), st.integers(1, 12)
    )
    windows = sorted(
        (Window(*draw(place)) for _ in range(draw(st.integers(1, 8)))), key=lambda w: w.row
    )
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    pieces = [rng.integers(0, 50, (2, *w.shape)).astype(np.uint16) for w in windows]
    valids = [rng.random((2, *w.shape)) < 0.7 for w in windows]
    return shape, windows, pieces, valids


def blended_by_hand(shape, windows, pieces, valids, blend_px):
    """The same mosaic with the whole scene in memory; NaN where nothing valid came."""
    total, weight = np.zeros((2, 2, *shape))
    for window, piece, valid in zip(windows, pieces, valids, strict=True):
        inside = window & Window.whole(shape)
        rows, cols = inside.relative_to(window).slices
        ramps = [
            np.array([min(i + 0.5, n - i - 0.5, blend_px) / max(blend_px, 1e-9) for i in range(n)])
            if blend_px
            else np.ones(n)
            for n in window.shape
        ]
        share = np.where(valid, np.outer(*ramps), 0)[:, rows, cols]
        total[:, *inside.slices] += piece[:, rows, cols] * share
        weight[:, *inside.slices] += share
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)


@given(loose_windows(), st.integers(0, 6))
def test_any_windows_are_averaged_under_their_ramps(case, blend_px):
    shape, windows, pieces, valids = case
    expected = blended_by_hand(shape, windows, pieces, valids, blend_px)
    floats = [piece.astype(np.float64) for piece in pieces]
    sink, _ = put_together(
        windows, floats, shape, np.float64, valids=valids, blend_px=blend_px, allow_gaps=True
    )
    np.testing.assert_array_equal(sink.valid, ~np.isnan(expected))
    np.testing.assert_allclose(sink.dn[sink.valid], expected[sink.valid], rtol=1e-12)
    stored, _ = put_together(
        windows, pieces, shape, np.uint16, valids=valids, blend_px=blend_px, allow_gaps=True
    )
    assert np.abs(stored.dn[sink.valid] - expected[sink.valid]).max(initial=0) <= 0.5 + 1e-9


@given(loose_windows(), st.randoms(use_true_random=False))
def test_windows_of_one_row_may_come_in_any_order(case, random):
    shape, windows, pieces, valids = case
    windows = [Window(0, window.col, *window.shape) for window in windows]
    parts = list(zip(windows, [piece.astype(np.float64) for piece in pieces], valids, strict=True))
    shuffled = random.sample(parts, len(parts))
    sinks = []
    for order in (parts, shuffled):
        windows, pieces, valids = zip(*order, strict=True)
        sinks.append(
            put_together(
                windows, pieces, shape, np.float64, valids=valids, blend_px=3, allow_gaps=True
            )[0]
        )
    np.testing.assert_array_equal(sinks[0].valid, sinks[1].valid)
    where = sinks[0].valid
    np.testing.assert_allclose(sinks[0].dn[where], sinks[1].dn[where], rtol=1e-12)


def two_side_by_side(left, right, dtype, **options):
    """Columns 2 to 9 of two windows of one row, eight wide, that share four columns."""
    windows = [Window(0, 0, 1, 8), Window(0, 4, 1, 8)]
    pieces = [np.full((1, 1, 8), value) for value in (left, right)]
    return put_together(windows, pieces, (1, 12), dtype, **options)[0].dn[0, 0, 2:10].tolist()


def test_blending_is_a_straight_line_over_the_overlap():
    values = two_side_by_side(0.0, 8.0, np.float64, blend_px=4)
    assert values == [0, 0, 1, 3, 5, 7, 8, 8]


def test_means_of_integers_are_rounded_not_truncated():
    assert two_side_by_side(np.uint16(10), np.uint16(13), np.uint16, blend_px=4) == [
        10, 10, 10, 11, 12, 13, 13, 13,
    ]  # fmt: skip


def test_floats_for_an_integer_scene_are_rounded_and_clipped():
    assert two_side_by_side(-7.6, 300.0, np.uint8) == [0, 0, 146, 146, 146, 146, 255, 255]
    assert two_side_by_side(np.float32(2.5), np.float32(3.5), np.uint8)[::7] == [2, 4]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_blends_at_the_end_of_64_bits_do_not_overflow(dtype):
    high = np.iinfo(dtype).max
    values = two_side_by_side(np.array(high, dtype), np.array(high - 1, dtype), dtype)
    assert values[0] == high
    assert all(value > high // 2 for value in values)


def test_a_blend_never_gives_the_nodata_value():
    assert two_side_by_side(np.int16(-5), np.int16(5), np.int16)[2:6] == [0] * 4
    assert two_side_by_side(np.int16(-5), np.int16(5), np.int16, nodata=[0])[2:6] == [1] * 4


def test_invalid_pixels_weigh_nothing_even_as_nan():
    windows = [Window(0, 0, 1, 4), Window(0, 0, 1, 4)]
    nan = np.float32(np.nan)
    pieces = [
        np.array([[[nan, 1, nan, 4]]], np.float32),
        np.array([[[2, nan, nan, 8]]], np.float32),
    ]
    valids = [np.isfinite(piece) for piece in pieces]
    sink, _ = put_together(windows, pieces, (1, 4), np.float32, valids=valids)
    np.testing.assert_array_equal(sink.dn[0, 0], [2, 1, nan, 6])
    assert sink.valid[0, 0].tolist() == [True, True, False, True]


def test_bands_of_one_pixel_may_differ_in_validity():
    pieces = [np.array([[[5]], [[7]]], np.uint8), np.array([[[9]], [[9]]], np.uint8)]
    valids = [np.array([[[True]], [[False]]]), np.array([[[True]], [[True]]])]
    sink, _ = put_together([Window(0, 0, 1, 1)] * 2, pieces, (1, 1), np.uint8, valids=valids)
    assert sink.dn.ravel().tolist() == [7, 9]
    assert sink.valid.all()


def test_a_pixel_that_is_nowhere_valid_keeps_its_first_number():
    pieces = [np.full((1, 1, 1), value, np.uint16) for value in (7, 9)]
    invalid = np.zeros((1, 1, 1), bool)
    sink, _ = put_together(
        [Window(0, 0, 1, 1)] * 2, pieces, (1, 1), np.uint16, valids=[invalid] * 2
    )
    assert sink.dn.item() == 7
    assert not sink.valid.any()


def test_what_reaches_beyond_the_scene_is_dropped():
    piece = np.arange(25, dtype=np.uint8).reshape(1, 5, 5)
    sink, _ = put_together([Window(-1, -2, 5, 5)], [piece], (3, 3), np.uint8)
    np.testing.assert_array_equal(sink.dn, piece[:, 1:4, 2:5])


def test_a_gap_is_an_error_that_says_how_large_and_where():
    windows = [Window(0, 0, 2, 3), Window(2, 0, 2, 4)]
    pieces = [np.ones((1, *window.shape), np.uint8) for window in windows]
    with pytest.raises(InputError, match=r"2 of 16 px lie in no chip, .* row 0, column 3") as error:
        put_together(windows, pieces, (4, 4), np.uint8)
    assert "--nodata" in error.value.todo


def test_allowed_gaps_hold_nodata_and_are_invalid():
    sink, _ = put_together(
        [Window(1, 1, 1, 1)],
        [np.ones((2, 1, 1), np.int16)],
        (3, 3),
        np.int16,
        nodata=[-9999, None],
        allow_gaps=True,
    )
    assert np.argwhere(sink.valid).tolist() == [[0, 1, 1], [1, 1, 1]]
    assert sink.dn[0, 0].tolist() == [-9999] * 3
    assert sink.dn[1, 0].tolist() == [0] * 3


class Hearing:
    """A sink that notes the rows it was given."""

    def __init__(self):
        self.rows = []

    def write(self, window, pixels, valid):
        assert pixels.shape[1:] == valid.shape[1:] == window.shape
        self.rows += range(window.row, window.row_stop)


def test_finished_rows_leave_at_once_and_only_once():
    sink = Hearing()
    mosaic = Mosaic(sink, (300, 5), 1, np.uint8)
    tall = np.zeros((1, 200, 5), np.uint8)
    mosaic.add(Window(0, 0, 200, 5), tall)
    assert sink.rows == []
    mosaic.add(Window(150, 0, 200, 5), tall)
    assert sink.rows == list(range(150))
    mosaic.advance(180)
    assert sink.rows == list(range(180))
    mosaic.close()
    assert sink.rows == list(range(300))


@pytest.mark.parametrize("n_rows", [512, 4096])
def test_memory_is_one_tile_row_whatever_the_scene(n_rows):
    mosaic = Mosaic(Hearing(), (n_rows, 70), 1, np.uint8, blend_px=16)
    for tile in Tiling.for_chips((n_rows, 70), 64, 16):
        mosaic.add(tile.read, np.zeros((1, 64, 64), np.uint8))
        held = sum(piece.pixels.nbytes for piece in mosaic._held)
        assert held <= 2 * (2 * 64 * 64)
    mosaic.close()
    assert mosaic.peak_rows == 64


def test_tall_windows_are_blended_strip_by_strip():
    class Strips(Hearing):
        def write(self, window, pixels, valid):
            super().write(window, pixels, valid)
            assert window.height <= STRIP_PX

    shape = (3 * STRIP_PX + 1, 3)
    mosaic = Mosaic(sink := Strips(), shape, 1, np.float32)
    for value in (1, 2):
        mosaic.add(Window(0, 0, *shape), np.full((1, *shape), value, np.float32))
    mosaic.close()
    assert sink.rows == list(range(shape[0]))


def test_the_callers_array_may_be_used_again():
    with ArraySink(1, (2, 2), np.uint8) as sink:
        mosaic = Mosaic(sink, (2, 2), 1, np.uint8)
        pixels = np.ones((1, 1, 2), np.uint8)
        mosaic.add(Window(0, 0, 1, 2), pixels)
        pixels[:] = 9
        mosaic.add(Window(1, 0, 1, 2), pixels)
        mosaic.close()
    assert sink.dn[0].tolist() == [[1, 1], [9, 9]]


def test_a_window_above_finished_rows_is_refused():
    mosaic = Mosaic(Hearing(), (8, 2), 1, np.uint8)
    mosaic.add(Window(4, 0, 2, 2), np.zeros((1, 2, 2), np.uint8))
    with pytest.raises(ValueError, match="after row 4"):
        mosaic.add(Window(0, 0, 2, 2), np.zeros((1, 2, 2), np.uint8))


def test_pixels_of_another_shape_are_refused():
    mosaic = Mosaic(Hearing(), (8, 2), 1, np.uint8)
    with pytest.raises(ValueError, match="pixels"):
        mosaic.add(Window(0, 0, 2, 2), np.zeros((1, 2, 3), np.uint8))


def test_complex_numbers_are_refused():
    with pytest.raises(InputError, match="complex64"):
        Mosaic(Hearing(), (8, 2), 1, np.complex64)
