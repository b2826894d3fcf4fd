"""translate: scenes and stores of chips drawn anew by a model, from options to files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from geodecloud.errors import OptionError, OutputError
from geodecloud.geo.canvas import Canvas
from geodecloud.geo.chips import ChipStore, mosaic_chips
from geodecloud.geo.manifest import MANIFEST
from geodecloud.geo.part import Part
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.raster import RasterSink, SceneSource, open_scene, profile_of
from geodecloud.geo.scene import Scene
from geodecloud.guides import open_guide
from geodecloud.models import check_pixel_size, load_translator
from geodecloud.pipeline import Aids, Road, translate_scene
from geodecloud.progress import Listener, silent
from geodecloud.reading import ReadingOptions
from geodecloud.tasks import decloud
from geodecloud.translator import Translator, wants


@dataclass(frozen=True)
class TranslateOptions(ReadingOptions):
    """How a scene, or a store of chips, is drawn anew.

    Attributes:
        model: the name of a model, the path of a package, or a translator.
        direction: of models with two, such as "BtoA"; None takes the first.
        mask: where a cloud-removing model answers; see ``DecloudOptions``.
        extra: further inputs that the model wants, by name ("sar"): rasters on any grid.
        aoi: polygons, inside of which a scene is drawn; see ``DecloudOptions``.
        bands, scale, offset, level, sensor, resolution_m: how it is read; see ``ReadingOptions``.
        tile_size_px, batch_size, device: how it is computed; see ``Road``.
        overwrite: replace what exists.
    """

    model: str | Path | Translator
    direction: str | None = None
    mask: str | Path = "auto"
    extra: Mapping[str, Path] = field(default_factory=dict)
    aoi: Path | None = None
    tile_size_px: int = 512
    batch_size: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, low, high in (("tile_size_px", 16, 8_192), ("batch_size", 1, 4_096)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise OptionError(
                    f"{name} is {value}",
                    f"it lies between {low} and {high}",
                    "choose another value",
                )


@dataclass(frozen=True)
class TranslateResult:
    """What was drawn: by whom, of how many valid pixels, and into which files."""

    model: str
    device: str
    seconds: float
    bands: Sequence[str]
    n_valid: int
    generated_share: float
    n_chips: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the result as strings and numbers."""
        listed = {"bands": list(self.bands), "files": dict(self.files), "notes": list(self.notes)}
        return {**asdict(self), **listed}

    def summary(self) -> str:
        """Return the result in a few lines for people."""
        what = f"{self.n_chips} chips of " if self.n_chips else ""
        lines = [
            f"generated          {self.generated_share:7.2%} of {self.n_valid} valid pixels by "
            f"{self.model} on {self.device}",
            f"bands              {what}{', '.join(self.bands)}",
            f"time               {self.seconds:6.1f} s",
        ]
        return "\n".join([*lines, *(f"{name:18} {path}" for name, path in self.files.items())])


@dataclass(frozen=True)
class _Listeners:
    """Who hears of the work, and what was noted on the way."""

    on_start: Callable[[str, str], None]
    on_note: Callable[[str], None]
    on_progress: Listener
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Tell it once."""
        if text not in self.notes:
            self.notes.append(text)
            self.on_note(text)


def translate(
    source: SceneSource,
    out: str | Path,
    options: TranslateOptions | None = None,
    *,
    on_start: Callable[[str, str], None] = lambda device, model: None,
    on_note: Callable[[str], None] = lambda text: None,
    on_progress: Listener = silent,
    **changes: Any,
) -> TranslateResult:
    """Draw a scene, or a store of chips, anew by a model; return what was done.

    The output lies on the source's grid, in the bands and encoding of the model's target sensor;
    each of its bands names the model. A cloud-removing model draws under the mask alone. Chips
    are taken as the scene they were cut from, so that none shows a rim, and cut again as they
    were: ``mosaic_chips`` of the output is the scene's translation, bit for bit.

    Args:
        source: a raster, a folder or list of per-band rasters, an open scene, or a folder of
            chips with the manifest of ``ChipStore``.
        out: the GeoTIFF (COG) to write; for chips a folder.
        options: how; its ``model`` may be given in ``changes``.
        on_start: told the device and the model once both are known.
        on_note: told what the user should know.
        on_progress: told how far each stage is; raises ``Cancelled`` to stop.
        **changes: fields of ``TranslateOptions`` by name, over ``options``.

    Raises:
        InputError: the source cannot be used, or a chip is missing or changed.
        OptionError: an option makes no sense.
        OutputError: the output exists, or cannot be written.
        ModelError: the model is unknown, damaged, made for something else, or has no such
            direction.

    Example:
        >>> from geodecloud import translate                            # doctest: +SKIP
        >>> translate("grey.tif", "colour.tif", model="colorize").bands  # doctest: +SKIP
        ('red', 'green', 'blue')
    """
    chosen = replace(options, **changes) if options else TranslateOptions(**changes)
    listeners = _Listeners(on_start, on_note, on_progress)
    start = time.perf_counter()
    if isinstance(source, str | Path) and (Path(source) / MANIFEST).is_file():
        result = _translate_chips(Path(source), Path(out), chosen, listeners)
    else:
        with chosen.opened(source) as scene:
            result = _translate_scene(scene, Path(out), chosen, listeners)
    return replace(
        result,
        seconds=round(time.perf_counter() - start, 3),
        files={"output": str(out)},
        notes=tuple(listeners.notes),
    )


def _translate_chips(
    folder: Path, out: Path, options: TranslateOptions, listeners: _Listeners
) -> TranslateResult:
    """The chips as one scene, drawn anew, and cut as they were."""
    if options.aoi is not None:
        raise OptionError(
            f"areas ({options.aoi}) beside a folder of chips",
            "chips are drawn whole",
            "give the scene itself, or cut its chips with --aoi",
        )
    store = ChipStore.open(folder)
    manifest = store.manifest
    if out.resolve() == folder.resolve():
        raise OutputError(
            f"{out} is the folder that is read", "the chips stay as they are", "name another folder"
        )
    with TemporaryDirectory(prefix="geodecloud-") as temporary:
        whole, drawn = Path(temporary) / "whole.tif", Path(temporary) / "drawn.tif"
        mosaic_chips(folder, whole, on_progress=listeners.on_progress)
        with open_scene(whole, sensor=manifest.sensor) as scene:  # the file alone may say less
            result = _translate_scene(scene, drawn, options, listeners)
        with open_scene(drawn, bands=result.bands) as scene:
            cut = ChipStore.cut(
                scene,
                out,
                name=manifest.scene,
                size_px=manifest.size_px,
                overlap_px=manifest.overlap_px,
                overwrite=options.overwrite,
                on_progress=listeners.on_progress,
            )
    return replace(result, n_chips=len(cut))


def _translate_scene(
    scene: Scene, out: Path, options: TranslateOptions, listeners: _Listeners
) -> TranslateResult:
    translator = load_translator(options.model, scene, options.device, direction=options.direction)
    if translator.task == "cloud-removal":
        return _clear(scene, out, translator, options, listeners)
    listeners.on_start(translator.device, translator.name)
    check_pixel_size(scene, translator)
    for text in check_radiometry(scene.select(translator.bands_in)):
        listeners.note(text)
    for name in options.extra:
        if not wants(translator, name):
            listeners.note(f"{translator.name} does not look at {name}: it changes nothing")
    part = Part.of(scene, options.aoi, translator.halo_px)
    seen = part.scene.select(translator.bands_in)
    canvas = part.clipped(
        Canvas.of(seen, translator.bands_out, translator.sensor_out, generated_by=translator.name)
    )
    stride_px = translator.stride_px
    road = Road(
        size_px=-(-options.tile_size_px // stride_px) * stride_px, batch_size=options.batch_size
    )
    with (
        _extra(options.extra, seen) as extra,
        RasterSink(out, part.geobox, profile_of(canvas), overwrite=options.overwrite) as sink,
    ):
        journey = translate_scene(
            seen,
            part.sink(sink),
            translator,
            aids=Aids(extra=extra, canvas=canvas),
            road=road,
            on_progress=listeners.on_progress,
        )
    return TranslateResult(
        model=translator.name,
        device=translator.device,
        seconds=0.0,
        bands=translator.bands_out,
        n_valid=journey.n_valid,
        generated_share=journey.n_generated / max(journey.n_valid, 1),
    )


def _clear(
    scene: Scene,
    out: Path,
    translator: Translator,
    options: TranslateOptions,
    listeners: _Listeners,
) -> TranslateResult:
    """What ``decloud`` does, told as a translation."""
    done = decloud(
        scene,
        out,
        model=translator,
        mask=options.mask,
        sar=options.extra.get("sar"),
        aoi=options.aoi,
        tile_size_px=options.tile_size_px,
        batch_size=options.batch_size,
        overwrite=options.overwrite,
        on_start=listeners.on_start,
        on_note=listeners.note,
        on_progress=listeners.on_progress,
    )
    return TranslateResult(
        model=done.model,
        device=done.device,
        seconds=done.seconds,
        bands=translator.bands_out,
        n_valid=done.n_valid,
        generated_share=done.generated_share + done.feathered_share,
    )


@contextmanager
def _extra(paths: Mapping[str, Path], scene: Scene) -> Iterator[Mapping[str, Scene]]:
    """Further inputs, open, on the scene's grid."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(open_guide(name, path, scene)) for name, path in paths.items()
        }
