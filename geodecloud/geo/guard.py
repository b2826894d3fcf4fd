"""What a foreign raster may be: names, formats, sizes, and where it says it lies."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geodecloud.errors import GridError, InputError
from geodecloud.geo.tiling import Window

GUARDED = MappingProxyType(
    {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # a foreign .ovr, .msk or .aux.xml is not read
        "GDAL_PAM_ENABLED": False,
        "GDAL_VRT_ENABLE_PYTHON": False,
        "GDAL_TIFF_INTERNAL_MASK": True,
        "GDAL_CACHEMAX": 64_000_000,  # bytes; GDAL's own default is 5 % of the memory
        "GDAL_HTTP_TIMEOUT": 30,  # GDAL has none
        "GDAL_HTTP_CONNECTTIMEOUT": 10,
    }
)
"""GDAL's configuration while a raster is opened, read or written."""

FAILURES = (RasterioError, CPLE_BaseError, OSError, ValueError)
"""What rasterio raises over a damaged raster; ValueError stands for damaged metadata."""

MAX_SIDE_PX = 200_000
MAX_BANDS = 512
MAX_BLOCK_BYTES = 256_000_000
MAX_PICTURE_BYTES = 1_000_000_000
"""A few kilobytes of TIFF can declare terabytes, or blocks that cost a gigabyte to read."""

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2")
"""What a folder is searched for."""

_SIGNATURES = (
    (b"II*\0", "GTiff"), (b"MM\0*", "GTiff"), (b"II+\0", "GTiff"), (b"MM\0+", "GTiff"),
    (b"\0\0\0\x0cjP  ", "JP2OpenJPEG"), (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
    (b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG"),
)  # fmt: skip
"""First bytes of the formats that are read, and the one GDAL driver that each may meet."""

# The pictures that Sentinel-2 products hold beside their bands.
_PREVIEW = re.compile(r"(?<![A-Za-z0-9])(TCI|PVI)(?![A-Za-z0-9])")

# What GDAL would take for something else: markup, its virtual folders.
_VIRTUAL = re.compile(r"\s*<|/vsi")

# URLs and the prefixes of drivers; one letter before the colon is a drive of Windows.
_PREFIXED = re.compile(r"[A-Za-z][A-Za-z0-9+.\-_]+:")


def guarded() -> rasterio.Env:
    """GDAL's configuration for one call in this thread: a context manager."""
    return rasterio.Env(**GUARDED)


@contextmanager
def quiet() -> Iterator[None]:
    """No warning about missing georeference: it is allowed, and ``check_radiometry`` says it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def damaged(path: Path, error: Exception, window: Window | None = None) -> InputError:
    """The error to raise where a raster, or a window of it, cannot be read."""
    part = "" if window is None else f" in {window}"
    return InputError(
        f"{path} cannot be read{part} ({clause(error)})",
        "an undamaged raster",
        "copy or download it again",
    )


def clause(error: BaseException) -> str:
    """The first clause of what a library says, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "previous exception" in str(error) and error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return text.partition(". ")[0][:160]


def raster_paths(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that a source names: itself, the list's, or the folder's by name.

    Raises:
        InputError: nothing is there, or it is not a path.
    """
    if not isinstance(source, str | os.PathLike):
        paths = [existing(entry) for entry in source]
        if not paths:
            raise InputError("an empty list of files", "a scene has a file", "name one")
        return paths
    path = existing(source)
    if not path.is_dir():
        return [path]
    inside = sorted(
        entry
        for entry in path.iterdir()
        if entry.suffix.lower() in RASTER_SUFFIXES and not entry.name.startswith(".")
    )
    inside = [entry for entry in inside if not _PREVIEW.search(entry.stem)] or inside
    if not inside:
        raise InputError(
            f"folder {path} holds no raster",
            f"files named *{', *'.join(RASTER_SUFFIXES)} are looked for",
            "choose another folder, or name the files",
        )
    return inside


def no_product(path: Path) -> InputError:
    """The error to raise where an archive holds no product that is known."""
    return InputError(
        f"{path} holds no product that is known",
        "a .zip holds Sentinel-2 (SAFE or Theia), Landsat Collection 2 Level 2 or Sentinel-1 RTC",
        "unpack it and name its rasters",
    )


def driver_of(path: Path, start: bytes | None = None) -> str:
    """Return the GDAL driver that a file's first bytes ask for.

    Args:
        path: of the file.
        start: its first bytes, where it lies in an archive.

    Raises:
        InputError: it is empty, a VRT whatever its name, or none of the formats that are read.
    """
    if start is None:
        start = _start_of(path)
    if not start:
        raise InputError(
            f"{path} has zero bytes", "a raster has pixels", "copy or download it again"
        )
    for signature, driver in _SIGNATURES:
        if start.startswith(signature):
            return driver
    expected = "GeoTIFF, JPEG 2000, PNG and JPEG are read"
    if b"<VRTDataset" in start:
        raise InputError(
            f"{path} is a VRT, which makes other files be read",
            expected,
            "write it out as GeoTIFF first: gdal_translate",
        )
    raise InputError(f"{path} is not a raster", expected, "name a raster, or convert this one")


def _start_of(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{path} is not a file", "a raster is a file", "name the file")
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise InputError(
            f"{path} cannot be opened ({error.strerror})", "a readable file", "check its rights"
        ) from error


def check_size(dataset: Any, path: Path) -> None:
    """Refuse an open dataset that would cost too much to read, or whose pixels are cut off.

    Raises:
        InputError: too many pixels a side, bands, or bytes a block; or the file ends too soon.
    """
    height, width = dataset.block_shapes[0]
    together = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
    block_bytes = height * width * together * np.dtype(dataset.dtypes[0]).itemsize
    found = f"{path} declares {dataset.width}x{dataset.height} px in {dataset.count} bands"
    if max(dataset.shape) > MAX_SIDE_PX or dataset.count > MAX_BANDS:
        raise InputError(
            found,
            f"at most {MAX_SIDE_PX} px a side and {MAX_BANDS} bands are read",
            "cut the scene, or ask where the file comes from",
        )
    limit = MAX_BLOCK_BYTES
    if dataset.driver in {"PNG", "JPEG"}:  # decoded from their start whatever is read
        block_bytes, limit = block_bytes * dataset.height, MAX_PICTURE_BYTES
    if block_bytes > limit:
        raise InputError(
            f"{found}, stored in blocks of {block_bytes / 1e6:.0f} MB",
            f"a block holds at most {limit / 1e6:.0f} MB",
            "rewrite it in tiles: gdal_translate -co TILED=YES",
        )
    end = _end_of_last_block(dataset)
    if path.is_file() and end > (length := path.stat().st_size):
        raise InputError(
            f"{path} is cut off after {length} bytes",
            f"its last block ends at {end}",
            "copy or download it again",
        )


def check_numbers(dtype: str, path: Path) -> None:
    """Refuse complex numbers.

    Raises:
        InputError: the bands are neither integers nor real numbers.
    """
    if "complex" in dtype:
        raise InputError(
            f"{path} holds {dtype} numbers",
            "bands are integers or real numbers",
            "convert it first, such as a SAR image to its intensity",
        )


def geobox_of(dataset: Any, path: Path, grid: GeoBox | None = None) -> GeoBox:
    """Return where the pixels of an open dataset lie.

    Args:
        dataset: open in rasterio.
        path: of the file.
        grid: what a catalog says; it counts for what the file does not say itself.

    Raises:
        InputError: it is tied to the ground by points or polynomials alone, or its world file
            or its grid makes no sense.
    """
    affine = dataset.transform
    if affine == Affine.identity():
        if dataset.gcps[0] or dataset.rpcs:
            raise InputError(
                f"{path} has ground control points or RPCs and no grid",
                "each pixel lies on a plain grid",
                "correct the terrain first (gdalwarp -rpc or -tps, or SNAP), or take a corrected "
                "product: of Sentinel-1, RTC",
            )
        affine = _world_file(path) or affine
    if not all(map(math.isfinite, affine[:6])) or affine.determinant == 0:
        raise InputError(
            f"{path} has the transform {tuple(affine)[:6]}",
            "pixels have a size and a place",
            "repair its georeference (gdal_edit.py -a_ullr)",
        )
    crs = _crs_name(dataset.crs)
    if crs is None and grid is not None and grid.shape == dataset.shape:
        is_nowhere = affine == Affine.identity()
        return GeoBox(dataset.shape, grid.affine if is_nowhere else affine, grid.crs)
    return GeoBox(dataset.shape, affine, crs)


def check_one_grid(paths: Sequence[Path], geoboxes: Sequence[GeoBox]) -> None:
    """Refuse files that cannot lie upon each other pixel by pixel.

    Raises:
        GridError: two of them differ in CRS, corner, pixel size or shape; it names both.
    """
    for path, geobox in zip(paths[1:], geoboxes[1:], strict=True):
        if geobox != geoboxes[0]:
            raise GridError(
                f"{path} lies on {_described(geobox)}",
                f"{paths[0]} lies on {_described(geoboxes[0])}",
                "choose files of one pixel size and extent, or resample them first",
            )


def _described(geobox: GeoBox) -> str:
    a, b, c, d, e, f = tuple(geobox.affine)[:6]
    height, width = geobox.shape
    return f"{width}x{height} px of {math.hypot(a, d):g}x{math.hypot(b, e):g} at {c:.12g}, {f:.12g}"


def existing(source: str | os.PathLike[str]) -> Path:
    """Return the path of what is there.

    Raises:
        InputError: nothing is, or it is a name that GDAL would take for something else.
    """
    text = os.fspath(source)
    path = Path(text).absolute()
    is_odd = not text.strip() or "\0" in text or any(map(_VIRTUAL.match, (text, str(path))))
    try:
        exists = not is_odd and path.exists()
    except OSError:  # longer than any name
        is_odd, exists = True, False
    if is_odd or (_PREFIXED.match(text) and not exists):
        raise InputError(
            f"{text[:80]!r} is not a path", "what is opened is a file on disk", "name a file"
        )
    if not exists:
        raise InputError(
            f"{path} does not exist", "what is opened is a file on disk", "check the name"
        )
    return path


def _end_of_last_block(dataset: Any) -> int:
    """Where in a TIFF the last block of the last band ends, in bytes; 0 where it does not say."""
    if dataset.driver != "GTiff":
        return 0
    height, width = dataset.block_shapes[-1]
    row, col = (dataset.height - 1) // height, (dataset.width - 1) // width
    start, size = (
        dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=dataset.count)
        for what in ("OFFSET", "SIZE")
    )
    return int(start or 0) + int(size or 0)


def _world_file(path: Path) -> Affine | None:
    """The six numbers of the world file of the same stem; GDAL is told not to look beside."""
    suffix = path.suffix
    short = suffix[:2] + suffix[-1:] + "w"  # .tif: .tfw, .jpeg: .jgw
    for ending in dict.fromkeys((short, suffix + "w", ".wld")):
        beside = path.with_suffix(ending)
        if not beside.is_file():
            continue
        with beside.open("rb") as file:
            words = file.read(1024).decode("ascii", "replace").replace(",", ".").split()
        try:
            a, d, b, e, x, y = map(float, words)
        except ValueError as error:
            raise InputError(
                f"{beside} does not hold six numbers",
                "a world file does",
                "repair it, or take it away",
            ) from error
        # its corner is the middle of the first pixel
        return Affine(a, b, x - (a + b) / 2, d, e, y - (d + e) / 2)
    return None


def _crs_name(crs: Any) -> str | None:
    """The code of a CRS where it has one beyond doubt, else its WKT."""
    # GDAL's word for a file with a grid, and no CRS
    if not crs or crs.to_wkt().startswith('LOCAL_CS["unnamed",'):
        return None
    authority = crs.to_authority(confidence_threshold=100)
    return ":".join(authority) if authority else str(crs.to_wkt())
