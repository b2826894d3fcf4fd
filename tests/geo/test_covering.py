"""Windows around what is masked: all of it, once, and never dearer than the whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.geo.covering import CELL_PX, covering
from geodecloud.geo.tiling import Window


def cost(windows: list[Window], halo: int) -> int:
    return sum((w.height + 2 * halo) * (w.width + 2 * halo) for w in windows)


@given(
    st.integers(1, 400), st.integers(1, 400), st.integers(0, 900), st.integers(0, 900),
    st.integers(0, 60), st.integers(0, 12), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_all_of_the_mask_is_covered_once_and_at_no_higher_cost(
    height, width, row, col, halo, n_blobs, seed
):
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), bool)
    for _ in range(n_blobs):
        top, left = rng.integers(height), rng.integers(width)
        mask[top : top + rng.integers(1, 60), left : left + rng.integers(1, 60)] = True
    at = Window(row, col, height, width)
    windows = covering(mask, at, halo_px=halo, origin_px=(37, -12))
    seen = np.zeros(mask.shape, int)
    for window in windows:
        assert window in at
        seen[window.relative_to(at).slices] += 1
    assert seen.max(initial=0) <= 1
    assert (seen[mask] == 1).all()
    assert cost(windows, halo) <= cost([at], halo)
    assert windows == sorted(windows, key=lambda w: (w.row, w.col))


def test_windows_lie_on_cells_of_the_crs_grid() -> None:
    mask = np.zeros((300, 300), bool)
    mask[150, 150] = True
    (window,) = covering(mask, Window(10, 20, 300, 300), halo_px=5, origin_px=(7, 9))
    assert ((window.row + 7) % CELL_PX, (window.col + 9) % CELL_PX) == (0, 0)
    assert window.shape == (CELL_PX, CELL_PX)


def test_without_a_mask_there_is_nothing_to_read() -> None:
    assert covering(np.zeros((90, 90), bool), Window(0, 0, 90, 90), halo_px=3) == []
