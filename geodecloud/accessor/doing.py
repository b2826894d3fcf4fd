"""Work on a labelled array: at once where it is in memory, by and by where it is lazy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from xarray import DataArray

from geodecloud.accessor.grid import OFF_PX
from geodecloud.accessor.labelled import Labelled
from geodecloud.accessor.scene import LabelledScene
from geodecloud.errors import GeodecloudError, GridError
from geodecloud.geo.scene import Array, Scene, shape_of
from geodecloud.in_strips import find_classes
from geodecloud.masking import MaskOptions
from geodecloud.strips import Strip, Work


class Made(NamedTuple):
    """What was made at one place: an array (C, H, W) of each raster, and (H, W) about them.

    ``spreads`` are standard deviations, an array (C, H, W) of each raster, where they are told.
    """

    arrays: list[Any]
    about: Any
    spreads: list[Any]


class _Doing:
    """A work on one scene: what each task of a graph is, and what is called at once without.

    ``beside`` are other scenes that the work looks at; what their arrays keep goes after each.
    """

    def __init__(
        self, work: Work, scene: LabelledScene, beside: Sequence[LabelledScene], *, is_kept: bool
    ) -> None:
        self.work, self.scene, self.beside = work, scene, beside
        self.is_kept = is_kept  # the result is the rasters' own bands
        self.strips: list[Strip] = []
        self.name = ""

    def prepare(self, mask: Array | None) -> Any:
        try:
            return self.work.prepare(self.scene, self._warn, mask)
        except GeodecloudError as error:
            raise type(error)(self._named(error.found), error.expected, error.todo) from error
        finally:
            for scene in (self.scene, *self.beside):
                scene.forget()

    def _warn(self, text: str) -> None:
        warnings.warn(self._named(text), UserWarning, stacklevel=1)

    def _named(self, text: str) -> str:
        """What is said of one of many scenes, with which it is."""
        return f"{self.name}: {text}" if self.name else text

    def make(self, number: int, prepared: Any) -> tuple[Array, ...]:
        strip = self.strips[number]
        scene = self.scene.held(strip.read)
        try:
            done = self.work.do(scene, strip, prepared)
        finally:
            for other in self.beside:
                other.forget()
        if not self.is_kept:
            return done.dn, done.about
        bands = scene.select(self.work.bands)
        spreads = () if done.spread is None else bands.parted(done.spread)
        return *bands.restored(done.dn, strip.keep), done.about, *spreads

    def shapes(self, strip: Strip) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of what ``make`` gives."""
        size = strip.keep.shape
        about = (size, np.dtype(np.uint8))
        if not self.is_kept:
            bands = self.work.target(self.scene).sensor.bands
            dtype = np.result_type(*(np.dtype(band.dtype) for band in bands))
            return [((len(bands), *size), dtype), about]
        owners = [owner for owner, _ in self.scene.select(self.work.bands).channels]
        sources = enumerate(pixels for pixels, _ in self.scene.pixels)
        kept = [((owners.count(i), *size), source.dtype) for i, source in sources]
        spreads = [(shape, np.dtype(np.float32)) for shape, _ in kept]
        return [*kept, about, *(spreads if self.work.has_spread else [])]


def do(
    labelled: Labelled,
    work_of: Callable[[Scene, int], Work],
    *,
    is_kept: bool = True,
    mask: DataArray | None = None,
    beside: Callable[[int], Sequence[LabelledScene]] = lambda number: (),
) -> list[Made]:
    """Return what a work makes of each scene.

    Args:
        labelled: the scenes.
        work_of: gives the work for a scene and its number.
        is_kept: the result holds the bands that are there; else those of the work's target.
        mask: of all scenes, or of each.
        beside: gives the other scenes that the work with a number looks at.
    """
    made = []
    is_lazy = labelled.is_lazy or (mask is not None and mask.chunks is not None)
    for number, at in enumerate(labelled.places):
        scene = labelled.scene(at)
        work = work_of(scene, number)
        doing = _Doing(work, scene, beside(number), is_kept=is_kept)
        doing.strips, doing.name = work.strips(labelled.rows_px), labelled.name_of(at)
        drawn = None if mask is None else _mask_at(mask, labelled, at)
        if is_lazy or any(other.is_lazy for other in doing.beside):
            from geodecloud.accessor import lazily

            shapes = [doing.shapes(strip) for strip in doing.strips]
            arrays = lazily.strips(doing.prepare, doing.make, drawn, shapes)
        else:
            prepared = doing.prepare(drawn)
            parts = [doing.make(i, prepared) for i in range(len(doing.strips))]
            arrays = [np.concatenate(rows, axis=-2) for rows in zip(*parts, strict=True)]
        n_rasters = len(labelled.rasters) if is_kept else 1
        made.append(Made(arrays[:n_rasters], arrays[n_rasters], arrays[n_rasters + 1 :]))
    return made


def classes_of(labelled: Labelled, options: MaskOptions) -> list[Any]:
    """Return the classes (H, W) of the pixels of each scene."""
    shape = shape_of(labelled.geobox)
    found = []
    for at in labelled.places:
        seeking = _Seeking(labelled.scene(at), options)
        if labelled.is_lazy:
            from geodecloud.accessor import lazily

            found.append(lazily.whole(seeking.classes, shape, np.dtype(np.uint8)))
        else:
            found.append(seeking.classes())
    return found


class _Seeking:
    """The search for clouds in one scene."""

    def __init__(self, scene: LabelledScene, options: MaskOptions) -> None:
        self.scene, self.options = scene, options

    def classes(self) -> Array:
        try:
            return find_classes(self.scene, self.options)
        finally:
            self.scene.forget()


def _mask_at(mask: DataArray, labelled: Labelled, at: Mapping[Hashable, int]) -> Any:
    """The mask (H, W) of one scene."""
    dims = labelled.dims
    here = mask.isel({dim: index for dim, index in at.items() if dim in mask.dims})
    array = labelled.rasters[0].array
    if set(here.dims) != {dims.y, dims.x} or any(
        mask.sizes[dim] != array.sizes[dim] for dim in mask.dims
    ):
        raise GridError(
            f"a mask of {dict(mask.sizes)}",
            f"the array has {dict(array.sizes)}",
            "a mask has its rows and columns, and time where it differs from date to date",
        )
    for dim in (dims.y, dims.x):
        if dim in mask.coords and dim in array.coords:
            own, other = array[dim].values, mask[dim].values
            if np.abs(own - other).max() > OFF_PX * abs(own[-1] - own[0]) / max(len(own) - 1, 1):
                raise GridError(
                    f"a mask whose {dim} runs from {other[0]:g} to {other[-1]:g}",
                    f"that of the array runs from {own[0]:g} to {own[-1]:g}",
                    "reproject the mask to the grid of the array",
                )
    return here.transpose(dims.y, dims.x).data
