"""ReadingOptions: what the stored numbers of a scene mean, where its files do not say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from geodecloud.geo.raster import SceneSource, opened
from geodecloud.geo.scene import Scene
from geodecloud.geo.sensors import Sensor


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How a scene is read; None leaves it to the scene's own metadata.

    Attributes:
        bands, scale, offset, level: what the stored numbers are; reflectance is
            ``(dn + offset) * scale``.
        sensor: all of that at once: a sensor, or the TOML file that describes it.
        resolution_m: pixel size of the scene; None takes that of its finest band.
    """

    bands: Sequence[str] | None = None
    scale: float | None = None
    offset: float | None = None
    level: str | None = None
    sensor: Sensor | str | Path | None = None
    resolution_m: float | None = None

    @contextmanager
    def opened(self, source: SceneSource) -> Iterator[Scene]:
        """Give an open scene as it is, or open one as these options say, and close it again."""
        asked = {each.name: getattr(self, each.name) for each in fields(ReadingOptions)}
        with opened(source, **asked) as scene:
            yield scene
