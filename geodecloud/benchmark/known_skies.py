"""Cases under known skies: a clear window, a synthetic sky over it, and so the whole truth."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from geodecloud.benchmark.case import Case, Classes, Flags, mask_of
from geodecloud.errors import BandError
from geodecloud.geo.masks import pixel_size_m
from geodecloud.geo.references import Reference
from geodecloud.geo.scene import ArrayScene, Scene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.learn.cutting import CLEAR, SHADOW, THICK, THIN
from geodecloud.sky.adjacency import ground_around
from geodecloud.sky.clouds import Truth, apply_sky, optical_depth
from geodecloud.sky.ground import SceneGrid
from geodecloud.sky.light import VIEW_LOSS
from geodecloud.sky.sky import Sky

LEAST_LOST = 0.05
"""The part of the ground's light that a cloud must take to be masked: fainter ones are missed."""


@dataclass(frozen=True, slots=True)
class KindOfSky:
    """A type of cloud, and how much of a window it covers."""

    type: str
    coverage: float

    def over(self, scene: Scene, name: str) -> Sky:
        """Return the sky of this kind over a scene; its seed is the case's name."""
        seed = zlib.crc32(f"{name} {self.type}".encode())
        return Sky.for_scene(scene.geobox, self.coverage, self.type, seed)


SKIES = (
    KindOfSky("cumulus", 0.35),
    KindOfSky("cirrus", 0.5),
    KindOfSky("haze", 0.6),
    KindOfSky("deck", 0.4),
    KindOfSky("fog", 0.4),
)


class Ground(NamedTuple):
    """A clear window: its pixels, and where it counts."""

    name: str
    place: str
    scene: ArrayScene
    may_be_shown: bool = True
    references: tuple[Reference, ...] = ()


def under_sky(ground: Ground, kind: KindOfSky) -> Case | None:
    """Return a clear window under a sky; None where it leaves nothing to draw, or to draw from.

    The pixels are rounded to what the scene can store. What a detector would not see stays
    outside of the mask, as it does in scenes.

    Raises:
        BandError: a band has no wavelength.
    """
    scene = ground.scene
    name = f"{ground.name}, {kind.type}"
    whole = Window.whole(shape_of(scene.geobox))
    dn, valid = scene.read(whole)
    target = scene.sensor.to_reflectance(dn)
    height_m, width_m = pixel_size_m(scene.geobox)
    cloudy, truth = apply_sky(
        target[None], _wavelengths(scene), kind.over(scene, name),
        SceneGrid.of(scene.geobox).window(0, 0, whole.shape),
        is_toa=scene.sensor.level == "L1C",
        around=ground_around(target[None], (height_m * width_m) ** 0.5, valid[None]),
    )  # fmt: skip
    changed = (cloudy[0] != target) & valid
    seen = ArrayScene(
        np.where(changed, scene.sensor.to_dn(cloudy[0]), dn), scene.sensor, scene.geobox, valid
    )
    classes, is_lost = _classes(truth), _lost(truth) > LEAST_LOST
    case = Case(
        name=name,
        place=ground.place,
        kind=kind.type,
        scene=seen,
        target=target,
        classes=classes,
        mask=mask_of(np.where(is_lost, classes, CLEAR).astype(np.uint8), scene),
        counted=np.asarray(valid.all(0)),
        references=ground.references,
        may_be_shown=ground.may_be_shown,
    )
    return case if case.is_usable else None


def behind_holes(ground: Ground, kind: KindOfSky, really_clear: Flags) -> Case | None:
    """Return a window with opaque holes in the shape of clouds: for bands of unknown wavelength.

    Args:
        ground: the window, which may be cloudy in parts.
        kind: whose shapes the holes have.
        really_clear: (H, W) bool, where the window is; the rest is masked too, and counts nowhere.
    """
    scene = ground.scene
    name = f"{ground.name}, holes like {kind.type}"
    whole = Window.whole(shape_of(scene.geobox))
    dn, valid = scene.read(whole)
    places = SceneGrid.of(scene.geobox).window(0, 0, whole.shape)
    is_hole = np.asarray(optical_depth(kind.over(scene, name), places)[0, 0] > 0)
    classes = np.where(is_hole, THICK, CLEAR).astype(np.uint8)
    hidden = scene.sensor.to_dn(np.ones(dn.shape, np.float32))
    case = Case(
        name=name,
        place=ground.place,
        kind="holes",
        scene=ArrayScene(np.where(is_hole, hidden, dn), scene.sensor, scene.geobox, valid),
        target=scene.sensor.to_reflectance(dn),
        classes=classes,
        mask=mask_of(classes, scene) | ~really_clear,
        counted=np.asarray(valid.all(0)) & really_clear,
        references=ground.references,
        may_be_shown=ground.may_be_shown,
    )
    return case if case.is_usable else None


def _lost(truth: Truth) -> Flags:
    depth, shadow = truth.optical_depth[0, 0], truth.shadow_strength[0, 0]
    return np.asarray(np.maximum(1 - np.exp(-VIEW_LOSS * depth), shadow))


def _classes(truth: Truth) -> Classes:
    classes = np.full(truth.is_thin.shape[-2:], CLEAR, np.uint8)
    for number, where in (
        (THIN, truth.is_thin), (THICK, truth.is_thick), (SHADOW, truth.is_shadow),
    ):  # fmt: skip
        classes[where[0, 0]] = number
    return classes


def _wavelengths(scene: Scene) -> list[float]:
    found = [band.wavelength_nm for band in scene.sensor.bands if band.wavelength_nm is not None]
    if len(found) < len(scene.sensor.bands):
        raise BandError(
            f"bands {', '.join(scene.sensor.band_names)} do not all have a wavelength",
            "what a cloud does to a band hangs on it",
            "name the bands as Sentinel-2 does",
        )
    return found


def in_turn(number: int, n_skies: int) -> Iterable[KindOfSky]:
    """Return the kinds that hang over the n-th of a place's windows: all come equally often."""
    return (SKIES[(number * n_skies + k) % len(SKIES)] for k in range(n_skies))
