"""What is measured of an answer: sums by region, and how its texture differs from the truth's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geodecloud.benchmark.case import Case, Floats
from geodecloud.metrics import psnr, sam_map, seam_index, ssim_map

Doubles = npt.NDArray[np.float64]

DATA_RANGE = 1.0  # of reflectance, and of displays

BEST_PSNR = 99.0  # stands for infinity, which JSON does not know

SPECTRUM_PX, SPECTRUM_STEP_PX = 32, 16
"""Side of the squares whose spectra are compared, and how far they lie apart."""


class Sum(NamedTuple):
    """A sum over values, and how many there were."""

    total: float
    n_values: float


Sums = Mapping[str, Mapping[str, Sum]]
"""By region and measure: "squared", "absolute", "ssim", "sam"."""


def sums_of(answer: Floats, case: Case) -> Sums:
    """Return the sums that figures are made of, for each region of a case.

    Windows of SSIM see all that counts, so that a region's figure is a mean over its pixels of one
    and the same map.
    """
    error = answer.astype(np.float64) - case.target
    maps = {
        "squared": error**2,
        "absolute": np.abs(error),
        "ssim": ssim_map(answer, case.target, case.counted, data_range=DATA_RANGE),
    }
    if len(answer) > 1:  # one band has no angle
        maps["sam"] = sam_map(answer, case.target, case.counted)[None]
    return {
        region: {name: _sum(values[:, where]) for name, values in maps.items()}
        for region, where in case.regions.items()
    }


def _sum(values: Doubles) -> Sum:
    known = values[np.isfinite(values)]
    return Sum(float(known.sum()), float(known.size))


def figure_of(measure: str, total: Doubles, count: Doubles) -> Doubles:
    """Return figures of pooled sums: PSNR in dB for "squared", else the mean; NaN without any."""
    mean: Doubles = np.full(np.shape(total), math.nan)
    np.divide(total, count, out=mean, where=count > 0)
    if measure != "squared":
        return mean
    noise: Doubles = 20 * math.log10(DATA_RANGE) - 10 * np.log10(np.maximum(mean, 1e-30))
    return np.minimum(noise, BEST_PSNR)


class Spectra(NamedTuple):
    """Power by spatial frequency (F,), of answers and of truths, summed over squares and bands."""

    drawn: Doubles
    true: Doubles

    def plus(self, other: Spectra) -> Spectra:
        """Return the sums of both."""
        return Spectra(self.drawn + other.drawn, self.true + other.true)

    @property
    def distance_db(self) -> float:
        """How far the two lie apart: root mean square over frequencies of their ratio, in dB.

        0 is the texture of the truth, whatever its place; NaN where no square was masked whole.
        """
        if not self.true.all():
            return math.nan
        ratio = 10 * np.log10(np.maximum(self.drawn, 1e-6 * self.true) / self.true)
        return float(np.sqrt(np.mean(ratio**2)))


def spectra_of(answer: Floats, case: Case) -> Spectra:
    """Return the power of an answer and of the truth, in squares that are masked throughout."""
    window = np.hanning(SPECTRUM_PX)[:, None] * np.hanning(SPECTRUM_PX)
    row, col = (np.fft.fftfreq(SPECTRUM_PX, 1 / SPECTRUM_PX) for _ in range(2))
    radius = np.rint(np.hypot(row[:, None], col)).astype(int)
    n_bins = SPECTRUM_PX // 2
    inside = (radius > 0) & (radius <= n_bins)  # without the mean
    power = [np.zeros(n_bins), np.zeros(n_bins)]
    for square in _squares(case):
        for total, values in zip(power, (answer, case.target), strict=True):
            part = values[:, *square].astype(np.float64)
            part -= part.mean((1, 2), keepdims=True)
            found = (np.abs(np.fft.fft2(part * window)) ** 2).sum(0)
            total += np.bincount(radius[inside] - 1, found[inside], n_bins)
    return Spectra(*power)


def _squares(case: Case) -> Iterator[tuple[slice, slice]]:
    drawn = case.regions.get("masked")
    if drawn is None:
        return
    height, width = drawn.shape
    for row in range(0, height - SPECTRUM_PX + 1, SPECTRUM_STEP_PX):
        for col in range(0, width - SPECTRUM_PX + 1, SPECTRUM_STEP_PX):
            square = slice(row, row + SPECTRUM_PX), slice(col, col + SPECTRUM_PX)
            if drawn[square].all():
                yield square


def grid_figures(drawn: tuple[Floats, Floats], case: Case, side_px: int) -> dict[str, float]:
    """Return the seam index and the shifted-grid PSNR of a case that was drawn on two tile grids.

    Args:
        drawn: (C, H, W) each; the first on tiles from the corner, the second on tiles elsewhere.
        case: whose mask tells where they count.
        side_px: of the tiles.
    """
    first, second = drawn
    height, width = case.mask.shape
    borders = range(side_px, height, side_px), range(side_px, width, side_px)
    # what is as steep without a border is an edge of the ground, and no seam
    with_borders, without = (seam_index(each, *borders, case.mask) for each in (first, second))
    likeness = psnr(first, second, case.mask, data_range=DATA_RANGE)
    steepness = with_borders / without if without else math.nan
    return {"seam_index": steepness, "shifted_grid_psnr": min(likeness, BEST_PSNR)}


def is_untouched(answer: Floats, case: Case) -> bool:
    """Say whether an answer is the case's own pixels outside of the mask, bit for bit."""
    outside = ~case.mask & case.counted
    return bool((answer[:, outside] == case.pixels[:, outside]).all())


def rounded(figures: Any, digits: int = 5) -> Any:
    """Return figures for JSON: numbers rounded, NaN and infinity as None."""
    if isinstance(figures, Mapping):
        return {name: rounded(value, digits) for name, value in figures.items()}
    if isinstance(figures, list | tuple):
        return [rounded(value, digits) for value in figures]
    if isinstance(figures, float | np.floating):
        return round(float(figures), digits) if math.isfinite(figures) else None
    return figures
