"""clouds: a synthetic sky over a clear scene, from options to files."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geodecloud.errors import BandError, InputError, OptionError
from geodecloud.geo.masks import CLEAR, CLOUD, NODATA, SHADOW, THIN, pixel_size_m
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.publish import publish, refuse_existing
from geodecloud.geo.radiometry import OTHERS
from geodecloud.geo.raster import Profile, RasterSink, SceneSource, profile_of
from geodecloud.geo.scene import Scene, Sink, shape_of
from geodecloud.geo.sensors import CLASS_BANDS, Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.masking import MASK_PROFILE
from geodecloud.progress import Listener, Progress, silent
from geodecloud.reading import ReadingOptions
from geodecloud.sky.adjacency import ground_around, reach_px
from geodecloud.sky.clouds import Sky, Truth, apply_sky
from geodecloud.sky.ground import SceneGrid
from geodecloud.sky.sky import MOST_JSON

WINDOW_PX = 256
"""Side of what is clouded at once: some 50 MB of work arrays on ten bands."""

DEPTH_PROFILE = Profile.for_sensor(
    Sensor("optical depth", (Band("optical_depth", dtype="float32"),), unit="class")
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CloudsOptions(ReadingOptions):
    """Which sky hangs over a scene, and what is written.

    Attributes:
        sky: a sky, or the JSON file that one was written to; it goes before the next five.
        seed, coverage, type, sun_azimuth_deg, sun_elevation_deg: of a new sky, see ``Sky``; None
            takes what a ``Sky`` has.
        truth: write what each pixel is, in the classes of a mask: clear, cloud (thick), thin
            cloud, shadow. ``decloud`` takes it as ``mask``.
        depth: write the optical depth at 550 nm.
        sky_out: write the sky as JSON.
        bands, scale, offset, level, sensor, resolution_m: how it is read; see ``ReadingOptions``.
        overwrite: replace files that exist.
    """

    sky: Sky | str | Path | None = None
    seed: int | None = None
    coverage: float | None = None
    type: str | None = None
    sun_azimuth_deg: float | None = None
    sun_elevation_deg: float | None = None
    truth: str | Path | None = None
    depth: str | Path | None = None
    sky_out: str | Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse a sky that is said twice, and numbers of which no sky can be made."""
        if self.sky is not None and self.numbers:
            raise OptionError(
                f"a sky, and {', '.join(self.numbers)} beside it",
                "a sky has its own",
                "leave out one or the other",
            )
        Sky(**self.numbers)

    @property
    def numbers(self) -> dict[str, Any]:
        """What is said of a new sky."""
        names = ("seed", "coverage", "type", "sun_azimuth_deg", "sun_elevation_deg")
        said = {name: getattr(self, name) for name in names}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class CloudsResult:
    """What was done to a scene: the sky, shares of the valid pixels, files, seconds."""

    sky: Sky
    n_valid: int
    thin_share: float
    thick_share: float
    shadow_share: float
    seconds: float
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def cloud_share(self) -> float:
        """Share of the valid pixels under cloud."""
        return self.thin_share + self.thick_share

    def to_json(self) -> dict[str, Any]:
        """Return the result as strings and numbers."""
        sky = json.loads(self.sky.to_json())
        return {**asdict(self), "sky": sky, "cloud_share": self.cloud_share}

    def summary(self) -> str:
        """Return the result in a few lines for people."""
        lines = [
            f"{self.sky.type:18} {self.cloud_share:7.2%} of {self.n_valid} valid pixels, "
            f"{self.thick_share:.2%} thick",
            f"shadow             {self.shadow_share:7.2%}",
            f"time               {self.seconds:6.1f} s",
        ]
        return "\n".join([*lines, *(f"{what:18} {path}" for what, path in self.files.items())])


def clouds(
    source: SceneSource,
    out: str | Path | Sink,
    options: CloudsOptions | None = None,
    *,
    on_note: Callable[[str], None] = lambda text: None,
    on_progress: Listener = silent,
    **changes: Any,
) -> CloudsResult:
    """Hang a sky over a clear scene; return what was done.

    The output has the input's grid, bands and encoding. Pixels under clear sky are the input's
    own, bit for bit; nodata stays, and so do bands of classes. A window of the scene under the
    same sky is a window of the result, save where the scene ends: there the ground goes on for
    clouds to blur as it is at the edge.

    Args:
        source: a raster, a folder or list of per-band rasters, or an open scene.
        out: the GeoTIFF (COG) to write, or a sink.
        options: which sky; None takes the defaults.
        on_note: told what the user should know.
        on_progress: told how far the work is; raises ``Cancelled`` to stop.
        **changes: fields of ``CloudsOptions`` by name, over ``options``.

    Raises:
        InputError: the scene, or the sky's file, cannot be used.
        BandError: a band has no wavelength.
        OptionError: an option makes no sense.
        OutputError: a file exists, or cannot be written.

    Example:
        >>> from geodecloud import clouds                               # doctest: +SKIP
        >>> clouds("clear.tif", "cloudy.tif", seed=7).cloud_share       # doctest: +SKIP
        0.4
    """
    options = replace(options or CloudsOptions(), **changes)
    start = time.perf_counter()
    with options.opened(source) as scene:
        ground = Ground.of(scene)
        for text in (*check_radiometry(scene), *ground.notes):
            on_note(text)
        sky = sky_of(scene, options)
        grid = SceneGrid.of(scene.geobox, sky.crs)
        if options.sky_out is not None:
            refuse_existing(Path(options.sky_out), options.overwrite)
        with ExitStack() as stack:
            sinks = _open_sinks(stack, scene, out, options)
            counts = _cloud_windows(ground, grid, sky, sinks, on_progress)
    if options.sky_out is not None:
        publish(Path(options.sky_out), sky.to_json().encode(), overwrite=options.overwrite)
    n_valid = int(counts[[CLEAR, CLOUD, THIN, SHADOW]].sum())
    shares = {code: int(counts[code]) / max(n_valid, 1) for code in (THIN, CLOUD, SHADOW)}
    return CloudsResult(
        sky=sky,
        n_valid=n_valid,
        thin_share=shares[THIN],
        thick_share=shares[CLOUD],
        shadow_share=shares[SHADOW],
        seconds=round(time.perf_counter() - start, 3),
        files=_files(out, options),
    )


def sky_of(scene: Scene, options: CloudsOptions) -> Sky:
    """Return the sky that is given, or a new one that meets its coverage over this scene."""
    if isinstance(options.sky, Sky):
        return options.sky
    if options.sky is not None:
        return read_sky(options.sky)
    asked = Sky(**options.numbers)
    sun = asked.sun_azimuth_deg, asked.sun_elevation_deg
    return Sky.for_scene(scene.geobox, asked.coverage, asked.type, asked.seed, sun)


def read_sky(path: str | Path) -> Sky:
    """Return the sky that a JSON file holds.

    Raises:
        InputError: the file cannot be read, or holds no sky.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(MOST_JSON + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(
            f"{path} cannot be read: {reason}", "a file that --sky-out wrote", "check the path"
        ) from error
    return Sky.from_json(text)


class Ground(NamedTuple):
    """A scene, and which of its channels see the ground."""

    scene: Scene
    seen: Sensor
    channels: list[int]
    wavelengths_nm: list[float]
    margin_px: int

    @classmethod
    def of(cls, scene: Scene) -> Ground:
        """Return a scene as ground for a sky; no pixel is read.

        Raises:
            BandError: a band has no wavelength.
        """
        sensor = scene.sensor
        named = [band for band in sensor.bands if band.name not in CLASS_BANDS | OTHERS]
        lacking = [band.name for band in named if band.wavelength_nm is None]
        if lacking or not named:
            raise BandError(
                f"bands {', '.join(lacking or sensor.band_names)} have no wavelength",
                "what a cloud does to a band hangs on its wavelength",
                "name the bands as Sentinel-2 does, with --bands B02,B03,B04,B08 (bands=)",
            )
        names = [band.name for band in named]
        return cls(
            scene,
            sensor.select(names),
            sensor.index(names),
            [band.wavelength_nm for band in named if band.wavelength_nm is not None],
            reach_px(_pixel_m(scene)),
        )

    @property
    def notes(self) -> list[str]:
        """What the user should know."""
        notes, names = [], self.scene.sensor.band_names
        if others := [name for name in names if name not in self.seen.band_names]:
            notes.append(f"no sky is seen in {', '.join(others)}: they stay as they are")
        if self.seen.level is None:
            notes.append(
                "the product level is not known: taken as L2A; say --level L1C where it is"
            )
        return notes

    def under(
        self, window: Window, sky: Sky, grid: SceneGrid
    ) -> tuple[Array, npt.NDArray[np.bool_], Truth]:
        """Return stored numbers of a window under the sky, their validity, and the truth."""
        read = window.padded(self.margin_px) & Window.whole(shape_of(self.scene.geobox))
        dn, valid = self.scene.read(read)
        clear = self.seen.to_reflectance(dn[self.channels])[None]
        around = ground_around(clear, _pixel_m(self.scene), valid[self.channels][None])
        inner = (..., *window.relative_to(read).slices)
        dn, valid, clear = dn[inner].copy(), valid[inner], clear[inner]
        cloudy, truth = apply_sky(
            clear, self.wavelengths_nm, sky, grid.window(window.row, window.col, window.shape),
            is_toa=self.seen.level == "L1C", around=around[inner],
        )  # fmt: skip
        stored = self.seen.to_dn(cloudy[0])
        changed = (cloudy != clear)[0] & valid[self.channels] & self.seen.is_valid(stored)
        dn[self.channels] = np.where(changed, stored, dn[self.channels])
        return dn, valid, truth


def _pixel_m(scene: Scene) -> float:
    return math.sqrt(math.prod(pixel_size_m(scene.geobox)))


class _Sinks(NamedTuple):
    out: Sink
    truth: Sink | None
    depth: Sink | None


def _open_sinks(
    stack: ExitStack, scene: Scene, out: str | Path | Sink, options: CloudsOptions
) -> _Sinks:
    """Open all outputs before any work is done, so that none is refused after it."""

    def raster(path: str | Path, profile: Profile) -> Sink:
        sink = RasterSink(path, scene.geobox, profile, overwrite=options.overwrite)
        return stack.enter_context(sink)

    truth = None if options.truth is None else raster(options.truth, MASK_PROFILE)
    depth = None if options.depth is None else raster(options.depth, DEPTH_PROFILE)
    if isinstance(out, str | Path):
        return _Sinks(raster(out, profile_of(scene)), truth, depth)
    return _Sinks(stack.enter_context(out), truth, depth)


def _cloud_windows(
    ground: Ground, grid: SceneGrid, sky: Sky, sinks: _Sinks, on_progress: Listener
) -> npt.NDArray[np.int64]:
    """Cloud the scene window by window; return how many pixels each class has."""
    windows = windows_of(Window.whole(shape_of(ground.scene.geobox)))
    counts = np.zeros(256, np.int64)
    for done, window in enumerate(windows):
        on_progress(Progress(done, len(windows), "clouds"))
        dn, valid, truth = ground.under(window, sky, grid)
        sinks.out.write(window, dn, valid)
        classes = classes_of_truth(truth, np.any(valid[ground.channels], axis=0))
        counts += np.bincount(classes.ravel(), minlength=256)
        if sinks.truth is not None:
            sinks.truth.write(window, classes[None], classes[None] != NODATA)
        if sinks.depth is not None:
            depth = truth.optical_depth[0]
            sinks.depth.write(window, depth, np.ones(depth.shape, bool))
    on_progress(Progress(len(windows), len(windows), "clouds"))
    return counts


def windows_of(whole: Window) -> list[Window]:
    """Return the windows, row by row, that are clouded one after the other."""
    return [
        Window(row, col, WINDOW_PX, WINDOW_PX) & whole
        for row in range(whole.row, whole.row_stop, WINDOW_PX)
        for col in range(whole.col, whole.col_stop, WINDOW_PX)
    ]


def classes_of_truth(truth: Truth, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return the class of each pixel, (H, W), in the codes of a mask."""
    classes = np.full(valid.shape, CLEAR, np.uint8)
    for code, is_it in ((THIN, truth.is_thin), (CLOUD, truth.is_thick), (SHADOW, truth.is_shadow)):
        classes[is_it[0, 0]] = code
    classes[~valid] = NODATA
    return classes


def _files(out: str | Path | Sink, options: CloudsOptions) -> dict[str, str]:
    files = {
        "output": out, "truth": options.truth, "depth": options.depth, "sky": options.sky_out,
    }  # fmt: skip
    return {what: str(path) for what, path in files.items() if isinstance(path, str | Path)}
