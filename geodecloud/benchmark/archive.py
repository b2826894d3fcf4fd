"""Archive: the real scenes that suites are made of, found by a table of places and folds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from geodecloud.benchmark.case import Flags
from geodecloud.errors import InputError
from geodecloud.geo.scene import ArrayScene, Scene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.learn.cutting import TrainingScene
from geodecloud.split_table import rows_of_table, scenes_of_rows

BANDS = ("B02", "B03", "B04", "B08")
SPLITS = "splits.json"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Archive:
    """A folder of real scenes: ``train/`` by the rows of a table, ``test/`` by folder.

    Attributes:
        root: holds train/ and test/.
        rows: of the table, those that may be learnt from.
    """

    root: Path
    rows: Sequence[Row]

    @classmethod
    def open(cls, root: Path, table: Path | None = None) -> Self:
        """Return the archive in a folder; without a table it holds ``splits.json`` itself.

        Raises:
            InputError: there is no such folder or table.
            DataError: the table cannot be read.
        """
        table = root / SPLITS if table is None else table
        for path, what in ((root, "a folder with train/ and test/"), (table, "a table of splits")):
            if not path.exists():
                raise InputError(
                    f"{path} does not exist",
                    f"the benchmark needs {what}",
                    "pass DATA, the folder of real scenes, and --splits with their places and "
                    "folds (benchmarks/splits.json of the repository)",
                )
        return cls(root, rows_of_table(table, BANDS))

    @contextmanager
    def opened(self, row: Row) -> Iterator[TrainingScene]:
        """Give the scenes of a row, open."""
        yield from scenes_of_rows(self.root, [row], BANDS)

    def files(self, folder: str, pattern: str = "*.tif") -> list[Path]:
        """Return the files of a folder, sorted.

        Raises:
            InputError: there is none.
        """
        found = sorted((self.root / folder).glob(pattern))
        if not found:
            raise InputError(
                f"{self.root / folder} holds no {pattern}",
                "this suite is made of them",
                "complete the data, or choose other suites with --suite",
            )
        return found


def windows_of(shape: tuple[int, int], size_px: int, least_px: int) -> list[Window]:
    """Return windows side by side, those at the end smaller, none with a side below a least."""
    height, width = shape
    found = [
        Window(row, col, min(size_px, height - row), min(size_px, width - col))
        for row in range(0, height, size_px)
        for col in range(0, width, size_px)
    ]
    return [window for window in found if min(window.shape) >= least_px]


def part_of(scene: Scene, window: Window) -> ArrayScene:
    """Return a window of a scene, in memory."""
    rows, cols = window.slices
    dn, valid = scene.read(window)
    return ArrayScene(dn, scene.sensor, scene.geobox[rows, cols], valid)


def is_valid(scene: Scene) -> Flags:
    """Return where every band of a scene is a measurement, (H, W) bool."""
    return np.asarray(scene.read(Window.whole(shape_of(scene.geobox)))[1].all(0))
