"""decloud, translate and clouds, done to a scene in strips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from geodecloud.clouding import CloudsOptions, Ground, classes_of_truth, sky_of, windows_of
from geodecloud.errors import OptionError
from geodecloud.geo.canvas import Canvas
from geodecloud.geo.fill import Fill, seen_by_fill
from geodecloud.geo.masks import Classes, ClassMask
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.scene import Array, ArraySink, Scene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.masking import MaskOptions, masked, write_mask
from geodecloud.models import SINGLE_IMAGE, check_pixel_size, load_translator
from geodecloud.options import DecloudOptions
from geodecloud.pipeline import Aids, Records, Road, tile_rows, translate_scene
from geodecloud.progress import silent
from geodecloud.sky.ground import SceneGrid
from geodecloud.strips import BitMask, Done, Note, Outline, Strip, StripSink, both, joined
from geodecloud.tasks import aids_for, check_cloud, road_for
from geodecloud.translating import TranslateOptions
from geodecloud.translator import Translator


class _Model:
    """The model of a work; where a copy arrives in another process, it is loaded there."""

    def __init__(
        self, model: str | Path | Translator, scene: Scene, device: Any, direction: str | None
    ) -> None:
        self._asked = model, Outline.of(scene), device, direction
        self._loaded: Translator | None = None

    @property
    def translator(self) -> Translator:
        if self._loaded is None:
            model, outline, device, direction = self._asked
            self._loaded = load_translator(model, outline, device, direction=direction)
        return self._loaded

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}


class _Prepared(NamedTuple):
    mask: BitMask
    fill: Fill


class Declouding:
    """What ``decloud`` does.

    Args:
        scene: what is looked at; no pixel is read.
        options: how.

    Raises:
        BandError: the scene lacks a band of the model.
        GridError: its pixels are of another size than the model was made for.
        OptionError: an option makes no sense here.
        ModelError: the model is unknown, damaged or made for something else.
    """

    about: Literal["provenance", "truth"] = "provenance"

    def __init__(self, scene: Scene, options: DecloudOptions) -> None:
        """Choose the model and see that it suits."""
        _refuse_fast(options.halo)
        self._model = _Model(options.model, scene, options.device, None)
        translator = self._model.translator
        _check(scene, translator)
        self.model: str | None = translator.name
        self.options, self._outline = options, Outline.of(scene)
        wanted = scene.sensor.band_names if options.keep_bands else translator.bands_out
        scene.sensor.index(translator.bands_out)
        self.bands = tuple(name for name in scene.sensor.band_names if name in wanted)
        self._road = road_for(scene, translator, options)

    def target(self, scene: Scene) -> Scene:
        """Return the scene of the bands that are written."""
        return scene.select(self.bands)

    def strips(self, least_px: int) -> list[Strip]:
        """Return the strips: whole rows of tiles, read as far as model and fill look."""
        seen = self._outline.select(self._model.translator.bands_in)
        rows = []
        for keep, read in tile_rows(self._outline, self._model.translator, self._road):
            rows.append((keep, both(read, seen_by_fill(seen, read))))
        return joined(rows, least_px)

    def prepare(self, scene: Scene, note: Note, mask: Array | None = None) -> _Prepared:
        """Return the mask of a scene and the fill under it, detached from its pixels.

        Raises:
            As ``tasks.decloud``.
        """
        options = self.options if mask is None else replace(self.options, mask=mask)
        seen = scene.select(self._model.translator.bands_in)
        for text in check_radiometry(seen):
            note(text)
        with masked(scene, options.mask_options()) as (classes, counts):
            check_cloud(counts, options, note, is_guided=False)
            aids = aids_for(seen, ClassMask(classes, seen), {}, (), silent)
            bits = BitMask.of(ClassMask(classes, seen), shape_of(scene.geobox))
        fill = cast(Fill, aids.fill)  # the other kind is for other dates
        return _Prepared(bits, fill.over(Outline.of(seen), bits))

    def do(self, scene: Scene, strip: Strip, prepared: _Prepared) -> Done:
        """Return a strip without its clouds, and where its pixels come from."""
        translator, target = self._model.translator, self.target(scene)
        seen = scene.select(translator.bands_in)
        aids = Aids(prepared.mask, prepared.fill.over(seen, prepared.mask))
        return _translated(target, translator, aids, self._road, strip)


class Translating:
    """What ``translate`` does where the model is none that removes clouds.

    Args:
        scene: what is looked at; no pixel is read.
        options: how.

    Raises:
        As ``Declouding``.
    """

    about: Literal["provenance", "truth"] = "provenance"

    def __init__(self, scene: Scene, options: TranslateOptions) -> None:
        """Choose the model and see that it suits."""
        self._model = _Model(options.model, scene, options.device, options.direction)
        translator = self._model.translator
        _check(scene, translator)
        self._outline = Outline.of(scene)
        self.model: str | None = translator.name
        self.bands = translator.bands_out
        stride_px = translator.stride_px
        self._road = Road(
            size_px=-(-options.tile_size_px // stride_px) * stride_px,
            batch_size=options.batch_size,
        )

    def target(self, scene: Scene) -> Canvas:
        """Return what is drawn on: the bands and the encoding of the model's target sensor."""
        translator = self._model.translator
        seen = scene.select(translator.bands_in)
        return Canvas.of(
            seen, translator.bands_out, translator.sensor_out, generated_by=translator.name
        )

    def strips(self, least_px: int) -> list[Strip]:
        """Return the strips: whole rows of tiles, read as far as the model looks."""
        return joined(tile_rows(self._outline, self._model.translator, self._road), least_px)

    def prepare(self, scene: Scene, note: Note, mask: Array | None = None) -> None:
        """See that the pixels are what they are said to be.

        Raises:
            RadiometryError: the values cannot be reflectance.
        """
        for text in check_radiometry(scene.select(self._model.translator.bands_in)):
            note(text)

    def do(self, scene: Scene, strip: Strip, prepared: None) -> Done:
        """Return a strip drawn anew, and where something was drawn."""
        translator = self._model.translator
        seen, aids = scene.select(translator.bands_in), Aids(canvas=self.target(scene))
        return _translated(seen, translator, aids, self._road, strip)


class Clouding:
    """What ``clouds`` does.

    Args:
        scene: what is looked at; no pixel is read.
        options: which sky.

    Raises:
        BandError: a band has no wavelength.
        OptionError: an option makes no sense.
    """

    about: Literal["provenance", "truth"] = "truth"
    model: str | None = None

    def __init__(self, scene: Scene, options: CloudsOptions) -> None:
        """Hang the sky."""
        self._ground, self._outline = Ground.of(scene), Outline.of(scene)
        self.bands = scene.sensor.band_names
        self.sky = sky_of(scene, options)
        self._ground = self._ground._replace(scene=self._outline)

    def target(self, scene: Scene) -> Scene:
        """Return the scene."""
        return scene

    def strips(self, least_px: int) -> list[Strip]:
        """Return the strips: whole rows of windows, read as far as a cloud blurs the ground."""
        whole = Window.whole(shape_of(self._outline.geobox))
        rows = [
            Window(window.row, 0, window.height, whole.width)
            for window in windows_of(whole)
            if window.col == 0
        ]
        margin_px = self._ground.margin_px
        return joined([(keep, keep.padded(margin_px) & whole) for keep in rows], least_px)

    def prepare(self, scene: Scene, note: Note, mask: Array | None = None) -> None:
        """See that the pixels are what they are said to be.

        Raises:
            RadiometryError: the values cannot be reflectance.
        """
        for text in (*check_radiometry(scene), *self._ground.notes):
            note(text)

    def do(self, scene: Scene, strip: Strip, prepared: None) -> Done:
        """Return a strip under the sky, and what each pixel is under."""
        ground = self._ground._replace(scene=scene)
        grid = SceneGrid.of(scene.geobox, self.sky.crs)
        made = StripSink.of(strip.keep, scene)
        truths = StripSink(strip.keep)
        for window in windows_of(strip.keep):
            dn, valid, truth = ground.under(window, self.sky, grid)
            made.write(window, dn, valid)
            is_ground = np.any(valid[ground.channels], axis=0)
            truths.write(window, classes_of_truth(truth, is_ground)[None], is_ground[None])
        return Done(made.dn, truths.dn[0])


def find_classes(scene: Scene, options: MaskOptions) -> Classes:
    """Return the classes of a scene's pixels, (H, W), read by windows.

    Raises:
        As ``masking.mask``.
    """
    with ArraySink(1, shape_of(scene.geobox), np.uint8) as sink:
        write_mask(scene, sink, options)
    return np.asarray(sink.dn[0], np.uint8)


def _translated(scene: Scene, translator: Translator, aids: Aids, road: Road, strip: Strip) -> Done:
    made = StripSink.of(strip.keep, aids.canvas or scene)
    origin = StripSink(strip.keep)
    road = replace(road, rows=strip.tiles)
    translate_scene(scene, made, translator, aids=aids, records=Records(origin), road=road)
    return Done(made.dn, origin.dn[0])


def _check(scene: Scene, translator: Translator) -> None:
    """Refuse what a model cannot work on, before any pixel is read."""
    check_pixel_size(scene, translator)
    scene.sensor.index(translator.bands_in)
    if others := sorted(set(getattr(translator, "inputs", ())) - SINGLE_IMAGE):
        raise OptionError(
            f"{translator.name} looks at {', '.join(others)} beside the scene",
            "an array is one scene",
            "write it to a file for geodecloud.decloud, or choose another model",
        )


def _refuse_fast(halo: str) -> None:
    if halo != "exact":
        raise OptionError(
            f"halo is {halo!r}",
            "strips are exact: blended tiles would hang on where an array is cut",
            "leave it out",
        )
