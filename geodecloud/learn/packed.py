"""PackedChips: training pixels in one memory-mapped safetensors file; ``pack_writer`` writes it."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from geodecloud.errors import DataError

FORMAT = "geodecloud-chips"
FORMAT_VERSION = 1
LEVELS = ("unknown", "L1C", "L2A")
HEADER_LIMIT_BYTES = 100_000_000
"""The limit of safetensors itself."""

GUIDES = ("sar", "reference")
"""Sides that a pair may have beside source and target: radar, or another date of the place."""

MOST_TOUCHED = 4
"""Places beside its own that a chip's corners may lie in."""

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

PACKING = {
    "reflectance": (1e-4, -0.1),
    "dB": (1e-3, -60.0),
    "display": (1 / 255, -1 / 255),
    "class": (1.0, -1.0),
}
"""``value = stored * scale + offset`` by unit, where stored is 1 .. 65535 and 0 means nodata.

Reflectance as Sentinel-2 stores it since baseline 04.00, -0.1 to 6.45; decibels -60 to 5.5;
8-bit pictures and classes exactly. A side in unit "number" brings its own scale and offset.
"""


@dataclass(frozen=True, slots=True)
class Side:
    """One kind of pixels of a sample ("target", "source", "mask", "sar"): bands and encoding.

    Where scenes come from several sensors of the same bands, ``sensor`` names them all. A side in
    unit "number" has its own ``scale`` and ``offset``.
    """

    bands: tuple[str, ...]
    unit: str = "reflectance"
    sensor: str = ""
    scale: float | None = None
    offset: float | None = None

    @property
    def packing(self) -> tuple[float, float]:
        """Scale and offset of the stored numbers."""
        if self.scale is not None and self.offset is not None:
            return self.scale, self.offset
        if self.unit not in PACKING:
            raise DataError(
                f"a side in unit {self.unit!r}",
                f"units that can be packed are {', '.join(PACKING)}",
                "name the sensor of the scenes",
            )
        return PACKING[self.unit]

    def to_stored(self, values: Floats, valid: Flags) -> npt.NDArray[np.uint16]:
        """Return values (..., C, H, W) as stored numbers; what is not valid is 0."""
        scale, offset = self.packing
        stored = np.rint((np.where(valid, values, 0).astype(np.float64) - offset) / scale)
        return np.where(valid, np.clip(stored, 1, 65535), 0).astype(np.uint16)

    def to_values(self, stored: npt.NDArray[np.uint16]) -> tuple[Floats, Flags]:
        """Return values and validity of stored numbers, values 0 where not valid."""
        scale, offset = self.packing
        valid = stored != 0
        values = stored.astype(np.float32) * np.float32(scale) + np.float32(offset)
        return np.where(valid, values, np.float32(0)), valid


class PackedChips:
    """Samples of one pixel size in one file, read by memory map.

    A sample is a place in a scene with one or more sides. Pairs have a source and a target;
    clear chips a target alone; unpaired sets have samples of either side.

    Attributes:
        size_px: height and width of every sample.
        sides: what each side is.
        rows: for each side (N,) its row in that side's tensor, -1 where a sample has none.
        place: (N,) index into ``places``: what must stay on one side of a split together.
        level: (N,) index into ``LEVELS``.
        fold: (N,) fold by the table of splits, -1 where there is none.
        touches: (N, 4) other places that a sample's corners lie in, -1 for none.
        notes: what was left out of the set, and why.

    Raises:
        DataError: not such a file, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the header; pixels stay on disk until they are asked for."""
        self.path = Path(path)
        header, start = _read_header(self.path)
        self._tensors = header
        self._start = start
        about = self._about(header)
        self.size_px = int(about["size_px"])
        self.sides = {
            name: Side(**{**side, "bands": tuple(side["bands"])})
            for name, side in about["sides"].items()
        }
        self.places: list[str] = about["places"]
        self.attribution: list[str] = about["attribution"]
        self.notes: tuple[str, ...] = tuple(about.get("notes", ()))
        self.place, self.level, self.fold = (
            np.array(self._map(f"sample.{name}")) for name in ("place", "level", "fold")
        )
        self.touches = np.full((len(self), MOST_TOUCHED), -1, np.int32)
        if "sample.touches" in header:
            self.touches[:] = self._map("sample.touches")
        self._stored = {name: self._map(name) for name in self.sides}
        self._columns = {name: list(range(len(side.bands))) for name, side in self.sides.items()}
        self.rows: dict[str, npt.NDArray[np.int32]] = {}
        for name in self.sides:
            self.rows[name] = np.full(len(self), -1, np.int32)
            owners = self._map(f"{name}.sample")
            self.rows[name][owners] = np.arange(len(owners), dtype=np.int32)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.place)

    def has(self, side: str) -> Flags:
        """Say of each sample whether it has this side; (N,)."""
        return self.rows[side] >= 0 if side in self.rows else np.zeros(len(self), bool)

    def read(self, side: str, samples: npt.NDArray[np.integer[Any]]) -> tuple[Floats, Flags]:
        """Return values (B, C, S, S) of these samples and their validity.

        Samples without this side come back as 0, not valid.
        """
        has = self.has(side)[samples]
        n_bands = len(self.sides[side].bands)
        stored = np.zeros((len(samples), n_bands, self.size_px, self.size_px), np.uint16)
        for i in np.flatnonzero(has):
            stored[i] = self.stored(side, int(samples[i]))
        return self.sides[side].to_values(stored)

    def stored(self, side: str, sample: int) -> npt.NDArray[np.uint16]:
        """Return the stored numbers (C, S, S) of a sample that has this side."""
        return np.asarray(self._stored[side][self.rows[side][sample]][self._columns[side]])

    def select(self, bands: Sequence[str]) -> Self:
        """Return the same samples, of each side that has these bands only them, in this order.

        Raises:
            DataError: the target lacks a band.
        """
        wanted = tuple(bands)
        have = self.sides["target"].bands if "target" in self.sides else ()
        if missing := [name for name in wanted if name not in have]:
            raise DataError(
                f"{self.path} has bands {', '.join(have)}",
                f"wanted are {', '.join(wanted)}; {', '.join(missing)} not among them",
                f"pack with --bands {','.join(wanted)}",
            )
        chosen = copy.copy(self)
        chosen.sides, chosen._columns = dict(self.sides), dict(self._columns)
        for name, side in self.sides.items():
            if set(wanted) <= set(side.bands):
                columns = [self._columns[name][side.bands.index(band)] for band in wanted]
                chosen.sides[name], chosen._columns[name] = replace(side, bands=wanted), columns
        return chosen

    def drawn_from(self, side: str) -> Self:
        """Return the samples that have this side, with it as their source.

        The source that they had, and the mask of its clouds, are left out.

        Raises:
            DataError: no sample has it.
        """
        has = self.has(side)
        if not has.any():
            raise DataError(
                f"{self.path} has sides {', '.join(self.sides)}",
                f"it is to be drawn from {side}",
                f"pack scenes with their {side}: a table of splits names it",
            )
        chosen = copy.copy(self)
        for name in ("place", "level", "fold", "touches"):
            setattr(chosen, name, getattr(self, name)[has])
        named = {"target": "target", "source": side}
        for name in ("sides", "_stored", "_columns"):
            setattr(chosen, name, {new: getattr(self, name)[old] for new, old in named.items()})
        chosen.rows = {new: self.rows[old][has] for new, old in named.items()}
        return chosen

    def _about(self, header: Mapping[str, Any]) -> dict[str, Any]:
        try:
            about: dict[str, Any] = json.loads(header["__metadata__"]["geodecloud"])
            if (about["format"], about["version"]) == (FORMAT, FORMAT_VERSION):
                return about
        except (KeyError, TypeError, ValueError):
            about = {}
        raise DataError(
            f"{self.path} holds {about.get('format', 'other tensors')}",
            f"packed chips are a safetensors file of format {FORMAT} {FORMAT_VERSION}",
            "pack the scenes with: geodecloud pack DATA chips.safetensors",
        )

    def _map(self, name: str) -> npt.NDArray[Any]:
        try:
            entry = self._tensors[name]
            dtype = {"U16": "<u2", "I32": "<i4"}[entry["dtype"]]
            begin, end = entry["data_offsets"]
            shape = tuple(int(n) for n in entry["shape"])
            if end - begin != np.dtype(dtype).itemsize * int(np.prod(shape)):
                raise ValueError(f"{end - begin} bytes for {shape}")
            if 0 in shape:
                return np.zeros(shape, dtype)
            return np.memmap(self.path, dtype, "r", self._start + begin, shape)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.path} is damaged: tensor {name!r} ({error})",
                "each tensor lies inside the file",
                "pack the scenes again",
            ) from error


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(HEADER_LIMIT_BYTES, path.stat().st_size):
                raise ValueError(f"header of {length} bytes")
            header = json.loads(file.read(length))
            if not isinstance(header, dict):
                raise ValueError("header is no object")
            return header, 8 + length
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error})",
            "packed chips are one safetensors file",
            "check the path, or pack the scenes with: geodecloud pack DATA chips.safetensors",
        ) from error
