"""LAYOUTS: how training chips lie in folders, and which files belong together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from geodecloud.errors import DataError
from geodecloud.geo.esri import is_export
from geodecloud.geo.listing import (
    PICTURES,
    RASTERS,
    Folder,
    Joined,
    Listing,
    Samples,
    Stored,
    files_below,
)
from geodecloud.geo.manifest import MANIFEST, named
from geodecloud.geo.sen12mscr import CLEAR, PATCH_SENSORS, is_patch, patches_below, place_of
from geodecloud.geo.sensors import SENSORS

MOST_LOOKED_AT = 10_000
"""Entries of a folder that are looked at for folders inside it: with more, it holds chips."""


class Layout(Protocol):
    """A way in which training chips lie in folders; exactly one matches a folder.

    Attributes:
        shows: what is looked for, for messages.
        dataset_type: what such a folder is meant for; None where its pixels must say.
    """

    @property
    def shows(self) -> str: ...  # noqa: D102 - see Attributes

    @property
    def dataset_type(self) -> str | None: ...  # noqa: D102

    def matches(self, root: Path) -> bool:
        """Say whether a folder, or a file, lies like this; reads no pixels."""
        ...

    def samples(self, root: Path, name: str = "") -> Samples:
        """Return what lies there, ``name`` before each sample's name."""
        ...


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """Chips that geodecloud cut: a folder with a manifest, or a folder of such folders."""

    shows: str = f"chips with a {MANIFEST}, of one scene or of several in folders of their own"
    dataset_type: None = None

    def matches(self, root: Path) -> bool:
        """Say whether there is a manifest."""
        return bool(self._stores(root))

    def samples(self, root: Path, name: str = "") -> Samples:
        """Return the chips of all manifests."""
        stores = self._stores(root)
        names = [name if store == root else f"{name}{store.name}/" for store in stores]
        return Joined([Stored(*each) for each in zip(stores, names, strict=True)])

    def _stores(self, root: Path) -> list[Path]:
        if (root / MANIFEST).is_file():
            return [root]
        folders = _folders(root)
        if {"images", "images2"} <= set(folders):  # the two sides of pairs, each with its own
            return []
        below = sorted(folders.values())
        return [folder for folder in below if (folder / MANIFEST).is_file()]


@dataclass(frozen=True, slots=True)
class SideLayout:
    """A folder for each side, whose names may be in any case.

    ``without`` is a folder that must not be there, ``needs_export`` asks for Esri's files.
    """

    shows: str
    sides: Mapping[str, str]
    dataset_type: str | None
    may_be_inside: str | None = None
    without: str | None = None
    needs_export: bool = False
    is_paired: bool = True

    def matches(self, root: Path) -> bool:
        """Say whether all folders are there."""
        if self.without is not None and _found(root, self.without):
            return False
        return (is_export(root) or not self.needs_export) and bool(self._found(root))

    def samples(self, root: Path, name: str = "") -> Samples:
        """Return samples of all sides; of either where sides are domains, or share no name."""
        folders = {side: Folder(path) for side, path in self._found(root).items()}
        listing = Listing(folders, name)
        is_apart = not self.is_paired or (self.dataset_type is None and not len(listing))
        return listing.apart() if is_apart else listing

    def _found(self, root: Path) -> dict[str, Path]:
        places = [root]
        if self.may_be_inside is not None and (inner := _found(root, self.may_be_inside)):
            places.append(inner)
        for place in places:
            found = {side: _found(place, path) for side, path in self.sides.items()}
            if all(found.values()):
                return {side: path for side, path in found.items() if path}
        return {}


@dataclass(frozen=True, slots=True)
class ClassLayout:
    """A folder for each class, its name before each file's number; classes are merged.

    With 13 bands it is top-of-atmosphere reflectance, which its files do not say.

    Source: EuroSAT, Helber et al. 2019, https://arxiv.org/abs/1709.00029
    """

    shows: str = "class folders as EuroSAT has them: Forest/Forest_1.jpg or .tif"
    dataset_type: None = None

    def matches(self, root: Path) -> bool:
        """Say whether the first raster of each folder carries the folder's name."""
        folders = _folders(root).values()
        if not folders or _any_raster(root, deep=False) or not root.is_dir():
            return False
        firsts = [(folder.name, _any_raster(folder, deep=False)) for folder in folders]
        return all(
            first.rpartition("_")[0] == name
            and first.rpartition("_")[2].partition(".")[0].isdigit()
            for name, first in firsts
        )

    def samples(self, root: Path, name: str = "") -> Samples:
        """Return the chips of all classes."""
        sensors = {"target": SENSORS["sentinel-2-l1c"]}
        return Listing({"target": Folder(root, deep=True)}, name, sensors=sensors)


@dataclass(frozen=True, slots=True)
class PatchLayout:
    """SEN12MS-CR as it is unpacked, in whichever folders: the files' names say what they are."""

    shows: str = "patches named as SEN12MS-CR names them: ROIs1158_spring_s2_39_p100.tif"
    dataset_type: str = "CloudRemoval"

    def matches(self, root: Path) -> bool:
        """Say whether the first raster is a patch, and some are clear."""
        if not is_patch(_any_raster(root, deep=True)):
            return False
        return any(is_patch(file, CLEAR) for file in files_below(root, deep=True))

    def samples(self, root: Path, name: str = "") -> Samples:
        """Return pairs, with radar where it is there; clear patches where they are alone."""
        sides = patches_below(root)
        return Listing(sides, name, sensors=PATCH_SENSORS, place_of=place_of)


@dataclass(frozen=True, slots=True)
class LooseLayout:
    """Scenes or chips anywhere below a folder, or one file, where no other layout matches."""

    shows: str = f"scenes or chips (*{', *'.join(sorted(RASTERS | PICTURES))}), in folders or not"
    dataset_type: None = None

    def matches(self, root: Path) -> bool:
        """Say whether there is a raster, and nothing that another layout knows."""
        if root.is_file():
            return root.suffix.lower() in RASTERS | PICTURES
        others = (layout for layout in LAYOUTS.values() if layout is not self)
        return bool(_any_raster(root, deep=True)) and not any(o.matches(root) for o in others)

    def samples(self, root: Path, name: str = "") -> Samples:
        """Return each file as a sample."""
        return Listing({"target": Folder(root, deep=True)}, name)


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "store": StoreLayout(),
        "pairs": SideLayout(
            "images/ and images2/, exported by ArcGIS or not",
            {"source": "images", "target": "images2"},
            "Pix2Pix",
        ),
        "tiles": SideLayout(
            "images/ with Esri's files beside it",
            {"target": "images"},
            None,
            without="images2",
            needs_export=True,
        ),
        "domains": SideLayout(
            "A/images/ and B/images/",
            {"source": "a/images", "target": "b/images"},
            "CycleGAN",
            is_paired=False,
        ),
        "guided": SideLayout(
            "train_A_C/images/, train_A_C/images2/ and train_B/images/",
            {
                "source": "train_a_c/images",
                "target": "train_a_c/images2",
                "guide": "train_b/images",
            },
            "WNet_cGAN",
        ),
        "by hand": SideLayout(
            "train_a/ and train_b/, also inside Images/",
            {"source": "train_a", "target": "train_b"},
            None,
            may_be_inside="images",
        ),
        "classes": ClassLayout(),
        "patches": PatchLayout(),
        "loose": LooseLayout(),
    }
)
"""Layouts by name."""


def find_layout(root: Path) -> Layout:
    """Return the layout of a folder, or of a file.

    Raises:
        DataError: none matches, or several do.
    """
    if not root.exists():
        raise DataError(f"{root} does not exist", "a folder or a scene", "check the path")
    found = [layout for layout in LAYOUTS.values() if layout.matches(root)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{root} holds {' as well as '.join(layout.shows for layout in found)}",
            "a set lies in one way",
            "name one of the folders inside",
        )
    folders = sorted(path.name for path in _folders(root).values())
    n_files = 0 if root.is_file() else sum(1 for _ in islice(files_below(root, deep=False), 1000))
    inside = f"folders {named(folders)}" if folders else "no folder"
    raise DataError(
        f"{root} holds no raster" + ("" if root.is_file() else f": {inside} and {n_files} files"),
        f"looked for are {'; '.join(layout.shows for layout in LAYOUTS.values())}",
        "check the folder",
    )


def _found(root: Path, path: str) -> Path | None:
    """The folder of a path in any case."""
    place: Path | None = root
    for part in path.split("/"):
        place = _folders(place).get(part) if place else None
    return place


def _folders(root: Path) -> dict[str, Path]:
    """The folders in a folder, by their names in small letters."""
    if not root.is_dir():
        return {}
    with os.scandir(root) as entries:
        return {
            entry.name.lower(): root / entry.name
            for entry in islice(entries, MOST_LOOKED_AT)
            if entry.is_dir() and not entry.name.startswith(".")
        }


def _any_raster(folder: Path, *, deep: bool) -> str:
    """The path of a raster or picture; empty where there is none."""
    if not folder.is_dir():
        return ""
    endings = tuple(RASTERS | PICTURES)
    found = (file for file in files_below(folder, deep=deep) if file.lower().endswith(endings))
    return next(found, "")
