"""Files: what a model package is made of, in a folder, in a .dlpk, or in memory."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

from geodecloud.errors import ModelError

MOST_FILES = 1_000
MOST_SHRUNK = 200
"""Times that an archive may grow when it is read: weights hardly shrink, a bomb does."""

ARCHIVE_DATE = (1980, 1, 1, 0, 0, 0)
"""The first that a ZIP knows: the same files make the same archive, whenever it is written."""


class Files(Protocol):
    """The files of a package, read by name; never more of one than is asked for."""

    place: Path

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each file, by its name."""
        ...

    def read(self, name: str, n_bytes: int) -> bytes:
        """Return the content of a file, or its first ``n_bytes + 1``.

        Raises:
            OSError, ValueError: the file is missing or damaged.
        """
        ...


class FolderFiles:
    """The files of a folder, those in folders of it too."""

    def __init__(self, place: Path) -> None:
        """Take the folder as it is."""
        self.place = place

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each file, by its name."""
        files = (path for path in sorted(self.place.rglob("*")) if path.is_file())
        return {path.relative_to(self.place).as_posix(): path.stat().st_size for path in files}

    def read(self, name: str, n_bytes: int) -> bytes:
        """Return the content of a file, or its first ``n_bytes + 1``."""
        with (self.place / name).open("rb") as file:
            return file.read(n_bytes + 1)


class MemoryFiles:
    """Files that were never written."""

    def __init__(self, place: Path, contents: Mapping[str, bytes]) -> None:
        """Hold the contents; ``place`` is where they came from, for messages."""
        self.place = place
        self._contents = contents

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each file, by its name."""
        return {name: len(content) for name, content in self._contents.items()}

    def read(self, name: str, n_bytes: int) -> bytes:
        """Return the content of a file, or its first ``n_bytes + 1``."""
        return self._contents[name][: n_bytes + 1]


class ArchiveFiles:
    """The files of a ZIP archive, read where they are: nothing is unpacked, so none goes astray.

    Raises:
        ModelError: it is no archive, or one that tries something: names that leave the folder,
            links, one name twice, more bytes than its size can hold, a password.
    """

    def __init__(self, place: Path) -> None:
        """Check the table of contents; no file is read yet."""
        self.place = place
        try:
            with zipfile.ZipFile(place) as archive:
                entries = archive.infolist()
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise _damaged(place, str(error)) from error
        _check_size(place, entries)
        self._sizes: dict[str, int] = {}
        for entry in entries:
            if reason := _hostility(entry):
                raise _hostile(place, f"{entry.filename!r} {reason}")
            if entry.is_dir():
                continue
            if entry.filename.lower() in {name.lower() for name in self._sizes}:
                raise _hostile(place, f"{entry.filename!r} twice")
            self._sizes[entry.filename] = entry.file_size

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each file, by its name."""
        return self._sizes

    def read(self, name: str, n_bytes: int) -> bytes:
        """Return the content of a file, or its first ``n_bytes + 1``."""
        try:
            with zipfile.ZipFile(self.place) as archive, archive.open(name) as file:
                return file.read(n_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
            raise ValueError(str(error) or "cut short") from error


def archive_bytes(contents: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive that is the same, byte for byte, for the same contents.

    Nothing is compressed: weights hardly shrink, and what a compressor makes of them changes
    with its version.
    """
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, ARCHIVE_DATE)
            entry.create_system = 3  # Unix, wherever it is written
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, contents[name])
    return written.getvalue()


def _check_size(place: Path, entries: list[zipfile.ZipInfo]) -> None:
    n_bytes = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_FILES or n_bytes > MOST_SHRUNK * place.stat().st_size:
        raise _hostile(place, f"{len(entries)} files of {n_bytes} bytes")


def _hostility(entry: zipfile.ZipInfo) -> str | None:
    """What is wrong with an entry; None where nothing is."""
    name = PurePosixPath(entry.filename)
    if name.is_absolute() or ".." in name.parts or set(entry.orig_filename) & set("\\:\0"):
        return "leaves the folder"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link"
    return "has a password" if entry.flag_bits & 1 else None


def _damaged(place: Path, reason: str) -> ModelError:
    return ModelError(
        f"{place} is damaged ({reason})",
        "a .dlpk is a ZIP archive of a model's folder",
        "copy or download the model again",
    )


def _hostile(place: Path, reason: str) -> ModelError:
    return ModelError(
        f"{place} holds {reason}",
        "a .dlpk holds the plain files of one model",
        "do not use it; ask its author for a clean one",
    )
