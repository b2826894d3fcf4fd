"""prepare_data and pack_folder: what lies in a training folder, opened, described and packed."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odc.geo.geobox import GeoBox

from geodecloud.errors import DataError
from geodecloud.geo.raster import RasterScene, RasterStack, open_scene
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.learn.cutting import TrainingScene, pack
from geodecloud.progress import Listener, silent

if TYPE_CHECKING:
    from geodecloud.learn.data import ChipData

SUFFIXES = (".tif", ".tiff", ".jp2")
CHIP_LIMIT_PX = 256
"""Files up to this size are chips, and all of one size; larger ones are scenes to be cut."""

BLOCK_CHIPS = 8
"""Chips that lie in one square of so many a side stay on one side of a split together."""

DEFAULT_BANDS = ("B02", "B03", "B04", "B08")

PAIR_FOLDERS = (("train_a", "train_b"), ("images", "images2"))


def prepare_data(  # noqa: PLR0913 - the face of arcgis.learn keeps its own signature
    path: str | os.PathLike[str],
    *,
    dataset_type: str | None = None,
    chip_size: int = 64,
    val_split_pct: float = 0.1,
    batch_size: int = 64,
    seed: int = 42,
    bands: Sequence[str] | None = None,
    splits: str | os.PathLike[str] | None = None,
    fold: int | None = None,
    working_dir: str | os.PathLike[str] | None = None,
    listener: Listener = silent,
) -> ChipData:
    """Return a training set made of a folder of scenes or chips, or of packed chips.

    Nothing is written into the folder: its pixels are packed into ``working_dir``, or into a
    temporary folder.

    Args:
        path: packed chips, a folder, or one scene.
        dataset_type: "CloudRemoval" (clear scenes, clouded on the fly; real pairs too) or
            "Pix2Pix" (pairs); None is "Pix2Pix" where the set holds pairs alone.
        chip_size: side of the training chips.
        val_split_pct: part held out, by place.
        batch_size: chips in a batch.
        seed: of the split and of the batches.
        bands: which bands, in the order of the model's; None takes the files' own.
        splits: a table of places and folds, as ``benchmarks/splits.json``.
        fold: the fold of that table that is held out.
        working_dir: where packed chips and models go.
        listener: told while packing.

    Raises:
        DataError: the folder holds nothing to train on, or what it holds does not fit together.
    """
    from geodecloud.learn.data import ChipData, split
    from geodecloud.learn.packed import PackedChips

    source = Path(path)
    if source.suffix != ".safetensors":
        folder = Path(working_dir) if working_dir else Path(tempfile.mkdtemp(prefix="geodecloud-"))
        folder.mkdir(parents=True, exist_ok=True)
        packed_path = folder / "chips.safetensors"
        pack_folder(source, packed_path, bands=bands, splits=splits, listener=listener)
        source = packed_path
    packed = PackedChips(source)
    if dataset_type is None:
        is_paired = packed.has("source").all() and "mask" not in packed.sides
        dataset_type = "Pix2Pix" if is_paired else "CloudRemoval"
    train, valid = split(packed, val_split_pct=val_split_pct, fold=fold, seed=seed)
    return ChipData(
        packed,
        dataset_type,
        train,
        valid,
        chip_size=min(chip_size, packed.size_px),
        batch_size=batch_size,
        seed=seed,
        working_dir=Path(working_dir) if working_dir else source.parent,
    )


def pack_folder(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    bands: Sequence[str] | None = None,
    splits: str | os.PathLike[str] | None = None,
    size_px: int | None = None,
    listener: Listener = silent,
) -> int:
    """Write a training folder, or the rows of a table of splits, as packed chips.

    Returns the number of samples. ``size_px`` is the side of their windows; None takes 256, or
    the chips' own size where the folder holds chips.

    Raises:
        DataError: there is nothing to train on, or it does not fit together.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist", "a folder or a scene", "check the path")
    if splits is not None:
        rows = rows_of_table(Path(splits), bands or DEFAULT_BANDS)
        scenes = _scenes_of_rows(root, rows, bands or DEFAULT_BANDS)
        n_scenes = len(rows)
    else:
        files = _files_of(root)
        n_scenes = len(files["target"])
        chip_px = _chip_size_of(root, files["target"])
        size_px = size_px or chip_px
        scenes = _scenes_of_files(files, bands, chip_px)
    return pack(scenes, out, size_px=size_px or 256, n_scenes=n_scenes, listener=listener)


def rows_of_table(
    table: Path, bands: Sequence[str], *, publishable: bool = True
) -> list[dict[str, Any]]:
    """Return the rows of a table of splits that a model of these bands may learn from.

    A clear side that is hazy or cloudy is left out, and a cloudy side that shows another season,
    no cloud, or nothing but cloud. Each row gets its ``attribution``.

    Raises:
        DataError: the table cannot be read, or no row is left.
    """
    try:
        content = json.loads(table.read_text())
        attribution: dict[str, str] = content["about"].get("attribution", {})
        rows = []
        for row in content["rows"]:
            if row.get("state") or not set(bands) <= set(row["bands"]):
                continue
            if publishable and not row.get("publishable", True):
                continue
            if row.get("cloudy_state", "thin") != "thin":
                row.pop("cloudy", None)
            said = (text for folder, text in attribution.items() if row["clear"].startswith(folder))
            rows.append({**row, "attribution": next(said, "")})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{table} cannot be read ({error})", "it is a table of splits", "check the path"
        ) from error
    if not rows:
        raise DataError(
            f"no row of {table} has bands {', '.join(bands)}",
            "rows name their bands",
            "choose other bands",
        )
    return rows


def _scenes_of_rows(
    root: Path, rows: Sequence[Mapping[str, Any]], bands: Sequence[str]
) -> Iterator[TrainingScene]:
    for row in rows:
        with ExitStack() as stack:
            sides: dict[str, Scene] = {}
            for side, file in (("target", "clear"), ("source", "cloudy")):
                if file in row:
                    scene = _opened(root / row[file], row)
                    stack.callback(scene.close)
                    sides[side] = scene.select(bands)
            yield TrainingScene(
                name=row["clear"],
                sides=sides,
                place=row["place"],
                level=row["level"],
                fold=row["fold"],
                attribution=row["attribution"],
            )


def _opened(path: Path, row: Mapping[str, Any]) -> RasterScene | RasterStack:
    names = list(row["bands"])
    if "first_band" in row:
        with open_scene(path) as scene:
            n_bands = len(scene.sensor.bands)
        first = row["first_band"] - 1
        others = [f"other{i}" for i in range(n_bands)]
        names = [*others[:first], *names, *others[first + len(names) :]]
    scale = float(Fraction(str(row["scale"])))
    return open_scene(path, bands=names, scale=scale, level=row["level"])


def _files_of(root: Path) -> dict[str, list[Path]]:
    """The files of each side, in the same order."""
    files = {name: _rasters(folder) for name, folder in _sides_of(root).items()}
    stems = {name: [path.stem for path in paths] for name, paths in files.items()}
    common = set.intersection(*(set(names) for names in stems.values()))
    alone = {name for names in stems.values() for name in names} - common
    if alone:
        shown = ", ".join(sorted(alone)[:10])
        raise DataError(
            f"{root}: {len(alone)} files are on one side alone ({shown})",
            "the two files of a pair have one name",
            "add the missing ones or take these out",
        )
    return files


def _chip_size_of(root: Path, paths: Sequence[Path]) -> int | None:
    """The size of a folder's chips; None where it holds scenes."""
    shapes: dict[tuple[int, int], int] = {}
    for path in paths:
        with open_scene(path) as scene:
            shape = shape_of(scene.geobox)
        shapes[shape] = shapes.get(shape, 0) + 1
    if not all(max(shape) <= CHIP_LIMIT_PX for shape in shapes):
        return None
    if len(shapes) > 1:
        counts = ", ".join(f"{n} of {h}x{w} px" for (h, w), n in sorted(shapes.items()))
        raise DataError(
            f"{root} holds chips of several sizes: {counts}",
            "the chips of a set have one size",
            "leave out the odd ones, or cut the scenes again with: geodecloud chip",
        )
    return max(next(iter(shapes)))


def _scenes_of_files(
    files: Mapping[str, Sequence[Path]], bands: Sequence[str] | None, chip_px: int | None
) -> Iterator[TrainingScene]:
    for paths in zip(*files.values(), strict=True):
        with ExitStack() as stack:
            sides: dict[str, Scene] = {}
            for name, path in zip(files, paths, strict=True):
                scene = open_scene(path)
                stack.callback(scene.close)
                sides[name] = scene.select(bands) if bands else scene
            target = sides["target"]
            place = _block_of(target.geobox, chip_px, paths[0].stem) if chip_px else None
            yield TrainingScene(paths[0].name, sides, place, target.sensor.level)


def _block_of(geobox: GeoBox, chip_px: int, name: str) -> str:
    """The square of the map that a chip lies in; without a map, its name."""
    if geobox.crs is None:
        return name
    step = abs(geobox.affine.a) * chip_px * BLOCK_CHIPS
    col, row = (math.floor(at / step) for at in (geobox.affine.c, geobox.affine.f))
    return f"{geobox.crs} block {row} {col}"


def _sides_of(root: Path) -> dict[str, Path]:
    below = {child.name.lower(): child for child in root.iterdir()} if root.is_dir() else {}
    if "images" in below and "train_a" not in below:
        inner = {child.name.lower(): child for child in below["images"].iterdir()}
        below = inner if "train_a" in inner else below
    for source, target in PAIR_FOLDERS:
        if source in below and target in below:
            return {"source": below[source], "target": below[target]}
    return {"target": root}


def _rasters(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(
            f"{folder} holds no raster",
            f"files ending in {', '.join(SUFFIXES)} are looked for",
            "check the folder",
        )
    return files
