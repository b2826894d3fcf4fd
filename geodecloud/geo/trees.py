"""Tree: the files of a product by name, in a folder or in a .zip; small texts and XML in them."""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol
from xml.parsers import expat

from geodecloud.errors import InputError

if TYPE_CHECKING:
    from geodecloud.geo.remote import RemoteRaster  # brings urllib3, which files do not need

MAX_FILES = 20_000
MAX_DEPTH = 8
MAX_BYTES = 60_000_000_000
MAX_RATIO = 1_100
"""Deflate packs at most 1,032 bytes into one: what declares more is no honest archive."""

MAX_XML_BYTES = 32_000_000
MAX_XML_DEPTH = 64
START_BYTES = 512
CHUNK_BYTES = 4_000_000

ZIP_START = b"PK\x03\x04"

# Names that leave the folder an archive is unpacked into.
_LEAVING = re.compile(r"^/|^[A-Za-z]:|\\|(^|/)\.\.(/|$)|[\x00-\x1f]")


class Entry(NamedTuple):
    """A raster file of a scene.

    Attributes:
        path: on disk; of what lies in an archive, the archive's and its own inside.
        url: what GDAL is told instead of the path: only ever built here.
        start: the first bytes of what lies in an archive, or on a server.
        part: what brings the pixels of a file on a server here before they are read.
    """

    path: Path
    url: str | None = None
    start: bytes | None = None
    part: RemoteRaster | None = None


class Tree(Protocol):
    """The files below a root, by their path from there, with "/" between its parts."""

    @property
    def root(self) -> Path:
        """The folder or the archive."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """All files, sorted."""
        ...

    def read(self, name: str, limit: int) -> bytes:
        """Return the whole of a small file; InputError where it is larger or damaged."""
        ...

    def entry(self, name: str) -> Entry:
        """Return a file as a raster to be opened."""
        ...


@dataclass(frozen=True)
class Folder:
    """The files below a folder, links not followed; no more than ``MAX_FILES`` are looked at."""

    root: Path
    names: Sequence[str]

    @classmethod
    def open(cls, root: Path) -> Folder:
        """List what is there."""
        names: list[str] = []
        for place, folders, files in os.walk(root):
            below = Path(place).relative_to(root)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if len(below.parts) >= MAX_DEPTH:
                folders.clear()
            names += [(below / name).as_posix() for name in files if not name.startswith(".")]
            if len(names) > MAX_FILES:
                break
        return cls(root, tuple(sorted(names)))

    def read(self, name: str, limit: int) -> bytes:
        """Return the whole of a small file."""
        try:
            with (self.root / name).open("rb") as file:
                return _bounded(file.read(limit + 1), limit, self.root / name)
        except OSError as error:
            raise InputError(
                f"{self.root / name} cannot be read ({error.strerror})",
                "a readable file",
                "check its rights, or copy it again",
            ) from error

    def entry(self, name: str) -> Entry:
        """Return a file as a raster to be opened."""
        return Entry(self.root / name)


@dataclass(frozen=True)
class Archive:
    """The files in a .zip; they are read in place, and nothing is unpacked."""

    root: Path
    names: Sequence[str]

    @classmethod
    def open(cls, root: Path) -> Archive:
        """Check the table of contents.

        Raises:
            InputError: it is damaged, holds names that lead elsewhere, links, one name twice or
                what is encrypted, or declares more than an honest archive can hold.
        """
        with _reported(root), zipfile.ZipFile(root) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
        names = sorted(member.filename for member in members)
        faults = [_fault(member) for member in members[:MAX_FILES]]
        if len(names) > MAX_FILES or sum(member.file_size for member in members) > MAX_BYTES:
            faults.append(f"declares {len(names)} files, or too many bytes")
        if len(set(names)) < len(names):
            faults.append("holds one name twice")
        if fault := next(filter(None, faults), None):
            raise InputError(
                f"{root} {fault}",
                "a product's archive holds plain files below one folder",
                "download it again, or unpack it where you trust it",
            )
        return cls(root, tuple(names))

    def read(self, name: str, limit: int) -> bytes:
        """Return the whole of a small file."""
        with self._opened(name) as file:
            content = file.read(limit + 1)
        return _bounded(content, limit, self.root / name)

    def entry(self, name: str) -> Entry:
        """Return a file as a raster to be opened, its checksum verified: GDAL does not look at it.

        Raises:
            InputError: it is not what was packed.
        """
        with self._opened(name) as file:
            start = file.read(START_BYTES)
            while file.read(CHUNK_BYTES):  # zipfile compares the checksum at the end
                pass
        return Entry(self.root / name, f"/vsizip/{{{self.root}}}/{name}", start)

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        with (
            _reported(self.root / name),
            zipfile.ZipFile(self.root) as archive,
            archive.open(name) as file,
        ):
            yield file


def open_tree(path: Path) -> Tree | None:
    """Return the files of a folder or of a .zip; None where the path is another file.

    Raises:
        InputError: the archive is damaged or not to be trusted.
    """
    if path.is_dir():
        return Folder.open(path)
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == ZIP_START
    except OSError:
        return None
    if is_zip or path.suffix.lower() == ".zip":
        return Archive.open(path)
    return None


class Element(NamedTuple):
    """One element of an XML text: its name without the namespace, attributes, and own text."""

    name: str
    attributes: dict[str, str]
    text: str


def read_xml(tree: Tree, name: str) -> list[Element]:
    """Return the elements of an XML file in the order in which they end.

    Raises:
        InputError: it is damaged, too large or too deep, or has a document type: entities are
            declared there, and expand without bound.
    """
    content = tree.read(name, MAX_XML_BYTES)
    elements: list[Element] = []
    stack: list[tuple[str, dict[str, str], list[str]]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(stack) >= MAX_XML_DEPTH:
            raise ValueError("it is too deep")
        stack.append((tag.rpartition(":")[2], attributes, []))

    def end(_tag: str) -> None:
        tag, attributes, parts = stack.pop()
        elements.append(Element(tag, attributes, "".join(parts).strip()))

    def characters(text: str) -> None:
        if stack:
            stack[-1][2].append(text)

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError) as error:
        raise InputError(
            f"{tree.root / name} cannot be read ({error})",
            "the XML that comes with the product",
            "copy or download the product again",
        ) from error
    return elements


def _bounded(content: bytes, limit: int, path: Path) -> bytes:
    if len(content) > limit:
        raise InputError(
            f"{path} has more than {limit} bytes",
            "the metadata of a product are small",
            "download the product again",
        )
    return content


def _fault(member: zipfile.ZipInfo) -> str | None:
    """What is wrong with a member of an archive, for a sentence that begins with the archive."""
    name = member.filename
    if _LEAVING.search(name):
        return f"holds {name[:80]!r}, which leads out of it"
    if stat.S_ISLNK(member.external_attr >> 16):
        return f"holds the link {name[:80]!r}"
    if member.flag_bits & 1:
        return f"holds {name[:80]!r}, which is encrypted"
    if member.file_size > 1_000_000 + MAX_RATIO * member.compress_size:
        return f"holds {name[:80]!r}, which declares {member.file_size / 1e6:.0f} MB"
    return None


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn what zipfile raises over a damaged archive into an error that names it."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, KeyError,
            RuntimeError, ValueError) as error:  # fmt: skip
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(
            f"{path} cannot be read ({reason})",
            "an undamaged .zip",
            "copy or download it again",
        ) from error
