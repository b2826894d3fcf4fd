"""chip: scenes cut into chips to train from, from options to folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from geodecloud.errors import BandError, OptionError
from geodecloud.geo import guard
from geodecloud.geo.chips import Chip, ChipStore, cut_scene
from geodecloud.geo.choosing import Choice, ClippedScene
from geodecloud.geo.esri import EsriRaster, write_esri
from geodecloud.geo.polygons import Polygons
from geodecloud.geo.raster import open_scene, profile_of
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.several import scene_name, scene_names
from geodecloud.geo.tiling import Tiling
from geodecloud.geo.warped import on_grid
from geodecloud.masking import MaskOptions, masked
from geodecloud.progress import Listener, Progress, silent

SIDES = ("images", "images2")
"""Folders of the two sides of pairs, source and target."""

ANY_VALID = 1e-9
"""Least share of valid pixels where a scene is clipped: one pixel."""


@dataclass(frozen=True)
class ChipOptions:
    """How scenes are cut.

    Attributes:
        size_px: side of a chip.
        overlap_px: pixels that neighbours share.
        bands, sensor, resolution_m: as ``open_scene`` takes them.
        aoi: polygons (GeoJSON, GeoPackage); outside of them there is nodata, and no chip.
        pairs: the two scenes are source and target of the same ground.
        layout: "geodecloud", chips with a manifest, which ``mosaic_chips`` makes a scene again; or
            "esri", as ArcGIS exports chips for training.
        min_valid: share of a chip's pixels that must be valid, in both scenes of a pair.
        max_cloud: share of its valid pixels that may be cloud, in the target of a pair.
        overwrite: replace the chips of another cut.
    """

    size_px: int = 64
    overlap_px: int = 0
    bands: Sequence[str] | None = None
    sensor: Sensor | str | Path | None = None
    resolution_m: float | None = None
    aoi: Path | None = None
    pairs: bool = False
    layout: Literal["geodecloud", "esri"] = "geodecloud"
    min_valid: float | None = None
    max_cloud: float = 1.0
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse a layout, and shares, that are none."""
        Choice(self.min_valid or 0.0, self.max_cloud)
        if self.layout not in {"geodecloud", "esri"}:
            raise OptionError(
                f"layout is {self.layout!r}", "chips lie as geodecloud or esri", "choose one"
            )


@dataclass(frozen=True)
class ChipResult:
    """What was cut: chips, and how many were left out for which reason."""

    chips: str
    scenes: Sequence[str]
    size_px: int
    n_chips: int
    skipped: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the result as strings and numbers."""
        return {**asdict(self), "scenes": list(self.scenes), "skipped": dict(self.skipped)}

    def summary(self) -> str:
        """Return the result in a line for people."""
        left = ", ".join(f"{n} of {reason}" for reason, n in self.skipped.items())
        return (
            f"{self.n_chips} chips of {self.size_px} px out of {', '.join(self.scenes)}: "
            f"{self.chips}" + (f" (left out: {left})" if left else "")
        )


def chip(
    scenes: Sequence[str | Path],
    folder: str | Path,
    options: ChipOptions | None = None,
    *,
    on_note: Callable[[str], None] = lambda text: None,
    on_progress: Listener = silent,
    **changes: Any,
) -> ChipResult:
    """Cut scenes into georeferenced GeoTIFFs with a manifest; return what was cut.

    One scene goes into ``folder``, several into a folder each inside it. Of a pair, the chips of
    the first lie in ``images``, those of the second, resampled onto the first's grid where it has
    another, in ``images2`` under the same names. In the layout "esri" all scenes make one export,
    so their numbers mean one thing.

    Raises:
        InputError: a scene, or the file of polygons, cannot be used.
        BandError: the scenes of an export are not alike.
        OptionError: an option makes no sense, or two scenes have one name.
        OutputError: a folder holds other things, or cannot be written.
    """
    options = replace(options or ChipOptions(), **changes)
    paths = [Path(scene) for scene in scenes]
    if options.pairs and len(paths) != 2:
        raise OptionError(
            f"{len(paths)} scenes for pairs", "a pair is a source and a target", "name two scenes"
        )
    folder = Path(folder)
    if options.layout == "esri":
        names = [scene_name(path) for path in paths]
        n_chips, skipped = _export(paths, folder, options, on_note, on_progress)
    elif options.pairs:
        names = [scene_name(paths[0])]
        n_chips, skipped = _cut_pair(paths, names[0], folder, options, on_note, on_progress)
    else:
        names, n_chips, skipped = scene_names(paths), 0, Counter()
        for path, name in zip(paths, names, strict=True):
            with _opened(path, options) as scene, _choice([scene], options, on_progress) as choice:
                place = folder if len(paths) == 1 else folder / name
                store = _stored(scene, place, name, options, choice, on_progress)
            n_chips += len(store)
            skipped.update(store.manifest.skipped)
    return ChipResult(str(folder), names, options.size_px, n_chips, dict(skipped))


def _cut_pair(
    paths: Sequence[Path],
    name: str,
    folder: Path,
    options: ChipOptions,
    on_note: Callable[[str], None],
    on_progress: Listener,
) -> tuple[int, Counter[str]]:
    with _pair(paths, options, on_note) as sides, _choice(sides, options, on_progress) as choice:
        stores = [
            _stored(
                side,
                folder / SIDES[i],
                name,
                options,
                replace(choice, beside=(sides[1 - i],)),
                on_progress,
            )
            for i, side in enumerate(sides)
        ]
    return len(stores[0]), Counter(stores[0].manifest.skipped)


def _stored(
    scene: Scene,
    folder: Path,
    name: str,
    options: ChipOptions,
    choice: Choice,
    on_progress: Listener,
) -> ChipStore:
    def tell(progress: Progress) -> None:
        on_progress(replace(progress, message=f"{progress.message} of {name}"))

    return ChipStore.cut(
        scene,
        folder,
        name=name,
        size_px=options.size_px,
        overlap_px=options.overlap_px,
        choice=choice,
        overwrite=options.overwrite,
        on_progress=tell,
    )


def _export(
    paths: Sequence[Path],
    folder: Path,
    options: ChipOptions,
    on_note: Callable[[str], None],
    on_progress: Listener,
) -> tuple[int, Counter[str]]:
    """Chips of a pair, or of one scene after another, as ArcGIS exports them."""
    groups = [paths] if options.pairs else [[path] for path in paths]
    rasters = _common_rasters(groups, options)
    skipped: Counter[str] = Counter()

    def places() -> Iterator[Sequence[Chip]]:
        for group in groups:
            with (
                _side_by_side(group, options, on_note) as scenes,
                _choice(scenes, options, on_progress) as choice,
            ):
                tiling = _tiling(scenes[0], options)
                sides = (cut_scene(scene, tiling) for scene in scenes)
                for done, place in enumerate(zip(*sides, strict=True), 1):
                    tile, valid = place[-1].tile, place[-1].valid
                    if reason := choice.refuses(tile.read, valid, tiling.shape):
                        skipped[reason] += 1
                    else:
                        yield place
                    on_progress(Progress(done, len(tiling), f"chips of {scene_name(group[0])}"))

    return write_esri(folder, places(), rasters, overwrite=options.overwrite), skipped


def _common_rasters(groups: Sequence[Sequence[Path]], options: ChipOptions) -> list[EsriRaster]:
    """What the chips of all groups are, side by side; nothing is written where they differ."""
    common: list[EsriRaster] = []
    for group in groups:
        with _side_by_side(group, options) as scenes:
            _tiling(scenes[0], options)
            rasters = [_raster(scene, options) for scene in scenes]
        if not common:
            common = rasters
        elif repr(rasters[0].sensor) != repr(common[0].sensor):  # by which NaN is NaN
            raise BandError(
                f"{group[0]} has other bands, numbers or nodata than {groups[0][0]}",
                "the chips of an export are alike",
                "choose bands that both have (--bands), or export each into its own folder",
            )
        else:
            common = [_either(one, other) for one, other in zip(common, rasters, strict=True)]
    return common


def _raster(scene: Scene, options: ChipOptions) -> EsriRaster:
    """How the chips of a scene are stored: they say themselves what its file's name may say."""
    sensor, profile = scene.sensor, profile_of(scene)
    is_padded = min(shape_of(scene.geobox)) < options.size_px
    level = {} if sensor.level is None else {"PROCESSING_LEVEL": sensor.level}
    own = replace(
        profile,
        descriptions=sensor.band_names,
        units=("dB",) * profile.n_bands if sensor.unit == "dB" else profile.units,
        tags={**profile.tags, **level},
        is_masked=profile.is_masked or is_padded,
    )
    return EsriRaster(sensor, own)


def _either(one: EsriRaster, other: EsriRaster) -> EsriRaster:
    """What holds for chips of two scenes that are alike."""
    tags = dict(one.profile.tags.items() & other.profile.tags.items())
    is_masked = one.profile.is_masked or other.profile.is_masked
    return replace(one, profile=replace(one.profile, tags=tags, is_masked=is_masked))


def _tiling(scene: Scene, options: ChipOptions) -> Tiling:
    return Tiling.for_chips(shape_of(scene.geobox), options.size_px, options.overlap_px)


@contextmanager
def _side_by_side(
    paths: Sequence[Path], options: ChipOptions, on_note: Callable[[str], None] = lambda text: None
) -> Iterator[Sequence[Scene]]:
    """One scene, or both of a pair."""
    if options.pairs:
        with _pair(paths, options, on_note) as sides:
            yield sides
    else:
        with _opened(paths[0], options) as scene:
            yield [scene]


@contextmanager
def _pair(
    paths: Sequence[Path], options: ChipOptions, on_note: Callable[[str], None]
) -> Iterator[Sequence[Scene]]:
    """Source and target on the source's grid."""
    with _opened(paths[0], options) as source, open_scene(paths[1]) as opened:
        target: Scene = opened
        if target.geobox != source.geobox:
            on_note(f"{paths[1]} lies on another grid than {paths[0]}: it is resampled")
            target = on_grid(target, source.geobox)
        if options.aoi is not None:
            target = ClippedScene(target, _areas(options.aoi, target))
        yield source, target


@contextmanager
def _opened(path: Path, options: ChipOptions) -> Iterator[Scene]:
    with open_scene(
        path, bands=options.bands, sensor=options.sensor, resolution_m=options.resolution_m
    ) as scene:
        if options.aoi is None:
            yield scene
        else:
            yield ClippedScene(scene, _areas(options.aoi, scene))


def _areas(path: Path, scene: Scene) -> Polygons:
    return Polygons.open(guard.existing(path), scene, classed=False)


@contextmanager
def _choice(
    scenes: Sequence[Scene], options: ChipOptions, on_progress: Listener
) -> Iterator[Choice]:
    """Which chips of the last are kept; clouds are sought where their share counts."""
    *beside, scene = scenes
    usual = 0.0 if options.aoi is None else ANY_VALID
    min_valid = usual if options.min_valid is None else options.min_valid
    choice = Choice(min_valid, options.max_cloud, beside)
    if options.max_cloud == 1:
        yield choice
        return
    with masked(scene, MaskOptions(dilate_m=0), on_progress) as (classes, _):
        yield replace(choice, classes=classes)
