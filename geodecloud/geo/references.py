"""ReferenceFill: clouds filled from what other dates saw, brought to the light of the scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from geodecloud.geo.fill import Fill
from geodecloud.geo.scene import Mask, Scene, shape_of
from geodecloud.geo.sensors import Band
from geodecloud.geo.tiling import Window
from geodecloud.progress import Listener, silent

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

SAMPLES = 400_000
"""Pixels that a match of two dates looks at, spread over the scene."""

LEAST_SAMPLES = 200
ROUNDS = 5  # of the line, each without what lay far off the one before

MOST_GAIN = 2.0
"""More is no change of light or season, but other ground. Dates that share nothing have none."""


class Reference(NamedTuple):
    """Another date of a scene, on its grid, with its bands; ``mask`` is where it saw cloud."""

    scene: Scene
    mask: Mask


class ReferenceFill:
    """A scene whose masked pixels are taken from other dates, and drawn where none saw the ground.

    Each reference is matched to the scene band by band, by a straight line through the pixels that
    both see clearly; what still differs there, d, is drawn on under the mask as ``Fill`` does::

        out = gain * reference + offset + d

    so that the rim of a cloud meets its surroundings. References are asked in the order given;
    what none of them saw is drawn from the scene and from what they have filled. ``read`` is a
    function of the place, the same bits for any window.

    Attributes:
        observed: where the pixels of another date stand under the mask.
        n_used: references that share clear pixels with the scene; the others are left out.
        is_empty: there is nothing to fill from.
    """

    def __init__(self, rest: Fill, observed: Mask, n_used: int) -> None:
        """Hold what ``build`` has made."""
        self.observed, self.n_used, self.is_empty = observed, n_used, rest.is_empty
        self._rest = rest

    @classmethod
    def build(
        cls,
        scene: Scene,
        mask: Mask,
        references: Sequence[Reference],
        *,
        on_progress: Listener = silent,
    ) -> Self:
        """Return the fill of a scene, after some passes over its pixels and the references'.

        Args:
            scene: what is filled.
            mask: True where a pixel is to be generated.
            references: other dates on the scene's grid, with its bands in its order, in its unit.
            on_progress: hears of each block of each pass.
        """
        patched: Scene = _Derived(scene, _values_of(scene))
        left, n_used = mask, 0
        for reference in references:
            other = _Derived(scene, _matched(scene, mask, reference))
            drawn = Fill.build(
                _Derived(scene, _difference(scene, other)), mask, on_progress=on_progress
            )
            if drawn.is_empty:
                continue
            patched = _Derived(scene, _patched(patched, left, other, drawn))
            left, n_used = _Where(_unseen(left, other)), n_used + 1
        rest = Fill.build(patched, left, on_progress=on_progress)
        return cls(rest, _Where(_apart(mask, left)), n_used)

    def read(self, window: Window) -> Floats:
        """Return the filled values of a window, (C, H, W) float32 in the sensor's unit."""
        return self._rest.read(window)


Values = Callable[[Window], tuple[Floats, Flags]]


class _Derived:
    """A scene of values computed from others, window by window."""

    def __init__(self, scene: Scene, values: Values) -> None:
        self.geobox = scene.geobox
        bands = (
            Band(band.name, band.wavelength_nm, band.resolution_m, dtype="float32")
            for band in scene.sensor.bands
        )
        self.sensor = replace(scene.sensor, bands=tuple(bands))
        self._values = values

    def read(self, window: Window) -> tuple[Floats, Flags]:
        return self._values(window)

    def select(self, names: Sequence[str]) -> _Derived:
        index = self.sensor.index(names)

        def selected(window: Window) -> tuple[Floats, Flags]:
            values, valid = self._values(window)
            return values[index], valid[index]

        chosen = _Derived(self, selected)
        chosen.sensor = self.sensor.select(names)
        return chosen


class _Where:
    """A mask computed window by window."""

    def __init__(self, flags: Callable[[Window], Flags]) -> None:
        self.read = flags


def _values_of(scene: Scene) -> Values:
    def values(window: Window) -> tuple[Floats, Flags]:
        dn, valid = scene.read(window)
        return scene.sensor.to_reflectance(dn), valid

    return values


def _matched(scene: Scene, mask: Mask, reference: Reference) -> Values:
    """The reference in the scene's light; valid where it saw the ground in all bands."""
    gain, offset = match(scene, mask, reference)

    def values(window: Window) -> tuple[Floats, Flags]:
        seen, valid = _seen(reference, window)
        return gain * seen + offset, valid

    return values


def _seen(reference: Reference, window: Window) -> tuple[Floats, Flags]:
    dn, valid = reference.scene.read(window)
    whole = valid.all(0) & ~reference.mask.read(window)
    return reference.scene.sensor.to_reflectance(dn), np.broadcast_to(whole, dn.shape)


def _difference(scene: Scene, other: _Derived) -> Values:
    def values(window: Window) -> tuple[Floats, Flags]:
        dn, valid = scene.read(window)
        seen, usable = other.read(window)
        return scene.sensor.to_reflectance(dn) - seen, valid & usable

    return values


def _patched(below: Scene, left: Mask, other: _Derived, drawn: Fill) -> Values:
    def values(window: Window) -> tuple[Floats, Flags]:
        pixels, valid = below.read(window)
        seen, usable = other.read(window)
        here = left.read(window) & usable
        if not here.any():
            return pixels, valid
        return np.where(here, seen + drawn.read(window), pixels), valid | here

    return values


def _unseen(left: Mask, other: _Derived) -> Callable[[Window], Flags]:
    return lambda window: left.read(window) & ~other.read(window)[1][0]


def _apart(mask: Mask, left: Mask) -> Callable[[Window], Flags]:
    return lambda window: mask.read(window) & ~left.read(window)


def match(scene: Scene, mask: Mask, reference: Reference) -> tuple[Floats, Floats]:
    """Gain and offset (C, 1, 1) that take the reference's values to the scene's."""
    pairs = _samples(scene, mask, reference)
    lines = [_fitted(*pairs[:, band]) for band in range(pairs.shape[1])]
    gain, offset = np.array(lines, np.float32).T[..., None, None]
    return gain, offset


def _samples(scene: Scene, mask: Mask, reference: Reference) -> Floats:
    """Values (2, C, N) of pixels that both see: the reference's and the scene's."""
    height, width = shape_of(scene.geobox)
    step = max(1, int(np.ceil(np.sqrt(height * width / SAMPLES))))
    found = []
    for row in range(0, height, 512):
        window = Window(row, 0, min(512, height - row), width)
        dn, valid = scene.read(window)
        seen, usable = _seen(reference, window)
        both = (valid & usable).all(0) & ~mask.read(window)
        thinned = both[::step, ::step]
        values = scene.sensor.to_reflectance(dn)
        found.append(np.stack([side[:, ::step, ::step][:, thinned] for side in (seen, values)]))
    return np.concatenate(found, 2)


def _fitted(seen: Floats, wanted: Floats) -> tuple[float, float]:
    """Gain and offset of the line that foretells ``wanted`` best; a mere offset for few pixels.

    What lies more than three deviations (by the median) off the line is other ground: left out.
    """
    is_number = np.isfinite(seen) & np.isfinite(wanted)
    seen, wanted = seen[is_number].astype(np.float64), wanted[is_number].astype(np.float64)
    if not len(seen):
        return 1.0, 0.0
    gain, offset = 1.0, float(np.median(wanted - seen))
    for _ in range(ROUNDS if len(seen) >= LEAST_SAMPLES else 0):
        off = np.abs(wanted - gain * seen - offset)
        near = off <= 3 * 1.4826 * np.median(off)
        x, y = seen[near], wanted[near]
        spread = np.mean((x - x.mean()) ** 2)
        if spread == 0:
            break
        gain = float(np.clip(np.mean((x - x.mean()) * (y - y.mean())) / spread, 0, MOST_GAIN))
        offset = float(y.mean() - gain * x.mean())
    return gain, offset
