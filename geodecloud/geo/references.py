"""ReferenceFill: clouds filled from what other dates saw, brought to the light of the scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from geodecloud.geo.fill import Fill, seen_by_fill
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
        used: which references share clear pixels with the scene; the others are left out.
        is_empty: there is nothing to fill from.
    """

    def __init__(
        self, layers: Sequence[_Layer], used: Sequence[int], rest: Fill, observed: Mask
    ) -> None:
        """Hold what ``build`` has made."""
        self.observed, self.used, self.is_empty = observed, tuple(used), rest.is_empty
        self._layers, self._rest = layers, rest

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
        layers = [_Layer.build(scene, mask, each, on_progress) for each in references]
        used = [i for i, layer in enumerate(layers) if not layer.difference.is_empty]
        layers = [layers[i] for i in used]
        patched, left = _stacked(scene, mask, [references[i] for i in used], layers)
        rest = Fill.build(patched, left, on_progress=on_progress)
        return cls(layers, used, rest, _Where(partial(_apart, mask, left)))

    def read(self, window: Window) -> Floats:
        """Return the filled values of a window, (C, H, W) float32 in the sensor's unit."""
        return self._rest.read(window)

    def over(self, scene: Scene, mask: Mask, references: Sequence[Reference]) -> Self:
        """Return the same fill, which comes back for its pixels to other readers.

        Args:
            scene: as it was built from, as is ``mask``.
            mask: True where a pixel is to be generated.
            references: those that are ``used``.
        """
        layers = [
            layer.over(scene, mask, reference)
            for layer, reference in zip(self._layers, references, strict=True)
        ]
        patched, left = _stacked(scene, mask, references, layers)
        observed = _Where(partial(_apart, mask, left))
        return type(self)(layers, self.used, self._rest.over(patched, left), observed)


def seen_by_reference_fill(scene: Scene, window: Window) -> Window:
    """Return the part of a scene that ``ReferenceFill.read`` of a window comes back to."""
    return seen_by_fill(scene, seen_by_fill(scene, window))


class _Layer(NamedTuple):
    """What takes a reference to the scene: a line, and what still differs, drawn on."""

    gain: Floats  # (C, 1, 1)
    offset: Floats
    difference: Fill

    @classmethod
    def build(cls, scene: Scene, mask: Mask, reference: Reference, on_progress: Listener) -> _Layer:
        line = match(scene, mask, reference)
        difference = _Derived(scene, partial(_difference, scene, reference, *line))
        return cls(*line, Fill.build(difference, mask, on_progress=on_progress))

    def over(self, scene: Scene, mask: Mask, reference: Reference) -> _Layer:
        line = self.gain, self.offset
        difference = _Derived(scene, partial(_difference, scene, reference, *line))
        return self._replace(difference=self.difference.over(difference, mask))


def _stacked(
    scene: Scene, mask: Mask, references: Sequence[Reference], layers: Sequence[_Layer]
) -> tuple[Scene, Mask]:
    """The scene with what each reference saw under the mask, and where none of them did."""
    patched: Scene = _Derived(scene, partial(_values, scene))
    left = mask
    for reference, layer in zip(references, layers, strict=True):
        patched = _Derived(scene, partial(_patched, patched, left, reference, layer))
        left = _Where(partial(_unseen, left, reference))
    return patched, left


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
        chosen = _Derived(self, partial(_selected, self._values, self.sensor.index(names)))
        chosen.sensor = self.sensor.select(names)
        return chosen


class _Where:
    """A mask computed window by window."""

    def __init__(self, flags: Callable[[Window], Flags]) -> None:
        self.read = flags


# What is computed of a window: functions of the module, so that a fill can travel.


def _selected(values: Values, index: list[int], window: Window) -> tuple[Floats, Flags]:
    pixels, valid = values(window)
    return pixels[index], valid[index]


def _values(scene: Scene, window: Window) -> tuple[Floats, Flags]:
    dn, valid = scene.read(window)
    return scene.sensor.to_reflectance(dn), valid


def _lit(
    reference: Reference, gain: Floats, offset: Floats, window: Window
) -> tuple[Floats, Flags]:
    """The reference in the scene's light; valid where it saw the ground in all bands."""
    seen, valid = _seen(reference, window)
    return gain * seen + offset, valid


def _seen(reference: Reference, window: Window) -> tuple[Floats, Flags]:
    dn, valid = reference.scene.read(window)
    whole = valid.all(0) & ~reference.mask.read(window)
    return reference.scene.sensor.to_reflectance(dn), np.broadcast_to(whole, dn.shape)


def _difference(
    scene: Scene, reference: Reference, gain: Floats, offset: Floats, window: Window
) -> tuple[Floats, Flags]:
    dn, valid = scene.read(window)
    lit, usable = _lit(reference, gain, offset, window)
    return scene.sensor.to_reflectance(dn) - lit, valid & usable


def _patched(
    below: Scene, left: Mask, reference: Reference, layer: _Layer, window: Window
) -> tuple[Floats, Flags]:
    pixels, valid = below.read(window)
    lit, usable = _lit(reference, layer.gain, layer.offset, window)
    here = left.read(window) & usable
    if not here.any():
        return pixels, valid
    return np.where(here, lit + layer.difference.read(window), pixels), valid | here


def _unseen(left: Mask, reference: Reference, window: Window) -> Flags:
    flags: Flags = left.read(window) & ~_seen(reference, window)[1][0]
    return flags


def _apart(mask: Mask, left: Mask, window: Window) -> Flags:
    return mask.read(window) & ~left.read(window)


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
