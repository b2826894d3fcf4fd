"""prepare_data and pack_folder: a training set out of folders, as arcgis.learn makes one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from geodecloud.errors import DataError, OptionError
from geodecloud.geo.profile import profile_of
from geodecloud.geo.raster import RasterSink
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.survey import Reading
from geodecloud.geo.tiling import Window
from geodecloud.packing import CHIP_LIMIT_PX, Packing, pack_roots
from geodecloud.progress import Listener, silent

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

    from geodecloud.learn.data import ChipData, Transform

Source = str | os.PathLike[str]
Pixels: TypeAlias = "Scene | DataArray | Dataset"
"""What is in memory, or computed by Dask: an open scene, or what ``da.geodecloud`` takes."""

WRITTEN_ROWS = 512


def prepare_data(  # noqa: PLR0913 - the face of arcgis.learn keeps its own signature
    path: Source | Pixels | Sequence[Source | Pixels],
    class_mapping: Mapping[Any, Any] | None = None,
    chip_size: int = 64,
    val_split_pct: float = 0.1,
    batch_size: int | None = 64,
    transforms: tuple[Transform | None, Transform | None] | bool | None = None,
    collate_fn: Callable[..., Any] | None = None,
    seed: int = 42,
    dataset_type: str | None = None,
    resize_to: int | tuple[int, int] | None = None,
    working_dir: Source | None = None,
    *,
    splits: Source | None = None,
    fold: int | Sequence[int] | None = None,
    listener: Listener = silent,
    **kwargs: Any,
) -> ChipData:
    """Return a training set made of folders of scenes or chips, or of packed chips.

    Nothing is written into the folders: their pixels are packed into ``working_dir``, or into a
    temporary folder. Files that cannot be used are named all at once; up to one in a hundred is
    left out, and said in ``notes`` of the result.

    Args:
        path: a folder in one of ``LAYOUTS``, packed chips, one scene, or a list of these folders
            or scenes. A scene may be a DataArray or Dataset of xarray: each date of it is one.
        class_mapping: not used: models here have no classes.
        chip_size: side of the training chips.
        val_split_pct: part held out, by block of the map, or by file where there is no map; with
            0 nothing is held out, and what is measured says nothing of other places.
        batch_size: chips in a batch, 2 or more; None takes what a quarter of the memory holds.
        transforms: functions of a batch and a generator for training and for validation; False
            for none. None lets chips lie in any of the eight ways, both sides alike.
        collate_fn: not used: batches are made whole.
        seed: of the split and of the batches.
        dataset_type: "Pix2Pix", "CycleGAN", "WNet_cGAN", "CloudRemoval" (clear scenes, clouded on
            the fly; real pairs too), "GuidedCloudRemoval" (the same with radar beside),
            "Colorize" (grey is made of colour), "GAN", or "Export_Tiles"; None infers it.
        resize_to: chips of any size are brought to this one.
        working_dir: where packed chips and models go.
        splits: a table of places and folds, as ``benchmarks/splits.json``.
        fold: the fold of that table that is held out, or several.
        listener: told while packing.
        kwargs: ``bands``, ``extract_bands``, ``imagery_type``, ``scale`` and ``offset``, see
            ``geo.survey.Reading``; ``rgb_bands`` of figures; ``norm_pct``, the share of the
            training part that is read for the normalisation; ``num_workers`` is not used:
            packed chips need none.

    Raises:
        DataError: there is nothing to train on, it does not fit together or the type.
        OptionError: an option makes no sense.
    """
    del class_mapping, collate_fn
    from geodecloud.learn.data import ChipData, batch_size_for, split
    from geodecloud.learn.dataset_types import inferred_type
    from geodecloud.learn.packed import PackedChips

    options = _Options.of(kwargs)
    if batch_size is not None and batch_size < 2:
        raise OptionError(f"batch_size is {batch_size}", "a batch has 2 chips or more", "try 64")
    size_px = _square(resize_to)
    dataset_type = _asked_type(dataset_type)
    with _on_disk(path, options.reading) as roots:
        packed_path = roots[0]
        if packed_path.suffix != ".safetensors":
            folder = Path(working_dir or tempfile.mkdtemp(prefix="geodecloud-"))
            folder.mkdir(parents=True, exist_ok=True)
            packed_path = folder / "chips.safetensors"
            work = Packing(dataset_type, options.reading, size_px, is_resized=size_px is not None)
            meant = pack_roots(roots, packed_path, work, splits, listener)
            dataset_type = dataset_type or meant
    packed = PackedChips(packed_path)
    train, valid = split(packed, val_split_pct=val_split_pct, fold=fold, seed=seed)
    chip_size = min(chip_size, packed.size_px)
    return ChipData(
        packed,
        dataset_type or inferred_type(packed),
        train,
        valid,
        chip_size=chip_size,
        batch_size=batch_size or batch_size_for(chip_size),
        seed=seed,
        working_dir=Path(working_dir) if working_dir else packed_path.parent,
        val_split_pct=val_split_pct,
        resize_to=size_px,
        transforms=None if transforms is True else transforms,
        rgb_bands=options.rgb_bands,
        norm_pct=options.norm_pct,
    )


def pack_folder(
    path: Source | Sequence[Source],
    out: Source,
    *,
    bands: Sequence[str] | None = None,
    splits: Source | None = None,
    size_px: int | None = None,
    dataset_type: str | None = None,
    listener: Listener = silent,
) -> int:
    """Write a training folder, or the rows of a table of splits, as packed chips.

    Returns the number of samples. ``size_px`` is the side of their windows; None takes 256, or
    the chips' own size where the folder holds chips.

    Raises:
        DataError: there is nothing to train on, or it does not fit together.
    """
    from geodecloud.learn.packed import PackedChips

    work = Packing(_asked_type(dataset_type), Reading(bands), size_px)
    pack_roots(_roots(path), Path(out), work, splits, listener)
    return len(PackedChips(out))


@contextmanager
def _on_disk(
    path: Source | Pixels | Sequence[Source | Pixels], reading: Reading
) -> Iterator[list[Path]]:
    """The files and folders; what is none is written down, strip by strip, for as long."""
    entries: Sequence[Any] = [path]
    if isinstance(path, Sequence) and not isinstance(path, str):
        entries = path
    with tempfile.TemporaryDirectory(prefix="geodecloud-") as folder:
        sources: list[Source] = []
        for entry in entries:
            if isinstance(entry, str | os.PathLike):
                sources.append(entry)
                continue
            for scene in _scenes_of(entry, reading):
                sources.append(Path(folder) / f"array-{len(sources)}.tif")
                _write(scene, sources[-1])
        yield _roots(sources)


def _scenes_of(pixels: Any, reading: Reading) -> list[Scene]:
    from xarray import DataArray, Dataset

    if not isinstance(pixels, DataArray | Dataset):
        return [pixels]
    from geodecloud.accessor import GeodecloudAccessor  # brings much that folders do not need

    return GeodecloudAccessor(pixels).scenes(scale=reading.scale, offset=reading.offset)


def _write(scene: Scene, path: Source) -> None:
    height, width = shape_of(scene.geobox)
    with RasterSink(path, scene.geobox, profile_of(scene), cog=False) as sink:
        for row in range(0, height, WRITTEN_ROWS):
            window = Window(row, 0, min(WRITTEN_ROWS, height - row), width)
            sink.write(window, *scene.read(window))


def _roots(path: Source | Sequence[Source]) -> list[Path]:
    roots = [Path(path)] if isinstance(path, str | os.PathLike) else [Path(each) for each in path]
    if not roots:
        raise DataError("an empty list of folders", "a set has one at least", "name one")
    if len(roots) > 1 and any(root.suffix == ".safetensors" for root in roots):
        raise DataError(
            "a list with packed chips", "a list is of folders or of scenes", "pack them together"
        )
    for root in roots:
        if not root.exists():
            raise DataError(f"{root} does not exist", "a folder or a scene", "check the path")
    return roots


def _asked_type(dataset_type: str | None) -> str | None:
    """The type that was asked for; the pixels of exported tiles say what they are."""
    from geodecloud.learn.dataset_types import refuse_type

    if dataset_type is None or dataset_type == "Export_Tiles":
        return None
    refuse_type(dataset_type)
    return dataset_type


def _square(resize_to: int | tuple[int, int] | None) -> int | None:
    if resize_to is None:
        return None
    sides = {resize_to} if isinstance(resize_to, int) else set(resize_to)
    size_px = sides.pop()
    if sides or not 8 <= size_px <= 4 * CHIP_LIMIT_PX:
        raise OptionError(
            f"resize_to is {resize_to}",
            f"chips are square, of 8 to {4 * CHIP_LIMIT_PX} px",
            "give one number, such as 64",
        )
    return size_px


@dataclass(frozen=True, slots=True)
class _Options:
    """The further keyword arguments of ``prepare_data``."""

    reading: Reading
    rgb_bands: Sequence[str] | None
    norm_pct: float

    @classmethod
    def of(cls, kwargs: dict[str, Any]) -> _Options:
        """Take them apart; unknown ones are refused."""
        kwargs.pop("num_workers", None)
        rgb_bands, norm_pct = kwargs.pop("rgb_bands", None), kwargs.pop("norm_pct", 1.0)
        known = {"bands", "extract_bands", "imagery_type", "scale", "offset"}
        if strange := sorted(set(kwargs) - known):
            raise OptionError(
                f"prepare_data got {', '.join(strange)}",
                f"it also takes {', '.join(sorted(known))}, rgb_bands, norm_pct and num_workers",
                "check the spelling",
            )
        return cls(Reading(**kwargs), rgb_bands, norm_pct)
