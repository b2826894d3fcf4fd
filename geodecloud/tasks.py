"""decloud: what users ask for, from options to files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from geodecloud.errors import GridError, InputError, OptionError
from geodecloud.geo.canvas import GENERATED_TAG
from geodecloud.geo.classing import ClassCounts
from geodecloud.geo.fill import Fill
from geodecloud.geo.masks import ClassMask, pixel_size_m
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.publish import refuse_existing
from geodecloud.geo.raster import Profile, RasterSink, open_scene, profile_of
from geodecloud.geo.scene import Scene, Sink, shape_of
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.tiling import Window
from geodecloud.guides import guides_for
from geodecloud.mask_grammar import Mask
from geodecloud.masking import MASK_PROFILE, MaskOptions, class_profile, masked
from geodecloud.models import DEFAULT_MODEL, load_translator, suits_pixel_size
from geodecloud.paste import PROVENANCE, PROVENANCE_COLOURS
from geodecloud.pipeline import Aids, Journey, Road, translate_scene
from geodecloud.progress import Listener, silent
from geodecloud.run.detectors import Detector
from geodecloud.translator import Translator

STRIP_PX = 512

PROVENANCE_PROFILE = class_profile("provenance", PROVENANCE, PROVENANCE_COLOURS, nodata=0)

Source = str | Path | Sequence[str | Path] | Scene


@dataclass(frozen=True)
class DecloudOptions:
    """How clouds are removed; the defaults suit a Sentinel-2 scene.

    Attributes:
        model: "fill", the name of a shipped model, the path of a model package, or a translator.
        mask, detector, dilate_m, specks_m2, holes_m2, shadows: what is to be replaced; see
            ``MaskOptions``.
        feather_m: over this distance, inside the mask's rim, the generated fades in.
        max_cloud: share of masked pixels above which a model that sees this scene alone refuses.
        keep_bands: write the bands that the model does not know as well, unchanged.
        sar: radar of about the same date, on any grid, for models that look at it.
        bands, scale, offset, level: what the stored numbers are, where the file does not say;
            reflectance is ``(dn + offset) * scale``.
        sensor: all of that at once: a sensor, or the TOML file that describes it.
        resolution_m: pixel size of the scene; None takes that of its finest band.
        halo, tile_size_px, batch_size, device: how it is computed; see ``Road``.
        provenance, mask_out, compare: further files to write.
        overwrite: replace files that exist.
    """

    model: str | Path | Translator = DEFAULT_MODEL
    mask: Mask = "auto"
    detector: str | Path | Detector | None = None
    dilate_m: float | None = None
    specks_m2: float | None = None
    holes_m2: float | None = None
    shadows: bool = True
    feather_m: float = 30.0
    max_cloud: float = 0.95
    keep_bands: bool = False
    sar: str | Path | Sequence[str | Path] | None = None
    bands: Sequence[str] | None = None
    scale: float | None = None
    offset: float | None = None
    level: str | None = None
    sensor: Sensor | str | Path | None = None
    resolution_m: float | None = None
    halo: Literal["exact", "fast"] = "exact"
    tile_size_px: int = 512
    batch_size: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    provenance: Path | None = None
    mask_out: Path | None = None
    compare: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, low, high in (
            ("max_cloud", 0, 1), ("feather_m", 0, 5_000),
            ("tile_size_px", 16, 8_192), ("batch_size", 1, 4_096),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise OptionError(
                    f"{name} is {value}",
                    f"it lies between {low} and {high}",
                    "choose another value",
                )
        self.mask_options()  # refuses its own

    def mask_options(self) -> MaskOptions:
        """Return what is to be replaced."""
        names = (each.name for each in fields(MaskOptions))
        return MaskOptions(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class DecloudResult:
    """What was done to a scene: shares of its valid pixels, files, seconds."""

    model: str
    device: str
    seconds: float
    n_valid: int
    cloud_share: float
    shadow_share: float
    generated_share: float
    feathered_share: float
    identical_share: float
    files: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the result as strings and numbers."""
        return {**asdict(self), "files": dict(self.files), "notes": list(self.notes)}

    def summary(self) -> str:
        """Return the result in a few lines for people."""
        lines = [
            f"cloud              {self.cloud_share:7.2%} of {self.n_valid} valid pixels, "
            f"shadow {self.shadow_share:.2%}",
            f"generated          {self.generated_share:7.2%} by {self.model} on {self.device}, "
            f"and {self.feathered_share:.2%} feathered",
            f"identical          {self.identical_share:7.2%} of all values, bit for bit",
            f"time               {self.seconds:6.1f} s",
        ]
        return "\n".join([*lines, *(f"{what:18} {path}" for what, path in self.files.items())])


def decloud(
    source: Source,
    out: str | Path | Sink,
    options: DecloudOptions | None = None,
    *,
    on_start: Callable[[str, str], None] = lambda device, model: None,
    on_note: Callable[[str], None] = lambda text: None,
    on_progress: Listener = silent,
    **changes: Any,
) -> DecloudResult:
    """Remove the clouds of a scene; return what was done.

    The output holds the model's bands on the input's grid, in the input's encoding. Pixels
    outside the mask are the input's own, bit for bit.

    Args:
        source: a raster, a folder or list of per-band rasters, or an open scene.
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

    with _opened(source, options) as scene:
        translator = load_translator(options.model, scene, options.device)
        on_start(translator.device, translator.name)
        check_pixel_size(scene, translator)
        for text in check_radiometry(scene.select(translator.bands_in)):
            note(text)
        target = scene if options.keep_bands else scene.select(translator.bands_out)
        road = _road(scene, translator, options)
        with ExitStack() as stack:
            sinks = _open_sinks(stack, target, out, translator, options)
            classes, counts = stack.enter_context(
                masked(scene, options.mask_options(), on_progress)
            )
            guides = stack.enter_context(guides_for(translator, scene, options.sar, note))
            _check_cloud(counts, options, note, is_guided=bool(guides))
            if sinks.mask is not None:
                _copy(classes, sinks.mask)
            journey = translate_scene(
                target,
                sinks.out,
                translator,
                aids=_aids(scene.select(translator.bands_in), classes, guides, on_progress),
                provenance=sinks.provenance,
                road=road,
                on_progress=on_progress,
            )
        seconds = round(time.perf_counter() - start, 3)
        result = _result(translator, journey, counts, seconds, _files(out, options), notes)
        if options.compare is not None and isinstance(out, str | Path):
            _write_comparison(scene, Path(out), target, result, options)
    return result


class _Sinks(NamedTuple):
    out: Sink
    provenance: Sink | None
    mask: Sink | None


@contextmanager
def _opened(source: Source, options: DecloudOptions) -> Iterator[Scene]:
    if not isinstance(source, str | Path | Sequence):
        yield source
        return
    with open_scene(
        source,
        bands=options.bands,
        scale=options.scale,
        offset=options.offset,
        level=options.level,
        sensor=options.sensor,
        resolution_m=options.resolution_m,
    ) as scene:
        yield scene


def check_pixel_size(scene: Scene, translator: Translator) -> None:
    """Refuse a scene whose pixels are of another size than the translator was made for.

    Raises:
        GridError: they are.
    """
    if not suits_pixel_size(scene, translator.resolution_m):
        size_m = math.sqrt(math.prod(pixel_size_m(scene.geobox)))
        raise GridError(
            f"the scene has pixels of {size_m:.3g} m",
            f"{translator.name} was made for {translator.resolution_m:g} m, and takes half to "
            "twice of that",
            "resample the scene, or choose another model",
        )


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

    origin = mask = None
    if options.provenance is not None:
        origin = raster(options.provenance, PROVENANCE_PROFILE)
    if options.mask_out is not None:
        mask = raster(options.mask_out, MASK_PROFILE)
    if isinstance(out, str | Path):
        return _Sinks(raster(out, _output_profile(target, translator)), origin, mask)
    return _Sinks(stack.enter_context(out), origin, mask)


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


def _check_cloud(
    counts: ClassCounts,
    options: DecloudOptions,
    note: Callable[[str], None],
    *,
    is_guided: bool,
) -> None:
    if counts.mask_share == 0:
        note("no cloud was found: the output is the input")
    if counts.mask_share > options.max_cloud and not is_guided:
        raise OptionError(
            f"{counts.mask_share:.1%} of the scene is cloud, shadow or their margin",
            f"a model that sees this date alone draws at most {options.max_cloud:.0%}",
            "choose a clearer date or another --mask, or raise --max-cloud",
        )


def _aids(seen: Scene, classes: Scene, guides: Mapping[str, Scene], on_progress: Listener) -> Aids:
    """The mask, the fill under it, and what else the model looks at."""
    mask = ClassMask(classes, seen)
    fill = Fill.build(seen, mask, on_progress=on_progress)
    if fill.is_empty and not guides:
        raise InputError(
            "the scene has no clear pixel",
            "what is under a cloud is drawn from what is clear around it",
            "choose a clearer date, or another --mask",
        )
    return Aids(mask, fill, guides)


def _road(scene: Scene, translator: Translator, options: DecloudOptions) -> Road:
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
        feathered_share=journey.n_feathered / n_valid,
        identical_share=journey.n_identical / max(journey.n_values, 1),
        files=files,
        notes=tuple(notes),
    )


def _files(out: str | Path | Sink, options: DecloudOptions) -> dict[str, str]:
    files = {
        "output": out,
        "provenance": options.provenance,
        "mask": options.mask_out,
        "compare": options.compare,
    }
    return {what: str(path) for what, path in files.items() if isinstance(path, str | Path)}


def _write_comparison(
    scene: Scene, out: Path, target: Scene, result: DecloudResult, options: DecloudOptions
) -> None:
    """The page of before and after; the output is read as the scene was."""
    from geodecloud.compare import compare  # brings jinja2, which little else needs

    with open_scene(out, bands=target.sensor.band_names) as after:
        compare(
            scene.select(target.sensor.band_names),
            after,
            options.compare or "",
            provenance=options.provenance,
            metrics={"Model": f"{result.model} on {result.device}"},
            overwrite=options.overwrite,
        )
