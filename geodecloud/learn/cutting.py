"""TrainingScene and pack: scenes cut into packed samples, with the clouds of real pairs marked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from geodecloud.errors import DataError, InputError
from geodecloud.geo.blocks import MapBlocks
from geodecloud.geo.faults import Faults
from geodecloud.geo.tiling import Window
from geodecloud.learn.pack_writer import PackWriter
from geodecloud.learn.packed import Flags, Floats, Side
from geodecloud.learn.resizing import resized
from geodecloud.progress import Listener, Progress, silent

if TYPE_CHECKING:
    from geodecloud.geo.scene import Scene
    from geodecloud.geo.sensors import Sensor

MASK = Side(("class",), "class")
CLEAR, THIN, THICK, SHADOW = range(4)
"""Classes of the "mask" side."""

# Of a pair's difference in the visible bands, in reflectance: what thickens into cloud.
THIN_ABOVE, THICK_ABOVE = 0.04, 0.15
# A shadow leaves less than this part of the near infrared; seasons rarely take so much.
SHADOW_BELOW = 0.65

VISIBLE_NM, INFRARED_NM = 700.0, 833.0
"""Below the one bands are visible; the near infrared is the band that is nearest to the other."""


@dataclass(frozen=True, slots=True)
class TrainingScene:
    """Scenes of one grid that a training set is cut from.

    Attributes:
        name: how messages call it.
        sides: scenes by side: "target" (clear, or domain B), "source" (cloudy, or domain A), and
            a guide: "sar" or "reference".
        place: what must stay on one side of a split together; None takes the block of the map
            that a window lies in, and without a map makes every window its own place.
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
    grid: str | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """How scenes are cut into windows.

    Attributes:
        size_px: side of a window.
        min_valid: part of a window that must be valid, or it is left out.
        is_resized: scenes are chips, and become one window each, whatever their size.
        block_px: side of a block of the map, in pixels of the scenes; None takes a window.
        sides: what sides are, as far as it is known before the first scene.
    """

    size_px: int = 256
    min_valid: float = 0.3
    is_resized: bool = False
    block_px: int | None = None
    sides: Mapping[str, Side] = field(default_factory=dict)


def pack(
    scenes: Iterable[TrainingScene],
    out: str | os.PathLike[str],
    cut: Cut = Cut(),
    *,
    faults: Faults | None = None,
    n_scenes: int = 0,
    listener: Listener = silent,
) -> int:
    """Write scenes as packed chips and return the number of samples.

    Windows lie side by side from each scene's first pixel; what reaches beyond the scene is
    nodata. No pixel is in two windows of a scene, and windows of one place, or block of the map,
    stay on one side of a split. Samples with a source and a target of the same bands get a "mask"
    side: ``mark_clouds``.

    ``n_scenes`` is how many are expected. With ``faults`` a scene that cannot be used is collected
    there, and the others are packed; at the end a few are forgiven.

    Raises:
        DataError: no scene, no window with enough pixels, or scenes that do not fit together.
    """
    done = 0
    blocks = MapBlocks(cut.block_px or cut.size_px)
    with PackWriter(out, cut.size_px, cut.sides) as writer:
        for scene in scenes:
            done += 1
            try:
                _add_windows(writer, scene, cut, blocks)
            except (InputError, DataError) as error:
                if faults is None:
                    raise
                faults.add(scene.name, error)
            listener(Progress(done, max(done, n_scenes), "packing"))
        if faults is not None and (note := faults.settle(max(done, n_scenes))):
            writer.notes.append(note)
            listener(Progress(done, max(done, n_scenes), note))
        if not done:
            raise DataError(
                "the training set holds no scene",
                "at least one scene or chip is needed",
                "check the folder: GeoTIFF scenes and chips are looked for",
            )
        if not len(writer):
            raise DataError(
                f"none of {done} scenes has a window with {cut.min_valid:.0%} of valid pixels",
                f"windows are {cut.size_px} px",
                "give larger scenes or choose a smaller size",
            )
        return len(writer)


def _is_cloud_pair(scene: TrainingScene) -> bool:
    if not {"source", "target"} <= set(scene.sides):
        return False
    source, target = (scene.sides[name].sensor for name in ("source", "target"))
    return source.unit == target.unit == "reflectance" and source.band_names == target.band_names


def _add_windows(writer: PackWriter, scene: TrainingScene, cut: Cut, blocks: MapBlocks) -> None:
    shapes = {name: shape_of(side) for name, side in scene.sides.items()}
    if len(set(shapes.values())) > 1 and not cut.is_resized:
        raise DataError(
            f"{scene.name}: "
            + ", ".join(f"{name} is {h}x{w} px" for name, (h, w) in shapes.items()),
            "the sides of a pair lie on one grid",
            "resample them to one grid first",
        )
    for name, side in scene.sides.items():
        writer.declare(name, _side_of(side, cut.sides.get(name)))
    if _is_cloud_pair(scene):
        writer.declare("mask", MASK)
    first = next(iter(scene.sides.values()))
    height, width = shape_of(first)
    step = max(height, width) if cut.is_resized else cut.size_px
    for row, col in product(range(0, height, step), range(0, width, step)):
        window = Window(row, col, step, step)
        sides = {name: _read_side(scene, name, window, cut) for name in scene.sides}
        if any(valid.mean() < cut.min_valid for _, valid in sides.values()):
            continue
        if _is_cloud_pair(scene):
            rows = _telling(scene.sides["target"].sensor)
            classes = mark_clouds(sides["source"][0][rows], sides["target"][0][rows])[None]
            valid = np.all(sides["source"][1] & sides["target"][1], 0, keepdims=True)
            sides["mask"] = classes.astype(np.float32), valid
        if scene.attribution:
            writer.attribution.add(scene.attribution)
        places = [scene.place] if scene.place else blocks.of(first.geobox, window, scene.grid)
        place, *touched = places or [f"{scene.name} row {row} col {col}"]
        writer.add(sides, place=place, level=scene.level, fold=scene.fold, touches=touched)


def shape_of(scene: Scene) -> tuple[int, int]:
    """Return height and width of a scene."""
    height, width = scene.geobox.shape
    return int(height), int(width)


def _side_of(scene: Scene, known: Side | None) -> Side:
    """What a scene is as a side, packed as it was said beforehand."""
    sensor = scene.sensor
    side = Side(sensor.band_names, sensor.unit, sensor.name)
    if known is None or known.scale is None:
        return side
    return replace(side, scale=known.scale, offset=known.offset)


def _read_side(scene: TrainingScene, name: str, window: Window, cut: Cut) -> tuple[Floats, Flags]:
    """Values and validity of a window of a side, or of all of it at the window's size."""
    side = scene.sides[name]
    values, valid = read_padded(side, Window.whole(shape_of(side)) if cut.is_resized else window)
    nodata = {band.nodata for band in side.sensor.bands}
    if np.isnan(values).any() and not any(n is not None and np.isnan(n) for n in nodata):
        raise DataError(
            f"{scene.name} holds NaN in its {name} bands",
            "training pixels are numbers or declared nodata",
            "set its nodata value to NaN (gdal_edit.py -a_nodata nan), or leave it out",
        )
    return resized(values, valid, cut.size_px) if cut.is_resized else (values, valid)


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


def _telling(sensor: Sensor) -> list[int]:
    """The bands that tell clouds from ground: the visible ones, then the near infrared.

    Without known wavelengths it is all of them, in their order.
    """
    light = [band.wavelength_nm for band in sensor.bands]
    if any(nm is None for nm in light):
        return list(range(len(light)))
    infrared = min(range(len(light)), key=lambda row: abs((light[row] or 0) - INFRARED_NM))
    visible = [row for row, nm in enumerate(light) if nm and nm < VISIBLE_NM and row != infrared]
    return [*visible, infrared]


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
