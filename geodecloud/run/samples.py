"""samples_of: parts of a scene that a detector is calibrated on; what a picture's unit means."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import sqrt

import numpy as np
import numpy.typing as npt

from geodecloud.geo.masks import Flags
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.sensors import DISPLAY_REFLECTANCE
from geodecloud.geo.tiling import Window
from geodecloud.progress import Listener, Progress, silent

Floats = npt.NDArray[np.float32]
Sample = tuple[Floats, Flags]
"""Values (C, H, W) in the sensor's unit, and where (H, W) they are valid."""

SAMPLE_PX, SAMPLES_A_SIDE, WHOLE_PX = 1024, 3, 1280
DISPLAY_GREEN = 0.12
"""Half of the coloured ground is darker than this in green, unless a picture was brightened."""


def samples_of(scene: Scene, on_progress: Listener = silent, *, n_stages: int = 1) -> list[Sample]:
    """Return at most nine samples of a megapixel, evenly over a scene; all of it where it is small.

    ``n_stages`` is how many stages of as many steps the calibration has: this is the first.
    """
    windows, samples = sample_windows(shape_of(scene.geobox)), []
    for window in windows:
        dn, valid = scene.read(window)
        is_valid = np.asarray(valid.all(axis=0))
        samples.append((scene.sensor.to_reflectance(np.where(is_valid, dn, 0)), is_valid))
        on_progress(Progress(len(samples), n_stages * len(windows), "calibrating"))
    return samples


def some_pixels(samples: Sequence[Sample]) -> Floats:
    """Return (C, N) values of about a million valid pixels, evenly over the samples."""
    n_pixels = sum(valid.size for _, valid in samples)
    step = max(1, int(sqrt(n_pixels / 1e6)))
    return np.concatenate(
        [value[:, ::step, ::step][:, valid[::step, ::step]] for value, valid in samples], axis=1
    )


def display_gain(samples: Sequence[Sample]) -> float:
    """Return the reflectance of one unit of a picture, blue, green and red.

    It is what ESA's pictures have, less where one was brightened.
    """
    pixels = some_pixels(samples)
    brightest = pixels.max(axis=0, initial=0)
    is_coloured = brightest - pixels.min(axis=0, initial=1) > 0.3 * brightest  # cloud is grey
    green = pixels[1, is_coloured]
    middle = float(np.median(green)) if len(green) > 0.01 * pixels.shape[1] else 0.0
    return min(DISPLAY_REFLECTANCE, DISPLAY_GREEN / max(middle, DISPLAY_GREEN))


def sample_windows(shape: tuple[int, int]) -> list[Window]:
    """Return at most nine windows, evenly over a scene; all of it where it is small."""
    spans = []
    for length in shape:
        count = 1 if length <= WHOLE_PX else min(SAMPLES_A_SIDE, -(-length // SAMPLE_PX))
        size = length if count == 1 else min(SAMPLE_PX, length // count)
        gap = (length - count * size) / count
        spans.append([(int(gap / 2 + i * (size + gap)), size) for i in range(count)])
    return [Window(row, col, height, width) for (row, height), (col, width) in product(*spans)]
