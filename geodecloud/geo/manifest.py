"""Manifest: what a folder of chips holds, as JSON that anybody may have written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from geodecloud.errors import InputError
from geodecloud.geo.profile import Profile
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.tiling import Tile, Tiling, Window

MANIFEST = "manifest.json"
MAX_BYTES = 1 << 28  # a million chips
MAX_SKIPPED = 1_000_000

Natural = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=1 << 31)]
Share = Annotated[float, Field(ge=0, le=1)]


class ChipRecord(BaseModel):
    """One chip: its place in the tiling, its pixels in the scene, its file and checksum."""

    model_config = ConfigDict(frozen=True)

    row: Natural
    col: Natural
    window: tuple[Natural, Natural, Count, Count]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\.tif$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, tile: Tile, file: str, sha256: str) -> Self:
        """The record of a tile that was written."""
        row, col, height, width = tile.read.row, tile.read.col, *tile.read.shape
        window = (row, col, height, width)
        return cls(row=tile.row, col=tile.col, window=window, file=file, sha256=sha256)


class Manifest(BaseModel):
    """What a folder of chips holds: the whole scene save its pixels.

    Version 1: ``scene`` is a name; ``crs`` is WKT, or null; ``transform`` has the six numbers of
    the affine (x = a col + b row + c, y = d col + e row + f); ``window`` is row, column, height
    and width in pixels of the scene; ``sha256`` is that of the file. NaN is "NaN". ``skipped``
    counts the tiles that were left out by ``min_valid`` ("nodata") and ``max_cloud`` ("cloud").
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    format: Literal["geodecloud-chips"] = "geodecloud-chips"
    version: Literal[1] = 1
    scene: str
    crs: str | None
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[Count, Count]
    size_px: Count
    overlap_px: Natural
    sensor: Sensor
    profile: Profile
    min_valid: Share = 0.0
    max_cloud: Share = 1.0
    skipped: dict[Literal["nodata", "cloud"], Annotated[int, Field(ge=0, le=MAX_SKIPPED)]] = Field(
        default_factory=dict
    )
    chips: tuple[ChipRecord, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse chips that are not the tiles of the scene, each once."""
        if self.overlap_px >= self.size_px:
            raise ValueError(f"overlap {self.overlap_px} of {self.size_px} px")
        if len(self.sensor.bands) != self.profile.n_bands:
            raise ValueError(f"{len(self.sensor.bands)} bands, {self.profile.n_bands} stored")
        # before the tiling is made: a forged shape would blow it up
        n_skipped = sum(self.skipped.values())
        n_tiles = len(self.chips) + n_skipped
        if self.shape[0] * self.shape[1] > n_tiles * self.size_px**2:
            raise ValueError(f"{n_tiles} chips do not cover {self.shape} px")
        tiles = {(tile.row, tile.col): tile.read for tile in self.tiling}
        for chip in self.chips:
            if tiles.pop((chip.row, chip.col), None) != Window(*chip.window):
                raise ValueError(f"{chip.file} is not a tile of the scene, or one twice")
        if len(tiles) != n_skipped or len({c.file for c in self.chips}) < len(self.chips):
            raise ValueError(f"{len(tiles)} tiles have no chip, or two have one file")
        return self

    @property
    def tiling(self) -> Tiling:
        """How the scene was cut."""
        return Tiling.for_chips(self.shape, self.size_px, self.overlap_px)

    @property
    def geobox(self) -> GeoBox:
        """Where the scene lies."""
        return GeoBox(self.shape, Affine(*self.transform), self.crs)

    @classmethod
    def read_from(cls, folder: Path) -> Self:
        """Return the manifest of a folder.

        Raises:
            InputError: there is none, or it is damaged.
        """
        path = folder / MANIFEST
        try:
            if path.stat().st_size > MAX_BYTES:
                raise InputError(
                    f"{path} has {path.stat().st_size} bytes",
                    f"a manifest has at most {MAX_BYTES}",
                    "check where the folder comes from",
                )
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError, ValueError) as error:
            raise InputError(
                f"{path} cannot be used: {_first_line(error)}",
                "a manifest of geodecloud chips, version 1",
                "cut the scene again with geodecloud chip --overwrite, or remove the manifest to "
                "take the chips as they are",
            ) from error

    def without_chips(self) -> str:
        """What was cut, and how, as JSON: two cuts of one scene agree on it."""
        return self.model_dump_json(exclude={"chips"})

    def dumped(self) -> bytes:
        """The content of the file, one chip a line; ``read_from`` is the inverse."""
        head = self.model_dump_json(exclude={"chips"}, indent=1).removesuffix("\n}")
        chips = ",\n  ".join(chip.model_dump_json() for chip in self.chips)
        return f'{head},\n "chips": [\n  {chips}\n ]\n}}\n'.encode()


def holds_chips(folder: Path) -> bool:
    """Whether a folder holds chips that geodecloud cut; other makers name files so, too."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            return b'"geodecloud-chips"' in file.read(64)
    except OSError:
        return False


def file_names(scene: str, tiles: Tiling) -> list[str]:
    """Return a file name for each tile; sorted by name they are in the order of the tiling.

    Example:
        >>> file_names("a b.c", Tiling.for_chips((64, 128), 64))
        ['a_b.c-7509d2_r0000_c0000.tif', 'a_b.c-7509d2_r0000_c0001.tif']
    """
    stem = slug(scene)
    digits = max(4, len(str(max(len(tiles.rows), len(tiles.cols)) - 1)))
    return [f"{stem}_r{tile.row:0{digits}}_c{tile.col:0{digits}}.tif" for tile in tiles]


def slug(name: str) -> str:
    """Return a name that is safe for a file: one for each name, another for another.

    Example:
        >>> slug("T32TMT_20190530")
        'T32TMT_20190530'
        >>> slug("../Zürich")
        'Z_rich-e523b1'
    """
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-")[:80]
    if safe and safe == name:
        return safe
    return f"{safe or 'scene'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def named(names: Iterable[str], most: int = 5) -> str:
    """Return names for a message: the first few, and how many more there are.

    Example:
        >>> named("abc", most=2)
        'a, b and 1 more'
    """
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else first["msg"]
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
