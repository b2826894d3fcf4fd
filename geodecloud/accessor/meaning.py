"""What the numbers of a labelled array mean: names, scale, offset and nodata, as CF has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from xarray import DataArray

from geodecloud.accessor.grid import Dims
from geodecloud.errors import InputError, RadiometryError
from geodecloud.geo.radiometry import known_name
from geodecloud.geo.scene import Array

NODATA = ("_FillValue", "missing_value", "fill_value", "nodata")
"""Attributes that hold what stands for no measurement, the first that is there."""

SCALED = frozenset({"scale_factor", "add_offset", "scales", "offsets"})


@dataclass(frozen=True, slots=True)
class Packing:
    """How decoded numbers are stored: ``value = dn * scale + offset``, NaN is ``fill``.

    ``stored`` and ``values`` are inverses on what was stored before.

    Example:
        >>> packing = Packing("uint16", 1e-4, -0.1, 0.0)
        >>> packing.stored(np.array([0.1, np.nan], np.float32))
        array([2000,    0], dtype=uint16)
        >>> packing.values(np.array([2000], np.uint16), np.dtype("float32")).round(4)
        array([0.1], dtype=float32)
    """

    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    fill: float | None = None

    def stored(self, values: Array) -> Array:
        """Return the nearest numbers that can be stored."""
        dn = np.rint((values.astype(np.float64) - self.offset) / self.scale)
        info = np.iinfo(self.dtype)
        dn = np.where(np.isnan(dn), 0 if self.fill is None else self.fill, dn)
        return np.clip(dn, info.min, info.max).astype(self.dtype)

    def values(self, dn: Array, dtype: np.dtype[Any]) -> Array:
        """Return what stored numbers are decoded to, in a floating dtype."""
        values: Array = dn.astype(dtype)
        if self.scale != 1:
            values *= dtype.type(self.scale)
        if self.offset != 0:
            values += dtype.type(self.offset)
        return values


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one array says of its numbers; sequences hold one entry a band.

    Attributes:
        names: of the bands, as the array has them; "" where it does not say.
        dtype: of the stored numbers.
        scales, offsets: value = dn * scale + offset; 1 and 0 where nothing is declared.
        nodata: stored numbers that are no measurement.
        packing: how the array's values are stored, where they are decoded already.
    """

    names: tuple[str, ...]
    dtype: str
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    nodata: tuple[float | None, ...]
    packing: Packing | None = None

    @classmethod
    def of(cls, array: DataArray, dims: Dims, *, is_told: bool) -> Meaning:
        """Return what an array says of its numbers.

        Integers are stored numbers, and their attributes say what they mean. Floats whose
        encoding says that they are stored as integers were decoded: by the encoding's scale, or
        by the mask alone where the scale is still an attribute. Other floats are values.

        Args:
            array: the array.
            dims: its dimensions.
            is_told: the caller says scale or offset: the numbers are taken as they stand.

        Raises:
            RadiometryError: it cannot be told whether the scale was applied.
            InputError: the numbers are neither integers nor real.
        """
        dtype, encoding, attrs = array.dtype, array.encoding, array.attrs
        if dtype.kind not in "iuf":
            raise InputError(
                f"an array of {dtype}", "bands are integers or real numbers", "convert it first"
            )
        n_bands = 1 if dims.band is None else array.sizes[dims.band]
        names = _names(array, dims, n_bands)
        scales, offsets = _numbers(attrs, n_bands)
        declared, nodata = _nodata(attrs, n_bands), _nodata(encoding, n_bands)
        stored_in = np.dtype(encoding.get("dtype", dtype))
        is_scaled = (scales, offsets) != ((1.0,) * n_bands, (0.0,) * n_bands)
        told = _numbers(encoding, 1)
        if told != ((1.0,), (0.0,)) and (is_scaled or dtype.kind != "f") and not is_told:
            raise _twice(array, "its encoding holds a scale, which says that it was applied")
        if dtype.kind != "f" or is_told:
            nodata = declared or (nodata if dtype.kind != "f" else ()) or _none(dtype, n_bands)
            return cls(names, dtype.name, scales, offsets, nodata)
        if stored_in.kind not in "iu":
            if is_scaled:
                raise _twice(array, "its encoding does not say that they are stored otherwise")
            return cls(names, dtype.name, scales, offsets, declared or _none(dtype, n_bands))
        nodata = nodata or declared
        fill = nodata[0] if nodata else None
        (scale,), (offset,) = told
        if told != ((1.0,), (0.0,)):
            scales, offsets = (scale,) * n_bands, (offset,) * n_bands
        packing = Packing(stored_in.name, scale, offset, fill)
        nodata = nodata or (None,) * n_bands
        return cls(names, stored_in.name, scales, offsets, nodata, packing)


def _twice(array: DataArray, found: str) -> RadiometryError:
    return RadiometryError(
        f"{array.dtype} numbers with a scale_factor or add_offset: {found}",
        "stored integers have a scale in attrs, decoded floats have one in encoding",
        "say it with scale= and offset= (1 and 0 for values), or remove what is left over",
    )


def _none(dtype: npt.DTypeLike, n_bands: int) -> tuple[float | None, ...]:
    return (float("nan") if np.dtype(dtype).kind == "f" else None,) * n_bands


def _numbers(said: Mapping[Any, Any], n_bands: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scales and offsets, one for all bands or one each, as rioxarray has them."""
    scales = _each(said.get("scales", said.get("scale_factor", 1.0)), n_bands)
    offsets = _each(said.get("offsets", said.get("add_offset", 0.0)), n_bands)
    return tuple(map(float, scales)), tuple(map(float, offsets))


def _nodata(said: Mapping[Any, Any], n_bands: int) -> tuple[float | None, ...]:
    """What is no measurement, band by band; empty where nothing is said."""
    found = said.get("nodatavals") or next((said[key] for key in NODATA if key in said), None)
    if found is None:
        return ()
    return tuple(None if value is None else float(value) for value in _each(found, n_bands))


def _each(value: Any, n_bands: int) -> Sequence[Any]:
    values = np.atleast_1d(value).tolist()
    return values if len(values) == n_bands else [values[0]] * n_bands


def _names(array: DataArray, dims: Dims, n_bands: int) -> tuple[str, ...]:
    """Of all that the bands are called what we know, else what comes first."""
    columns = [
        [text for text in column if isinstance(text, str)] for column in _columns(array, dims)
    ]
    columns = [column for column in columns if len(column) == n_bands]
    names = []
    for texts in zip(*columns, strict=True):
        known = [text for text in texts if known_name(text, array.dtype.name)]
        names.append((known or [*texts])[0])
    return tuple(names) or ("",) * n_bands


def _columns(array: DataArray, dims: Dims) -> list[list[Any]]:
    """What the bands are called, in several ways."""
    described = np.atleast_1d(np.asarray(array.attrs.get("long_name", []), object)).tolist()
    if dims.band is None:
        return [[array.name], described]
    coords = [dims.band, "common_name", "title"]
    labels = [array.coords[name].values.tolist() for name in coords if name in array.coords]
    return [labels[0], described, *labels[1:]] if labels else [described]
