"""Choice: which chips of a scene are worth keeping; ClippedScene: a scene inside of areas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from geodecloud.errors import OptionError
from geodecloud.geo.masks import CLEAR, CLOUD, THIN
from geodecloud.geo.polygons import Polygons
from geodecloud.geo.profile import Profile, profile_of
from geodecloud.geo.scene import Scene
from geodecloud.geo.tiling import Window

Flags = npt.NDArray[np.bool_]
Reason = Literal["nodata", "cloud"]


@dataclass(frozen=True)
class Choice:
    """Which chips of a scene are worth keeping; the default keeps all.

    Attributes:
        min_valid: share of a chip's pixels, inside the scene, that must be valid in all bands.
        max_cloud: share of its valid pixels that may be cloud or thin cloud.
        beside: scenes of the same grid whose pixels must be valid as well.
        classes: codes of ``CLASSES`` on the same grid; needed where ``max_cloud`` is below 1.
    """

    min_valid: float = 0.0
    max_cloud: float = 1.0
    beside: Sequence[Scene] = ()
    classes: Scene | None = None

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        for name in ("min_valid", "max_cloud"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(
                    f"{name} is {getattr(self, name)}", "a share lies between 0 and 1", "try 0.5"
                )

    def refuses(self, place: Window, valid: Flags, shape: tuple[int, int]) -> Reason | None:
        """Return why a chip is left out, None where it is kept.

        Args:
            place: where it lies; may reach beyond the scene.
            valid: (C, H, W) of its own pixels.
            shape: of the scene.
        """
        if self.min_valid == 0 and self.classes is None:
            return None
        inside = place & Window.whole(shape)
        rows, cols = inside.relative_to(place).slices
        is_valid = valid[:, rows, cols].all(0)
        for scene in self.beside:
            is_valid &= scene.read(inside)[1].all(0)
        if is_valid.mean() < self.min_valid:
            return "nodata"
        if self.classes is None or not is_valid.any():
            return None
        is_cloud = np.isin(self.classes.read(inside)[0][0], (CLOUD, THIN))
        return "cloud" if is_cloud[is_valid].mean() > self.max_cloud else None


class ClippedScene:
    """A scene without what lies outside of some areas.

    There pixels are invalid, and nodata in bands that have one.

    Args:
        scene: what is clipped.
        areas: on its grid.
    """

    def __init__(self, scene: Scene, areas: Polygons) -> None:
        """Take the scene as it is."""
        self.scene, self.areas = scene, areas
        self.geobox, self.sensor = scene.geobox, scene.sensor

    @property
    def profile(self) -> Profile:
        """That of the scene, which marks what is outside."""
        profile = profile_of(self.scene)
        return replace(profile, is_masked=profile.is_masked or None in profile.nodata)

    def read(self, window: Window) -> tuple[npt.NDArray[Any], Flags]:
        """Return stored numbers and validity of a window, each (C, H, W)."""
        dn, valid = self.scene.read(window)
        is_outside = self.areas.read(window) == CLEAR
        for plane, band, declared in zip(dn, self.sensor.bands, self.profile.nodata, strict=True):
            nodata = band.nodata if declared is None else declared
            if nodata is not None:
                plane[is_outside] = nodata
        return dn, valid & ~is_outside

    def select(self, names: Sequence[str]) -> ClippedScene:
        """Return the scene with these bands alone, in the order asked."""
        return ClippedScene(self.scene.select(names), self.areas)
