"""SpectralDetector: clouds and their shadows from four bands or from three, by rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from geodecloud.geo.masks import (
    CLEAR,
    CLOUD,
    NODATA,
    SHADOW,
    THIN,
    Classes,
    Disk,
    Flags,
    dilate,
    pixel_size_m,
    without_specks,
)
from geodecloud.geo.scene import Scene
from geodecloud.progress import Listener, Progress, silent
from geodecloud.run.samples import display_gain, samples_of, some_pixels
from geodecloud.run.shadows import PART_OF_SAMPLE, Throw, Votes, away_from_sun

Floats = npt.NDArray[np.float32]
Levels = npt.NDArray[np.int16]
Whole = npt.NDArray[np.integer[Any] | np.bool_]

LEVELS = 10_000
"""Reflectance is counted in whole levels: sums of whole numbers are the same at any place."""
BRIGHTEST = 15_000
TUNED_PIXEL_M, FINEST_PIXEL_M = 10.0, 5.0
SHADOW_REACH_PX = 300

SCATTER = (1.0, 0.6, 0.3, 0.12)
"""Haze of a clear sky in each band, beside that in blue (Chavez 1988)."""
DARKEST_GROUND = 0.01
MOST_HAZE, MOST_HAZE_L2A = 0.11, 0.04
"""In blue; beyond, it is cloud: the clear training scenes stay below. L2A is freed of haze."""


@dataclass(frozen=True, slots=True)
class Size:
    """How white a square of ``2 * radius_px + 1`` must be, at its darkest, to be cloud.

    The larger a white thing is, the fainter it may be: nothing on the ground is white without a
    gap over hundreds of metres. ``lowest`` holds over dark ground, ``highest`` over bright.
    """

    radius_px: int
    lowest: float
    highest: float


# What follows was fitted to the training scenes alone: docs/masks.md says how.
SIZES = (Size(2, 0.06, 0.30), Size(4, 0.045, 0.18), Size(8, 0.035, 0.08), Size(16, 0.03, 0.06))
AROUND_PX = 64
SCENE_WEIGHT = 0.1  # the scene's mean counts as this part of the surroundings
GROUND_FREE, GROUND_GAIN = 0.01, 4.0
FRINGE_PX, NARROW_FRINGE_PX, LARGE_PX = 24, 8, 4  # roofs are small, their yards no fringe
FRINGE_OVER, FRINGE_LOWEST, FRINGE_HIGHEST = 0.04, 0.03, 0.09
THICK = 0.16
GAP_PX = 4
DARK_NIR, DARK_GREEN, DARK_GREEN_ALONE = 0.64, 0.77, 0.62  # beside the lit ground around
WATER_NIR_OVER_GREEN = 0.7
SPECK_PX = 2
STRETCH, UNLIKELY_DARKER, UNLIKELY_SPECK_PX = 1.6, 0.75, 5  # shadows of clouds unlike the most


@dataclass(frozen=True)
class SpectralDetector:
    """Finds clouds by whiteness and size, shadows by darkness and by the clouds that throw them.

    ``prepare`` learns from a scene how much haze lies over its darkest pixels, which tells L1C
    from L2A, how white its ground is and how bright where lit, and where its shadows fall.

    Attributes:
        name: how it is named in options and reports.
        bands: blue, green, red and near infrared, or the first three.
        sun_azimuth_deg: where the sun stands, clockwise from north; None lets the scene tell.
        gain: reflectance of one unit of the scene's values.
        pixel_m: side of a pixel on the ground.
        haze: reflectance of the haze in each band.
        ground: whiteness of clear ground.
        lit: reflectance of lit ground in green and, with four bands, near infrared.
        throw: where shadows fall; None finds no shadows.
    """

    name: str = "spectral"
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08")
    sun_azimuth_deg: float | None = None
    gain: float = 1.0
    pixel_m: float = TUNED_PIXEL_M
    haze: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    ground: float = 0.02
    lit: tuple[float, ...] = (0.08, 0.3)
    throw: Throw | None = None

    stride_px = 1

    @property
    def margin_px(self) -> int:
        """How far it looks around a pixel."""
        around, largest = self._px(AROUND_PX), self._px(max(size.radius_px for size in SIZES))
        cloud = 2 * largest + self._px(FRINGE_PX) + around + self._px(FRINGE_PX)
        if self.throw is None:
            return cloud
        dark = max(self._px(GAP_PX) + around, self.throw.stretched(STRETCH).farthest_px)
        return cloud + dark + 3 * self._px(UNLIKELY_SPECK_PX) + 1

    def prepare(self, scene: Scene, on_progress: Listener = silent) -> Self:
        """Return the detector calibrated to a scene, on samples of at most nine megapixels."""
        scene = scene.select(self.bands)
        known = self.sun_azimuth_deg
        samples = samples_of(scene, on_progress, n_stages=2)
        fresh = replace(
            self,
            gain=display_gain(samples) if scene.sensor.unit == "display" else 1.0,
            pixel_m=sqrt(np.prod(pixel_size_m(scene.geobox))),
            throw=None,
        )
        most = MOST_HAZE_L2A if scene.sensor.level == "L2A" else MOST_HAZE
        fresh = replace(fresh, haze=fresh._haze_over(samples, most))
        levels = [(fresh._levels(reflectance), valid) for reflectance, valid in samples]
        del samples
        fresh = replace(fresh, ground=fresh._ground_of(levels))
        clouds = [fresh._clouds(*sample)[0] for sample in levels]
        fresh = replace(fresh, lit=_lit_of(levels, clouds))
        shortest = min(min(valid.shape) for _, valid in levels)
        reach_px = min(fresh._px(SHADOW_REACH_PX), int(shortest / PART_OF_SAMPLE))
        votes = []
        for (bands, valid), cloud in zip(levels, clouds, strict=True):
            dark = fresh._darkness(bands, valid, cloud) < 1
            votes.append(Votes.of(cloud, dark, valid & ~cloud, reach_px))
            on_progress(Progress(len(levels) + len(votes), 2 * len(levels), "calibrating"))
        toward = None if known is None else away_from_sun(known, scene.geobox)
        return replace(fresh, throw=sum(votes[1:], votes[0]).throw(toward))

    def classes(self, reflectance: Floats, valid: Flags) -> Classes:
        """Return (H, W) codes of ``CLASSES`` for (C, H, W) values and (H, W) validity."""
        bands = self._levels(reflectance)
        cloud, is_thick = self._clouds(bands, valid)
        codes = np.full(valid.shape, CLEAR, np.uint8)
        if self.throw is not None:
            codes[self._shadows(bands, valid, cloud, self.throw)] = SHADOW
        codes[cloud] = THIN
        codes[cloud & is_thick] = CLOUD
        codes[~valid] = NODATA
        return codes

    def _px(self, tuned_px: float) -> int:
        """The length in this scene's pixels of what ``tuned_px`` pixels of 10 m measure.

        Pixels below 5 m count as 5 m: windows would grow without end.
        """
        return max(1, round(tuned_px * TUNED_PIXEL_M / max(self.pixel_m, FINEST_PIXEL_M)))

    def _disk(self, tuned_px: float) -> Disk:
        return Disk.of_px(self._px(tuned_px))

    def _levels(self, reflectance: Floats) -> Levels:
        """The bands without haze, in whole levels."""
        haze = np.array(self.haze[: len(reflectance)], np.float32)[:, None, None]
        levels = np.rint((reflectance * np.float32(self.gain) - haze) * np.float32(LEVELS))
        return np.asarray(np.clip(levels, -LEVELS // 10, BRIGHTEST), np.int16)

    def _haze_over(self, samples: Sequence[tuple[Floats, Flags]], most: float) -> tuple[float, ...]:
        """Reflectance that the darkest pixels have and dark ground has not, band by band."""
        pixels = some_pixels(samples) * np.float32(self.gain)
        if not pixels.size:
            return tuple(0.0 for _ in self.bands)
        in_blue = np.clip(np.percentile(pixels[0], 0.5) - DARKEST_GROUND, 0, most)
        darkest = np.maximum(np.percentile(pixels[1:], 0.2, axis=1), 0)
        others = np.minimum(in_blue * np.array(SCATTER[1 : len(pixels)]), darkest)
        return (float(in_blue), *map(float, others))

    def _ground_of(self, samples: Sequence[tuple[Levels, Flags]]) -> float:
        """Middle whiteness of the pixels that no bright cloud is near."""
        clear = []
        for bands, valid in samples:
            smooth = opened(_whiteness(bands), valid, 1)
            bright = opened(smooth, valid, self._px(2)) > 0.2 * LEVELS
            clear.append(smooth[valid & ~dilate(bright, self._disk(15))])
        pixels = np.concatenate(clear)
        return float(np.median(pixels)) / LEVELS if len(pixels) > 2_000 else self.ground

    def _clouds(self, bands: Levels, valid: Flags) -> tuple[Flags, Flags]:
        """Which pixels are cloud, and which are as white as thick cloud."""
        white = _whiteness(bands)
        smooth = opened(white, valid, 1)
        by_size = [opened(white, valid, self._px(size.radius_px)) for size in SIZES]
        core = np.zeros(valid.shape, bool)
        for size, level in zip(SIZES, by_size, strict=True):
            core |= level > size.highest * LEVELS
        open_ground = valid & ~dilate(core, self._disk(FRINGE_PX))
        ground = self._ground_around(smooth, open_ground)
        excess = GROUND_GAIN * np.maximum(ground - np.float32(GROUND_FREE * LEVELS), 0)
        large = np.zeros(valid.shape, bool)
        for size, level in zip(SIZES, by_size, strict=True):
            low, high = size.lowest * LEVELS, size.highest * LEVELS
            white_enough = level > np.minimum(excess + np.float32(low), np.float32(high))
            core |= white_enough
            if size.radius_px >= LARGE_PX:
                large |= white_enough
        over = np.clip(
            ground + np.float32(FRINGE_OVER * LEVELS),
            np.float32(FRINGE_LOWEST * LEVELS),
            np.float32(FRINGE_HIGHEST * LEVELS),
        )
        near = dilate(core, self._disk(NARROW_FRINGE_PX)) | dilate(large, self._disk(FRINGE_PX))
        cloud = core | ((smooth > over) & near)
        return cloud & valid, smooth > THICK * LEVELS

    def _ground_around(self, smooth: Levels, open_ground: Flags) -> Floats:
        """Mean whiteness of the clear ground around each pixel, in levels."""
        radius = self._px(AROUND_PX)
        weight = np.float32(SCENE_WEIGHT * (2 * radius + 1) ** 2)
        total = box_sum(np.where(open_ground, smooth, 0), radius, BRIGHTEST).astype(np.float32)
        count = box_sum(open_ground, radius, 1).astype(np.float32)
        total += weight * np.float32(self.ground * LEVELS)
        return np.asarray(total / (count + weight))

    def _darkness(self, bands: Levels, valid: Flags, cloud: Flags) -> Floats:
        """How dark ground is beside the lit ground around: below 1 it is as dark as shadow.

        Infinite where it is cloud, water or not valid.
        """
        open_ground = valid & ~dilate(cloud, self._disk(GAP_PX))
        green, is_ground = bands[1], valid & ~cloud
        share = green / self._lit_around(green, open_ground, self.lit[0], 0.25)
        if len(bands) == 3:
            share /= np.float32(DARK_GREEN_ALONE)
        else:
            share /= np.float32(DARK_GREEN)
            lit = self._lit_around(bands[3], open_ground, self.lit[1], 1.0)
            np.maximum(share, bands[3] / lit / np.float32(DARK_NIR), out=share)
            is_ground &= bands[3] > np.float32(WATER_NIR_OVER_GREEN) * green
        share[~is_ground] = np.inf
        return np.asarray(share)

    def _lit_around(self, band: Levels, open_ground: Flags, lit: float, brightest: float) -> Floats:
        """Mean level of the ground around each pixel, in which bright pixels count for more.

        It is the sum of squares over the sum, which shadows hardly lower; of 180 steps up to
        ``brightest``, so that the sums stay small.
        """
        radius, step = self._px(AROUND_PX), brightest * LEVELS / 180
        steps = np.clip(band / np.float32(step), 0, 180).astype(np.int32) * open_ground
        weight = np.float32(SCENE_WEIGHT * (2 * radius + 1) ** 2)
        level = np.float32(max(lit * LEVELS / step, 1))
        squares = box_sum(steps * steps, radius, 180**2).astype(np.float32)
        total = box_sum(steps, radius, 180).astype(np.float32)
        return np.asarray(
            (squares + weight * level * level) / (total + weight * level) * np.float32(step)
        )

    def _shadows(self, bands: Levels, valid: Flags, cloud: Flags, throw: Throw) -> Flags:
        """Dark ground where the clouds throw their shadows.

        Very dark ground also where a higher or lower cloud may, or one beyond the edge.
        """
        likely, possible = throw.steps(), throw.stretched(STRETCH).steps()
        reach = max(max(abs(row), abs(col)) for row, col in possible)
        source = np.pad(cloud | ~valid, reach, constant_values=True)
        thinkable = _thrown(source, possible, reach)
        if not thinkable.any():
            return thinkable
        expected = _thrown(np.pad(cloud, reach), likely, reach)
        darkness = self._darkness(bands, valid, cloud)
        shadow = without_specks((darkness < 1) & expected, self._disk(SPECK_PX))
        shadow |= without_specks(
            (darkness < UNLIKELY_DARKER) & thinkable, self._disk(UNLIKELY_SPECK_PX)
        )
        return dilate(shadow, Disk.of_px(1)) & valid & ~cloud


def _whiteness(bands: Levels) -> Levels:
    """The darkest of the bands, less where red exceeds blue: bare soil is bright and red."""
    blue, green, red = bands[:3]
    white = np.minimum(np.minimum(blue, green), np.minimum(red, 2 * blue - red))
    return np.asarray(white if len(bands) == 3 else np.minimum(white, bands[3]))


def _lit_of(samples: Sequence[tuple[Levels, Flags]], clouds: Sequence[Flags]) -> tuple[float, ...]:
    """What lit ground reflects in green and near infrared: most of a scene is lit."""
    lit = []
    for band in range(1, len(samples[0][0]), 2):
        pixels = np.concatenate(
            [
                bands[band][valid & ~cloud]
                for (bands, valid), cloud in zip(samples, clouds, strict=True)
            ]
        )
        lit.append(float(np.percentile(pixels, 70)) / LEVELS if len(pixels) > 500 else 0.1 * band)
    return tuple(lit)


def _thrown(flags: Flags, steps: Sequence[tuple[int, int]], pad: int) -> Flags:
    """Flags, padded by ``pad``, moved by each of the steps; all of them together, unpadded."""
    height, width = flags.shape[0] - 2 * pad, flags.shape[1] - 2 * pad
    out = np.zeros((height, width), bool)
    for row, col in steps:
        out |= flags[pad - row : pad - row + height, pad - col : pad - col + width]
    return out


def box_sum(values: Whole, radius_px: int, highest: int) -> Whole:
    """Exact sums (H, W) of whole numbers over squares of ``2 * radius_px + 1``; outside is 0.

    ``highest`` bounds the values; it chooses integers that the sums fit.
    """
    side = 2 * radius_px + 1
    # running sums may wrap around: their differences do not
    dtype = np.int32 if highest * side * side < 2**31 else np.int64
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius_px + 1, radius_px)
        running = np.cumsum(np.pad(values, pad), axis=axis, dtype=dtype)
        length = running.shape[axis]
        ends, starts = range(side, length), range(length - side)
        values = np.subtract(running.take(ends, axis), running.take(starts, axis))
    return values


def opened(values: Levels, valid: Flags, radius_px: int) -> Levels:
    """Levels without what is brighter than its surroundings and narrower than a square.

    Each pixel gets the highest of the darkest levels in the squares of ``2 * radius_px + 1``
    around it; what is not valid is left out of both.
    """
    lowest, highest = np.iinfo(np.int16).min, np.iinfo(np.int16).max
    darkest = _extreme(np.where(valid, values, highest), radius_px, np.minimum, highest)
    return _extreme(np.where(valid, darkest, lowest), radius_px, np.maximum, lowest)


def _extreme(values: Levels, radius_px: int, choose: np.ufunc, outside: int) -> Levels:
    """The least or greatest over squares of ``2 * radius_px + 1``, in few passes."""
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius_px, radius_px)
        values = np.moveaxis(np.pad(values, pad, constant_values=outside), axis, 0)
        covers, side = 1, 2 * radius_px + 1
        while covers < side:
            step = min(covers, side - covers)
            values = choose(values[:-step], values[step:])
            covers += step
        values = np.moveaxis(values, 0, axis)
    return values
