"""From what --mask says to a class raster: which sources are meant, and what they find."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geodecloud.errors import OptionError
from geodecloud.geo.classing import (
    ClassCounts,
    ClassSource,
    Shaping,
    Strips,
    is_masked,
    write_classes,
    write_strips,
)
from geodecloud.geo.drawn import Codes, drawn_codes
from geodecloud.geo.masks import (
    CLASSES,
    CLEAR,
    CLOUD,
    NODATA,
    Classes,
    Flags,
)
from geodecloud.geo.radiometry import OTHERS
from geodecloud.geo.raster import Profile, RasterSink, open_scene
from geodecloud.geo.scene import Scene, Sink, shape_of
from geodecloud.geo.sensors import CLASS_BANDS, Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.mask_grammar import Array, Mask, Source, terms_of
from geodecloud.progress import Listener, silent
from geodecloud.run.detectors import DETECTORS, Detector, detector_for, detector_named, is_detector
from geodecloud.run.network import is_model

WORDS = ("auto", "all", "none")

DETECTED = Shaping(dilate_m=60.0, specks_m2=500.0, holes_m2=5_000.0)
"""How what a detector finds is shaped where nothing else is asked: clouds have soft edges."""
DRAWN = Shaping()
"""What was drawn is taken as it was drawn."""

STRIP_PX = 512

Color = tuple[int, int, int, int]


def class_profile(
    name: str, class_names: Mapping[int, str], colours: Mapping[int, Color], *, nodata: int
) -> Profile:
    """Return how a raster of classes is stored: uint8 with colours and names."""
    band = Band(name, nodata=nodata, dtype="uint8")
    return replace(
        Profile.for_sensor(Sensor(name, (band,), unit="class")),
        colorinterp=("palette",),
        colormap=dict(colours),
        class_names=dict(class_names),
    )


MASK_PROFILE = class_profile(
    "mask",
    {code: kind.name for code, kind in CLASSES.items()},
    {code: kind.colour for code, kind in CLASSES.items()},
    nodata=NODATA,
)


@dataclass(frozen=True)
class MaskOptions:
    """Which pixels of a scene are masked.

    Attributes:
        mask: "auto", "all", "none", the name of a detector ("scl", "qa60", "spectral", ...), a
            cloud-mask model by name or path, a raster on the scene's grid, polygons (GeoJSON,
            GeoPackage), an (H, W) array of bool or of class codes; several of them joined by "+"
            and "-", or in a list.
        detector: whom "auto" means: a name, a path or a detector; None lets the bands decide.
        dilate_m: each added term grows by this much. None means 60 m for what a detector finds
            and 0 for what was drawn; so it is for the next two. What is taken away never grows.
        specks_m2: cloud and shadow of less than this area are dropped, before the growth.
        holes_m2: clear ground of less than this area, shut in, is masked too, after the growth.
        shadows: the shadows that detectors find are masked as well.
    """

    mask: Mask = "auto"
    detector: str | Path | Detector | None = None
    dilate_m: float | None = None
    specks_m2: float | None = None
    holes_m2: float | None = None
    shadows: bool = True

    def __post_init__(self) -> None:
        """Refuse values that make no sense, before any work."""
        self.shaping(DRAWN)

    def shaping(self, usual: Shaping) -> Shaping:
        """Return what is asked, and the usual where nothing is."""
        asked = {name: getattr(self, name) for name in ("dilate_m", "specks_m2", "holes_m2")}
        told = {name: value for name, value in asked.items() if value is not None}
        return replace(usual, shadows=self.shadows or usual is DRAWN, **told)


@dataclass(frozen=True)
class MaskResult:
    """What was found in a scene: shares of its valid pixels, by class; seconds."""

    n_valid: int
    shares: Mapping[str, float]
    mask_share: float
    seconds: float
    file: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as strings and numbers."""
        return asdict(self)

    def summary(self) -> str:
        """Return the result in a few lines for people."""
        shares = [f"{name:18} {share:7.2%}" for name, share in self.shares.items()]
        whole = f"to be replaced     {self.mask_share:7.2%} of {self.n_valid} valid pixels"
        file = [] if self.file is None else [f"mask               {self.file}"]
        return "\n".join([*shares, whole, f"time               {self.seconds:6.1f} s", *file])


def mask(
    source: str | Path | Sequence[str | Path] | Scene,
    out: str | Path | Sink,
    options: MaskOptions | None = None,
    *,
    overwrite: bool = False,
    on_progress: Listener = silent,
    **changes: Any,
) -> MaskResult:
    """Write the classes of a scene's pixels as a raster to look at, edit and give to decloud.

    Its codes are those of ``geodecloud.geo.masks.CLASSES``, with a colour each; taken as a mask
    it says again what it says, whatever was painted over.

    Args:
        source: a raster, a folder or list of per-band rasters, or an open scene.
        out: the GeoTIFF (COG) to write, or a sink of one band of uint8.
        options: which pixels; None takes the defaults.
        overwrite: replace a file that exists.
        on_progress: told how far each stage is; raises ``Cancelled`` to stop.
        **changes: fields of ``MaskOptions`` by name, over ``options``.

    Raises:
        InputError: the scene, or a term of the mask, cannot be used.
        OptionError: an option makes no sense.
        OutputError: the file exists, or cannot be written.
        MissingExtraError: a detector is not installed.
    """
    options = replace(options or MaskOptions(), **changes)
    start = time.perf_counter()
    with ExitStack() as stack:
        scene = source
        if isinstance(scene, str | Path | Sequence):
            scene = open_scene(scene)
            stack.callback(scene.close)
        sink = out
        if isinstance(sink, str | Path):
            sink = RasterSink(sink, scene.geobox, MASK_PROFILE, overwrite=overwrite)
        with sink:
            counts = write_mask(scene, sink, options, on_progress)
    return MaskResult(
        n_valid=counts.n_valid,
        shares={kind.name: counts.share(code) for code, kind in CLASSES.items() if code != NODATA},
        mask_share=counts.mask_share,
        seconds=round(time.perf_counter() - start, 3),
        file=str(out) if isinstance(out, str | Path) else None,
    )


@contextmanager
def masked(
    scene: Scene, options: MaskOptions, on_progress: Listener = silent
) -> Iterator[tuple[Scene, ClassCounts]]:
    """Give the classes of a scene's pixels as a raster, and their counts, while in the context.

    Raises:
        As ``mask``.
    """
    with TemporaryDirectory(prefix="geodecloud-") as folder:
        path = Path(folder) / "classes.tif"
        with RasterSink(path, scene.geobox, MASK_PROFILE, cog=False) as sink:
            counts = write_mask(scene, sink, options, on_progress)
        with open_scene(path, bands=["mask"], scale=1, offset=0) as classes:
            yield classes, counts


def write_mask(
    scene: Scene, sink: Sink, options: MaskOptions, on_progress: Listener = silent
) -> ClassCounts:
    """Write the classes of a scene into an open sink of one band of uint8; count them.

    Terms work left to right: "+" masks more, and of two classes the one nearer to thick cloud
    stands; "-" clears. Memory holds one row of tiles, whatever the scene.

    Raises:
        As ``mask``.
    """
    with ExitStack() as stack:
        terms = terms_of(options.mask, _is_known)
        layers = [_layer(term.source, scene, options, stack) for term in terms]
        if len(terms) == 1:
            return layers[0].write(sink, on_progress)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="geodecloud-")))
        parts = []
        for i, (term, layer) in enumerate(zip(terms, layers, strict=True)):
            path = folder / f"{i}.tif"
            if term.sign == "-":
                layer = layer._replace(shaping=Shaping(shadows=layer.shaping.shadows))
            with RasterSink(path, scene.geobox, MASK_PROFILE, cog=False) as part:
                layer.write(part, on_progress)
            raster = open_scene(path, bands=["mask"], scale=1, offset=0)
            stack.callback(raster.close)
            parts.append((term.sign, raster))
        return write_strips(_combined(parts), sink)


def combine(codes: Classes, sign: str, other: Classes) -> Classes:
    """Return what two (H, W) arrays of classes give together.

    Example:
        >>> one, other = np.array([[0, 3, 255]], np.uint8), np.array([[4, 1, 0]], np.uint8)
        >>> combine(one, "+", other), combine(one, "-", other)
        (array([[4, 1, 0]], dtype=uint8), array([[  0,   0, 255]], dtype=uint8))
    """
    if sign == "-":
        return np.where(is_masked(codes) & is_masked(other), CLEAR, codes).astype(np.uint8)
    last = np.uint8(NODATA - 1)  # clear comes after all that is masked, nodata after clear
    ranks = [np.where(layer == CLEAR, last, layer) for layer in (codes, other)]
    first = np.minimum(*ranks)
    return np.where(first == last, CLEAR, first).astype(np.uint8)


def _combined(parts: Sequence[tuple[str, Scene]]) -> Strips:
    height, width = shape_of(parts[0][1].geobox)
    for top in range(0, height, STRIP_PX):
        window = Window(top, 0, min(STRIP_PX, height - top), width)
        codes = np.full(window.shape, NODATA, np.uint8)
        for sign, raster in parts:
            codes = combine(codes, sign, raster.read(window)[0][0])
        yield top, codes


def _is_known(text: str) -> bool:
    if text in WORDS or is_detector(text):
        return True
    try:
        return Path(text).is_file()
    except OSError:  # longer than a name can be
        return False


class _Preparable(ClassSource, Protocol):
    """A detector, or what stands in for one."""

    def prepare(self, scene: Scene, on_progress: Listener) -> ClassSource: ...


class _Layer(NamedTuple):
    """One term at work: what is looked at, who tells its classes, how they become a mask."""

    scene: Scene
    source: _Preparable
    shaping: Shaping

    def write(self, sink: Sink, on_progress: Listener) -> ClassCounts:
        source = self.source.prepare(self.scene, on_progress)
        return write_classes(self.scene, source, sink, self.shaping, on_progress=on_progress)


def _layer(source: Source, scene: Scene, options: MaskOptions, stack: ExitStack) -> _Layer:
    """Find what a term names; files stay open as long as the stack."""
    if _names_detector(source):
        detector = _chosen(scene, options.detector if source == "auto" else source)
        if set(detector.bands) <= CLASS_BANDS:
            seen = _OnGround(scene.select(detector.bands), scene)
            return _Layer(seen, detector, options.shaping(DETECTED))
        return _Layer(scene, detector, options.shaping(DETECTED))
    painted = _Painted(_codes_of(source, scene, stack), scene.geobox)
    return _Layer(_OnGround(painted, scene), _AsDrawn(), options.shaping(DRAWN))


def _names_detector(source: Source) -> TypeGuard[str | Path]:
    if isinstance(source, Path):  # never a word: only what stands there counts
        return source.exists() and is_model(str(source))
    return isinstance(source, str) and (source == "auto" or is_detector(source))


def _chosen(scene: Scene, detector: str | Path | Detector | None) -> Detector:
    if detector is None:
        return detector_for(scene)
    return detector_named(detector) if isinstance(detector, str | Path) else detector


def _codes_of(source: Source, scene: Scene, stack: ExitStack) -> Codes:
    """What tells the classes of a window: words, or what was drawn."""
    if isinstance(source, np.ndarray):
        return drawn_codes(source, scene, stack)
    if source in ("all", "none"):
        code = CLOUD if source == "all" else CLEAR
        return lambda window: np.full(window.shape, code, np.uint8)
    path = Path(source)
    if not path.is_file():
        raise OptionError(
            f"mask is {str(source)!r}",
            f"a mask is {', '.join(WORDS)}, a detector ({', '.join(DETECTORS)}), a raster on the "
            "scene's grid, polygons, or several of these with + and -",
            "choose among them, or check the path",
        )
    return drawn_codes(path, scene, stack)


class _Painted:
    """Codes of classes on a grid, as a scene of one band."""

    sensor = Sensor("mask", (Band("mask", dtype="uint8"),), unit="class")

    def __init__(self, codes: Codes, geobox: GeoBox) -> None:
        self._codes, self.geobox = codes, geobox

    def read(self, window: Window) -> tuple[Array, Flags]:
        codes = self._codes(window)[None]
        return codes, np.ones(codes.shape, bool)

    def select(self, names: Sequence[str]) -> _Painted:
        return self


class _OnGround:
    """A scene of classes that is valid only where the ground below it is: nodata is no cloud."""

    def __init__(self, classes: Scene, scene: Scene) -> None:
        self.sensor, self.geobox = classes.sensor, scene.geobox
        names = scene.sensor.band_names
        ground = [name for name in names if name not in CLASS_BANDS | OTHERS]
        self._classes, self._ground = classes, scene.select(ground or names)

    def read(self, window: Window) -> tuple[Array, Flags]:
        codes, valid = self._classes.read(window)
        return codes, valid & self._ground.read(window)[1].all(axis=0)

    def select(self, names: Sequence[str]) -> _OnGround:
        return self


class _AsDrawn(NamedTuple):
    """Takes codes for what they are."""

    bands: tuple[str, ...] = ("mask",)
    margin_px: int = 0
    stride_px: int = 1

    def prepare(self, scene: Scene, on_progress: Listener) -> _AsDrawn:
        return self

    def classes(self, reflectance: npt.NDArray[Any], valid: Flags) -> Classes:
        return np.where(valid, reflectance[0], NODATA).astype(np.uint8)
