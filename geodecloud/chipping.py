"""chip: scenes cut into chips to train from, from options to folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from geodecloud.errors import OptionError
from geodecloud.geo import guard
from geodecloud.geo.chips import ChipStore
from geodecloud.geo.choosing import Choice, ClippedScene
from geodecloud.geo.manifest import slug
from geodecloud.geo.polygons import Polygons
from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import Scene
from geodecloud.geo.sensors import Sensor
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
    min_valid: float | None = None
    max_cloud: float = 1.0
    overwrite: bool = False


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
    another, in ``images2`` under the same names.

    Raises:
        InputError: a scene, or the file of polygons, cannot be used.
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
    skipped: Counter[str] = Counter()
    if options.pairs:
        names = [_name(paths[0])]
        stores = _cut_pair(paths, names[0], folder, options, on_note, on_progress)
        n_chips = len(stores[0])
        skipped.update(stores[0].manifest.skipped)
    else:
        names, n_chips = _names(paths), 0
        for path, name in zip(paths, names, strict=True):
            with _opened(path, options) as scene:
                place = folder if len(paths) == 1 else folder / name
                store = _cut(scene, place, name, options, on_progress)
            n_chips += len(store)
            skipped.update(store.manifest.skipped)
    return ChipResult(str(folder), names, options.size_px, n_chips, dict(skipped))


def _cut(
    scene: Scene, folder: Path, name: str, options: ChipOptions, on_progress: Listener
) -> ChipStore:
    with _choice(scene, options, on_progress) as choice:
        return _stored(scene, folder, name, options, choice, on_progress)


def _cut_pair(
    paths: Sequence[Path],
    name: str,
    folder: Path,
    options: ChipOptions,
    on_note: Callable[[str], None],
    on_progress: Listener,
) -> list[ChipStore]:
    with _opened(paths[0], options) as source, ExitStack() as stack:
        opened = open_scene(paths[1])
        stack.callback(opened.close)
        target: Scene = opened
        if target.geobox != source.geobox:
            on_note(f"{paths[1]} lies on another grid than {paths[0]}: it is resampled")
            target = on_grid(target, source.geobox)
        if options.aoi is not None:
            target = ClippedScene(target, _areas(options.aoi, target))
        choice = stack.enter_context(_choice(target, options, on_progress))
        sides = (source, target)
        return [
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
def _choice(scene: Scene, options: ChipOptions, on_progress: Listener) -> Iterator[Choice]:
    """Which chips are kept; clouds are sought where their share counts."""
    usual = 0.0 if options.aoi is None else ANY_VALID
    choice = Choice(usual if options.min_valid is None else options.min_valid, options.max_cloud)
    if options.max_cloud == 1:
        yield choice
        return
    with masked(scene, MaskOptions(dilate_m=0), on_progress) as (classes, _):
        yield replace(choice, classes=classes)


def _name(path: Path) -> str:
    return slug(path.name if path.is_dir() else path.stem)


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each scene; they become folders side by side."""
    names = [_name(path) for path in paths]
    for name, path in zip(names, paths, strict=True):
        first = paths[names.index(name)]
        if first != path:
            raise OptionError(
                f"{first} and {path} are both named {name}",
                "each scene has a folder of its name",
                "cut them one by one into folders of their own",
            )
    return names
