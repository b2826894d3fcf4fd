"""How scenes are cut: properties that hold for every size, overlap, stride and place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import OptionError
from geodecloud.geo.tiling import Tile, Tiling, Window
from tests.strategies import (
    chip_tilings,
    prediction_grids,
    shapes,
    tilings,
)

windows = st.builds(
    Window, st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 9), st.integers(0, 9)
)


def pixels_of(window: Window) -> set[tuple[int, int]]:
    rows, cols = window.slices
    return {(r, c) for r in range(rows.start, rows.stop) for c in range(cols.start, cols.stop)}


@given(windows, windows)
def test_the_intersection_of_windows_holds_the_pixels_of_both(one, other):
    assert pixels_of(one & other) == pixels_of(one) & pixels_of(other)


@given(windows, windows)
def test_a_window_lies_in_another_when_all_of_its_corners_do(inner, outer):
    if inner.height and inner.width:
        assert (inner in outer) == (pixels_of(inner) <= pixels_of(outer))


@given(windows, windows, st.integers(0, 5))
def test_moving_and_padding_a_window_can_be_undone(window, outer, margin_px):
    moved = window.relative_to(outer)
    assert (moved.row + outer.row, moved.col + outer.col) == (window.row, window.col)
    padded = window.padded(margin_px)
    assert window in padded
    assert padded.height - window.height == padded.width - window.width == 2 * margin_px


def test_a_window_of_negative_size_is_refused():
    with pytest.raises(ValueError, match="no pixels"):
        Window(0, 0, -1, 4)


def test_a_tile_that_keeps_what_it_does_not_read_is_refused():
    with pytest.raises(ValueError, match="outside what it reads"):
        Tile(0, 0, read=Window(0, 0, 4, 4), keep=Window(0, 1, 4, 4))


@given(tilings())
def test_keeps_partition_the_scene(tiling):
    count = np.zeros(tiling.shape, int)
    for tile in tiling:
        assert tile.keep in Window.whole(tiling.shape)
        count[tile.keep.slices] += 1
    assert (count == 1).all()


@given(tilings())
def test_every_tile_keeps_something_and_reads_what_it_keeps(tiling):
    for tile in tiling:
        assert tile.keep.height > 0
        assert tile.keep.width > 0
        assert tile.keep in tile.read


@given(tilings())
def test_a_tiling_is_a_row_major_sequence(tiling):
    tiles = list(tiling)
    assert len(tiles) == len(tiling)
    assert tiles == [tiling[i] for i in range(len(tiling))] == list(tiling[:])
    assert tiles[-1] == tiling[-1]
    assert [(tile.row, tile.col) for tile in tiles] == sorted((t.row, t.col) for t in tiles)
    with pytest.raises(IndexError):
        tiling[len(tiling)]


@given(tilings())
def test_no_tile_row_is_taller_than_the_strip_of_memory_made_for_it(tiling):
    assert tiling.tallest_px == max(tile.read.height for tile in tiling)


@given(shapes(), st.integers(1, 70), st.data())
def test_chip_tiles_have_one_size_and_lie_inside(shape, size_px, data):
    tiling = Tiling.for_chips(shape, size_px, data.draw(st.integers(0, size_px - 1)))
    for tile in tiling:
        assert tile.read.shape == (size_px, size_px)
        assert tile.read.row >= 0
        assert tile.read.col >= 0
        # only a scene smaller than a chip is left over its edge
        assert tile.read.row_stop <= max(shape[0], size_px)
        assert tile.read.col_stop <= max(shape[1], size_px)


@given(shapes(), st.integers(1, 70), st.data())
def test_neighbouring_chips_overlap_by_what_was_asked_and_the_last_by_no_less(shape, size_px, data):
    overlap_px = data.draw(st.integers(0, size_px - 1))
    tiling = Tiling.for_chips(shape, size_px, overlap_px)
    for spans in (tiling.rows, tiling.cols):
        overlaps = [one.stop - other.start for one, other in pairwise(spans)]
        assert overlaps[:-1] == [overlap_px] * len(overlaps[:-1])
        assert all(overlap_px <= overlap < size_px for overlap in overlaps[-1:])


@given(chip_tilings())
def test_chips_next_to_each_other_share_their_overlap_half_and_half(tiling):
    for spans in (tiling.rows, tiling.cols):
        for one, other in pairwise(spans):
            assert abs((one.stop - one.keep_stop) - (other.keep_start - other.start)) <= 1


@given(shapes(), prediction_grids(), st.tuples(*[st.integers(-600_000, 600_000)] * 2))
def test_prediction_reads_start_and_end_on_multiples_of_the_stride_in_the_crs_grid(
    shape, grid, origin_px
):
    tiling = Tiling.for_prediction(shape, **grid, origin_px=origin_px)
    for tile in tiling:
        row, col = origin_px
        edges = (tile.read.row + row, tile.read.row_stop + row)
        edges += (tile.read.col + col, tile.read.col_stop + col)
        assert not any(edge % grid["stride_px"] for edge in edges)


@given(shapes(), prediction_grids(), st.tuples(*[st.integers(-600_000, 600_000)] * 2))
def test_prediction_reads_hold_the_halo_and_no_more_than_promised(shape, grid, origin_px):
    tiling = Tiling.for_prediction(shape, **grid, origin_px=origin_px)
    reach = grid["halo_px"] + 2 * grid["stride_px"]
    for tile in tiling:
        assert tile.keep.padded(grid["halo_px"]) in tile.read
        assert tile.read in Window.whole(shape).padded(reach)
        assert max(tile.keep.shape) <= grid["size_px"]


@given(prediction_grids(), st.data())
def test_overlapping_windows_of_one_grid_read_identical_tiles_where_both_hold_them(grid, data):
    windows = [
        Window(*data.draw(st.tuples(*[st.integers(-99, 99)] * 2)), *data.draw(shapes()))
        for _ in range(2)
    ]
    tiles = [
        {
            (moved(tile.keep, window), moved(tile.read, window))
            for tile in Tiling.for_prediction(
                window.shape, **grid, origin_px=(window.row, window.col)
            )
        }
        for window in windows
    ]
    both = windows[0] & windows[1]
    for mine, others in (tiles, tiles[::-1]):
        for keep, read in mine:
            # a keep at the window's edge may be cut short there, unless the grid ends it too
            if keep in both and not touches_edge(keep, windows):
                assert (keep, read) in others


def moved(window: Window, origin: Window) -> Window:
    return Window(window.row + origin.row, window.col + origin.col, window.height, window.width)


def touches_edge(keep: Window, windows: list[Window]) -> bool:
    return any(keep.padded(1) not in window for window in windows)


@given(shapes(), prediction_grids(), st.integers(0, 40))
def test_the_halo_changes_what_is_read_and_never_what_is_kept(shape, grid, halo_px):
    one = Tiling.for_prediction(shape, **grid)
    other = Tiling.for_prediction(shape, **{**grid, "halo_px": halo_px})
    assert [tile.keep for tile in one] == [tile.keep for tile in other]


@pytest.mark.parametrize("overlap_px", [-1, 64, 100])
def test_an_overlap_that_leaves_no_step_is_refused(overlap_px):
    with pytest.raises(OptionError, match="0 to 63 px"):
        Tiling.for_chips((100, 100), 64, overlap_px)


@pytest.mark.parametrize("size_px", [0, -64])
def test_a_chip_without_pixels_is_refused(size_px):
    with pytest.raises(OptionError, match="at least 1 px"):
        Tiling.for_chips((100, 100), size_px)


@pytest.mark.parametrize(("size_px", "better"), [(500, 512), (8, 32), (0, 32), (-32, 32)])
def test_a_tile_size_off_the_stride_is_refused_and_a_good_one_named(size_px, better):
    with pytest.raises(OptionError, match=f"such as {better}$"):
        Tiling.for_prediction((100, 100), size_px, stride_px=32)
