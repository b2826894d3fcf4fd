"""RemoteRaster: a raster on a server, of which only the bytes that are needed lie on this disk."""

from __future__ import annotations

import io
import os
import re
import struct
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, cast
from urllib.parse import urlsplit

import numpy as np

from geodecloud.errors import InputError, MissingExtraError, NetworkError
from geodecloud.geo import guard
from geodecloud.geo.fetching import MAX_FILE_BYTES, Fetcher
from geodecloud.geo.links import redacted
from geodecloud.geo.tiling import Window

CHUNK_BYTES = 1 << 14
"""Of the file are fetched together; more where the disk's own blocks are larger."""

FIRST_BYTES = 1 << 16
"""Holds the directories of most cloud-optimised files."""

GAP_BYTES = 1 << 17
"""Two ranges this close are asked for as one: a request costs more than these bytes."""

MAX_REQUEST_BYTES = 1 << 24
MAX_HEADER_BYTES = 1 << 26
MAX_DIRECTORIES = 64
LEADER_BYTES = 4
"""GDAL notes the size of a block before it and repeats its end after it (COG, ghost area)."""

# What tifffile raises over a damaged file; its own error is a ValueError.
_FAILURES = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError,
    MemoryError, struct.error, OSError,
)  # fmt: skip

Range = tuple[int, int]


class RemoteRaster:
    """A raster on a server; its bytes come as they are needed, and stay.

    They lie in a sparse file of the raster's size, which is what GDAL opens: GDAL itself never
    speaks to a server. A TIFF is read by its blocks; other formats, and files on servers that know
    no ranges, are fetched whole.

    Args:
        href: http or https.
        fetcher: asks for it.

    Attributes:
        name: host and path, for messages.
        local: the sparse file.
        start: the first bytes.
        n_fetched: bytes that have come so far.

    Raises:
        NetworkError: the server does not answer as it should.
        InputError: the link is out of reach, or the file none that is read.
    """

    def __init__(self, href: str, fetcher: Fetcher) -> None:
        """Fetch the head of the file."""
        parts = urlsplit(href)
        self.name = Path(f"{parts.hostname}{parts.path}")
        self.n_fetched = 0
        self._href, self._fetcher, self._lock = href, fetcher, threading.Lock()
        handle, path = tempfile.mkstemp(prefix="geodecloud-", suffix=".part")
        self.local = Path(path)
        self._file = os.fdopen(handle, "r+b")
        # what GDAL's reads take along behind a block must not be a hole: it would remember zeros
        self._chunk = max(CHUNK_BYTES, getattr(os.fstat(handle), "st_blksize", 0))
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return what is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the disk back."""
        self.close()

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()
        self.local.unlink(missing_ok=True)

    def need(self, channels: Sequence[int], window: Window) -> None:
        """Bring the blocks of a window here, and what its mask needs.

        Args:
            channels: numbers of bands, from 0.
            window: inside the raster.

        Raises:
            NetworkError: the server does not answer as it should.
        """
        ranges = [range_ for layout in self._layouts for range_ in layout.under(channels, window)]
        self._bring(ranges)

    def _begin(self) -> None:
        self._size, self._version = 0, ""
        self._has = np.zeros(0, bool)
        self._layouts: list[_Layout] = []
        self._ask(0, max(FIRST_BYTES, self._chunk))
        self._file.seek(0)
        self.start = self._file.read(512)
        if guard.driver_of(self.name, self.start) != "GTiff":
            self._bring([(0, self._size)])
        elif not self._has.all():
            self._layouts = self._read_directories()

    def _read_directories(self) -> list[_Layout]:
        try:
            import tifffile
        except ImportError as error:
            raise MissingExtraError(
                "tifffile", "batch", "reading a part of a remote file"
            ) from error
        try:
            reader = cast(IO[bytes], _Reader(self._bring, self._size, self._file))
            with tifffile.TiffFile(reader) as tiff:
                pages = [page for page, _ in zip(tiff.pages, range(MAX_DIRECTORIES), strict=False)]
                for page in pages:
                    tags: Iterable[Any] = page.tags.values()  # type: ignore[union-attr]
                    spans = [(tag.valueoffset, tag.valuebytecount) for tag in tags]
                    self._bring([(start, start + size) for start, size in spans])
                first = pages[0]
                seen = [p for p in pages if p is first or p.subfiletype == 4]  # type: ignore[union-attr]
                return [_Layout.of(page) for page in seen]
        except _FAILURES as error:
            raise guard.damaged(self.name, error) from error

    def _bring(self, ranges: Iterable[Range]) -> None:
        """Fetch what is missing of these ranges of bytes."""
        with self._lock:
            wanted = np.zeros(len(self._has), bool)
            for start, stop in ranges:
                if 0 <= start < min(stop, self._size):
                    wanted[start // self._chunk : stop // self._chunk + 2] = True
            for start, stop in _runs(wanted & ~self._has, self._chunk):
                self._ask(start * self._chunk, min(stop * self._chunk, self._size))

    def _ask(self, start: int, stop: int) -> None:
        """Fetch a range into the file; the whole of it, where the server knows no ranges."""
        asked = {"Range": f"bytes={start}-{stop - 1}"}
        answer = self._fetcher.fetch(
            self._href, headers=asked, limit=MAX_REQUEST_BYTES, into=self._file
        )
        if answer.status == 200:
            self._file.flush()
            self._resize(os.fstat(self._file.fileno()).st_size)
            self._has[:] = True
            self.n_fetched += self._size
            return
        version = answer.headers.get("etag") or answer.headers.get("last-modified") or ""
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("content-range", ""))
        begin, end, size = map(int, match.groups()) if match else (-1, 0, 0)
        if begin != start or end - begin + 1 != len(answer.content) or end > stop:
            raise self._odd(f"answers a request for bytes {start} to {stop - 1} with others")
        if not self._size:
            self._resize(size)
            self._version = version
        if (size, version) != (self._size, self._version) or end + 1 < min(stop, size):
            raise self._odd("changes while it is read")
        self._file.seek(start)
        self._file.write(answer.content)
        self._file.flush()
        self._has[start // self._chunk : -(-(end + 1) // self._chunk)] = True
        self.n_fetched += len(answer.content)

    def _resize(self, size: int) -> None:
        if size > MAX_FILE_BYTES:
            raise InputError(
                f"{redacted(self._href)} has {size / 1e9:.0f} GB",
                f"at most {MAX_FILE_BYTES / 1e9:.0f} GB are read",
                "choose another file, or cut it",
            )
        self._file.truncate(size)
        self._size = size
        self._has = np.zeros(-(-size // self._chunk), bool)

    def _odd(self, what: str) -> NetworkError:
        return NetworkError(
            f"{redacted(self._href)} {what}", "a file that stays as it is", "try again later"
        )


class _Layout(NamedTuple):
    """Where a directory of a TIFF keeps its blocks: the image's, or its mask's."""

    shape: tuple[int, int]
    block: tuple[int, int]
    n_planes: int
    offsets: Sequence[int]
    sizes: Sequence[int]

    @classmethod
    def of(cls, page: Any) -> _Layout:
        height, width = int(page.imagelength), int(page.imagewidth)
        block = int(page.rowsperstrip or height), width
        if page.is_tiled:
            block = int(page.tilelength), int(page.tilewidth)
        if min(*block, height, width) < 1:
            raise ValueError("blocks without pixels")
        is_planar = int(page.planarconfig or 1) == 2
        n_planes = int(page.samplesperpixel) if is_planar else 1
        return cls((height, width), block, n_planes, page.dataoffsets, page.databytecounts)

    def under(self, channels: Sequence[int], window: Window) -> Iterator[Range]:
        """Ranges of bytes that hold a window."""
        rows, cols = self.block
        n_down, n_across = (-(-n // m) for n, m in zip(self.shape, self.block, strict=True))
        planes = [channel for channel in channels if channel < self.n_planes]
        for plane in planes if self.n_planes > 1 else [0]:
            for row in range(window.row // rows, -(-window.row_stop // rows)):
                for col in range(window.col // cols, -(-window.col_stop // cols)):
                    index = (plane * n_down + row) * n_across + col
                    start, size = self.offsets[index], self.sizes[index]
                    if size:
                        yield max(0, start - LEADER_BYTES), start + size + LEADER_BYTES


class _Reader(io.RawIOBase):
    """The raster as a file whose bytes are fetched when they are read: for its head alone."""

    def __init__(self, bring: Any, size: int, file: Any) -> None:
        self._bring, self._size, self._file = bring, size, file
        self._at = self._n_read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def read(self, size: int = -1) -> bytes:
        n_left = max(0, self._size - self._at)
        size = n_left if size < 0 else min(size, n_left)
        self._n_read += size
        if self._n_read > MAX_HEADER_BYTES:
            raise ValueError("its directories have no end")
        self._bring([(self._at, self._at + size)])
        self._file.seek(self._at)
        content: bytes = self._file.read(size)
        self._at += len(content)
        return content


def _runs(wanted: np.ndarray[Any, np.dtype[np.bool_]], chunk: int) -> Iterator[Range]:
    """Chunks that are wanted, close ones as one, in pieces of what one request may bring."""
    chunks = np.flatnonzero(wanted)
    if not len(chunks):
        return
    gap, most = GAP_BYTES // chunk, max(1, MAX_REQUEST_BYTES // chunk)
    ends = np.flatnonzero(np.diff(chunks) > gap)
    starts = [chunks[0], *chunks[ends + 1]]
    stops = [*(chunks[ends] + 1), chunks[-1] + 1]
    for start, stop in zip(starts, stops, strict=True):
        for at in range(int(start), int(stop), most):
            yield at, min(at + most, int(stop))
