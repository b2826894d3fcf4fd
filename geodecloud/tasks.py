"""decloud: what users ask for, from options to files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from geodecloud.dates import references_for
from geodecloud.errors import InputError, OptionError
from geodecloud.geo.canvas import GENERATED_TAG
from geodecloud.geo.classing import ClassCounts, count_classes
from geodecloud.geo.fill import Fill
from geodecloud.geo.masks import ClassMask, pixel_size_m
from geodecloud.geo.part import Part
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.publish import refuse_existing
from geodecloud.geo.raster import Profile, RasterSink, SceneSource, open_scene, profile_of
from geodecloud.geo.references import Reference, ReferenceFill
from geodecloud.geo.scene import Scene, Sink, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.guides import guides_for
from geodecloud.masking import MASK_PROFILE, class_profile, masked
from geodecloud.models import DEFAULT_MODEL, check_pixel_size, load_translator
from geodecloud.options import DecloudOptions, DecloudResult
from geodecloud.paste import PROVENANCE, PROVENANCE_COLOURS, uncertainty_sensor
from geodecloud.pipeline import Aids, Journey, Records, Road, translate_scene
from geodecloud.progress import Listener, silent
from geodecloud.translator import Translator

STRIP_PX = 512

PROVENANCE_PROFILE = class_profile("provenance", PROVENANCE, PROVENANCE_COLOURS, nodata=0)


def decloud(
    source: SceneSource,
    out: str | Path | Sink,
    options: DecloudOptions | None = None,
    *,
    on_start: Callable[[str, str], None] = lambda device, model: None,
    on_note: Callable[[str], None] = lambda text: None,
    on_progress: Listener = silent,
    **changes: Any,
) -> DecloudResult:
    """Remove the clouds of a scene; return what was done.

    The output holds the model's bands on the input's grid, in the input's encoding; with ``aoi``,
    the part of the grid around the areas. Pixels outside the mask are the input's own, bit for
    bit.

    Args:
        source: a raster, a product, a folder or list of per-band rasters, or an open scene.
        out: the GeoTIFF (COG) to write, or a sink.
        options: how; None takes the defaults.
        on_start: told the device and the model once both are known.
        on_note: told what the user should know.
        on_progress: told how far each stage is; raises ``Cancelled`` to stop.
        **changes: fields of ``DecloudOptions`` by name, over ``options``.

    Raises:
        InputError: the scene, or the mask, cannot be used.
        OptionError: an option makes no sense, or almost all of the scene is cloud.
        OutputError: a file exists, or cannot be written.
        ModelError: the model is unknown, damaged or made for something else.

    Example:
        >>> from geodecloud import decloud                                  # doctest: +SKIP
        >>> decloud("cloudy.tif", "clear.tif", mask="scl").generated_share  # doctest: +SKIP
        0.17
    """
    options = replace(options or DecloudOptions(), **changes)
    start = time.perf_counter()
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        on_note(text)

    with options.opened(source) as whole:
        translator = load_translator(
            model_of(options),
            whole,
            options.device,
            with_uncertainty=options.uncertainty is not None,
        )
        on_start(translator.device, translator.name)
        check_pixel_size(whole, translator)
        for text in check_radiometry(whole.select(translator.bands_in)):
            note(text)
        road = road_for(whole, translator, options)
        part = Part.of(whole, options.aoi, translator.halo_px + road.feather_px)
        scene = part.scene
        drawn = [name for name in scene.sensor.band_names if name in translator.bands_out]
        target = scene if options.keep_bands else scene.select(drawn)
        with ExitStack() as stack:
            sinks = _open_sinks(stack, part.cut(target), out, translator, options)
            classes, counts = stack.enter_context(
                masked(scene, options.mask_options(), on_progress)
            )
            if options.aoi is not None:
                counts = count_classes(part.cut(classes))
            guides = stack.enter_context(guides_for(translator, scene, options.sar, note))
            seen = scene.select(translator.bands_in)
            references = stack.enter_context(
                references_for(seen, options.references, on_note=note, on_progress=on_progress)
            )
            check_cloud(counts, options, note, is_guided=bool(guides or references))
            if sinks.mask is not None:
                _copy(part.cut(classes), sinks.mask)
            aids = aids_for(seen, ClassMask(classes, seen), guides, references, on_progress)
            aids = with_observed(aids, translator, len(references), note)
            journey = translate_scene(
                target,
                part.sink(sinks.out),
                translator,
                aids=replace(aids, canvas=None if options.aoi is None else part.clipped(target)),
                records=Records(
                    sinks.provenance and part.sink(sinks.provenance),
                    sinks.uncertainty and part.sink(sinks.uncertainty),
                ),
                road=road,
                on_progress=on_progress,
            )
        seconds = round(time.perf_counter() - start, 3)
        result = _result(translator, journey, counts, seconds, _files(out, options), notes)
        if options.compare is not None and isinstance(out, str | Path):
            _write_comparison(part.cut(target), Path(out), result, options)
    return result


def model_of(options: DecloudOptions) -> str | Path | Translator:
    """Return which model is asked for: where other dates are given, "auto" is the fill."""
    # a model would draw over what another date saw, and was not trained on such fills
    return "fill" if options.references and options.model == DEFAULT_MODEL else options.model


class _Sinks(NamedTuple):
    out: Sink
    provenance: Sink | None
    uncertainty: Sink | None
    mask: Sink | None


def _open_sinks(
    stack: ExitStack,
    target: Scene,
    out: str | Path | Sink,
    translator: Translator,
    options: DecloudOptions,
) -> _Sinks:
    """Open all outputs before any work is done, so that none is refused after it."""
    if options.compare is not None:
        if not isinstance(out, str | Path):
            raise OptionError(
                "a comparison of an output in memory", "it compares files", "give a path as output"
            )
        refuse_existing(Path(options.compare), options.overwrite)

    def raster(path: str | Path, profile: Profile) -> Sink:
        sink = RasterSink(path, target.geobox, profile, overwrite=options.overwrite)
        return stack.enter_context(sink)

    origin = spread = mask = None
    if options.provenance is not None:
        origin = raster(options.provenance, PROVENANCE_PROFILE)
    if options.uncertainty is not None:
        sensor = uncertainty_sensor(translator.bands_out, target.sensor.unit)
        spread = raster(options.uncertainty, Profile.for_sensor(sensor))
    if options.mask_out is not None:
        mask = raster(options.mask_out, MASK_PROFILE)
    if isinstance(out, str | Path):
        return _Sinks(raster(out, _output_profile(target, translator)), origin, spread, mask)
    return _Sinks(stack.enter_context(out), origin, spread, mask)


def _output_profile(target: Scene, translator: Translator) -> Profile:
    """The scene's own encoding; bands are named, and say whether they may hold generated pixels."""
    profile = profile_of(target)
    names = target.sensor.band_names
    return replace(
        profile,
        descriptions=tuple(
            text or (None if name.startswith("band_") else name)
            for text, name in zip(profile.descriptions, names, strict=True)
        ),
        band_tags=tuple(
            {**tags, GENERATED_TAG: translator.name if name in translator.bands_out else "none"}
            for tags, name in zip(profile.band_tags, names, strict=True)
        ),
    )


def check_cloud(
    counts: ClassCounts,
    options: DecloudOptions,
    note: Callable[[str], None],
    *,
    is_guided: bool,
) -> None:
    """Refuse a scene that is almost all cloud, and say where there is none.

    Raises:
        OptionError: more is masked than ``max_cloud``, and nothing else saw the ground.
    """
    if counts.mask_share == 0:
        note("no cloud was found: the output is the input")
    if counts.mask_share > options.max_cloud and not is_guided:
        raise OptionError(
            f"{counts.mask_share:.1%} of the scene is cloud, shadow or their margin",
            f"a model that sees this date alone draws at most {options.max_cloud:.0%}",
            "choose a clearer date or another --mask, or raise --max-cloud",
        )


def aids_for(
    seen: Scene,
    mask: ClassMask,
    guides: Mapping[str, Scene],
    references: Sequence[Reference],
    on_progress: Listener,
) -> Aids:
    """Return the mask, the fill under it, and what else the model looks at.

    Raises:
        InputError: nothing is clear, and nothing else saw the ground.
    """
    fill: Fill | ReferenceFill
    if references:
        fill = ReferenceFill.build(seen, mask, references, on_progress=on_progress)
    else:
        fill = Fill.build(seen, mask, on_progress=on_progress)
    if fill.is_empty and not guides:
        raise InputError(
            "the scene has no clear pixel",
            "what is under a cloud is drawn from what is clear around it, and other dates are "
            "matched to it",
            "choose a clearer date, or another --mask",
        )
    return Aids(mask, fill, guides)


def with_observed(
    aids: Aids, translator: Translator, n_references: int, note: Callable[[str], None]
) -> Aids:
    """Return the aids with what other dates observed, where the model leaves it as it is."""
    fill = aids.fill
    if not isinstance(fill, ReferenceFill):
        return aids
    if n_unused := n_references - len(fill.used):
        note(
            f"{n_unused} of {n_references} references see none of the scene's "
            "clear pixels: nothing to match their light by"
        )
    return replace(aids, observed=fill.observed) if translator.name == "fill" else aids


def road_for(scene: Scene, translator: Translator, options: DecloudOptions) -> Road:
    """Return the road that the options ask for, in whole strides and pixels of the scene."""
    pixel_m = math.sqrt(math.prod(pixel_size_m(scene.geobox)))
    stride_px = translator.stride_px
    return Road(
        halo=options.halo,
        size_px=-(-options.tile_size_px // stride_px) * stride_px,
        batch_size=options.batch_size,
        feather_px=round(options.feather_m / pixel_m),
    )


def _copy(source: Scene, sink: Sink) -> None:
    height, width = shape_of(source.geobox)
    for row in range(0, height, STRIP_PX):
        window = Window(row, 0, min(STRIP_PX, height - row), width)
        sink.write(window, *source.read(window))


def _result(
    translator: Translator,
    journey: Journey,
    counts: ClassCounts,
    seconds: float,
    files: Mapping[str, str],
    notes: Sequence[str],
) -> DecloudResult:
    n_valid = max(journey.n_valid, 1)
    return DecloudResult(
        model=translator.name,
        device=translator.device,
        seconds=seconds,
        n_valid=journey.n_valid,
        cloud_share=counts.cloud_share,
        shadow_share=counts.shadow_share,
        generated_share=journey.n_generated / n_valid,
        observed_share=journey.n_observed / n_valid,
        feathered_share=journey.n_feathered / n_valid,
        identical_share=journey.n_identical / max(journey.n_values, 1),
        files=files,
        notes=tuple(notes),
    )


def _files(out: str | Path | Sink, options: DecloudOptions) -> dict[str, str]:
    files = {
        "output": out,
        "provenance": options.provenance,
        "uncertainty": options.uncertainty,
        "mask": options.mask_out,
        "compare": options.compare,
    }
    return {what: str(path) for what, path in files.items() if isinstance(path, str | Path)}


def _write_comparison(
    before: Scene, out: Path, result: DecloudResult, options: DecloudOptions
) -> None:
    """The page of before and after; the output is read as the scene was."""
    from geodecloud.compare import compare  # brings jinja2, which little else needs

    with open_scene(out, bands=before.sensor.band_names) as after:
        compare(
            before,
            after,
            options.compare or "",
            provenance=options.provenance,
            metrics={"Model": f"{result.model} on {result.device}"},
            overwrite=options.overwrite,
        )
