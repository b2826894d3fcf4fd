"""Where the pixels of a labelled array lie: its rows and columns, and their place on Earth."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from odc.geo import CRS, CRSError
from odc.geo.geobox import GeoBox
from xarray import DataArray, Dataset

from geodecloud.errors import GridError, InputError

SPATIAL = (("y", "x"), ("latitude", "longitude"), ("lat", "lon"), ("northing", "easting"))
"""Names of the dimensions of rows and columns."""

BANDS = ("band", "bands", "variable", "channel")
"""Names of the dimension of bands."""

OFF_PX = 1e-3
"""Coordinates this far from a regular grid are rounded, not irregular."""


@dataclass(frozen=True, slots=True)
class Dims:
    """The dimensions of a labelled array: rows, columns, bands, and all others, such as time."""

    y: Hashable
    x: Hashable
    band: Hashable | None
    others: tuple[Hashable, ...]

    @classmethod
    def of(cls, array: DataArray) -> Dims:
        """Return which dimension is which.

        Raises:
            InputError: there are no rows and columns.
        """
        for y, x in SPATIAL:
            if {y, x} <= set(array.dims):
                break
        else:
            raise InputError(
                f"an array with the dimensions {', '.join(map(str, array.dims))}",
                f"rows and columns are called {' or '.join('/'.join(pair) for pair in SPATIAL)}",
                "rename them with .rename(...)",
            )
        band = next((name for name in BANDS if name in array.dims), None)
        others = tuple(name for name in array.dims if name not in (y, x, band))
        return cls(y, x, band, others)


def is_raster(array: DataArray) -> bool:
    """Say whether an array has rows and columns."""
    return any({y, x} <= set(array.dims) for y, x in SPATIAL)


def geobox_of(array: DataArray, dims: Dims, beside: Dataset | None = None) -> GeoBox:
    """Return where the pixels of an array lie; ``crs`` is None where coordinates count pixels.

    The coordinates say where, once for each row and column. What a transform declares that
    lies on the same grid (GDAL's in the grid mapping, stackstac's in the attributes) says it
    without rounding, and whether coordinates are those of corners or of centres; one of another
    grid is left over from before a selection, and is not believed.

    Args:
        array: the array.
        dims: its dimensions.
        beside: the dataset that it is of, which may hold its grid mapping.

    Raises:
        InputError: there are coordinates without a coordinate system, or the reverse.
        GridError: they are not evenly spaced, or there is one only.
    """
    crs = _crs_of(array, beside)
    declared = next(_declared(array, beside), None)
    shape = array.sizes[dims.y], array.sizes[dims.x]
    if dims.y not in array.coords or dims.x not in array.coords:
        if crs is None or declared is not None:
            return GeoBox(shape, declared or Affine.identity(), crs)
        raise InputError(
            f"an array in {crs} without coordinates {dims.y}, {dims.x}",
            "the place of each pixel is in its coordinates",
            "assign them, such as with .odc.assign_crs or .rio.write_transform",
        )
    steps = [_step(array[dim].values, dim, array, declared) for dim in (dims.y, dims.x)]
    y, x = (float(array[dim].values[0]) for dim in (dims.y, dims.x))
    affine = _placed((y, x), (steps[0], steps[1]), declared)
    if crs is None:
        if not _counts_pixels((y, x), (steps[0], steps[1])):
            raise InputError(
                f"an array with coordinates {dims.y}, {dims.x} and no coordinate system",
                "sizes on the ground and the grid of tiles are counted in one",
                'say it with .rio.write_crs("EPSG:32632") or .odc.assign_crs("EPSG:32632")',
            )
        affine = Affine.identity()
    return GeoBox(shape, affine, crs)


def _counts_pixels(first: tuple[float, float], steps: tuple[float, float]) -> bool:
    """Whether coordinates only number the pixels: 0, 1, 2 or their centres."""
    return all(abs(step) == 1 for step in steps) and all(abs(at) in (0, 0.5) for at in first)


def _step(values: Any, dim: Hashable, array: DataArray, declared: Affine | None) -> float:
    """The distance from one row, or column, to the next."""
    values = np.asarray(values, np.float64)
    if len(values) == 1:
        resolution = array[dim].attrs.get("resolution")
        is_row = dim == Dims.of(array).y
        known = None if declared is None else (declared.e if is_row else declared.a)
        step = known if resolution is None else resolution
        if step is None:
            raise GridError(
                f"one pixel along {dim}",
                "the size of a pixel is the distance of two, or declared by a transform",
                "keep two pixels or more, or .rio.write_transform(...)",
            )
        return float(step)
    step = float(values[-1] - values[0]) / (len(values) - 1)
    even = values[0] + step * np.arange(len(values))
    if step == 0 or not np.abs(values - even).max() < OFF_PX * abs(step):
        raise GridError(
            f"coordinates along {dim} that are not evenly spaced",
            "pixels lie on a regular grid",
            "reproject the array first, such as with .odc.reproject or .rio.reproject",
        )
    return step


def _placed(
    first: tuple[float, float], steps: tuple[float, float], declared: Affine | None
) -> Affine:
    """The transform of pixels whose first coordinates and steps are (y, x)."""
    centred = Affine(steps[1], 0, first[1] - steps[1] / 2, 0, steps[0], first[0] - steps[0] / 2)
    if declared is None or declared.b or declared.d:
        return centred
    if max(abs(steps[0] / declared.e - 1), abs(steps[1] / declared.a - 1)) > 1e-6:
        return centred
    col, row = (first[1] - declared.c) / declared.a, (first[0] - declared.f) / declared.e
    halves = [round(2 * number) for number in (row, col)]
    if max(abs(half / 2 - at) for half, at in zip(halves, (row, col), strict=True)) > OFF_PX:
        return centred
    # half a pixel in: centres; whole pixels in: corners, as stackstac has them
    return Affine(
        declared.a, 0, declared.c + declared.a * (halves[1] // 2),
        0, declared.e, declared.f + declared.e * (halves[0] // 2),
    )  # fmt: skip


def _mappings(array: DataArray, beside: Dataset | None) -> Iterator[DataArray]:
    """The scalars that describe a grid, as CF and GDAL have them."""
    places = [array.coords, *([] if beside is None else [beside.variables])]
    named = [place.get("grid_mapping") for place in (array.encoding, array.attrs)]
    for place in places:
        for name, scalar in place.items():
            is_one = name in named or {"crs_wkt", "spatial_ref"} & set(scalar.attrs)
            if scalar.ndim == 0 and is_one:
                yield scalar


def _crs_of(array: DataArray, beside: Dataset | None) -> CRS | None:
    said: list[Any] = []
    for scalar in _mappings(array, beside):
        said += [scalar.attrs.get("spatial_ref"), scalar.attrs.get("crs_wkt")]
    said.append(array.attrs.get("crs"))
    if beside is not None:
        said.append(beside.attrs.get("crs"))
    for name in ("epsg", "proj:epsg", "proj:code"):
        if name in array.coords and array.coords[name].ndim == 0:
            said.append(array.coords[name].item())
    for text in said:
        if text is not None and text == text and text != "":
            return _parsed(text)
    return None


def _parsed(text: Any) -> CRS:
    try:
        return CRS(int(text) if isinstance(text, float) else text)
    except (CRSError, TypeError, ValueError) as error:
        raise InputError(
            f"the array says of its coordinate system {str(text)[:60]!r}",
            "it is an EPSG code or WKT",
            'say it with .rio.write_crs("EPSG:32632") or .odc.assign_crs("EPSG:32632")',
        ) from error


def _declared(array: DataArray, beside: Dataset | None) -> Iterator[Affine]:
    """Transforms that are written down beside the coordinates."""
    for scalar in _mappings(array, beside):
        numbers = str(scalar.attrs.get("GeoTransform", "")).split()
        if len(numbers) == 6:
            yield Affine.from_gdal(*map(float, numbers))
    transform = array.attrs.get("transform")
    if isinstance(transform, Affine):
        yield transform
    elif isinstance(transform, tuple | list) and len(transform) in (6, 9):
        yield Affine(*map(float, transform[:6]))
