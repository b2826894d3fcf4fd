"""DecibelScene: radar backscatter in decibels, however a file stores it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from geodecloud.errors import RadiometryError
from geodecloud.geo.plausible import sampled
from geodecloud.geo.profile import Profile, profile_of
from geodecloud.geo.radiometry import SENTINEL1
from geodecloud.geo.scene import Scene
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Window

Array = npt.NDArray[Any]
Quantity = Literal["dB", "power", "amplitude"]

CONVERTED_TAG = "GEODECLOUD_CONVERTED"
"""Band tag that says how stored numbers became decibels."""

_FACTORS: dict[Literal["power", "amplitude"], float] = {"power": 10.0, "amplitude": 20.0}

_WORDS: tuple[tuple[re.Pattern[str], Quantity], ...] = (
    (re.compile(r"(?<![a-z])(db|decibels?)(?![a-z])", re.I), "dB"),
    (re.compile(r"(?<![a-z])(amplitude|ampl?)(?![a-z])", re.I), "amplitude"),
    (re.compile(r"(?<![a-z])(power|linear|intensity)(?![a-z])", re.I), "power"),
)
# ASF HyP3 tells by one letter: ..._RTC30_G_gpuned_1234: gamma0, power, unmasked, ...
_HYP3 = re.compile(r"_RTC\d\d_[GS]_[gs]([pda])[uw][nf][ec][dm]_", re.I)
_HYP3_LETTERS: dict[str, Quantity] = {"p": "power", "d": "dB", "a": "amplitude"}

DB_MEDIANS = (-60.0, 10.0)
MAX_POWER_MEDIAN = 10.0
"""The median of an image lies between these, and that of its power below this."""


class DecibelScene:
    """Backscatter in decibels out of a scene that stores power or amplitude.

    10 log10 of power, 20 log10 of amplitude; what is not above 0 has no logarithm and is invalid.
    Bands that are no polarisation are handed on.

    Args:
        scene: bands VV, VH.
        quantity: what it stores.
    """

    def __init__(self, scene: Scene, quantity: Literal["power", "amplitude"]) -> None:
        """Describe the bands anew."""
        self.scene, self.quantity = scene, quantity
        self.geobox = scene.geobox
        self.sensor = replace(
            scene.sensor, unit="dB", bands=tuple(_decibel_band(b) for b in scene.sensor.bands)
        )
        factor = f"{_FACTORS[quantity]:g} log10 of {quantity}"
        stored = profile_of(scene)
        self.profile = replace(
            Profile.for_sensor(self.sensor),
            units=tuple("dB" if n in SENTINEL1 else None for n in self.sensor.band_names),
            tags=stored.tags,
            band_tags=tuple({**tags, CONVERTED_TAG: factor} for tags in stored.band_tags),
        )

    def read(self, window: Window) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return decibels and validity of a window, each (C, H, W); NaN where there are none."""
        dn, valid = self.scene.read(window)
        values = self.scene.sensor.to_reflectance(dn)
        for channel, name in enumerate(self.sensor.band_names):
            if name in SENTINEL1:
                valid[channel] &= values[channel] > 0
                known = np.where(valid[channel], values[channel], 1)
                values[channel] = _FACTORS[self.quantity] * np.log10(known)
        values[~valid] = np.nan
        return values, valid

    def select(self, names: Sequence[str]) -> DecibelScene:
        """Return the scene with these bands alone, in the order asked."""
        return DecibelScene(self.scene.select(names), self.quantity)


def is_backscatter(sensor: Sensor) -> bool:
    """Say whether a sensor is radar whose numbers are, or become, decibels."""
    return sensor.name == "sentinel-1-rtc" or sensor.unit in _FACTORS


def in_decibels(scene: Scene, stem: str) -> Scene:
    """Return a Sentinel-1 scene in decibels: itself where it stores them.

    Raises:
        As ``quantity_of``.
    """
    return out_of(scene, quantity_of(scene, stem))


def out_of(scene: Scene, quantity: Quantity) -> Scene:
    """Return a Sentinel-1 scene in decibels, where it is known what it stores."""
    return scene if quantity == "dB" else DecibelScene(scene, quantity)


def quantity_of(scene: Scene, stem: str) -> Quantity:
    """Return what a Sentinel-1 scene stores, after a look at some of its pixels.

    What it stores is said by the caller's sensor, the unit of the bands, their descriptions, the
    file's name, in this order; else the pixels tell: decibels of land and water are negative in
    the middle, and power never is.

    Args:
        scene: with bands VV, VH.
        stem: name of its file without the ending.

    Raises:
        RadiometryError: the numbers are neither, such as those of an uncalibrated product.
    """
    _check_scaled(scene)
    dn, valid = sampled(scene)
    values = scene.sensor.to_reflectance(dn)
    radar = [i for i, name in enumerate(scene.sensor.band_names) if name in SENTINEL1]
    middle = float(np.median(values[radar][valid[radar]])) if valid[radar].any() else -1.0
    quantity = _said(scene, stem) or ("dB" if middle < 0 else "power")
    low, high = DB_MEDIANS if quantity == "dB" else (0.0, MAX_POWER_MEDIAN)
    if not low <= middle <= high:
        raise RadiometryError(
            f"bands {', '.join(scene.sensor.band_names)} have the median {middle:.4g}, which is "
            f"taken for {quantity}",
            "backscatter is gamma0 or sigma0: in dB about -10, as power about 0.1",
            "calibrate the image first, or say what the numbers mean with --scale and --offset",
        )
    return quantity


def _decibel_band(band: Band) -> Band:
    return replace(band, scale=1.0, offset=0.0, nodata=float("nan"), dtype="float32")


def _check_scaled(scene: Scene) -> None:
    for band in scene.sensor.bands:
        is_whole = np.dtype(band.dtype).kind != "f"
        if band.name in SENTINEL1 and is_whole and (band.scale, band.offset) == (1, 0):
            raise RadiometryError(
                f"band {band.name} is stored as {band.dtype} without a scale",
                "backscatter has fractions",
                "say what the numbers mean with --scale and --offset, or take the floating-point "
                "product",
            )


def _said(scene: Scene, stem: str) -> Quantity | None:
    """What the sensor, the metadata and the name say; None where they say nothing."""
    for known in _FACTORS:
        if scene.sensor.unit == known:
            return known
    profile = profile_of(scene)
    units = [text for text in profile.units if text]
    described = [text for text in profile.descriptions if text]
    for text in (*units, *(text.replace("_", " ") for text in (*described, stem))):
        for pattern, quantity in _WORDS:
            if pattern.search(text):
                return quantity
    match = _HYP3.search(stem)
    return _HYP3_LETTERS[match[1].lower()] if match else None
