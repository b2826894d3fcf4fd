"""Survey: what the files of a set have in common, found by a look at some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError, DataError, InputError, RadiometryError
from geodecloud.geo.listing import Samples
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.raster import RasterScene, open_scene
from geodecloud.geo.scene import Array, shape_of
from geodecloud.geo.sensors import CLASS_BANDS, SENSORS, Sensor
from geodecloud.geo.tiling import Window

LOOKED_AT = 40
"""Samples that are opened, spread evenly; their pixels are read where units are not known."""

LOOK_PX = 256

LEAST_DB, MEDIAN_DB, MOST_DB = -80.0, -3.0, 30.0
"""Radar backscatter, which floats of unnamed bands are taken for; land is at -5 to -20 dB."""

IMAGERY: Mapping[str, tuple[str, ...]] = {
    "rgb": SENSORS["rgb"].band_names,
    "sentinel1": SENSORS["sentinel-1-rtc"].band_names,
    "sentinel2": SENSORS["sentinel-2-l1c"].band_names,
    "sentinel2_l2a": SENSORS["sentinel-2-l2a"].band_names,
}
"""Bands by type of imagery, for files that do not name theirs."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files of a set are read.

    Attributes:
        bands: by side, or for the target and every side that has them: which bands, in order.
            Files of as many bands without names are given these.
        extract_bands: of these, by name or by number from 0.
        imagery_type: names the bands of files that do not: "rgb", "sentinel1", "sentinel2";
            another word is kept as the name of the sensor.
        scale, offset: value = (dn + offset) * scale; None asks the files.
    """

    bands: Sequence[str] | Mapping[str, Sequence[str]] | None = None
    extract_bands: Sequence[str | int] | None = None
    imagery_type: str | None = None
    scale: float | None = None
    offset: float | None = None

    def open(self, path: Path, side: str, sensor: Sensor | None = None) -> RasterScene:
        """Return a file as a scene of the bands that are wanted.

        ``sensor`` is what the layout knows to have seen it: it names bands that have no names, and
        says the level of reflectance that has none.

        Raises:
            InputError: it is damaged, or lacks a band.
        """
        scene = self._opened(path)
        try:
            names = self._names(scene.sensor, side, sensor)
            if names is not None:
                scene.close()
                scene = self._opened(path, names)
            if sensor is not None and _saw(sensor, scene):
                scene.sensor = replace(scene.sensor, name=sensor.name, level=sensor.level)
            scene = scene.select(self._wanted(scene.sensor, side))
            if self.imagery_type and scene.sensor.name == "unknown":
                scene.sensor = replace(scene.sensor, name=self.imagery_type)
        except BaseException:
            scene.close()
            raise
        return scene

    def _opened(self, path: Path, names: Sequence[str] | None = None) -> RasterScene:
        scene = open_scene(path, bands=names, scale=self.scale, offset=self.offset)
        if isinstance(scene, RasterScene):
            return scene
        scene.close()
        raise InputError(f"{path} is of several files", "a chip is one file", "stack its bands")

    def _asked(self, side: str) -> Sequence[str] | None:
        return self.bands.get(side) if isinstance(self.bands, Mapping) else self.bands

    def _names(self, sensor: Sensor, side: str, known: Sensor | None) -> Sequence[str] | None:
        """Names for bands that have none."""
        if not all(name.startswith("band_") for name in sensor.band_names):
            return None
        asked = self._asked(side)
        if asked is not None and len(asked) == len(sensor.bands):
            return asked
        usual = IMAGERY.get((self.imagery_type or "").lower(), known.band_names if known else ())
        return usual if len(usual) == len(sensor.bands) else None

    def _wanted(self, sensor: Sensor, side: str) -> tuple[str, ...]:
        names = sensor.band_names
        asked = self._asked(side)
        is_for_all = not isinstance(self.bands, Mapping) and side != "target"
        if asked is not None and not (is_for_all and not set(asked) <= set(names)):
            names = tuple(asked)
        else:
            plain = tuple(name for name in names if name not in CLASS_BANDS | {"alpha"})
            names = plain or names
        if self.extract_bands is None:
            return names
        try:
            return tuple(names[b] if isinstance(b, int) else b for b in self.extract_bands)
        except IndexError as error:
            raise BandError(
                f"extract_bands {list(self.extract_bands)} of {', '.join(names)}",
                "bands are counted from 0",
                "name them instead",
            ) from error


def _saw(sensor: Sensor, scene: RasterScene) -> bool:
    """Say whether a scene's bands are some of a sensor's, at a level that it does not say."""
    return scene.sensor.level is None and set(scene.sensor.band_names) <= set(sensor.band_names)


@dataclass(frozen=True, slots=True)
class SidePixels:
    """What the files of one side have in common.

    Attributes:
        sensor: bands and unit.
        shape: (height, width).
        packing: scale and offset of the unsigned 16-bit numbers that hold all values, where the
            unit's own do not; stored 0 is free for nodata.
    """

    sensor: Sensor
    shape: tuple[int, int]
    packing: tuple[float, float] | None = None


def survey(
    samples: Samples, reading: Reading, ranges: Mapping[str, tuple[float, float]]
) -> dict[str, SidePixels]:
    """Return what the files of each side have in common, by a look at some of them.

    ``ranges`` are the values that each unit can hold without a packing of its own.

    Raises:
        DataError: none of them can be opened.
        RadiometryError: what is called reflectance cannot be that.
    """
    step = max(1, len(samples) // LOOKED_AT)
    looks: dict[str, list[_Look]] = {}
    failures: list[InputError] = []
    for sample in (*samples[::step], samples[-1]):  # the last may be of a side of its own
        for side, path in sample.files.items():
            try:
                look = _look(reading.open(path, side, sample.sensors.get(side)))
                looks.setdefault(side, []).append(look)
            except RadiometryError:
                raise
            except InputError as error:
                failures.append(error)
    if failures and not all(looks.get(side) for side in samples.sides):
        raise DataError(
            f"of {len(failures)} files that were looked at none can be used: {failures[0].found}",
            failures[0].expected,
            failures[0].todo,
        )
    return {side: _common(found, ranges) for side, found in looks.items()}


@dataclass(frozen=True, slots=True)
class _Look:
    sensor: Sensor
    shape: tuple[int, int]
    values: npt.NDArray[np.float32]


def _look(opened: RasterScene) -> _Look:
    with opened as scene:
        shape, sensor = shape_of(scene.geobox), scene.sensor
        if sensor.unit not in {"reflectance", "dB"}:
            return _Look(sensor, shape, np.zeros(0, np.float32))
        dn, valid = scene.read(Window(0, 0, LOOK_PX, LOOK_PX) & Window.whole(shape))
        values = sensor.to_reflectance(dn)[valid]
        if sensor.name.startswith("sentinel-2") and values.size:
            check_radiometry(scene)
        return _Look(sensor, shape, values)


def _common(looks: Sequence[_Look], ranges: Mapping[str, tuple[float, float]]) -> SidePixels:
    kinds = Counter((look.sensor.band_names, look.sensor.unit) for look in looks)
    kind = kinds.most_common(1)[0][0]
    alike = [look for look in looks if (look.sensor.band_names, look.sensor.unit) == kind]
    shape = Counter(look.shape for look in looks).most_common(1)[0][0]
    sensor = alike[0].sensor
    values = np.concatenate([look.values for look in alike])
    if not values.size or sensor.unit not in ranges:
        return SidePixels(sensor, shape)
    low, high = float(values.min()), float(values.max())
    if _is_radar(sensor, values):
        sensor = replace(sensor, unit="dB")
    least, most = ranges[sensor.unit]
    if _is_known(sensor) or (least <= low and high <= most):
        return SidePixels(sensor, shape)
    unit = sensor.unit if sensor.unit == "dB" else "number"
    return SidePixels(replace(sensor, unit=unit), shape, _packing(sensor, low, high))


def _is_radar(sensor: Sensor, values: npt.NDArray[np.float32]) -> bool:
    is_float = all(np.dtype(band.dtype).kind == "f" for band in sensor.bands)
    within = values.min() >= LEAST_DB and values.max() <= MOST_DB
    return is_float and not _is_known(sensor) and bool(within and np.median(values) < MEDIAN_DB)


def _is_known(sensor: Sensor) -> bool:
    return sensor.name.startswith("sentinel-")


def _packing(sensor: Sensor, low: float, high: float) -> tuple[float, float]:
    """Scale and offset: exact for 16-bit numbers, else with room for half the range more."""
    first = sensor.bands[0]
    scales = {(band.scale, band.offset, band.dtype) for band in sensor.bands}
    least = {"uint16": 0 if first.nodata == 0 else -1, "int16": -(1 << 15) - 1}.get(first.dtype)
    if len(scales) == 1 and least is not None:
        return first.scale, first.offset + least * first.scale
    span = max(high - low, 1e-6)
    scale = 1.5 * span / 65534
    return scale, low - span / 4 - scale


class Trimmed:
    """A scene without the padding below and to the right of what was measured."""

    def __init__(self, scene: RasterScene, inside: tuple[int, int]) -> None:
        """Take a scene and the (height, width) that is measured."""
        height, width = (min(pair) for pair in zip(shape_of(scene.geobox), inside, strict=True))
        self._scene, self.sensor = scene, scene.sensor
        self.geobox = GeoBox((height, width), scene.geobox.affine, scene.geobox.crs)

    def read(self, window: Window) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return stored numbers and validity of a window, each (C, H, W)."""
        return self._scene.read(window)

    def select(self, names: Sequence[str]) -> Trimmed:
        """Return the scene with these bands alone, in the order asked."""
        return Trimmed(self._scene.select(names), shape_of(self.geobox))
