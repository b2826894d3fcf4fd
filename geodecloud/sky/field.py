"""The field of which clouds are cut: heights over a threshold, and how deep a cloud is there."""

from __future__ import annotations

from geodecloud.sky.arrays import Array, array_module, constant, is_on_cpu
from geodecloud.sky.perlin import HashGradients, Places, layered_noise
from geodecloud.sky.skies import Skies

CELLS_M = tuple(40960.0 / 2**i for i in range(12))
"""Cells of the twelve octaves of every sky, in metres: from weather fronts to two pixels."""

_BILLOWED = (5, 6, 7, 8)  # octaves that may billow: 1280 to 160 m
_SMOOTH = tuple(i for i in range(len(CELLS_M)) if i not in _BILLOWED)

LEAST_DEPTH = 0.02
"""An optical depth, or a shadow, below this changes less than a sensor's noise."""

# One octave of noise: its standard deviation (the integral of the fade and its slopes), the mean
# of its absolute value (measured), and what that adds to the variance.
_DEVIATION = 0.2157108
_MEAN_ABSOLUTE = 0.1762
_ABSOLUTE_VARIANCE = 1 - (_MEAN_ABSOLUTE / _DEVIATION) ** 2
_BROAD_FALL = 1.0  # amplitude of octaves coarser than the clouds, by halving of the frequency


def heights(skies: Skies, places: Places, blur_m: Array) -> Array:
    """Return how far the field lies above the threshold, in its standard deviations.

    (B, 1, H, W) float32; ``blur_m`` (B,) is the size under which its detail fades.
    """
    xp, gradients = array_module(skies.seed), HashGradients(skies.seed)
    amplitudes = _amplitudes(skies, blur_m)

    def octaves(numbers: tuple[int, ...]) -> Array:
        cells_m = {i: CELLS_M[i] for i in numbers}
        return layered_noise(gradients, places, cells_m, amplitudes[:, list(numbers)])

    billows = may_billow(skies)
    height = octaves(_SMOOTH if billows else tuple(range(len(CELLS_M))))
    rounded: Array | float = 0.0
    for octave in _BILLOWED if billows else ():
        noise = octaves((octave,))
        height += noise  # whole numbers still: no sum has been rounded yet, whatever the batch
        xp.abs(noise, out=noise)
        noise -= amplitudes[:, octave, None, None] * _MEAN_ABSOLUTE
        noise *= skies.billow[:, None, None]
        rounded = rounded + noise
    height += rounded
    height -= skies.threshold[:, None, None]
    return xp.asarray(height, dtype=xp.float32)[:, None]


def may_billow(skies: Skies) -> bool:
    """Whether some of these skies billow; always on a GPU, which would have to be asked."""
    return not is_on_cpu(skies.billow) or bool((skies.billow != 0).any())


def _amplitudes(skies: Skies, blur_m: Array) -> Array:
    """Return what each octave adds to a field of unit deviation: float64 (B, octaves)."""
    xp = array_module(skies.cell_m)
    cells_m = constant(CELLS_M, skies.cell_m)[None, :]
    size = xp.log(cells_m) - xp.log(skies.cell_m)[:, None]
    fall = xp.where(size > 0, _BROAD_FALL * size, -skies.roughness[:, None] * size)
    amplitude = xp.exp(-fall)
    billowed = constant(tuple(float(i in _BILLOWED) for i in range(len(CELLS_M))), cells_m)
    billow = skies.billow[:, None] * billowed
    variance = amplitude**2 * (1 + billow**2 * _ABSOLUTE_VARIANCE)
    # one after another: xp.sum may add in another order in another batch
    total = sum(variance[:, i] for i in range(len(CELLS_M)))
    deviation = xp.sqrt(total) * _DEVIATION
    sharp = 1 / (1 + (blur_m[:, None] / cells_m) ** 2)
    return amplitude * sharp / deviation[:, None]


def depth_at(height: Array, skies: Skies) -> Array:
    """Return the optical depth of clouds of this height over the threshold; 0 below it."""
    xp = array_module(height)
    rise = height * per_pixel(1 / skies.edge)
    rise = rise * rise
    depth = per_pixel(skies.depth) * (rise / (1 + rise)) + LEAST_DEPTH
    return xp.where(height > 0, depth, 0.0)


def per_pixel(values: Array) -> Array:
    """Return values (B,) as float32 (B, 1, 1, 1)."""
    xp = array_module(values)
    return xp.asarray(values, dtype=xp.float32)[:, None, None, None]
