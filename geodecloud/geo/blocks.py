"""MapBlocks: squares of the map, so that neighbours stay on one side of a split."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from geodecloud.geo.tiling import Window

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


class MapBlocks:
    """Squares of so many pixels on each grid, counted from the first window that is asked about.

    So windows that lie side by side never straddle two squares, whatever the grid's origin.
    """

    def __init__(self, size_px: int) -> None:
        """Start with no grid."""
        self._size_px = size_px
        self._grids: dict[str, tuple[float, float, float]] = {}

    def of(self, geobox: GeoBox, window: Window, grid: str | None = None) -> list[str]:
        """Return the square that a window's middle lies in, then others that it reaches into.

        ``grid`` names what the transform counts in where there is no CRS; without, no square.
        """
        name = grid if geobox.crs is None else str(geobox.crs)
        if name is None:
            return []
        affine = geobox.affine
        rows = (window.row + 0.5, window.row_stop - 0.5)
        cols = (window.col + 0.5, window.col_stop - 0.5)
        corners = [affine * (col, row) for row in rows for col in cols]
        middle = affine * (sum(cols) / 2, sum(rows) / 2)
        if name not in self._grids:
            step = self._size_px * math.hypot(affine.a, affine.d)
            x, y = affine * (window.col, window.row)
            self._grids[name] = x, y, step
        left, top, step = self._grids[name]
        squares = [
            f"{name} block {math.floor((y - top) / step)} {math.floor((x - left) / step)}"
            for x, y in (middle, *corners)
        ]
        return list(dict.fromkeys(squares))
