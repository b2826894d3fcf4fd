"""From the word --mask to a class raster: which source is meant, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geodecloud.errors import OptionError
from geodecloud.geo.masks import (
    CLASSES,
    CLEAR,
    CLOUD,
    MARGIN,
    NODATA,
    SHADOW,
    THIN,
    ClassCounts,
    ClassMask,
    ClassSource,
    write_classes,
)
from geodecloud.geo.raster import Profile, RasterSink, open_scene
from geodecloud.geo.scene import Scene
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.progress import Listener, silent
from geodecloud.run.detectors import DETECTORS, detector_for

DETECTED_DILATE_M = 60.0
"""How far what a detector finds grows where nothing else is asked: clouds have soft edges."""

Classes = npt.NDArray[np.uint8]
Color = tuple[int, int, int, int]


def class_profile(
    name: str, class_names: Mapping[int, str], colours: Mapping[int, Color], *, nodata: int
) -> Profile:
    """Return how a raster of classes is stored: uint8 with colours and names."""
    band = Band(name, nodata=nodata, dtype="uint8")
    return replace(
        Profile.for_sensor(Sensor(name, (band,), unit="class")),
        colorinterp=("palette",),
        colormap=dict(colours),
        class_names=dict(class_names),
    )


MASK_PROFILE = class_profile(
    "mask",
    {code: kind.name for code, kind in CLASSES.items()},
    {code: kind.colour for code, kind in CLASSES.items()},
    nodata=NODATA,
)


@contextmanager
def masked(
    scene: Scene,
    mask: str | Path,
    dilate_m: float | None = None,
    on_progress: Listener = silent,
) -> Iterator[tuple[Scene, ClassCounts]]:
    """Give the classes of a scene's pixels as a raster, and their counts, while in the context.

    Args:
        scene: whose clouds are sought.
        mask: "auto", "all", the name of a detector, or the path of a raster.
        dilate_m: growth in metres; None means ``DETECTED_DILATE_M`` for what is detected and
            0 for what was drawn.
        on_progress: told how far the detection is.

    Raises:
        OptionError: ``mask`` is neither a known word nor a file.
        BandError: the scene lacks the bands of the detector.
        GridError: the raster does not lie on the scene's grid.
    """
    with ExitStack() as stack:
        seen, source, usual_m = _source(scene, mask, stack, on_progress)
        folder = stack.enter_context(TemporaryDirectory(prefix="geodecloud-"))
        path = Path(folder) / "classes.tif"
        with RasterSink(path, scene.geobox, MASK_PROFILE, cog=False) as sink:
            counts = write_classes(
                seen,
                source,
                sink,
                dilate_m=usual_m if dilate_m is None else dilate_m,
                on_progress=on_progress,
            )
        classes = open_scene(path, bands=["mask"], scale=1, offset=0)
        stack.callback(classes.close)
        yield classes, counts


def _source(
    scene: Scene, mask: str | Path, stack: ExitStack, on_progress: Listener
) -> tuple[Scene, ClassSource, float]:
    """What is looked at, who tells its classes, and how far they usually grow."""
    if mask == "all":
        return scene, _Everything(scene.sensor.band_names), 0.0
    if mask == "auto":
        return scene, detector_for(scene).prepare(scene, on_progress), DETECTED_DILATE_M
    if str(mask) in DETECTORS:
        return scene, DETECTORS[str(mask)].prepare(scene, on_progress), DETECTED_DILATE_M
    if not Path(mask).is_file():
        raise OptionError(
            f"mask is {str(mask)!r}",
            f"a mask is auto, all, {', '.join(DETECTORS)}, or a raster on the scene's grid",
            "choose one of them, or check the path",
        )
    painted = open_scene(mask, scale=1, offset=0)
    stack.callback(painted.close)
    ClassMask(painted, scene)  # refuses another grid
    return painted, _Painted(painted.sensor.band_names), 0.0


class _Everything(NamedTuple):
    """Calls each valid pixel a cloud."""

    bands: tuple[str, ...]
    margin_px: int = 0

    def classes(self, reflectance: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Classes:
        return np.where(valid, CLOUD, NODATA).astype(np.uint8)


class _Painted(NamedTuple):
    """Takes the numbers of a raster: our classes, or anything but 0 where a pixel is to go."""

    bands: tuple[str, ...]
    margin_px: int = 0

    def classes(self, reflectance: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Classes:
        code = reflectance[0]
        is_ours = valid & np.isin(code, [CLOUD, THIN, SHADOW, MARGIN])
        drawn = np.where(valid & (code != 0), CLOUD, CLEAR)
        return np.where(is_ours, code, drawn).astype(np.uint8)
