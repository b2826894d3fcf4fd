"""Chips: a labelled array in tiles, each an array with its own coordinates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from xarray import DataArray, Dataset

from geodecloud.accessor.labelled import Labelled
from geodecloud.errors import OptionError
from geodecloud.geo.chips import ChipStore, part_of
from geodecloud.geo.scene import shape_of
from geodecloud.geo.tiling import Tiling, Window, reflected


class Chips(Sequence[Any]):
    """The chips of an array, scene after scene, each row by row: arrays as it is one.

    ``chips[i].values`` are the numbers of ``geodecloud.cut_scene``; nothing is computed before.
    A scene smaller than a chip is reflected at its edge.

    Args:
        labelled: what is cut.
        size_px: side of a chip.
        overlap_px: shared with the neighbour.

    Attributes:
        tiling: where the chips lie in each scene.
    """

    def __init__(self, labelled: Labelled, size_px: int, overlap_px: int) -> None:
        """Lay out the tiles."""
        self._labelled, self._size_px, self._overlap_px = labelled, size_px, overlap_px
        self._places = labelled.places
        self.tiling = Tiling.for_chips(shape_of(labelled.geobox), size_px, overlap_px)

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self._places) * len(self.tiling)

    @overload
    def __getitem__(self, index: int) -> DataArray | Dataset: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[DataArray | Dataset]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return a chip: a part of the array, with its coordinates."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        place, tile = divmod(range(len(self))[index], len(self.tiling))
        return self._cut(self._places[place], self.tiling[tile].read)

    def _cut(self, at: Mapping[Hashable, int], window: Window) -> Any:
        labelled = self._labelled
        dims, (height, width) = labelled.dims, shape_of(labelled.geobox)
        here = labelled.labelled.isel(at)
        if window in Window.whole((height, width)):
            rows, cols = window.slices
            return here.isel({dims.y: rows, dims.x: cols})
        rows_in = reflected(window.row, window.row_stop, height)
        cols_in = reflected(window.col, window.col_stop, width)
        chip = here.isel({dims.y: rows_in, dims.x: cols_in})
        if dims.y not in chip.coords or dims.x not in chip.coords:
            return chip
        affine = part_of(labelled.geobox, window).affine
        y = affine.f + affine.e * (np.arange(window.height) + 0.5)
        x = affine.c + affine.a * (np.arange(window.width) + 0.5)
        return chip.assign_coords(
            {
                dims.y: (dims.y, y, chip[dims.y].attrs),
                dims.x: (dims.x, x, chip[dims.x].attrs),
            }
        )

    def to_folder(self, folder: str | Path, *, overwrite: bool = False) -> ChipStore:
        """Write the chips of one scene as GeoTIFFs with a manifest, and return the store.

        ``geodecloud mosaic`` makes them one scene again; ``prepare_data`` trains on them.

        Raises:
            OptionError: there are several scenes.
            OutputError: the folder holds other things, or cannot be written.
        """
        if len(self._places) != 1:
            raise OptionError(
                f"chips of {len(self._places)} scenes",
                "a folder holds those of one",
                "select one first, such as with .isel(time=0)",
            )
        name = getattr(self._labelled.labelled, "name", None)
        return ChipStore.cut(
            self._labelled.scene(self._places[0]),
            folder,
            name=str(name or "scene"),
            size_px=self._size_px,
            overlap_px=self._overlap_px,
            overwrite=overwrite,
        )
