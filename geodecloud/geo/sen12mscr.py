"""SEN12MS-CR: patches whose names say season, sensor, place and number, wherever they lie.

Source: Ebel et al. 2020, https://doi.org/10.1109/TGRS.2020.3024744; its clear half alone is
SEN12MS, Schmitt et al. 2019, https://arxiv.org/abs/1906.07789
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from pathlib import Path
from types import MappingProxyType

from geodecloud.geo.listing import files_below
from geodecloud.geo.sensors import SENSORS, Sensor

CLEAR, CLOUDY, RADAR = "s2", "s2_cloudy", "s1"
KINDS = MappingProxyType({CLOUDY: "source", CLEAR: "target", RADAR: "guide"})
"""The side of each kind of files; land cover ("lc") is left aside."""

PATCH_SENSORS: Mapping[str, Sensor] = MappingProxyType(
    {
        "source": SENSORS["sentinel-2-l1c"],
        "target": SENSORS["sentinel-2-l1c"],
        "guide": SENSORS["sentinel-1-rtc"],
    }
)
"""What sees each side: top-of-atmosphere reflectance, and radar in decibels."""

_NAME = re.compile(
    r"(?P<season>ROIs\d+_[a-z]+)_(?P<kind>s1|s2|s2_cloudy|lc)_(?P<place>\d+)_(?P<patch>p\d+)\.tiff?"
)


class Patches:
    """Files of one kind, by what the names of a patch share: ``ROIs1158_spring_39_p100``.

    Attributes:
        faults: files of which another has the name.
    """

    def __init__(self, root: Path) -> None:
        """Begin with none."""
        self.faults: list[str] = []
        self._root, self._files = root, dict[str, str]()

    @property
    def names(self) -> Set[str]:
        """What each is called."""
        return self._files.keys()

    def file(self, name: str) -> Path:
        """Return the file of a name."""
        return self._root / self._files[name]

    def add(self, name: str, file: str) -> None:
        """Take a file, relative to the root."""
        if name in self._files:
            self.faults.append(f"{self._root / file} has the name of {self.file(name)}")
        self._files.setdefault(name, file)


def patches_below(root: Path) -> dict[str, Patches]:
    """Return the patches anywhere below a folder, by side; sides without one are not there."""
    found = {side: Patches(root) for side in KINDS.values()}
    for file in files_below(root, deep=True):
        if (told := _told(file)) and told["kind"] in KINDS:
            name = f"{told['season']}_{told['place']}_{told['patch']}"
            found[KINDS[told["kind"]]].add(name, file)
    return {side: patches for side, patches in found.items() if patches.names}


def place_of(name: str) -> str:
    """Return where a patch lies: those of one place overlap, and no two places do.

    Example:
        >>> place_of("ROIs1158_spring_39_p100")
        'ROIs1158_spring_39'
    """
    return name.rpartition("_")[0]


def is_patch(file: str, kind: str | None = None) -> bool:
    """Say whether a path ends like that of a patch, of this kind where one is named.

    Example:
        >>> is_patch("s2_39/ROIs1158_spring_s2_39_p100.tif", CLEAR)
        True
        >>> is_patch("s1_39/ROIs1158_spring_s1_39_p100.tif", CLEAR)
        False
    """
    told = _told(file)
    return told is not None and kind in {None, told["kind"]}


def _told(file: str) -> re.Match[str] | None:
    return _NAME.fullmatch(file.rpartition("/")[2])
