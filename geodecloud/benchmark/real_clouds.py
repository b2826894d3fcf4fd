"""What stands under real clouds, as far as another date tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geodecloud.benchmark.case import Flags, Floats
from geodecloud.geo.fill import Fill
from geodecloud.geo.scene import ArrayMask, ArrayScene, Scene, shape_of
from geodecloud.geo.tiling import Window


def harmonised(cloudy: Scene, clear: Floats, is_clear: Flags) -> Floats:
    """Return another date in the light of a cloudy one, (C, H, W), as trainings see it.

    The difference between the two dates is taken where both are clear and drawn on beneath the
    clouds, as ``geo.fill.Fill`` draws.

    Args:
        cloudy: the scene.
        clear: (C, H, W) the other date, in the scene's unit.
        is_clear: (H, W) bool, where both dates see the ground.
    """
    whole = Window.whole(shape_of(cloudy.geobox))
    seen = cloudy.sensor.to_reflectance(cloudy.read(whole)[0])
    bands = tuple(
        replace(band, scale=1.0, offset=0.0, nodata=None, dtype="float32")
        for band in cloudy.sensor.bands
    )
    difference = ArrayScene(
        seen - clear,
        replace(cloudy.sensor, bands=bands),
        cloudy.geobox,
        np.broadcast_to(is_clear, clear.shape),
    )
    return clear + Fill.build(difference, ArrayMask(~is_clear)).read(whole)
