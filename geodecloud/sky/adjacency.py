"""What the ground around a pixel looks like on average: light that clouds bend comes from there."""

from __future__ import annotations

from geodecloud.sky.arrays import Array, array_module

REACH_M = 120.0
"""Light that a cloud has bent comes from about this far around."""

_STEPS = (1, 3, 7)  # of small blurs one after another: together all but a Gaussian


def reach_px(pixel_m: float) -> int:
    """Return how many pixels around a window its surroundings take."""
    return sum(_steps(pixel_m))


def ground_around(reflectance: Array, pixel_m: float, valid: Array | None = None) -> Array:
    """Return the mean ground around each pixel, float32 (B, C, H, W).

    A window read with ``reach_px`` around it gets what the whole gets, bit for bit; beyond the
    edge of an array the ground goes on as at the edge.

    Args:
        reflectance: (B, C, H, W).
        pixel_m: side of a pixel.
        valid: (B, C, H, W) bool, which values count; None: all. Where none is near, 0 comes back.
    """
    xp = array_module(reflectance)
    if valid is None:
        return _blurred(xp.asarray(reflectance, dtype=xp.float32), pixel_m)
    weight = _blurred(xp.asarray(valid, dtype=xp.float32), pixel_m)
    ground = _blurred(xp.asarray(xp.where(valid, reflectance, 0.0), dtype=xp.float32), pixel_m)
    return xp.where(weight > 0, ground / xp.where(weight > 0, weight, 1.0), 0.0)


def _steps(pixel_m: float) -> tuple[int, ...]:
    n = 1
    while n < len(_STEPS) and sum(_STEPS[: n + 1]) * pixel_m <= REACH_M:
        n += 1
    return _STEPS[:n]


def _blurred(field: Array, pixel_m: float) -> Array:
    """Return the field smoothed by weights 1, 2, 1 at each step, down and across.

    Sums of four, in one order everywhere: windows agree.
    """
    xp, (height, width) = array_module(field), tuple(field.shape[-2:])
    rows, cols = (xp.arange(n, device=field.device) for n in (height, width))
    for step in _steps(pixel_m):
        before, after = xp.clip(rows - step, 0, None), xp.clip(rows + step, None, height - 1)
        field = (field[:, :, before] + field[:, :, after]) * 0.25 + field * 0.5
        before, after = xp.clip(cols - step, 0, None), xp.clip(cols + step, None, width - 1)
        field = (field[:, :, :, before] + field[:, :, :, after]) * 0.25 + field * 0.5
    return field
