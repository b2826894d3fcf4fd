"""Labelled: an array or a dataset taken apart into scenes, and put together again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from xarray import DataArray, Dataset, Variable

from geodecloud.accessor.grid import Dims, geobox_of, is_raster
from geodecloud.accessor.meaning import SCALED, Meaning
from geodecloud.accessor.scene import InMemory, LabelledScene, Pixels
from geodecloud.errors import GridError, InputError
from geodecloud.geo.chips import part_of
from geodecloud.geo.profile import Profile
from geodecloud.geo.radiometry import Overrides, sensor_of
from geodecloud.geo.scene import shape_of
from geodecloud.geo.sensors import Sensor
from geodecloud.geo.tiling import Window
from geodecloud.paste import SPREAD_NODATA

STORAGE = ("chunks", "preferred_chunks", "chunksizes", "shards", "source", "original_shape")
"""What an encoding says of the file that an array came from, rather than of its numbers."""

BY_BAND = ("long_name", "scales", "offsets", "nodatavals", "units", "scale_factor", "add_offset")
"""Attributes with an entry for each band."""


class Raster(NamedTuple):
    """An array with rows and columns, and what it says of itself."""

    array: DataArray
    dims: Dims
    meaning: Meaning

    def pixels(self, at: Mapping[Hashable, int]) -> Any:
        """The array (C, H, W) at a place along the other dimensions; lazy where it is lazy."""
        dims = self.dims
        here = self.array.variable.isel(at)
        if dims.band is None:
            return here.transpose(dims.y, dims.x).data[None]
        return here.transpose(dims.band, dims.y, dims.x).data


class Labelled:
    """A data array, or a dataset, taken apart.

    Every dimension beside bands, rows and columns is walked: each place along it is a scene.

    Args:
        labelled: with rows and columns; the bands of a dataset are its variables.
        told: what the caller says of the numbers.

    Raises:
        InputError: there are no rows and columns, or no coordinate system.
        BandError: names do not fit the number of bands.
        RadiometryError: it cannot be told whether a scale was applied.
    """

    def __init__(self, labelled: DataArray | Dataset, told: Overrides) -> None:
        """Look at all but the pixels."""
        self.labelled, self.is_dataset = labelled, isinstance(labelled, Dataset)
        beside = labelled if isinstance(labelled, Dataset) else None
        arrays = [labelled] if isinstance(labelled, DataArray) else _rasters_of(labelled)
        is_told = told.scale is not None or told.offset is not None or told.sensor is not None
        self.rasters = []
        for array in arrays:
            dims = Dims.of(array)
            self.rasters.append(Raster(array, dims, Meaning.of(array, dims, is_told=is_told)))
        first = self.rasters[0]
        self.dims = first.dims
        self.geobox = geobox_of(first.array, first.dims, beside)
        self.sensor, self.profile = self._meaning(told)

    def _meaning(self, told: Overrides) -> tuple[Sensor, Profile]:
        """What the numbers mean, as if all of them were in one file."""
        meanings = [raster.meaning for raster in self.rasters]
        n_bands = [len(meaning.names) for meaning in meanings]
        said = [text for meaning in meanings for text in meaning.names]
        array = self.rasters[0].array
        attrs = {**self.labelled.attrs, **(array.attrs if len(meanings) == 1 else {})}
        profile = Profile(
            dtype=np.result_type(*(meaning.dtype for meaning in meanings)).name,
            nodata=tuple(value for meaning in meanings for value in meaning.nodata),
            descriptions=tuple(text or None for text in said),
            scales=tuple(value for meaning in meanings for value in meaning.scales),
            offsets=tuple(value for meaning in meanings for value in meaning.offsets),
            units=tuple(text for raster in self.rasters for text in _units(raster)),
            colorinterp=("undefined",) * len(said),
            tags={
                str(key): str(value)
                for key, value in attrs.items()
                if isinstance(value, str | int | float) and key not in SCALED
            },
        )
        told.check([Path("the array")], n_bands)
        sensor = sensor_of(profile, str(array.name or ""), shape_of(self.geobox), told)
        # where nothing stands for no measurement, a file would need a mask
        holes = any(raster.meaning.packing for raster in self.rasters)
        is_masked = holes and any(band.nodata is None for band in sensor.bands)
        return sensor, replace(profile.declaring(sensor), is_masked=is_masked)

    @property
    def is_lazy(self) -> bool:
        """Whether pixels are computed by Dask."""
        return any(raster.array.chunks is not None for raster in self.rasters)

    @property
    def rows_px(self) -> int:
        """Height of the tallest chunk; 0 where all is in memory."""
        chunked = (raster.array.chunksizes.get(raster.dims.y, ()) for raster in self.rasters)
        return max((max(sizes) for sizes in chunked if sizes), default=0)

    @property
    def channels(self) -> list[tuple[int, int]]:
        """Of each band, its raster and its channel there."""
        return [
            (number, channel)
            for number, raster in enumerate(self.rasters)
            for channel in range(len(raster.meaning.names))
        ]

    @property
    def places(self) -> list[dict[Hashable, int]]:
        """Where scenes lie along all other dimensions, in order."""
        others = self.dims.others
        sizes = self.rasters[0].array.sizes
        indexes = product(*(range(sizes[dim]) for dim in others))
        return [dict(zip(others, index, strict=True)) for index in indexes]

    def name_of(self, at: Mapping[Hashable, int]) -> str:
        """Return what the scene at a place is called, such as "time 2024-06-01"; mostly nothing."""
        coords = self.rasters[0].array.coords
        labels = {dim: coords[dim].values[i] if dim in coords else i for dim, i in at.items()}
        texts = [
            np.datetime_as_string(label, "auto") if isinstance(label, np.datetime64) else label
            for label in labels.values()
        ]
        return ", ".join(f"{dim} {text}" for dim, text in zip(labels, texts, strict=True))

    def scene(self, at: Mapping[Hashable, int]) -> LabelledScene:
        """Return the scene at a place; no pixel is read."""
        pixels = [
            (_pixels_of(raster.pixels(at)), raster.meaning.packing) for raster in self.rasters
        ]
        return LabelledScene(self.geobox, self.sensor, self.profile, pixels, self.channels)

    def stacked(self, arrays: Sequence[Any]) -> Any:
        """Return arrays (..., H, W), one for each place, as one (others, ..., H, W)."""
        sizes = self.rasters[0].array.sizes
        others = tuple(sizes[dim] for dim in self.dims.others)
        if isinstance(arrays[0], np.ndarray):
            together: Any = np.stack(arrays)
        else:
            from geodecloud.accessor.lazily import da

            together = da.stack(arrays)
        return together.reshape(*others, *arrays[0].shape)

    def cut(self, window: Window) -> Labelled:
        """Return a window of it."""
        if window == Window.whole(shape_of(self.geobox)):
            return self
        part = copy(self)
        part.geobox = part_of(self.geobox, window)
        here = dict(zip((self.dims.y, self.dims.x), window.slices, strict=True))
        part.labelled = self.labelled.isel(here)
        part.rasters = [r._replace(array=r.array.isel(here)) for r in self.rasters]
        return part

    def together(
        self, bands: Sequence[str], made: Sequence[Sequence[Any]], attrs: Mapping[str, Any]
    ) -> DataArray | Dataset:
        """Return the bands with new pixels, and everything else as it is.

        Args:
            bands: which ones, in the order of the scene.
            made: of each place, the pixels (C, H, W) of each raster.
            attrs: are added.
        """
        results: dict[Hashable, DataArray] = {}
        for raster, kept, data in self._renewing(bands, made):
            results[raster.array.name] = _renewed(raster, kept, data, attrs)
        if isinstance(self.labelled, DataArray):
            return next(iter(results.values()))
        gone = [r.array.name for r in self.rasters if r.array.name not in results]
        return self.labelled.drop_vars(gone).assign(results)

    def uncertainties(
        self, bands: Sequence[str], made: Sequence[Sequence[Any]]
    ) -> dict[Hashable, Variable]:
        """Return standard deviations as coordinates beside the bands: one for each raster.

        Args:
            bands: which ones, in the order of the scene.
            made: of each place, the deviations (C, H, W) of each raster.
        """
        attrs = {"long_name": "standard deviation of the error", "units": self.sensor.unit}
        packing = {"dtype": "uint16", "scale_factor": 1e-4, "_FillValue": SPREAD_NODATA}
        return {
            f"{raster.array.name}_uncertainty" if self.is_dataset else "uncertainty": Variable(
                raster.array.dims, _in_order(raster, data), attrs, packing
            )
            for raster, _, data in self._renewing(bands, made)
        }

    def _renewing(
        self, bands: Sequence[str], made: Sequence[Sequence[Any]]
    ) -> Iterator[tuple[Raster, list[int], Any]]:
        """Rasters of which bands are made, their channels, and new pixels (others, C, H, W)."""
        wanted = set(self.sensor.index(bands))
        first = 0
        for number, raster in enumerate(self.rasters):
            n_bands = len(raster.meaning.names)
            kept = [i for i in range(n_bands) if first + i in wanted]
            first += n_bands
            if kept:
                yield raster, kept, self.stacked([arrays[number] for arrays in made])

    def layer(self, name: str, data: Any, attrs: Mapping[str, Any]) -> DataArray:
        """Return one value a pixel (others, H, W) with the coordinates of its rows and columns."""
        dims = (*self.dims.others, self.dims.y, self.dims.x)
        return DataArray(data, self._coords(dims), dims, name, dict(attrs))

    def drawn(self, target: Sensor, data: Any, attrs: Mapping[str, Any]) -> DataArray:
        """Return pixels (others, C, H, W) of other bands on the same grid."""
        band = self.dims.band or "band"
        dims = (*self.dims.others, band, self.dims.y, self.dims.x)
        coords = {**self._coords(dims), band: list(target.band_names)}
        name = None if self.is_dataset else self.rasters[0].array.name
        return DataArray(data, coords, dims, name, dict(attrs))

    def _coords(self, dims: Sequence[Hashable]) -> dict[Hashable, Any]:
        left = set(dims) - {self.dims.band}
        coords = self.rasters[0].array.coords
        return {name: coord for name, coord in coords.items() if set(coord.dims) <= left}


def _rasters_of(dataset: Dataset) -> list[DataArray]:
    """The variables that are bands: those with rows and columns, and all other dimensions."""
    arrays = [array for array in dataset.data_vars.values() if is_raster(array)]
    if not arrays:
        raise InputError(
            f"a dataset with the dimensions {', '.join(map(str, dataset.dims))}",
            "bands are variables with rows and columns",
            "pass the dataset of bands",
        )
    others = [Dims.of(array).others for array in arrays]
    most = max(others, key=len)
    if any(set(mine) == set(most) and mine != most for mine in others):
        raise GridError(
            f"variables with the dimensions {most} in several orders",
            "all bands have them in one order",
            "transpose the dataset",
        )
    return [array for array, mine in zip(arrays, others, strict=True) if mine == most]


def _pixels_of(data: Any) -> Pixels:
    if isinstance(data, np.ndarray):
        return InMemory(data)
    from geodecloud.accessor.lazily import Chunks

    lazy: Pixels = Chunks(data)
    return lazy


def _renewed(raster: Raster, kept: Sequence[int], data: Any, attrs: Mapping[str, Any]) -> DataArray:
    """The raster's bands with other pixels (others, C, H, W)."""
    dims, array = raster.dims, raster.array
    n_bands = len(raster.meaning.names)
    if dims.band is not None:
        array = array.isel({dims.band: list(kept)})
    renewed = array.copy(data=_in_order(raster, data))
    renewed.attrs.update(attrs)
    for name in BY_BAND:
        entries = renewed.attrs.get(name)
        if isinstance(entries, tuple | list) and len(entries) == n_bands:
            renewed.attrs[name] = type(entries)(entries[i] for i in kept)
    renewed.encoding = {key: value for key, value in array.encoding.items() if key not in STORAGE}
    return renewed


def _in_order(raster: Raster, data: Any) -> Any:
    """Pixels (others, C, H, W) with the dimensions of a raster, in its order."""
    dims = raster.dims
    order = [*dims.others, dims.band, dims.y, dims.x]
    if dims.band is None:
        order.remove(None)
        data = data[..., 0, :, :]
    return data.transpose([order.index(dim) for dim in raster.array.dims])


def _units(raster: Raster) -> Sequence[str | None]:
    """What each band is counted in, where the array says it."""
    said = np.atleast_1d(np.asarray(raster.array.attrs.get("units", ""), object)).tolist()
    n_bands = len(raster.meaning.names)
    return [str(text) or None for text in (said if len(said) == n_bands else said[:1] * n_bands)]
