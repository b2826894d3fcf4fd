"""Connected pieces by their size, beside scipy's labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from geodecloud.geo.areas import small_parts

masks = st.sampled_from([0.1, 0.4, 0.6, 0.9]).flatmap(
    lambda share: st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10_000)).map(
        lambda size: np.random.default_rng(size[2]).random(size[:2]) < share
    )
)


@given(masks, st.integers(1, 15), st.booleans())
def test_small_parts_are_the_connected_pieces_below_the_size(mask, n_px, diagonal) -> None:
    labels, _ = ndimage.label(mask, np.ones((3, 3)) if diagonal else None)
    wanted = mask & (np.bincount(labels.ravel())[labels] < n_px)
    assert np.array_equal(small_parts(mask, n_px, 99, diagonal=diagonal), wanted)


@given(masks, st.integers(2, 9), st.data())
def test_a_strip_with_its_rows_of_context_gives_what_the_whole_gives(mask, n_rows, data) -> None:
    first = data.draw(st.integers(0, len(mask) - 1))
    last = data.draw(st.integers(first + 1, len(mask)))
    top = max(0, first - n_rows)
    strip = small_parts(mask[top : last + n_rows], 30, n_rows)
    assert np.array_equal(
        strip[first - top : last - top], small_parts(mask, 30, n_rows)[first:last]
    )


def test_a_spiral_is_one_piece_however_its_runs_wind() -> None:
    size = 41
    spiral = np.zeros((size, size), bool)
    row, col, step, turn = size // 2, size // 2, 2, 0
    while 0 <= row < size and 0 <= col < size:
        down, right = [(0, 1), (1, 0), (0, -1), (-1, 0)][turn % 4]
        for _ in range(step):
            if 0 <= row < size and 0 <= col < size:
                spiral[row, col] = True
            row, col = row + down, col + right
        turn += 1
        step += 2 * (turn % 2 == 0)
    assert ndimage.label(spiral)[1] == 1
    assert not small_parts(spiral, spiral.sum(), size, diagonal=False).any()
    assert np.array_equal(small_parts(spiral, spiral.sum() + 1, size, diagonal=False), spiral)


@pytest.mark.parametrize("n_px", [0, 1])
def test_nothing_is_smaller_than_a_pixel(n_px) -> None:
    assert not small_parts(np.eye(5, dtype=bool), n_px, 9).any()
