"""Throw and Votes: where the shadows of a scene fall, told by its own clouds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, hypot, radians, sin

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geodecloud.geo.masks import Flags, pixel_size_m

Floats = npt.NDArray[np.float64]

CELL_PX = 4
"""Displacements are tried in steps of this many pixels."""
PART_OF_SAMPLE = 2.5
"""A displacement beyond this part of a sample leaves too few pairs to believe."""
FAR_PENALTY = 0.35
"""Of two displacements that explain as much, the nearer: clouds are low more often than high."""
RISE, SHARE = 0.16, 0.3
"""The share of dark ground where shadows are expected, and by how much it is more than usual."""
PROFILE = 0.6
"""Clouds of one scene differ in height: distances whose score is this part of the best."""
SUN_TOLERANCE_DEG = 15.0
FEWEST_CELLS = 20.0
FEWEST_SHARE = 0.002


@dataclass(frozen=True, slots=True)
class Throw:
    """Where shadows fall: ``nearest_px`` to ``farthest_px`` from their cloud along (row, col)."""

    row: float
    col: float
    nearest_px: int
    farthest_px: int

    def steps(self) -> list[tuple[int, int]]:
        """Displacements in whole pixels, each once."""
        lengths = range(self.nearest_px, self.farthest_px + 1)
        return list(dict.fromkeys((round(self.row * n), round(self.col * n)) for n in lengths))

    def stretched(self, by: float) -> Throw:
        """The throw that also holds for clouds ``by`` times lower and higher."""
        return replace(
            self, nearest_px=int(self.nearest_px / by), farthest_px=round(self.farthest_px * by)
        )


@dataclass(frozen=True, slots=True)
class Votes:
    """For each displacement of the clouds: how much open ground it covers, how much of it dark.

    Both arrays are (2 R + 1) squared, in cells of ``CELL_PX``, no displacement in the middle.
    Votes of several samples add.
    """

    dark: Floats
    ground: Floats
    cloud_cells: float
    dark_cells: float
    ground_cells: float

    @classmethod
    def of(cls, cloud: Flags, dark: Flags, ground: Flags, reach_px: int) -> Votes:
        """Count on one sample; ``ground`` is valid and free of cloud, ``dark`` a part of it."""
        cells = [_cells(flags) for flags in (cloud, dark, ground)]
        if not cells[0].size:
            return cls(np.zeros((3, 3)), np.zeros((3, 3)), 0.0, 0.0, 0.0)
        shape = tuple(2 * n for n in cells[0].shape)  # twice, so that nothing wraps around
        spectra = [np.fft.rfft2(cell, shape) for cell in cells]
        reach = max(1, reach_px // CELL_PX)
        around = np.arange(-reach, reach + 1)
        near = np.ix_(around % shape[0], around % shape[1])
        outside = np.abs(around) >= np.array(cells[0].shape)[:, None]
        counts = []
        for spectrum in spectra[1:]:
            count = np.fft.irfft2(spectrum * spectra[0].conj(), shape)[near]
            count[outside[0]] = 0
            count[:, outside[1]] = 0
            counts.append(count)
        return cls(counts[0], counts[1], *(float(cell.sum()) for cell in cells))

    def __add__(self, other: Votes) -> Votes:
        """Return the votes of both."""
        return Votes(
            self.dark + other.dark,
            self.ground + other.ground,
            self.cloud_cells + other.cloud_cells,
            self.dark_cells + other.dark_cells,
            self.ground_cells + other.ground_cells,
        )

    def throw(self, toward: tuple[float, float] | None = None) -> Throw | None:
        """Return where shadows fall; None where the scene does not tell.

        Args:
            toward: (row, col) away from the sun, where that is known.
        """
        if self.cloud_cells < max(FEWEST_CELLS, FEWEST_SHARE * self.ground_cells):
            return None
        usual = self.dark_cells / max(self.ground_cells, 1.0)
        share = self.dark / np.maximum(self.ground, 0.02 * self.cloud_cells + 1)
        seen = np.sqrt(np.clip(self.ground / self.cloud_cells, 0, 1))
        score = (share - usual) * seen
        reach = len(score) // 2
        rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        length = np.hypot(rows, cols)
        score *= 1 - FAR_PENALTY * length / reach
        score[(length > reach) | (length < 1.5)] = -1
        if toward is not None:
            along = (rows * toward[0] + cols * toward[1]) / np.maximum(length, 1)
            score[along < cos(radians(SUN_TOLERANCE_DEG))] = -1
        best = np.unravel_index(int(score.argmax()), score.shape)
        if score[best] <= 0 or share[best] < max(usual + RISE, SHARE):
            return None
        return _profile(score, int(best[0]) - reach, int(best[1]) - reach)


def _profile(score: Floats, row: int, col: int) -> Throw:
    """The distances along the best displacement that score nearly as well."""
    reach, length = len(score) // 2, hypot(row, col)
    unit = row / length, col / length

    def holds(n: float) -> bool:
        at = round(unit[0] * n) + reach, round(unit[1] * n) + reach
        inside = 1 <= n <= reach
        return inside and bool(score[at] > PROFILE * score[row + reach, col + reach])

    nearest = farthest = length
    while holds(nearest - 0.5):
        nearest -= 0.5
    while holds(farthest + 0.5):
        farthest += 0.5
    return Throw(*unit, max(2, round((nearest - 1) * CELL_PX)), round((farthest + 1) * CELL_PX))


def _cells(flags: Flags) -> Floats:
    """Shares of whole cells of ``CELL_PX`` squared."""
    height, width = (n // CELL_PX for n in flags.shape)
    whole = flags[: height * CELL_PX, : width * CELL_PX]
    return np.asarray(whole.reshape(height, CELL_PX, width, CELL_PX).mean(axis=(1, 3)))


def away_from_sun(azimuth_deg: float, geobox: GeoBox) -> tuple[float, float]:
    """The direction (row, col), of length one, in which shadows fall on a grid.

    ``azimuth_deg`` is where the sun stands, clockwise from north. North is up without
    georeference.

    Example:
        >>> from geodecloud.geo.scene import without_georeference
        >>> row, col = away_from_sun(180, without_georeference((4, 4)))  # sun in the south
        >>> round(row), round(col)
        (-1, 0)
    """
    east, north = -sin(radians(azimuth_deg)), -cos(radians(azimuth_deg))
    height_m, width_m = pixel_size_m(geobox)
    affine = geobox.affine
    down = (affine.b, affine.e) if geobox.crs is not None else (0.0, -1.0)
    right = (affine.a, affine.d) if geobox.crs is not None else (1.0, 0.0)
    axes = np.array([down, right]).T
    axes = axes / np.hypot(*axes) * (height_m, width_m)
    row, col = np.linalg.solve(axes, [east, north])
    length = hypot(row, col)
    return float(row / length), float(col / length)
