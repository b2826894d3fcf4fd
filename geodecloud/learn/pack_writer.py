"""PackWriter: packed chips written sample by sample; ``packed`` reads them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from geodecloud.errors import DataError
from geodecloud.learn.packed import (
    FORMAT,
    FORMAT_VERSION,
    LEVELS,
    MOST_TOUCHED,
    Flags,
    Floats,
    Side,
)


class PackWriter:
    """Packed chips being written, in memory of one sample: open, add, close.

    Pixels are spooled side by side and joined at the end; the file appears whole or not at all.

    Example:
        >>> import tempfile
        >>> from geodecloud.learn.packed import PackedChips
        >>> out = Path(tempfile.mkdtemp()) / "chips.safetensors"
        >>> with PackWriter(out, 2, {"target": Side(("B02",))}) as writer:
        ...     pixels = np.full((1, 2, 2), 0.25, np.float32)
        ...     writer.add({"target": (pixels, pixels > 0)}, place="here")
        >>> PackedChips(out).read("target", np.array([0]))[0].round(4).tolist()
        [[[[0.25, 0.25], [0.25, 0.25]]]]
    """

    def __init__(
        self, out: str | os.PathLike[str], size_px: int, sides: Mapping[str, Side] | None = None
    ) -> None:
        """Take what is known beforehand; sides may also be declared later."""
        self.out = Path(out)
        self.size_px = size_px
        self.sides: dict[str, Side] = {}
        self.attribution: set[str] = set()
        self.notes: list[str] = []
        self._places: dict[str, int] = {}
        names = ("place", "level", "fold", "touches")
        self._samples = {name: array("i") for name in names}
        self._owners: dict[str, array[int]] = {}
        self._spools: dict[str, IO[bytes]] = {}
        self._declared = dict(sides or {})

    def __len__(self) -> int:
        """Return the number of samples so far."""
        return len(self._samples["place"])

    def __enter__(self) -> Self:
        """Make room for the spools beside the output."""
        self._folder = tempfile.TemporaryDirectory(prefix=".pack-", dir=self.out.parent)
        for name, side in self._declared.items():
            self.declare(name, side)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Join the spools and publish, where no error came."""
        try:
            if kind is None:
                self._publish()
        finally:
            for spool in self._spools.values():
                spool.close()
            self._folder.cleanup()

    def declare(self, name: str, side: Side) -> None:
        """Say what a side is, before its first sample.

        Raises:
            DataError: it was declared as something else.
        """
        _ = side.packing  # refuses units that cannot be packed
        known = self.sides.setdefault(name, side)
        if (known.bands, known.packing) != (side.bands, side.packing):
            raise DataError(
                f"a {name} side of bands {', '.join(side.bands)} in {side.unit}",
                f"those before have {', '.join(known.bands)} in {known.unit}",
                "choose common bands with bands=, or train on one kind at a time",
            )
        if side.sensor not in known.sensor.split(" / "):
            self.sides[name] = replace(known, sensor=f"{known.sensor} / {side.sensor}")
        if name not in self._spools:
            path = Path(self._folder.name) / str(len(self._spools))
            self._spools[name] = path.open("wb+")
            self._owners[name] = array("i")

    def add(
        self,
        sides: Mapping[str, tuple[Floats, Flags]],
        *,
        place: str,
        level: str | None = None,
        fold: int = -1,
        touches: Sequence[str] = (),
    ) -> None:
        """Take one sample: values and validity (C, S, S) of each side that it has.

        ``touches`` are places, four at most, that it lies in with a part of it.
        """
        number = len(self)
        for name, (values, valid) in sides.items():
            shape = (len(self.sides[name].bands), self.size_px, self.size_px)
            if values.shape != shape or valid.shape != shape:
                raise DataError(
                    f"a {name} chip of {place} has shape {values.shape}",
                    f"chips of this set have {shape}",
                    "give chips of one size and band count, or pass resize_to",
                )
            self._spools[name].write(self.sides[name].to_stored(values, valid).tobytes())
            self._owners[name].append(number)
        numbers = [self._places.setdefault(each, len(self._places)) for each in (place, *touches)]
        numbers += [-1] * (1 + MOST_TOUCHED - len(numbers))
        self._samples["place"].append(numbers[0])
        self._samples["touches"].extend(numbers[1:])
        self._samples["level"].append(LEVELS.index(level) if level in LEVELS else 0)
        self._samples["fold"].append(fold)

    def _publish(self) -> None:
        columns = {f"sample.{name}": values for name, values in self._samples.items()}
        columns |= {f"{name}.sample": owners for name, owners in self._owners.items()}
        small = {name: np.asarray(values, "<i4") for name, values in columns.items()}
        small["sample.touches"] = small["sample.touches"].reshape(-1, MOST_TOUCHED)
        tensors: dict[str, Any] = {}
        end = 0
        for name, side in self.sides.items():
            shape = [len(self._owners[name]), len(side.bands), self.size_px, self.size_px]
            begin, end = end, end + 2 * int(np.prod(shape))
            tensors[name] = {"dtype": "U16", "shape": shape, "data_offsets": [begin, end]}
        for name, values in small.items():
            begin, end = end, end + values.nbytes
            shape = list(values.shape)
            tensors[name] = {"dtype": "I32", "shape": shape, "data_offsets": [begin, end]}
        header = _encode_header(tensors, self._description())
        part = Path(self._folder.name) / "whole"  # cleared away with the spools if the disk is full
        with part.open("wb") as file:
            file.write(header)
            for spool in self._spools.values():
                spool.seek(0)
                shutil.copyfileobj(spool, file, 1 << 20)
            for values in small.values():
                file.write(values.tobytes())
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.out)

    def _description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "size_px": self.size_px,
            "sides": {name: _described(side) for name, side in self.sides.items()},
            "places": list(self._places),
            "attribution": sorted(self.attribution),
            "notes": self.notes,
        }


def _described(side: Side) -> dict[str, Any]:
    return {name: value for name, value in asdict(side).items() if value is not None}


def _encode_header(tensors: Mapping[str, Any], about: Mapping[str, Any]) -> bytes:
    text = json.dumps({"__metadata__": {"geodecloud": json.dumps(about)}, **tensors})
    text += " " * (-len(text.encode()) % 8)
    encoded = text.encode()
    return len(encoded).to_bytes(8, "little") + encoded
