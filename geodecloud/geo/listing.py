"""Sample and Listing: files that belong together, however many there are."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from sys import intern
from typing import Protocol, overload

from geodecloud.errors import InputError
from geodecloud.geo.manifest import Manifest
from geodecloud.geo.sensors import Sensor

RASTERS = frozenset({".tif", ".tiff", ".jp2"})
PICTURES = frozenset({".png", ".jpg", ".jpeg"})
"""Counted where there is no raster: beside rasters they are previews."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Files that lie upon each other, by side: "source", "target", "guide".

    Attributes:
        name: unique in its set; what messages and places without a map call it.
        files: one for each side.
        grid: what transforms count in where files have no CRS: the name of a scene.
        inside: (height, width) that is measured; what lies beyond is padding.
        place: what stays on one side of a split together, where the layout knows.
        sensors: by side, what saw it, where the layout knows: for files that do not say.
    """

    name: str
    files: Mapping[str, Path]
    grid: str | None = None
    inside: tuple[int, int] | None = None
    place: str | None = None
    sensors: Mapping[str, Sensor] = field(default_factory=dict)


class Files(Protocol):
    """Files of one side, by names that those of the other sides share.

    Attributes:
        faults: files that cannot be told from others.
    """

    faults: list[str]

    @property
    def names(self) -> Set[str]:
        """What each is called."""
        ...

    def file(self, name: str) -> Path:
        """Return the file of a name."""
        ...


class Listing(Sequence[Sample]):
    """Samples of one root, made when they are asked for: a million take a hundred megabytes.

    Files of several folders belong together where their names, without the ending, are the same.

    Args:
        folders: by side.
        name: put before the samples' names.
        sensors: by side, of samples of which the layout knows what saw them.
        place_of: the place of a name, where the layout knows it.

    Attributes:
        faults: files without a partner, or with a double.
    """

    def __init__(
        self,
        folders: Mapping[str, Files],
        name: str = "",
        *,
        sensors: Mapping[str, Sensor] | None = None,
        place_of: Callable[[str], str] | None = None,
    ) -> None:
        """Match the names."""
        self.folders, self._name = folders, name
        self._sensors, self._place_of = sensors or {}, place_of
        first, *others = folders.values()
        common: Set[str] = first.names
        for other in others:
            common = common & other.names
        self._stems = sorted(common)
        self.faults: list[str] = [f for folder in folders.values() for f in folder.faults]
        for folder in folders.values():
            if len(folder.names) > len(self._stems):
                alone = sorted(folder.names - common)
                self.faults += [f"{folder.file(stem)} has no partner" for stem in alone]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._stems)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """Return a sample."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        stem = self._stems[index]
        files = {side: folder.file(stem) for side, folder in self.folders.items()}
        place = self._place_of and self._name + self._place_of(stem)
        return Sample(self._name + stem, files, place=place, sensors=self._sensors)

    @property
    def sides(self) -> frozenset[str]:
        """What its samples have."""
        return frozenset(self.folders)

    def apart(self) -> Joined:
        """Return the sides as samples of their own: two domains."""
        return Joined(
            [
                Listing({side: f}, self._name, sensors=self._sensors, place_of=self._place_of)
                for side, f in self.folders.items()
            ]
        )


class Joined(Sequence[Sample]):
    """Listings one after the other."""

    def __init__(self, parts: Sequence[Samples]) -> None:
        """Keep the listings."""
        self._parts = [part for part in parts if len(part)] or list(parts[:1])
        self._ends = list(accumulate(map(len, self._parts)))
        self.faults: list[str] = [fault for part in parts for fault in part.faults]

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """Return a sample."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        number = range(len(self))[index]
        part = bisect_right(self._ends, number)
        return self._parts[part][number - (self._ends[part - 1] if part else 0)]

    @property
    def sides(self) -> frozenset[str]:
        """What its samples have, each or some."""
        return frozenset[str]().union(*(part.sides for part in self._parts))

    def apart(self) -> Joined:
        """Return the sides as samples of their own: two domains."""
        return Joined([part.apart() for part in self._parts])


class Stored(Sequence[Sample]):
    """The chips of a store: of its manifest only their names stay, a tenth of it in memory."""

    sides = frozenset({"target"})

    def __init__(self, folder: Path, name: str) -> None:
        """Read the manifest."""
        manifest = Manifest.read_from(folder)
        self._folder, self._name = folder, name
        self._scene, self._shape = manifest.scene, manifest.shape
        self._files = [record.file for record in manifest.chips]
        self.faults: list[str] = []

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """Return a chip's sample."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        file = self._files[index]
        files = {"target": self._folder / file}
        return Sample(f"{self._name}{file}", files, grid=self._scene, inside=self._shape)

    def apart(self) -> Joined:
        """Return itself: a store has one side."""
        return Joined([self])


Samples = Listing | Joined | Stored


class Folder:
    """The rasters of a folder, or its pictures where there is none.

    Attributes:
        endings: by name without the ending, relative to the folder.
        faults: files of which another has the name.
    """

    def __init__(self, path: Path, *, deep: bool = False) -> None:
        """List the folder, and with ``deep`` those inside it; a file is listed alone."""
        self.path, self.faults = path, list[str]()
        found: dict[bool, dict[str, str]] = {True: {}, False: {}}
        if path.is_file():
            self.path, entries = path.parent, iter([path.name])
        else:
            entries = files_below(path, deep=deep)
        for entry in entries:
            stem, ending = os.path.splitext(entry)  # noqa: PTH122 - a million Paths are slow
            is_raster = ending.lower() in RASTERS
            if is_raster or ending.lower() in PICTURES:
                other = found[is_raster].setdefault(stem, intern(ending))
                if other != ending:
                    self.faults.append(f"{path / entry} has the name of {stem}{other}")
        self.endings = found[True] or found[False]

    @property
    def names(self) -> Set[str]:
        """What each is called, without the ending."""
        return self.endings.keys()

    def file(self, name: str) -> Path:
        """Return the file of a name."""
        return self.path / f"{name}{self.endings[name]}"


def files_below(folder: Path, *, deep: bool, before: str = "") -> Iterator[str]:
    """Yield the names of files that are not hidden, relative to the folder.

    Raises:
        InputError: a folder cannot be listed.
    """
    inside = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    inside.append(entry.name)
                else:
                    yield before + entry.name
    except OSError as error:
        raise InputError(
            f"{folder} cannot be listed ({error.strerror})",
            "a folder that may be read",
            "check its rights",
        ) from error
    for name in inside if deep else ():
        yield from files_below(folder / name, deep=True, before=f"{before}{name}/")
