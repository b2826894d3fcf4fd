"""Canvas: blank pixels of a target sensor on a scene's grid, to be drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from geodecloud.geo.profile import Profile, profile_of
from geodecloud.geo.scene import Array, Scene
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.geo.tiling import Window

GENERATED_TAG = "GEODECLOUD_GENERATED_BY"
"""Band tag with the name of the model that drew pixels of it."""


class Canvas:
    """A scene without content: valid where another one is, in the bands of another sensor.

    Args:
        scene: gives the grid, and says where there is something to draw.
        sensor: what the drawn numbers will mean.
        profile: how they are stored.

    Example:
        >>> from geodecloud.geo.scene import ArrayScene
        >>> grey = ArrayScene(np.ones((1, 1, 2), np.uint8), Sensor("grey", (Band("luma"),)))
        >>> Canvas.of(grey, ("red", "green", "blue"), "rgb").read(Window(0, 0, 1, 2))[0].shape
        (3, 1, 2)
    """

    def __init__(self, scene: Scene, sensor: Sensor, profile: Profile) -> None:
        """Hold the scene; its bands together say which pixels are valid."""
        self._scene = scene
        self.geobox, self.sensor, self.profile = scene.geobox, sensor, profile

    @classmethod
    def of(
        cls,
        scene: Scene,
        bands: Sequence[str],
        sensor_name: str | None = None,
        *,
        generated_by: str | None = None,
    ) -> Canvas:
        """Return the canvas for what a model draws from the bands of a scene.

        The encoding is the scene's own where it is of that sensor and has the bands; else that of
        the known sensor; else float32, with NaN for no measurement.
        """
        sensor, profile = _encoding(scene, tuple(bands), sensor_name)
        if generated_by is not None:
            tags = tuple({**tags, GENERATED_TAG: generated_by} for tags in profile.band_tags)
            profile = replace(profile, band_tags=tags)
        return cls(scene, sensor, profile)

    def read(self, window: Window) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Return blank numbers and validity of a window, each (C, H, W)."""
        _, valid = self._scene.read(window)
        shape = (len(self.sensor.bands), *window.shape)
        dn = np.zeros(shape, self.profile.dtype)
        for channel, nodata in zip(dn, self.profile.nodata, strict=True):
            if nodata is not None:
                channel[...] = nodata
        return dn, np.broadcast_to(valid.any(0), shape).copy()

    def select(self, names: Sequence[str]) -> Canvas:
        """Return the canvas with these bands alone, in the order asked."""
        index = self.sensor.index(names)
        return Canvas(self._scene, self.sensor.select(names), self.profile.select(index))


def _encoding(
    scene: Scene, bands: tuple[str, ...], sensor_name: str | None
) -> tuple[Sensor, Profile]:
    known, own = SENSORS.get(sensor_name or ""), scene.sensor
    has_bands = set(bands) <= set(own.band_names)
    if has_bands and (known is None or own.name == sensor_name):
        selected = scene.select(bands)
        return selected.sensor, profile_of(selected)
    if known is not None and set(bands) <= set(known.band_names):
        sensor = known.select(bands)
    else:
        drawn = tuple(Band(name, nodata=np.nan, dtype="float32") for name in bands)
        sensor = Sensor(sensor_name or "unknown", drawn)
    profile = Profile.for_sensor(sensor)
    has_holes = profile_of(scene).is_masked or any(b.nodata is not None for b in own.bands)
    return sensor, replace(profile, is_masked=has_holes and None in profile.nodata)
