"""predict_file and show_file: a raster through a model, in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geodecloud.errors import InputError, OptionError
from geodecloud.geo.canvas import Canvas
from geodecloud.geo.fill import Fill
from geodecloud.geo.masks import ClassMask
from geodecloud.geo.raster import RasterSink, open_scene, profile_of
from geodecloud.geo.scene import Array, ArraySink, Scene, Sink, shape_of
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.tiling import Window
from geodecloud.guides import open_guide
from geodecloud.learn.predicting import Wishes
from geodecloud.masking import MaskOptions, masked
from geodecloud.pipeline import Aids, Road, translate_scene
from geodecloud.translator import Flags, Floats, Translator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_PX = 1_024
"""Sides up to which a file is shown; of what is larger a figure would show nothing."""


def predict_file(
    translator: Translator, source: str | Path, output: str | Path, wishes: Wishes
) -> Path:
    """Write what a model makes of a raster, on its grid, in the target's encoding; return the path.

    Raises:
        InputError: the source, or an extra, cannot be used.
        OutputError: the output exists, or cannot be written.
    """
    with _drawing(translator, source, wishes) as drawing:
        target = drawing.target
        sink = RasterSink(output, target.geobox, profile_of(target), overwrite=wishes.overwrite)
        drawing.into(sink)
    return Path(output)


def show_file(translator: Translator, source: str | Path, wishes: Wishes) -> Figure:
    """Return a figure of a small raster beside what a model makes of it.

    Raises:
        OptionError: the raster is too large to be shown.
    """
    from geodecloud.learn.plots import show_prediction

    with _drawing(translator, source, wishes) as drawing:
        seen, target = drawing.seen, drawing.target
        shape = shape_of(seen.geobox)
        if max(shape) > SHOWN_PX:
            raise OptionError(
                f"{source} has {shape[0]}x{shape[1]} px",
                f"up to {SHOWN_PX} px a side are shown",
                "pass output=, the file to write",
            )
        dtype = np.result_type(*(np.dtype(band.dtype) for band in target.sensor.bands))
        sink = ArraySink(len(target.sensor.bands), shape, dtype)
        drawing.into(sink)
        before = _values(seen.sensor, *seen.read(Window.whole(shape)))
        after = _values(target.sensor, sink.dn, sink.valid)
    return show_prediction(before, after, translator.bands_in, translator.bands_out)


class _Drawing(NamedTuple):
    """A scene ready to be drawn: what is seen, what is drawn upon, and how."""

    translator: Translator
    seen: Scene
    target: Scene
    aids: Aids
    road: Road

    def into(self, sink: Sink) -> None:
        with sink:
            scene = self.seen if self.aids.canvas is not None else self.target
            translate_scene(scene, sink, self.translator, aids=self.aids, road=self.road)


@contextmanager
def _drawing(translator: Translator, source: str | Path, wishes: Wishes) -> Iterator[_Drawing]:
    stride_px = translator.stride_px
    size_px = -(-wishes.tile_size // stride_px) * stride_px
    with ExitStack() as stack:
        scene = open_scene(source, level=wishes.level)
        stack.callback(scene.close)
        extra = {
            name: stack.enter_context(open_guide(name, path, scene))
            for name, path in wishes.extra.items()
        }
        seen = scene.select(translator.bands_in)
        if translator.task == "cloud-removal":
            target: Scene = scene.select(translator.bands_out)
            aids = _under_clouds(scene, seen, wishes, stack, extra)
        else:
            target = Canvas.of(
                seen, translator.bands_out, translator.sensor_out, generated_by=translator.name
            )
            aids = Aids(extra=extra, canvas=target)
        road = Road(size_px=size_px, batch_size=wishes.batch_size)
        yield _Drawing(translator, seen, target, aids, road)


def _under_clouds(
    scene: Scene, seen: Scene, wishes: Wishes, stack: ExitStack, extra: Mapping[str, Scene]
) -> Aids:
    """The mask, found or given, and the fill under it."""
    options = MaskOptions(mask="auto" if wishes.mask is None else wishes.mask)
    classes, _ = stack.enter_context(masked(scene, options))
    mask = ClassMask(classes, seen)
    fill = Fill.build(seen, mask)
    if fill.is_empty and not extra:
        raise InputError(
            "the scene has no clear pixel",
            "what is under a cloud is drawn from what is clear around it",
            "choose a clearer date, or another mask",
        )
    return Aids(mask, fill, extra)


def _values(sensor: Sensor, dn: Array, valid: Flags) -> Floats:
    return np.where(valid, sensor.to_reflectance(dn), np.float32(0))
