"""Case: one cloudy scene, what it should look like without clouds, and what may help."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geodecloud.geo.fill import Fill
from geodecloud.geo.masks import Disk, dilate
from geodecloud.geo.references import Reference
from geodecloud.geo.scene import ArrayMask, ArrayScene, Scene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.learn.cutting import CLEAR, SHADOW, THICK, THIN

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.uint8]

RING_PX = 5
"""How far the ring around a mask reaches: where a seam would show."""

MASK_GROWTH_M = 30.0
"""Masks reach this far beyond the cloud, as those of careful detectors do."""

LEAST_MASKED, LEAST_CLEAR = 0.02, 0.03
"""Shares of a case without which there is nothing to draw, or nothing to draw it from."""

KINDS = MappingProxyType({"thin": THIN, "thick": THICK, "shadow": SHADOW})

# Ground is told by its spectrum: by NDVI (Tucker 1979) and NDWI (McFeeters 1996).
VEGETATION_ABOVE, WATER_ABOVE = 0.4, 0.0


@dataclass(frozen=True, eq=False)
class Case:
    """One window that is cloudy, and the truth about it.

    Attributes:
        name: what messages and pictures call it.
        place: what figures are averaged over first, and drawn anew by the bootstrap.
        kind: what hangs over it: a type of sky, "pair", "triplet".
        scene: the cloudy window; its sensor says the unit and the level.
        target: (C, H, W) float32 in the sensor's unit: what should stand there.
        classes: (H, W) uint8, the truth: clear, thin, thick, shadow.
        mask: (H, W) bool: what is to be drawn.
        counted: (H, W) bool: where the target is known.
        references: other dates on the same grid, the nearest first.
        extras: further inputs of models by name, such as "sar".
        source: what is drawn from, where that is not the window itself: radar, for colours.
        may_be_shown: whether its pixels may be published in a picture.
    """

    name: str
    place: str
    kind: str
    scene: ArrayScene
    target: Floats
    classes: Classes
    mask: Flags
    counted: Flags
    references: tuple[Reference, ...] = ()
    extras: Mapping[str, Scene] = field(default_factory=dict)
    source: ArrayScene | None = None
    may_be_shown: bool = True

    @property
    def whole(self) -> Window:
        """All of the case."""
        return Window.whole(shape_of(self.scene.geobox))

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the C bands."""
        return self.scene.sensor.band_names

    @property
    def is_usable(self) -> bool:
        """Whether there is something to draw, and something to draw it from."""
        masked = (self.mask & self.counted).mean()
        return bool(masked >= LEAST_MASKED and (~self.mask & self.counted).mean() >= LEAST_CLEAR)

    @cached_property
    def pixels(self) -> Floats:
        """(C, H, W) of what is seen, in the sensor's unit."""
        return self.scene.sensor.to_reflectance(self.scene.read(self.whole)[0])

    @cached_property
    def filled(self) -> Filled:
        """The fill of the whole case, made once for all who build on it."""
        start = time.process_time()
        values = Fill.build(self.scene, ArrayMask(self.mask)).read(self.whole)
        return Filled(values, time.process_time() - start)

    def pasted(self, answer: Floats) -> Floats:
        """Return an answer (C, H, W) under the mask, and the case's own pixels outside of it."""
        return np.where(self.mask, answer, self.pixels)

    @cached_property
    def regions(self) -> Mapping[str, Flags]:
        """Where (H, W) bool each region lies; what has no pixel is left out.

        "whole" is what counts; "masked" what of it is drawn, and of that "thin", "thick" and
        "shadow"; outside of the mask "ring", ``RING_PX`` around it, and "clear", the rest. Where
        the bands tell the ground, what of "masked" is "vegetation", "bare" and "water".
        """
        drawn = self.counted & self.mask
        near = dilate(self.mask, Disk.of_px(RING_PX))
        found = {
            "whole": self.counted,
            "masked": drawn,
            **{name: drawn & (self.classes == number) for name, number in KINDS.items()},
            "ring": self.counted & near & ~self.mask,
            "clear": self.counted & ~near,
            **{name: drawn & where for name, where in self._grounds().items()},
        }
        return {name: where for name, where in found.items() if where.any()}

    def _grounds(self) -> dict[str, Flags]:
        if not {"B03", "B04", "B08"} <= set(self.bands):
            return {}
        green, red, near_infrared = self.target[self.scene.sensor.index(("B03", "B04", "B08"))]
        is_water = _index(green, near_infrared) > WATER_ABOVE
        is_green = ~is_water & (_index(near_infrared, red) > VEGETATION_ABOVE)
        return {"vegetation": is_green, "bare": ~is_green & ~is_water, "water": is_water}


class Filled(NamedTuple):
    """A fill that was drawn: (C, H, W) values, and the CPU seconds that it took."""

    values: Floats
    seconds: float

    def read(self, window: Window) -> Floats:
        """Return the values of a window, as ``geo.fill.Fill`` does."""
        return self.values[:, *window.slices]


def mask_of(classes: Classes, scene: Scene) -> Flags:
    """Return what is not clear, grown by ``MASK_GROWTH_M``: (H, W) bool."""
    return dilate(classes != CLEAR, Disk.of_metres(MASK_GROWTH_M, scene.geobox))


def _index(one: Floats, other: Floats) -> Floats:
    """The normalised difference of two bands."""
    total = one + other
    index: Floats = np.zeros_like(total)
    np.divide(one - other, total, out=index, where=np.abs(total) > 1e-4)
    return index
