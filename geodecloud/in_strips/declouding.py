"""Declouding: decloud, done to a scene in strips."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Literal, NamedTuple, cast

from geodecloud.dates import laid_out, references_for
from geodecloud.geo.backscatter import Quantity
from geodecloud.geo.classing import count_classes
from geodecloud.geo.fill import Fill, seen_by_fill
from geodecloud.geo.masks import ClassMask
from geodecloud.geo.part import Part
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.references import Reference, ReferenceFill, seen_by_reference_fill
from geodecloud.geo.scene import Array, Scene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.guides import guides_for, stored_of
from geodecloud.in_strips.walking import (
    TravellingModel,
    Walk,
    check_model,
    part_of,
    refuse_fast,
    strips_of,
    walked,
)
from geodecloud.masking import masked
from geodecloud.options import DecloudOptions
from geodecloud.pipeline import Aids, tile_rows
from geodecloud.progress import silent
from geodecloud.strips import BitMask, Done, Held, Note, Outline, Strip, both
from geodecloud.tasks import aids_for, check_cloud, model_of, road_for, with_observed


class _Prepared(NamedTuple):
    """What all strips of a scene need to know, detached from its pixels.

    ``clouds`` are those of the references that the fill uses; ``stored`` is what radar stores.
    """

    mask: BitMask
    fill: Fill | ReferenceFill
    clouds: Sequence[BitMask]
    is_observed: bool
    stored: Quantity | None


class Declouding:
    """What ``decloud`` does.

    Args:
        scene: what is looked at; no pixel is read.
        options: how.
        with_uncertainty: tell of generated pixels how far they may be off.

    Raises:
        BandError: the scene, or a reference, lacks a band of the model.
        GridError: its pixels are of another size than the model was made for, or what is to help
            lies elsewhere.
        InputError: a file cannot be opened, or nothing can stand outside of the areas.
        OptionError: an option makes no sense here.
        ModelError: the model is unknown, damaged or made for something else.
    """

    about: Literal["provenance", "truth"] = "provenance"

    def __init__(
        self, scene: Scene, options: DecloudOptions, *, with_uncertainty: bool = False
    ) -> None:
        """Choose the model and see that it suits."""
        refuse_fast(options.halo)
        self._model = TravellingModel(
            model_of(options), scene, options.device, with_uncertainty=with_uncertainty
        )
        translator = self._model.translator
        check_model(scene, translator, {"sar"})
        self.model: str | None = translator.name
        self.options = options
        wanted = scene.sensor.band_names if options.keep_bands else translator.bands_out
        scene.sensor.index(translator.bands_out)
        self.bands = tuple(name for name in scene.sensor.band_names if name in wanted)
        self.has_spread = with_uncertainty
        self._road = road_for(scene, translator, options)
        reach_px = translator.halo_px + self._road.feather_px
        self._part = part_of(scene, options.aoi, reach_px, scene.sensor.select(self.bands))
        self.kept = self._part.outer(self._part.kept)
        seen = self._seen(self._part)
        with (  # refuse now what could not help later
            guides_for(translator, seen, options.sar, _ignore, stored="dB"),
            laid_out(seen, options.references),
        ):
            pass

    def target(self, scene: Scene) -> Scene:
        """Return the scene of the bands that are written."""
        return scene.select(self.bands)

    def strips(self, least_px: int) -> list[Strip]:
        """Return the strips: whole rows of tiles, read as far as model and fill look."""
        seen = self._seen(self._part)
        look = seen_by_reference_fill if self.options.references else seen_by_fill
        rows = [
            (keep, both(read, look(seen, read)))
            for keep, read in tile_rows(seen, self._model.translator, self._road)
        ]
        return strips_of(self._part, rows, least_px)

    def prepare(self, scene: Scene, note: Note, mask: Array | None = None) -> _Prepared:
        """Return the mask of a scene and the fill under it, detached from its pixels.

        Raises:
            As ``tasks.decloud``.
        """
        options = self.options if mask is None else replace(self.options, mask=mask)
        translator, part = self._model.translator, self._part.over(scene)
        for text in check_radiometry(scene.select(translator.bands_in)):
            note(text)
        stored = stored_of(options.sar)
        seen = self._seen(part)
        with ExitStack() as stack:
            classes, counts = stack.enter_context(masked(part.scene, options.mask_options()))
            if options.aoi is not None:
                counts = count_classes(part.cut(classes))
            guides = stack.enter_context(
                guides_for(translator, seen, options.sar, note, stored=stored)
            )
            sources = options.references if counts.mask_share else ()  # else nothing asks for them
            references = stack.enter_context(references_for(seen, sources))
            check_cloud(counts, options, note, is_guided=bool(guides or references))
            aids = aids_for(seen, ClassMask(classes, seen), guides, references, silent)
            told = with_observed(aids, translator, len(references), note)
            return _detached(seen, told, references, stored)

    def do(self, scene: Scene, strip: Strip, prepared: _Prepared) -> Done:
        """Return a strip without its clouds, and where its pixels come from."""
        part = self._part.over(scene)
        target = part.scene.select(self.bands)
        aids = self._aids(part, strip.read.relative_to(part.window), prepared)
        if part.areas is not None:
            aids = replace(aids, canvas=part.clipped(target))
        walk = Walk(target, self._model.translator, aids, self._road)
        return walked(walk, part, strip, with_spread=self.has_spread)

    def _aids(self, part: Part, rows: Window, prepared: _Prepared) -> Aids:
        """What helps with some rows of a part; what stands beside them is held in memory."""
        seen, fill, options = self._seen(part), prepared.fill, self.options
        with guides_for(
            self._model.translator, seen, options.sar, _ignore, stored=prepared.stored
        ) as guides:
            extra = {name: Held(guide, rows) for name, guide in guides.items()}
        if not isinstance(fill, ReferenceFill):
            return Aids(prepared.mask, fill.over(seen, prepared.mask), extra)
        with laid_out(seen, [options.references[i] for i in fill.used]) as dates:
            held = [Held(date.laid, rows) for date in dates]
        references = [Reference(*pair) for pair in zip(held, prepared.clouds, strict=True)]
        fill = fill.over(seen, prepared.mask, references)
        observed = fill.observed if prepared.is_observed else None
        return Aids(prepared.mask, fill, extra, observed)

    def _seen(self, part: Part) -> Scene:
        return part.scene.select(self._model.translator.bands_in)


def _detached(
    seen: Scene, aids: Aids, references: Sequence[Reference], stored: Quantity | None
) -> _Prepared:
    """What is known of a scene, without its pixels."""
    shape, outline = shape_of(seen.geobox), Outline.of(seen)
    bits = BitMask.of(cast(ClassMask, aids.mask), shape)
    fill = cast(Fill | ReferenceFill, aids.fill)
    if not isinstance(fill, ReferenceFill):
        return _Prepared(bits, fill.over(outline, bits), (), False, stored)
    used = [references[i] for i in fill.used]
    clouds = [BitMask.of(reference.mask, shape) for reference in used]
    outlines = [
        Reference(Outline.of(reference.scene), cloud)
        for reference, cloud in zip(used, clouds, strict=True)
    ]
    is_observed = aids.observed is not None
    return _Prepared(bits, fill.over(outline, bits, outlines), clouds, is_observed, stored)


def _ignore(text: str) -> None:
    """Leave unsaid what ``prepare`` says."""
