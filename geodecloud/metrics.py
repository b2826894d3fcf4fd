"""How near a prediction is to its target, by region; whether tile borders show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from geodecloud.errors import InputError

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]

# Wang et al. 2004, Image quality assessment: the window and the constants that all others use.
SSIM_SIGMA_PX = 1.5
SSIM_REACH_PX = 5
SSIM_K1, SSIM_K2 = 0.01, 0.03

NEAR_PX = 8  # how far from a tile border its surroundings reach

# In each function: prediction and target are (C, H, W) of the same unit; a region is (H, W) or
# (C, H, W) bool, None means all. What lies outside the region, NaN included, changes nothing. A
# region without a pixel gives NaN.


def mae(prediction: Array, target: Array, region: Flags | None = None) -> float:
    """Return the mean absolute error, in the unit of the arrays."""
    return _mean(np.abs(_difference(prediction, target, region)))


def rmse(prediction: Array, target: Array, region: Flags | None = None) -> float:
    """Return the root of the mean squared error, in the unit of the arrays."""
    return math.sqrt(_mean(_difference(prediction, target, region) ** 2))


def psnr(
    prediction: Array, target: Array, region: Flags | None = None, *, data_range: float
) -> float:
    """Return the peak signal-to-noise ratio in dB; infinite where both are the same.

    ``10 * log10(data_range ** 2 / mse)``, the mean being taken over all values of the region.

    Args:
        prediction: (C, H, W).
        target: (C, H, W).
        region: (H, W) or (C, H, W) bool; None means all.
        data_range: from the lowest value to the highest that there can be: 1 for reflectance.

    Example:
        >>> psnr(np.full((1, 2, 2), 0.1), np.zeros((1, 2, 2)), data_range=1.0)
        20.0
    """
    error = rmse(prediction, target, region)
    return math.inf if error == 0 else 20 * math.log10(data_range / error)


def sam(prediction: Array, target: Array, region: Flags | None = None) -> float:
    """Return the mean angle between the spectra of a pixel, in degrees, 0 to 180.

    A pixel counts where all of its bands are in the region and neither spectrum is all zero.
    """
    angles = sam_map(prediction, target, region)
    return _mean(angles[np.isfinite(angles)])


def sam_map(prediction: Array, target: Array, region: Flags | None = None) -> Doubles:
    """Return the angle between the spectra of each pixel, (H, W) degrees; NaN where none counts."""
    one, other, inside = _checked(prediction, target, region)
    angles: Doubles = np.full(inside.shape[1:], math.nan)
    where = np.asarray(inside.all(0))
    one, other = (spectra[:, where] for spectra in (one, other))
    lengths = np.sqrt((one**2).sum(0)), np.sqrt((other**2).sum(0))
    has_angle = (lengths[0] > 0) & (lengths[1] > 0)
    one = one[:, has_angle] / lengths[0][has_angle]
    other = other[:, has_angle] / lengths[1][has_angle]
    # exact near 0, where the arc cosine loses half of the digits (Kahan)
    across, along = (np.sqrt((both**2).sum(0)) for both in (one - other, one + other))
    where[where] = has_angle
    angles[where] = np.degrees(2 * np.arctan2(across, along))
    return angles


def ssim(
    prediction: Array, target: Array, region: Flags | None = None, *, data_range: float
) -> float:
    """Return the mean structural similarity, at most 1.

    Gaussian windows of 11 px, sigma 1.5, reflected at the edge of the arrays, as torchmetrics has
    them; the mean is taken over the region. A window sees the region alone: its weights outside
    are 0, those inside sum to 1.

    Args:
        prediction: (C, H, W).
        target: (C, H, W).
        region: (H, W) or (C, H, W) bool; None means all.
        data_range: from the lowest value to the highest that there can be: 1 for reflectance.

    Source: Wang, Bovik, Sheikh and Simoncelli, Image quality assessment (2004).
    """
    inside = _checked(prediction, target, region)[2]
    return _mean(ssim_map(prediction, target, region, data_range=data_range)[inside])


def ssim_map(
    prediction: Array, target: Array, region: Flags | None = None, *, data_range: float
) -> Doubles:
    """Return the structural similarity around each pixel, (C, H, W); NaN outside the region."""
    one, other, inside = _checked(prediction, target, region)
    one, other = (np.where(inside, values, 0.0) for values in (one, other))
    weight = _blurred(inside.astype(np.float64))[inside]

    def windowed(values: Doubles) -> Doubles:
        return _blurred(values)[inside] / weight

    mean_one, mean_other = windowed(one), windowed(other)
    variance_one = np.maximum(windowed(one**2) - mean_one**2, 0)
    variance_other = np.maximum(windowed(other**2) - mean_other**2, 0)
    covariance = windowed(one * other) - mean_one * mean_other
    floor_1, floor_2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    luminance = (2 * mean_one * mean_other + floor_1) / (mean_one**2 + mean_other**2 + floor_1)
    structure = (2 * covariance + floor_2) / (variance_one + variance_other + floor_2)
    similar = np.full(inside.shape, math.nan)
    similar[inside] = luminance * structure
    return similar


def by_region(
    prediction: Array, target: Array, regions: Mapping[str, Flags | None], data_range: float
) -> dict[str, dict[str, float]]:
    """Return psnr (dB), ssim, sam (degrees), mae and rmse of each region, by name.

    Args:
        prediction: (C, H, W).
        target: (C, H, W).
        regions: (H, W) or (C, H, W) bool by name; None means all. A region that is to leave out
            invalid pixels must say so: ``{"cloud": mask & valid}``.
        data_range: from the lowest value to the highest that there can be: 1 for reflectance.

    Example:
        >>> target = np.zeros((2, 16, 16))
        >>> figures = by_region(target + 0.1, target, {"all": None}, data_range=1.0)
        >>> sorted(figures["all"])
        ['mae', 'psnr', 'rmse', 'sam', 'ssim']
    """
    return {
        name: {
            "psnr": psnr(prediction, target, region, data_range=data_range),
            "ssim": ssim(prediction, target, region, data_range=data_range),
            "sam": sam(prediction, target, region),
            "mae": mae(prediction, target, region),
            "rmse": rmse(prediction, target, region),
        }
        for name, region in regions.items()
    }


def seam_index(
    pixels: Array, rows: Iterable[int], cols: Iterable[int], region: Flags | None = None
) -> float:
    """Return how much steeper the pixels are across tile borders than beside them; 1 is no seam.

    With the step ``d[r] = |pixels[r] - pixels[r - 1]|``, along columns alike::

        seam_index = mean(d[r] for r in borders) / mean(d[r] for r near borders, not in them)

    where near is at most ``NEAR_PX``. 1 where nothing changes anywhere, infinite where only
    borders do, NaN where no border lies in the region.

    Args:
        pixels: (C, H, W) or (H, W).
        rows: first rows of tiles; those of the scene itself, 0 and H, are no borders.
        cols: first columns of tiles.
        region: (H, W) bool: steps within it count; None means all.

    Example:
        >>> seam_index(np.tile([0.0, 1.0, 2.0, 4.0, 5.0, 6.0], (1, 6, 1)), rows=[], cols=[3])
        2.0
    """
    pixels = pixels.reshape(-1, *pixels.shape[-2:]).astype(np.float64)
    inside = np.ones(pixels.shape[1:], bool) if region is None else region
    if inside.shape != pixels.shape[1:]:
        raise _mismatch("the region", inside, "the pixels", pixels)
    upright = _steps(pixels, inside, rows)
    across = _steps(pixels.swapaxes(1, 2), inside.T, cols)
    at_borders, near = (_mean(np.concatenate(both)) for both in zip(upright, across, strict=True))
    if near == 0:
        return 1.0 if at_borders == 0 else math.inf
    return at_borders / near


def _steps(pixels: Doubles, inside: Flags, rows: Iterable[int]) -> tuple[Doubles, Doubles]:
    """The steps between rows at borders and near them, each flat."""
    starts = np.arange(1, pixels.shape[1])
    borders = np.array(sorted({row for row in rows if 0 < row < pixels.shape[1]}), np.intp)
    away = np.abs(starts[:, None] - borders).min(1, initial=NEAR_PX + 1)
    both_inside = inside[1:] & inside[:-1]

    def picked(kind: Flags) -> Doubles:
        here = starts[kind]
        steps = np.abs(pixels[:, here] - pixels[:, here - 1])
        return steps[:, both_inside[kind]].ravel()

    return picked(away == 0), picked((away > 0) & (away <= NEAR_PX))


def _blurred(values: Doubles) -> Doubles:
    """(C, H, W) seen through the window of SSIM."""
    offsets = np.arange(-SSIM_REACH_PX, SSIM_REACH_PX + 1)
    taps = np.exp(-(offsets**2) / (2 * SSIM_SIGMA_PX**2))
    taps /= taps.sum()
    for _ in range(2):
        n_rows, last = values.shape[1], 2 * SSIM_REACH_PX
        padded = np.pad(values, [(0, 0), (SSIM_REACH_PX,) * 2, (0, 0)], mode="reflect")
        blurred = taps[SSIM_REACH_PX] * padded[:, SSIM_REACH_PX : SSIM_REACH_PX + n_rows]
        for near in range(SSIM_REACH_PX):
            far = last - near  # the taps are symmetric: both rows at once
            both = padded[:, near : near + n_rows] + padded[:, far : far + n_rows]
            blurred += taps[near] * both
        values = np.ascontiguousarray(blurred.swapaxes(1, 2))
    return values


def _difference(prediction: Array, target: Array, region: Flags | None) -> Doubles:
    one, other, inside = _checked(prediction, target, region)
    return one[inside] - other[inside]


def _checked(
    prediction: Array, target: Array, region: Flags | None
) -> tuple[Doubles, Doubles, Flags]:
    """Both as float64 and the region as (C, H, W)."""
    if prediction.ndim != 3 or prediction.shape != target.shape:
        raise _mismatch("the prediction", prediction, "the target", target)
    if region is None:
        region = np.ones(prediction.shape, bool)
    elif region.shape not in (target.shape, target.shape[1:]):
        raise _mismatch("the region", region, "the target", target)
    inside = np.broadcast_to(region, target.shape)
    return prediction.astype(np.float64), target.astype(np.float64), inside


def _mismatch(name: str, array: Array, other_name: str, other: Array) -> InputError:
    return InputError(
        f"{name} is {array.shape}",
        f"{other_name} is {other.shape}",
        "pass arrays (C, H, W) of one grid, a region of theirs or (H, W)",
    )


def _mean(values: Doubles) -> float:
    return float(values.mean()) if values.size else math.nan
