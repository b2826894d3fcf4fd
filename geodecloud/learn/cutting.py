"""TrainingScene and pack: scenes cut into packed samples, with the clouds of real pairs marked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from geodecloud.errors import DataError
from geodecloud.geo.tiling import Window
from geodecloud.learn.packed import Flags, Floats, PackWriter, Side
from geodecloud.progress import Listener, Progress, silent

if TYPE_CHECKING:
    from geodecloud.geo.scene import Scene

MASK = Side(("class",), "class")
CLEAR, THIN, THICK, SHADOW = range(4)
"""Classes of the "mask" side."""

# Of a pair's difference in the visible bands, in reflectance: what thickens into cloud.
THIN_ABOVE, THICK_ABOVE = 0.04, 0.15
# A shadow leaves less than this part of the near infrared; seasons rarely take so much.
SHADOW_BELOW = 0.65


@dataclass(frozen=True, slots=True)
class TrainingScene:
    """Scenes of one grid that a training set is cut from.

    Attributes:
        name: how messages call it.
        sides: scenes by side: "target" (clear, or domain B), "source" (cloudy, or domain A), "sar".
        place: what must stay on one side of a split together; None makes every window its own
            place, for scenes that are split by blocks of the map.
        level: product level, "L1C" or "L2A", where it is known.
        fold: number in a table of splits, -1 without one.
        attribution: what must be said where weights trained on it are published.
    """

    name: str
    sides: Mapping[str, Scene]
    place: str | None = None
    level: str | None = None
    fold: int = -1
    attribution: str = ""


def pack(
    scenes: Iterable[TrainingScene],
    out: str | os.PathLike[str],
    *,
    size_px: int = 256,
    min_valid: float = 0.3,
    n_scenes: int = 0,
    listener: Listener = silent,
) -> int:
    """Write scenes as packed chips and return the number of samples.

    Windows of ``size_px`` lie side by side from each scene's first pixel; what reaches beyond the
    scene is nodata, and windows with less than ``min_valid`` of valid pixels are left out. No
    pixel is in two windows, so none can be on both sides of a split. Samples with a source and
    a target of the same bands get a "mask" side: ``mark_clouds``.

    ``n_scenes`` is how many are expected, for the listener.

    Raises:
        DataError: no scene, no window with enough pixels, or scenes that do not fit together.
    """
    done = 0
    with PackWriter(out, size_px) as writer:
        for scene in scenes:
            done += 1
            _add_windows(writer, scene, min_valid)
            listener(Progress(done, max(done, n_scenes), "packing"))
        if not done:
            raise DataError(
                "the training set holds no scene",
                "at least one scene or chip is needed",
                "check the folder: GeoTIFF scenes and chips are looked for",
            )
        if not len(writer):
            raise DataError(
                f"none of {done} scenes has a window with {min_valid:.0%} of valid pixels",
                f"windows are {size_px} px",
                "give larger scenes or choose a smaller size",
            )
        return len(writer)


def _is_cloud_pair(scene: TrainingScene) -> bool:
    if not {"source", "target"} <= set(scene.sides):
        return False
    source, target = (scene.sides[name].sensor for name in ("source", "target"))
    return source.unit == target.unit == "reflectance" and source.band_names == target.band_names


def _add_windows(writer: PackWriter, scene: TrainingScene, min_valid: float) -> None:
    shapes = {name: tuple(map(int, side.geobox.shape)) for name, side in scene.sides.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(
            f"{scene.name}: "
            + ", ".join(f"{name} is {h}x{w} px" for name, (h, w) in shapes.items()),
            "the sides of a pair lie on one grid",
            "resample them to one grid first",
        )
    height, width = next(iter(shapes.values()))
    size = writer.size_px
    for name, side in scene.sides.items():
        sensor = side.sensor
        writer.declare(name, Side(sensor.band_names, sensor.unit, sensor.name))
    if _is_cloud_pair(scene):
        writer.declare("mask", MASK)
    for row in range(0, height, size):
        for col in range(0, width, size):
            window = Window(row, col, size, size)
            sides = {name: read_padded(side, window) for name, side in scene.sides.items()}
            if any(valid.mean() < min_valid for _, valid in sides.values()):
                continue
            _refuse_nan(scene, sides)
            if _is_cloud_pair(scene):
                classes = mark_clouds(sides["source"][0], sides["target"][0])[None]
                valid = np.all(sides["source"][1] & sides["target"][1], 0, keepdims=True)
                sides["mask"] = classes.astype(np.float32), valid
            if scene.attribution:
                writer.attribution.add(scene.attribution)
            place = scene.place or f"{scene.name} row {row} col {col}"
            writer.add(sides, place=place, level=scene.level, fold=scene.fold)


def read_padded(scene: Scene, window: Window) -> tuple[Floats, Flags]:
    """Return values and validity (C, H, W) of a window that may reach beyond the scene.

    Values are in the sensor's unit, as stored where not valid.
    """
    height, width = scene.geobox.shape
    inside = window & Window(0, 0, int(height), int(width))
    dn, valid = scene.read(inside)
    n_bands = len(scene.sensor.bands)
    values = np.zeros((n_bands, *window.shape), np.float32)
    flags = np.zeros(values.shape, bool)
    rows, cols = inside.relative_to(window).slices
    values[:, rows, cols] = scene.sensor.to_reflectance(dn)
    flags[:, rows, cols] = valid
    return values, flags


def _refuse_nan(scene: TrainingScene, sides: Mapping[str, tuple[Floats, Flags]]) -> None:
    for name, (values, _) in sides.items():
        nodata = {band.nodata for band in scene.sides[name].sensor.bands}
        if np.isnan(values).any() and not any(n is not None and np.isnan(n) for n in nodata):
            raise DataError(
                f"{scene.name} holds NaN in its {name} bands",
                "training pixels are numbers or declared nodata",
                "set its nodata value to NaN (gdal_edit.py -a_nodata nan), or leave it out",
            )


def mark_clouds(cloudy: Floats, clear: Floats) -> npt.NDArray[np.uint8]:
    """Return the classes (H, W) of a real pair's cloudy side: clear, thin, thick, shadow.

    Both sides are (C, H, W) reflectance, visible bands first, near infrared last. The two dates
    differ by more than clouds: what most of the scene shares is taken off before the
    thresholds, so a change of season is not cloud, unless it is as bright as one.
    """
    visible = slice(0, max(1, len(cloudy) - 1))
    # a cloud adds light in every band; another season adds in some and takes from others
    difference = _box_mean((cloudy[visible] - clear[visible]).min(0))
    shared = float(np.clip(np.percentile(difference, 20), -0.05, 0.05))
    brighter = difference - shared
    ratio = _box_mean(cloudy[-1]) / np.maximum(_box_mean(clear[-1]), 1e-3)
    is_dark = (ratio < SHADOW_BELOW) & (brighter < THIN_ABOVE) & (clear[-1] > 0.1)
    classes = np.full(brighter.shape, CLEAR, np.uint8)
    classes[_grown(_box_mean(is_dark.astype(np.float32)) > 0.5)] = SHADOW
    classes[_grown(brighter > THIN_ABOVE)] = THIN
    classes[brighter > THICK_ABOVE] = THICK
    return classes


def _box_mean(field: Floats) -> Floats:
    padded = np.pad(field, 1, mode="edge")
    columns = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    mean: Floats = (columns[:-2] + columns[1:-1] + columns[2:]) / np.float32(9)
    return mean


def _grown(mask: Flags) -> Flags:
    # the rim of a cloud is thinner than any threshold: two pixels more on each side
    for _ in range(2):
        padded = np.pad(mask, 1)
        columns = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
        mask = columns[:-2] | columns[1:-1] | columns[2:]
    return mask
