"""check_radiometry: whether a scene's pixels agree with what is said of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from geodecloud.errors import InputError, RadiometryError
from geodecloud.geo.radiometry import OTHERS, SENTINEL1
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.sensors import CLASS_BANDS, SENTINEL2_OFFSET_DN, Band, Sensor
from geodecloud.geo.tiling import Window

SAMPLE_PX = 128
SAMPLES_A_SIDE = 3
SEARCH_PX = 1024

MAX_TENTH_PERCENTILE = 1.2
MAX_MEDIAN = 1.6
MIN_MEDIAN = -0.03
"""Reflectance of a scene: even all cloud stays below, and even all water above."""

MIN_FLOOR = -0.05
"""Reflectance of the darkest hundredth of a band: corrections for the air go too far by less."""


def better_offset(scene: Scene) -> float | None:
    """Return the offset in stored numbers that the pixels speak for; None where they agree.

    0 where the metadata ask for one that is no longer in the numbers, and that of Sentinel-2 where
    they ask for none and the darkest numbers are what black was stored as. A few pixels are read.

    Raises:
        InputError: no pixel is valid.
    """
    sensor = scene.sensor
    floors = _floors(sensor, *sampled(scene))
    if _offset_taken_twice(sensor, floors):
        return 0.0
    return SENTINEL2_OFFSET_DN if _lacks_offset(scene, min(floors.values(), default=0)) else None


def check_radiometry(scene: Scene) -> list[str]:
    """Return what the user should know about a scene, after a look at some of its pixels.

    Reads at most nine windows of 128 px, unless those hold no measurement: then all of it, until
    one is found.

    Raises:
        InputError: no pixel is valid.
        RadiometryError: the values cannot be reflectance.
    """
    dn, valid = sampled(scene)
    notes = []
    if scene.geobox.crs is None:
        notes.append("no georeference: the scene has no coordinate system, and the output has none")
    sensor = scene.sensor
    if any(name.startswith("band_") for name in sensor.band_names):
        notes.append("the file does not name all its bands: name them with --bands")
    if sensor.unit != "reflectance":
        return notes
    floors = _floors(sensor, dn, valid)
    values = sensor.to_reflectance(dn)
    for channel, band in enumerate(sensor.bands):
        if band.name in floors:
            is_measured = valid[channel]
            _check_range(band, values[channel][is_measured], dn[channel][is_measured])
    floor = min(floors.values(), default=math.inf)
    if _lacks_offset(scene, floor):
        notes.append(
            f"the darkest numbers are about {floor:.0f}: if the product has processing "
            f"baseline 04.00 or later, pass --offset {SENTINEL2_OFFSET_DN}"
        )
    notes += _offset_taken_twice(scene.sensor, floors)
    return notes


def _floors(sensor: Sensor, dn: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> dict[str, float]:
    """The stored number that a hundredth of each reflectance band's pixels (C, H, W) lie below."""
    return {
        band.name: float(np.percentile(dn[channel][valid[channel]], 1))
        for channel, band in enumerate(sensor.bands)
        if band.name not in CLASS_BANDS | OTHERS | set(SENTINEL1) and valid[channel].any()
    }


def _lacks_offset(scene: Scene, floor: float) -> bool:
    """Whether the darkest stored number looks like a black that was stored as 1000."""
    bands = scene.sensor.bands
    is_raw = all(band.offset == 0 and np.dtype(band.dtype).kind != "f" for band in bands)
    # a larger scene holds some shadow or water; a chip may well be bright all over
    is_large = min(shape_of(scene.geobox)) >= 4 * SAMPLE_PX
    is_sentinel2 = scene.sensor.name.startswith("sentinel-2")
    return is_raw and is_large and is_sentinel2 and 0 <= floor + SENTINEL2_OFFSET_DN <= 300


def _offset_taken_twice(sensor: Sensor, floors: Mapping[str, float]) -> list[str]:
    """Whether an offset that the metadata ask for is no longer in the numbers, as a note."""
    for band in sensor.bands:
        floor = floors.get(band.name, math.inf)
        value = floor * band.scale + band.offset
        if band.offset < 0 and value < MIN_FLOOR:
            return [
                f"the darkest numbers of {band.name} are about {floor:.0f}, which its offset of "
                f"{band.offset / band.scale:.0f} makes a reflectance of {value:.3f}: if it was "
                "taken off already, pass --offset 0"
            ]
    return []


def sampled(scene: Scene) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return pixels (C, H, W) from all over a scene, and their validity.

    Raises:
        InputError: no pixel is valid.
    """
    shape = shape_of(scene.geobox)
    dn, valid = (np.concatenate(parts, axis=2) for parts in zip(*_reads(scene, shape), strict=True))
    if valid.any():
        return dn, valid
    for row, col in product(range(0, shape[0], SEARCH_PX), range(0, shape[1], SEARCH_PX)):
        dn, valid = scene.read(Window(row, col, SEARCH_PX, SEARCH_PX) & Window.whole(shape))
        if valid.any():
            return dn, valid
    raise InputError(
        "the scene has no valid pixel",
        "some pixels are measurements",
        "check its nodata value, or choose another scene",
    )


def _reads(
    scene: Scene, shape: tuple[int, int]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]]:
    """Windows on a coarse grid, all of one height."""
    height, width = (min(length, SAMPLE_PX) for length in shape)
    steps = np.linspace(0, 1, SAMPLES_A_SIDE)
    rows = sorted({round(step * (shape[0] - height)) for step in steps})
    cols = sorted({round(step * (shape[1] - width)) for step in steps})
    for row in rows:
        for col in cols:
            yield scene.read(Window(row, col, height, width))


def _check_range(band: Band, values: npt.NDArray[np.float32], dn: npt.NDArray[np.generic]) -> None:
    low, median = (float(np.percentile(values, share)) for share in (10, 50))
    if low <= MAX_TENTH_PERCENTILE and MIN_MEDIAN <= median <= MAX_MEDIAN:
        return
    raise RadiometryError(
        f"wrong value range: band {band.name} has the median {median:.4g} and the tenth "
        f"percentile {low:.4g} after scale {band.scale:.4g} and offset {band.offset:.4g} "
        f"(stored median {np.median(dn.astype(np.float64)):.6g})",
        "reflectance lies between 0 and about 1",
        "say what the numbers mean with --scale and --offset: value = (dn + offset) * scale",
    )
