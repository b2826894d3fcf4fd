"""How a raster becomes a file: its layout, its checksums, and its publication in one step."""

from __future__ import annotations

import math
import os
import shutil
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
from affine import Affine
from filelock import FileLock, Timeout
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS

from geodecloud.errors import OutputError
from geodecloud.geo.guard import clause
from geodecloud.geo.profile import Profile
from geodecloud.geo.publish import refuse_existing
from geodecloud.geo.scene import shape_of
from geodecloud.geo.sensors import CLASS_BANDS
from geodecloud.geo.tiling import Window

Array = npt.NDArray[Any]

BLOCK_PX = 512
"""Side of a block in written files, where the raster is not smaller."""

LEVEL = 1
"""Of compression: on imagery within 4 % of the default's size, and several times as fast."""

CELL_BYTES = 32_000_000
"""Pixels held at once while a file is verified."""

SIDECARS = (".aux.xml", ".ovr", ".msk")
"""Files that GDAL reads beside a raster and believes."""


class Ledger:
    """Checksums of what was handed over, by place; an accumulator: open, add, close.

    Windows are cut along a grid of cells of whole blocks, so that a file can be read back cell by
    cell, each block once.

    Args:
        shape: (height, width) of the raster.
        profile: how it is stored.
    """

    def __init__(self, shape: tuple[int, int], profile: Profile) -> None:
        """Open an empty ledger."""
        self.shape, self.profile = shape, profile
        n_blocks = max(1, CELL_BYTES // (BLOCK_PX * BLOCK_PX * profile.pixel_bytes))
        self._cell = (BLOCK_PX, BLOCK_PX * n_blocks)
        self._entries: dict[tuple[int, int], list[tuple[Window, int, int]]] = defaultdict(list)
        self._filled = np.zeros(shape[1], np.int64)  # rows done, by column

    def cut(self, window: Window) -> Iterator[Window]:
        """The parts of a window that lie in one cell each; their union is the window."""
        height, width = self._cell
        for row in range(window.row // height, -(-window.row_stop // height)):
            for col in range(window.col // width, -(-window.col_stop // width)):
                yield window & Window(row * height, col * width, height, width)

    def claim(self, window: Window, pixels: Array, valid: Array) -> None:
        """Note that a window is handed over; they come top to bottom, without overlap or gap."""
        # rasterio would stretch a short array over the window, and cast without a word
        expected = (self.profile.n_bands, *window.shape)
        if pixels.shape != expected or valid.shape != expected:
            raise ValueError(f"{pixels.shape} pixels, {valid.shape} valid for {expected}")
        if pixels.dtype != np.dtype(self.profile.dtype):
            raise ValueError(f"pixels are {pixels.dtype}, the file is {self.profile.dtype}")
        done = self._filled[window.col : window.col_stop]
        if window not in Window.whole(self.shape) or (done != window.row).any():
            raise ValueError(f"{window} does not follow the rows already written")
        done += window.height

    def add(self, part: Window, pixels: Array, mask: Array | None) -> None:
        """Note the pixels (C, H, W) and the mask (H, W) of a part that ``cut`` gave."""
        cell = (part.row // self._cell[0], part.col // self._cell[1])
        self._entries[cell].append((part, _checksum(pixels), _checksum(mask)))

    def missing(self) -> int:
        """Number of pixels that were never handed over."""
        return int((self.shape[0] - self._filled).sum())

    def close(self, dataset: Any) -> Window | None:
        """Compare an open dataset with all that was handed over.

        Returns:
            The first part that reads back differently, or None where all is well.
        """
        for (row, col), entries in sorted(self._entries.items()):
            corner = Window(row * self._cell[0], col * self._cell[1], *self._cell)
            cell = corner & Window.whole(self.shape)
            pixels = dataset.read(window=place(cell))
            is_masked = self.profile.is_masked
            mask = dataset.read_masks(1, window=place(cell)) if is_masked else None
            for part, pixels_sum, mask_sum in entries:
                at = part.relative_to(cell).slices
                if pixels_sum != _checksum(pixels[:, *at]):
                    return part
                if mask is not None and mask_sum != _checksum(mask[at]):
                    return part
        return None


class Publication:
    """A file under construction, that appears under its name whole or not at all.

    It is written beside its name as ``<name>.part`` while ``<name>.lock`` keeps other writers out.

    Args:
        path: the name to publish under.
        overwrite: replace a file of that name.
        n_bytes: room that the work needs at least.

    Raises:
        OutputError: the name cannot be written: a file is there, no such folder, no right, no room.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, n_bytes: int = 0) -> None:
        """Refuse at once what cannot succeed."""
        self.path, self.overwrite, self.n_bytes = path, overwrite, n_bytes
        self.part = path.with_name(path.name + ".part")
        # one thread may open and another close
        self._lock = FileLock(path.with_name(path.name + ".lock"), timeout=0, thread_local=False)
        self._check()

    def open(self) -> None:
        """Keep other writers out and clear away what a killed one left."""
        try:
            self._lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"{self.path} is being written by another process",
                "one writer at a time",
                "wait for the other, or choose another name",
            ) from error
        except OSError as error:
            raise self.failure(clause(error)) from error
        self._clear()

    def publish(self, sidecar: bytes | None = None) -> None:
        """Give the part its name; ``sidecar`` becomes its ``.aux.xml``.

        What stands beside the name from an earlier raster goes: GDAL would believe it.
        """
        try:
            _flush(self.part)
            refuse_existing(self.path, self.overwrite)
            for suffix in SIDECARS:
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            if sidecar is not None:
                part = self.path.with_name(self.path.name + ".part.aux.xml")
                part.write_bytes(sidecar)
                _flush(part)
                part.replace(self.path.with_name(self.path.name + ".aux.xml"))
            self.part.replace(self.path)
            _flush(self.path.parent)
        except OSError as error:
            raise self.failure(clause(error)) from error

    def close(self) -> None:
        """Clear away all that was not published, and let other writers in."""
        if self._lock.is_locked:
            self._clear()
            with suppress(OSError):
                Path(self._lock.lock_file).unlink()
            self._lock.release()

    def failure(self, reason: str) -> OutputError:
        """The error to raise where writing fails; it says how much room is left."""
        try:
            room = f"{shutil.disk_usage(self.path.parent).free / 1e6:.0f} MB are free"
        except OSError:
            room = "the folder is gone"
        return OutputError(
            f"{self.path} cannot be written: {reason}",
            f"a disk with room, and the right to write ({room})",
            "free some space, or choose another folder",
        )

    def _check(self) -> None:
        folder = self.path.parent
        if self.path.suffix.lower() not in {".tif", ".tiff"}:
            raise OutputError(
                f"output is {self.path}", "rasters are written as GeoTIFF", "name it *.tif"
            )
        refuse_existing(self.path, self.overwrite)
        read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
        if read_only or not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(
                f"folder {folder} is read-only", "the output goes there", "choose another folder"
            )
        if shutil.disk_usage(folder).free < self.n_bytes:
            raise self.failure(f"at least {self.n_bytes / 1e6:.0f} MB are needed")

    def _clear(self) -> None:
        """Remove the parts; GDAL adds suffixes of its own to the names it is given."""
        for leftover in self.path.parent.iterdir():
            if leftover.name == self.part.name or leftover.name.startswith(f"{self.part.name}."):
                with suppress(OSError):
                    leftover.unlink()


def mask_of(valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The mask (H, W) that GDAL stores: 255 where any band is valid, else 0."""
    return np.where(valid.any(axis=0), np.uint8(255), np.uint8(0))


def place(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    """A window as rasterio takes it."""
    return (window.row, window.row_stop), (window.col, window.col_stop)


def creation(geobox: GeoBox, profile: Profile, compress: str) -> dict[str, Any]:
    """Keywords by which rasterio creates a tiled GeoTIFF for this grid and profile."""
    height, width = shape_of(geobox)
    block = _block_px(height, width)
    is_color = profile.colorinterp[:3] == ("red", "green", "blue")
    keywords: dict[str, Any] = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": profile.n_bands,
        "dtype": profile.dtype,
        "nodata": profile.dataset_nodata,
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
        "bigtiff": "IF_SAFER",
        "photometric": "RGB" if is_color else "MINISBLACK",
    }
    if geobox.affine != Affine.identity():
        keywords["transform"] = geobox.affine
    if geobox.crs is not None:
        keywords["crs"] = CRS.from_user_input(str(geobox.crs))
    if compress != "none":
        is_float = np.dtype(profile.dtype).kind == "f"
        keywords |= {"compress": compress, "zlevel": LEVEL, "zstd_level": LEVEL}
        keywords["predictor"] = 1 if profile.colormap else 3 if is_float else 2
        if height * width > 16 * BLOCK_PX**2:  # starting threads costs more than a chip
            keywords["num_threads"] = "all_cpus"
    return keywords


def cog_options(shape: tuple[int, int], profile: Profile, compress: str) -> dict[str, Any]:
    """Creation options of GDAL's COG driver."""
    level = {"LEVEL": LEVEL} if compress in {"deflate", "zstd"} else {}
    return {
        **level,
        "BLOCKSIZE": _block_px(*shape),
        "COMPRESS": compress.upper(),
        "PREDICTOR": "NO" if profile.colormap is not None else "YES",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "ALL_CPUS",  # which are silent on a full disk: the file is verified
        "OVERVIEW_RESAMPLING": "NEAREST" if _holds_classes(profile) else "AVERAGE",
    }


def sidecar_of(profile: Profile) -> bytes | None:
    """The ``.aux.xml`` by which GDAL and QGIS know the names of the classes."""
    if not profile.class_names:
        return None
    names = (profile.class_names.get(i, "") for i in range(max(profile.class_names) + 1))
    lines = "".join(f"      <Category>{escape(name)}</Category>\n" for name in names)
    return (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n'
        f"{lines}    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
    ).encode()


# Not the units: GDAL adds those of a vertical CRS.
_KEPT = ("dtype", "nodata", "descriptions", "scales", "offsets", "colorinterp", "is_masked")


def check_kept(path: Path, asked: tuple[GeoBox, Profile], got: tuple[GeoBox, Profile]) -> None:
    """Compare where a file's pixels lie, and how they are stored, with what was asked for.

    Raises:
        OutputError: a GeoTIFF does not hold all of it.
    """
    for name in _KEPT:
        # by their letters: NaN is nodata as well
        one, other = (str(getattr(profile, name)) for _, profile in (asked, got))
        if one != other:
            raise not_holdable(path, f"{name} {one[:200]} reads back as {other[:200]}")
    if not _is_same_grid(asked[0], got[0]):
        one, other = (f"{geobox.crs} {tuple(geobox.affine)[:6]}" for geobox, _ in (asked, got))
        raise not_holdable(path, f"{one[:200]} reads back as {other[:200]}")


def not_holdable(path: Path, reason: str) -> OutputError:
    """The error to raise where a GeoTIFF has no place for a grid or a profile."""
    return OutputError(
        f"{path} cannot be written: {reason}",
        "a GeoTIFF holds the grid and all about the bands",
        "change it, or leave it out",
    )


def _block_px(height: int, width: int) -> int:
    """Side of the blocks: no larger than the raster asks for, in the steps that TIFF allows."""
    return min(BLOCK_PX, -(-max(height, width) // 16) * 16)


def _holds_classes(profile: Profile) -> bool:
    """Whether a mean of stored numbers would be a lie."""
    named = {(text or "").upper() for text in profile.descriptions}
    return bool(profile.colormap or profile.class_names or named & CLASS_BANDS)


def _is_same_grid(asked: GeoBox, got: GeoBox) -> bool:
    """Whether two grids share CRS and pixels, and their corners lie within 1e-9 px."""
    if asked.shape != got.shape or (asked.crs is None) != (got.crs is None):
        return False
    # GIS files put x first, whatever the authority says
    if asked.crs and got.crs and not asked.crs.proj.equals(got.crs.proj, ignore_axis_order=True):
        return False
    a, b, x, d, e, y = asked.affine[:6]
    a_got, b_got, x_got, d_got, e_got, y_got = got.affine[:6]
    # where a pixel is a point, the corner moves by half a pixel and back
    tolerance = 1e-9 * math.hypot(a, d)
    return (a, b, d, e) == (a_got, b_got, d_got, e_got) and all(
        math.isclose(one, other, rel_tol=1e-15, abs_tol=tolerance)
        for one, other in ((x, x_got), (y, y_got))
    )


def _checksum(array: Array | None) -> int:
    return 0 if array is None else zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data)


def _flush(path: Path) -> None:
    """Hand a file, or the names in a folder, to the disk."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
