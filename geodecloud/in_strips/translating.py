"""Translating: translate, done to a scene in strips."""

from __future__ import annotations

from typing import Literal

from geodecloud.geo.canvas import Canvas
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.scene import Array, Scene
from geodecloud.in_strips.walking import (
    TravellingModel,
    Walk,
    check_model,
    part_of,
    strips_of,
    walked,
)
from geodecloud.pipeline import Aids, Road, tile_rows
from geodecloud.strips import Done, Note, Outline, Strip
from geodecloud.translating import TranslateOptions


class Translating:
    """What ``translate`` does where the model is none that removes clouds.

    Args:
        scene: what is looked at; no pixel is read.
        options: how.

    Raises:
        As ``Declouding``.
    """

    about: Literal["provenance", "truth"] = "provenance"
    has_spread = False

    def __init__(self, scene: Scene, options: TranslateOptions) -> None:
        """Choose the model and see that it suits."""
        self._model = TravellingModel(
            options.model, scene, options.device, direction=options.direction
        )
        translator = self._model.translator
        check_model(scene, translator)
        self.model: str | None = translator.name
        self.bands = translator.bands_out
        stride_px = translator.stride_px
        self._road = Road(
            size_px=-(-options.tile_size_px // stride_px) * stride_px,
            batch_size=options.batch_size,
        )
        drawn = self.target(Outline.of(scene)).sensor
        self._part = part_of(scene, options.aoi, translator.halo_px, drawn)
        self.kept = self._part.outer(self._part.kept)

    def target(self, scene: Scene) -> Canvas:
        """Return what is drawn on: the bands and the encoding of the model's target sensor."""
        translator = self._model.translator
        seen = scene.select(translator.bands_in)
        return Canvas.of(
            seen, translator.bands_out, translator.sensor_out, generated_by=translator.name
        )

    def strips(self, least_px: int) -> list[Strip]:
        """Return the strips: whole rows of tiles, read as far as the model looks."""
        rows = tile_rows(self._part.scene, self._model.translator, self._road)
        return strips_of(self._part, rows, least_px)

    def prepare(self, scene: Scene, note: Note, mask: Array | None = None) -> None:
        """See that the pixels are what they are said to be.

        Raises:
            RadiometryError: the values cannot be reflectance.
        """
        for text in check_radiometry(scene.select(self._model.translator.bands_in)):
            note(text)

    def do(self, scene: Scene, strip: Strip, prepared: None) -> Done:
        """Return a strip drawn anew, and where something was drawn."""
        translator, part = self._model.translator, self._part.over(scene)
        seen = part.scene.select(translator.bands_in)
        aids = Aids(canvas=part.clipped(self.target(part.scene)))
        return walked(Walk(seen, translator, aids, self._road), part, strip)
