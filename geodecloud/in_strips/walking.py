"""Strips of a scene, or of a part of it, on their way through a model."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from geodecloud.errors import InputError, OptionError
from geodecloud.geo.part import Part
from geodecloud.geo.polygons import Areas
from geodecloud.geo.scene import Scene
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.tiling import Window
from geodecloud.models import SINGLE_IMAGE, check_pixel_size, load_translator
from geodecloud.paste import NODATA as PROVENANCE_NODATA
from geodecloud.paste import uncertainty_sensor
from geodecloud.pipeline import Aids, Records, Road, translate_scene
from geodecloud.strips import Done, Outline, Strip, StripSink, joined
from geodecloud.translator import Floats, Translator


class TravellingModel:
    """The model of a work; where a copy arrives in another process, it is loaded there.

    Args:
        model: its name or path, or a translator.
        scene: that it is to suit.
        device: where it runs.
        **wanted: of ``load_translator``.
    """

    def __init__(
        self, model: str | Path | Translator, scene: Scene, device: Any, **wanted: Any
    ) -> None:
        """Remember what is asked; nothing is loaded."""
        self._asked = model, Outline.of(scene), device
        self._wanted = wanted
        self._loaded: Translator | None = None

    @property
    def translator(self) -> Translator:
        """The model itself, loaded once in a process."""
        if self._loaded is None:
            self._loaded = load_translator(*self._asked, **self._wanted)
        return self._loaded

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels."""
        return {**self.__dict__, "_loaded": None}


class Walk(NamedTuple):
    """A scene on its way through a translator; see ``translate_scene``."""

    scene: Scene
    translator: Translator
    aids: Aids
    road: Road


def walked(walk: Walk, part: Part, strip: Strip, *, with_spread: bool = False) -> Done:
    """Return what a translator makes of a strip.

    Args:
        walk: of all that is worked on.
        part: which part of the scene that is.
        strip: of the scene.
        with_spread: ask for standard deviations.
    """
    scene, translator, aids, road = walk
    keep = strip.keep.relative_to(part.outer(part.kept))
    made = StripSink.of(keep, aids.canvas or scene)
    origin = StripSink(keep)
    spread = StripSink(keep, len(translator.bands_out), np.uint16) if with_spread else None
    translate_scene(
        scene,
        part.sink(made),
        translator,
        aids=aids,
        records=Records(part.sink(origin), spread and part.sink(spread)),
        road=replace(road, rows=strip.tiles),
    )
    told = None if spread is None else _spread(scene.sensor, translator.bands_out, spread, origin)
    return Done(made.dn, origin.dn[0], told)


def _spread(
    sensor: Sensor, bands_out: Sequence[str], spread: StripSink, origin: StripSink
) -> Floats:
    """Standard deviations (C, H, W); bands that are not drawn are off by 0."""
    drawn = uncertainty_sensor(bands_out, sensor.unit)
    is_measured = origin.dn != PROVENANCE_NODATA
    values = np.where(is_measured, np.zeros((len(sensor.bands), 1, 1), np.float32), np.nan)
    told = np.where(drawn.is_valid(spread.dn), drawn.to_reflectance(spread.dn), np.nan)
    values[sensor.index(bands_out)] = told
    return values.astype(np.float32)


def strips_of(part: Part, rows: Sequence[tuple[Window, Window]], least_px: int) -> list[Strip]:
    """Return rows of tiles of a part as strips of the whole scene.

    Args:
        part: of the scene.
        rows: what each row keeps and looks at, in pixels of the part; see ``tile_rows``. Those of
            which nothing is written are left out.
        least_px: height of a strip.
    """
    written = part.outer(part.kept)
    strips = [
        Strip(part.outer(keep) & written, part.outer(read), range(number, number + 1))
        for number, (keep, read) in enumerate(rows)
    ]
    return joined([strip for strip in strips if strip.keep.height], least_px)


def part_of(scene: Scene, areas: Areas | None, reach_px: int, drawn: Sensor) -> Part:
    """Return what is asked of a scene; no pixel is read.

    Args:
        scene: the whole.
        areas: see ``Part.of``.
        reach_px: how far a model looks.
        drawn: the bands that are made; an array has no other place for what is outside.

    Raises:
        InputError: a band of them has no number for nodata, or there are no areas.
        GridError: the areas lie elsewhere.
    """
    without = [band.name for band in drawn.bands if band.nodata is None]
    if areas is not None and without:
        raise InputError(
            f"{', '.join(without)} declare no nodata",
            "outside of the areas there is none but nodata",
            "declare it, such as with .rio.write_nodata(0), or leave aoi= out",
        )
    return Part.of(Outline.of(scene), areas, reach_px)


def check_model(scene: Scene, translator: Translator, beside: Set[str] = frozenset()) -> None:
    """Refuse what a model cannot work on, before any pixel is read.

    Args:
        scene: what it is to work on.
        translator: the model.
        beside: what there may be for it to look at beside the scene.

    Raises:
        BandError: the scene lacks a band.
        GridError: its pixels are of another size.
        OptionError: the model looks at something else.
    """
    check_pixel_size(scene, translator)
    scene.sensor.index(translator.bands_in)
    if others := sorted(set(getattr(translator, "inputs", ())) - SINGLE_IMAGE - beside):
        raise OptionError(
            f"{translator.name} looks at {', '.join(others)} beside the scene",
            f"an array is one scene{' and ' if beside else ''}{', '.join(sorted(beside))}",
            "write it to a file for geodecloud.decloud, or choose another model",
        )


def refuse_fast(halo: str) -> None:
    """Refuse a halo whose answers hang on where tiles are cut.

    Raises:
        OptionError: it is one.
    """
    if halo != "exact":
        raise OptionError(
            f"halo is {halo!r}",
            "strips are exact: blended tiles would hang on where an array is cut",
            "leave it out",
        )
