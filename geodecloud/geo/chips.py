"""Chip, cut_scene, ChipStore: stored numbers of tiles, kept in a folder with a manifest."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, overload

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.errors import InputError, OutputError
from geodecloud.geo.choosing import Choice, Reason
from geodecloud.geo.loose import LooseChips
from geodecloud.geo.manifest import MANIFEST, ChipRecord, Manifest, file_names, named, slug
from geodecloud.geo.mosaic import Mosaic
from geodecloud.geo.profile import Profile
from geodecloud.geo.publish import alone, publish
from geodecloud.geo.raster import RasterSink, encode_array, open_scene, profile_of
from geodecloud.geo.scene import Array, Scene, shape_of
from geodecloud.geo.tiling import Tile, Tiling, Window
from geodecloud.progress import Listener, Progress, silent

Flags = npt.NDArray[np.bool_]

ALL = Choice()


@dataclass(frozen=True, slots=True)
class Chip:
    """The pixels of a tile, as they are stored.

    Attributes:
        dn: (C, H, W) stored numbers.
        valid: (C, H, W) bool: a measurement; False in the padding of scenes smaller than a chip.
        tile: where the chip lies in its scene.
        geobox: where the chip lies on Earth.
    """

    dn: Array
    valid: Flags
    tile: Tile
    geobox: GeoBox

    def __post_init__(self) -> None:
        """Refuse arrays that are not of the tile."""
        if not self.dn.shape[1:] == self.valid.shape[1:] == self.tile.read.shape:
            raise ValueError(f"{self.dn.shape} pixels, {self.valid.shape} valid for {self.tile}")


def cut_scene(
    scene: Scene, tiling: Tiling | None = None, *, size_px: int = 64, overlap_px: int = 0
) -> Iterator[Chip]:
    """Yield the chips of a scene, row by row; one row of tiles is in memory.

    ``chip.dn == scene.read(chip.tile.read)`` wherever the tile lies inside; what reaches beyond
    is a reflection, and invalid.

    Args:
        scene: what is cut.
        tiling: where; None means ``Tiling.for_chips`` of the next two.
        size_px: side of a chip.
        overlap_px: shared with the neighbour.

    Raises:
        OptionError: the overlap is not smaller than the chip.

    Example:
        >>> from geodecloud.geo.scene import ArrayScene
        >>> from geodecloud.geo.sensors import SENSORS
        >>> scene = ArrayScene(np.zeros((3, 100, 64), np.uint8), SENSORS["rgb"])
        >>> [chip.tile.read.row for chip in cut_scene(scene, size_px=64)]
        [0, 36]
    """
    whole = Window.whole(shape_of(scene.geobox))
    if tiling is None:
        tiling = Tiling.for_chips(whole.shape, size_px, overlap_px)
    for row, span in enumerate(tiling.rows):
        strip = Window(span.start, 0, span.stop - span.start, whole.width) & whole
        dn, valid = scene.read(strip)
        for col in range(len(tiling.cols)):
            tile = tiling.at(row, col)
            inside = tile.read & strip
            at = inside.relative_to(strip).slices
            margins = (
                (0, 0),
                (inside.row - tile.read.row, tile.read.row_stop - inside.row_stop),
                (inside.col - tile.read.col, tile.read.col_stop - inside.col_stop),
            )
            yield Chip(
                np.pad(dn[:, *at], margins, "reflect"),
                np.pad(valid[:, *at], margins),
                tile,
                part_of(scene.geobox, tile.read),
            )


def part_of(geobox: GeoBox, window: Window) -> GeoBox:
    """Return where a window lies, to half a unit in the last place; it may reach beyond."""
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    x = math.fsum((a * window.col, b * window.row, c))
    y = math.fsum((d * window.col, e * window.row, f))
    return GeoBox(window.shape, Affine(a, b, x, d, e, y), geobox.crs)


class ChipStore(Sequence[Chip]):
    """A folder with the chips of one scene: georeferenced GeoTIFFs, and a manifest.

    ``list(ChipStore.cut(scene, folder)) == list(cut_scene(scene))``, bit for bit.

    Args:
        folder: where the chips are.
        manifest: what they are.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Take the folder as it is; ``verify`` checks its files."""
        self.folder, self.manifest = folder, manifest
        self.tiling = manifest.tiling

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Return the store in a folder.

        Raises:
            InputError: there is no manifest, or it is damaged.
        """
        return cls(Path(folder), Manifest.read_from(Path(folder)))

    @classmethod
    def cut(  # noqa: PLR0913 - all but two by name, and each has its usual value
        cls,
        scene: Scene,
        folder: str | Path,
        *,
        name: str | None = None,
        size_px: int = 64,
        overlap_px: int = 0,
        choice: Choice = ALL,
        overwrite: bool = False,
        on_progress: Listener = silent,
    ) -> Self:
        """Cut a scene into a folder and return the store.

        Chips that are there and hold what they should are left as they are, so that a run that
        was stopped goes on where it was. The manifest is written last.

        Args:
            scene: what is cut.
            folder: made where it is missing.
            name: of the scene; None takes that of its file.
            size_px: side of a chip.
            overlap_px: shared with the neighbour.
            choice: which chips are kept.
            overwrite: replace the chips of another scene, or of another cut.
            on_progress: told after each chip; raises ``Cancelled`` to stop.

        Raises:
            OptionError: the overlap is not smaller than the chip.
            OutputError: the folder holds other things, or cannot be written.
        """
        folder = Path(folder)
        tiling = Tiling.for_chips(shape_of(scene.geobox), size_px, overlap_px)
        draft = Manifest.model_construct(
            scene=_name_of(scene) if name is None else name,
            crs=None if scene.geobox.crs is None else str(scene.geobox.crs),
            transform=tuple(scene.geobox.affine)[:6],
            shape=tiling.shape,
            size_px=size_px,
            overlap_px=overlap_px,
            sensor=scene.sensor,
            profile=profile_of(scene),
            min_valid=choice.min_valid,
            max_cloud=choice.max_cloud,
        )
        files = file_names(draft.scene, tiling)
        records, skipped = [], Counter[Reason]()
        with alone(folder):
            _clear(folder, draft, set(files), overwrite)
            for chip, file in zip(cut_scene(scene, tiling), files, strict=True):
                if reason := choice.refuses(chip.tile.read, chip.valid, tiling.shape):
                    skipped[reason] += 1
                    (folder / file).unlink(missing_ok=True)
                else:
                    sha256 = _keep(folder / file, chip, draft)
                    records.append(ChipRecord.of(chip.tile, file, sha256))
                on_progress(Progress(len(records) + skipped.total(), len(files), "chips"))
            about = {**dict(draft), "skipped": dict(skipped)}
            manifest = Manifest(**about, chips=tuple(records))
            os.sync()  # all chips at once, before the manifest that vouches for them
            publish(folder / MANIFEST, manifest.dumped(), overwrite=True)
        return cls(folder, manifest)

    @property
    def geobox(self) -> GeoBox:
        """Where the scene lies."""
        return self.manifest.geobox

    @property
    def profile(self) -> Profile:
        """How the scene was stored."""
        return self.manifest.profile

    @property
    def blend_px(self) -> int:
        """Ramp for chips that were changed since: half a chip blends over any overlap."""
        return self.manifest.size_px // 2

    @property
    def nodata(self) -> tuple[float | None, ...]:
        """What each band's stored numbers say of no measurement."""
        return tuple(band.nodata for band in self.manifest.sensor.bands)

    def verify(self, on_progress: Listener = silent) -> None:
        """Check that every chip is here and whole.

        Raises:
            InputError: some are not; names them.
        """
        faults: dict[str, list[str]] = {"missing": [], "damaged or changed": []}
        for done, record in enumerate(self.manifest.chips, 1):
            try:
                content = (self.folder / record.file).read_bytes()
            except OSError:
                faults["missing"].append(record.file)
            else:
                if hashlib.sha256(content).hexdigest() != record.sha256:
                    faults["damaged or changed"].append(record.file)
            on_progress(Progress(done, len(self), "verify"))
        found = [f"{len(files)} {what}: {named(files)}" for what, files in faults.items() if files]
        if found:
            raise InputError(
                f"of the {len(self)} chips in {self.folder} {'; '.join(found)}",
                "all chips are as the manifest says",
                "cut the scene again into the same folder, which keeps what is whole, or remove "
                f"{MANIFEST} to take the chips as they are",
            )

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.manifest.chips)

    @overload
    def __getitem__(self, index: int) -> Chip: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Chip]: ...
    def __getitem__(self, index: int | slice) -> Chip | Sequence[Chip]:
        """Return a chip, read from its file.

        Raises:
            InputError: the file is missing or damaged.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        record = self.manifest.chips[index]
        tile = self.tiling.at(record.row, record.col)
        path = self.folder / record.file
        with open_scene(path, bands=self.manifest.sensor.band_names) as scene:
            if shape_of(scene.geobox) != tile.read.shape:
                raise InputError(
                    f"{path} has {shape_of(scene.geobox)} px",
                    f"the manifest says {tile.read.shape}",
                    "cut the scene again into the same folder",
                )
            dn, valid = scene.read(Window.whole(tile.read.shape))
        padding = np.ones(tile.read.shape, bool)
        padding[(tile.read & Window.whole(self.manifest.shape)).relative_to(tile.read).slices] = (
            False
        )
        return Chip(dn, valid & ~padding, tile, part_of(self.geobox, tile.read))

    def parts(self) -> Iterator[tuple[Window, Array, Flags]]:
        """Yield window, stored numbers and validity of each chip, top to bottom."""
        for chip in self:
            yield chip.tile.read, chip.dn, chip.valid


def mosaic_chips(
    folder: str | Path,
    out: str | Path,
    *,
    nodata: float | None = None,
    overwrite: bool = False,
    on_progress: Listener = silent,
) -> Path:
    """Put the chips of a folder together into one GeoTIFF; return its path.

    With a manifest the scene comes back bit for bit: pixels, grid, nodata and metadata of the
    bands. Without one, georeferenced chips from anywhere are taken: they lie on one grid of whole
    pixels, overlaps are blended where they differ, and what no chip covers becomes nodata.

    Args:
        folder: chips.
        out: file to write.
        nodata: stored number for gaps between loose chips; None takes the one they declare.
        overwrite: replace a file that exists.
        on_progress: told after each chip; raises ``Cancelled`` to stop.

    Raises:
        InputError: chips are missing, damaged, or do not go together; all of them are named.
        OutputError: the file exists, or cannot be written.
    """
    folder, out = Path(folder), Path(out)
    chips: ChipStore | LooseChips
    if (folder / MANIFEST).exists():
        chips = ChipStore.open(folder)
    else:
        chips = LooseChips.find(folder, nodata, on_progress)
    sink = RasterSink(out, chips.geobox, chips.profile, overwrite=overwrite)
    if isinstance(chips, ChipStore):
        chips.verify(on_progress)
    with sink:
        mosaic = Mosaic(
            sink,
            shape_of(chips.geobox),
            chips.profile.n_bands,
            chips.profile.dtype,
            chips.blend_px,
            nodata=chips.nodata,
            allow_gaps=None not in chips.profile.nodata,
        )
        for done, part in enumerate(chips.parts(), 1):
            mosaic.add(*part)
            on_progress(Progress(done, len(chips), "mosaic"))
        mosaic.close()
    return out


def _name_of(scene: Scene) -> str:
    path = getattr(scene, "path", None)
    return "scene" if path is None else Path(path).stem


def _clear(folder: Path, draft: Manifest, files: set[str], overwrite: bool) -> None:
    """Leave nothing in the folder that could be taken for a chip of this cut and is none."""
    entries = {path.name for path in folder.iterdir()}
    for name in entries:
        if name.startswith(".") and name.endswith(".part"):  # left by a run that was killed
            (folder / name).unlink(missing_ok=True)
    # GDAL leaves statistics beside what somebody looked at
    entries = {name for name in entries if not name.startswith(".") and ".aux.xml" not in name}
    before: set[str] = set()
    if MANIFEST in entries:
        before = _refuse_other_cut(folder, draft, overwrite)
    chip_of_scene = re.compile(re.escape(slug(draft.scene)) + r"_r\d+_c\d+\.tif")
    strangers = entries - files - before - {MANIFEST}
    if strangers and not overwrite:
        raise OutputError(
            f"{folder} holds other things: {named(sorted(strangers))}",
            "chips have a folder of their own",
            "choose an empty folder, or pass --overwrite to cut beside them",
        )
    for name in before | {name for name in strangers if chip_of_scene.fullmatch(name)}:
        if name not in files:
            (folder / name).unlink(missing_ok=True)


def _refuse_other_cut(folder: Path, draft: Manifest, overwrite: bool) -> set[str]:
    """Refuse to replace what a manifest vouches for, or remove it; returns the chips it names."""
    try:
        other = Manifest.read_from(folder)
        if other.without_chips() == draft.without_chips():
            return set()
        found = f"{folder} holds {other.scene} in chips of {other.size_px} px, or other metadata"
    except InputError as error:
        other, found = None, error.found
    if not overwrite:
        raise OutputError(
            found,
            f"what is cut is {draft.scene} in chips of {draft.size_px} px",
            "choose another folder, or pass --overwrite",
        )
    (folder / MANIFEST).unlink()
    return set() if other is None else {record.file for record in other.chips}


def _keep(path: Path, chip: Chip, draft: Manifest) -> str:
    """Write a chip, unless its file is there and the same; return the sha256 of the file."""
    content = encode_array(chip.dn, chip.valid, chip.geobox, draft.profile)
    try:
        is_there = path.read_bytes() == content
    except OSError:
        is_there = False
    if not is_there:
        publish(path, content, overwrite=True, is_synced=False)
    return hashlib.sha256(content).hexdigest()
