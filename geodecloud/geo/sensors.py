"""Band, Sensor, SENSORS: what a digital number means, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

import numpy as np
import numpy.typing as npt

from geodecloud.errors import BandError

SENTINEL2_OFFSET_DN = -1000
"""Added to every stored number since processing baseline 04.00 (ESA, S2 product specification)."""


@dataclass(frozen=True, slots=True)
class Band:
    """One band: its name and what its stored numbers mean.

    ``value = dn * scale + offset`` in the sensor's unit; ``nodata`` is a stored number.

    Example:
        >>> band = Band("B02", scale=1e-4, offset=-0.1, nodata=0)
        >>> band.to_reflectance(np.array([2000, 12500], np.uint16)).round(4)
        array([0.1 , 1.15], dtype=float32)
    """

    name: str
    wavelength_nm: float | None = None
    resolution_m: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    dtype: str = "uint16"

    def __post_init__(self) -> None:
        """Refuse a scale that cannot be inverted."""
        if self.scale == 0 or not np.isfinite([self.scale, self.offset]).all():
            raise ValueError(f"band {self.name}: scale {self.scale}, offset {self.offset}")

    def to_reflectance(self, dn: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Return stored numbers in the sensor's unit, float32, computed with their sign."""
        value = dn.astype(np.float32)
        if self.scale != 1.0:
            value *= np.float32(self.scale)
        if self.offset != 0.0:
            value += np.float32(self.offset)
        return value

    def to_dn(self, reflectance: npt.NDArray[np.floating]) -> npt.NDArray[np.generic]:
        """Return the nearest number that can be stored; never nodata, never outside the dtype."""
        dtype = np.dtype(self.dtype)
        dn = (reflectance.astype(np.float64) - self.offset) / self.scale
        if dtype.kind == "f":
            stored = dn.astype(dtype)
            if self.nodata is not None:
                beside = np.nextafter(dtype.type(self.nodata), dtype.type(0))
                # next to 0 lie subnormal numbers, which some readers flush back to 0
                stored[stored == self.nodata] = beside or np.finfo(dtype).tiny
            return stored
        info = np.iinfo(dtype)
        low, high = float(info.min), float(info.max)
        if int(high) > info.max:  # 64 bits: the nearest float is one too many
            high = float(np.nextafter(high, 0))
        if self.nodata == low:
            low += 1
        elif self.nodata == high:
            high -= 1
        stored = np.clip(np.rint(dn), low, high)
        if self.nodata is not None and low < self.nodata < high:
            stored[stored == self.nodata] += 1
        return stored.astype(dtype)

    def is_valid(self, dn: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
        """Say of each stored number whether it is one: not nodata, not NaN, not infinite."""
        valid = np.isfinite(dn) if dn.dtype.kind == "f" else np.ones(dn.shape, bool)
        if self.nodata is not None and not np.isnan(self.nodata):
            valid &= dn != self.nodata
        return valid


@dataclass(frozen=True, slots=True)
class Sensor:
    """The bands of a scene, in the order of its channels, and the unit of their values.

    ``level`` is the product level where it is known: "L1C" (top of atmosphere) or "L2A" (surface).
    """

    name: str
    bands: tuple[Band, ...]
    unit: str = "reflectance"
    level: str | None = None

    def __post_init__(self) -> None:
        """Refuse two bands of one name."""
        names = self.band_names
        if len(set(names)) != len(names):
            raise BandError(
                f"bands {', '.join(names)}",
                "each band has its own name",
                "rename them with --bands",
            )

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands, in channel order."""
        return tuple(band.name for band in self.bands)

    def index(self, names: Iterable[str]) -> list[int]:
        """Return the channels of these bands, in the order asked.

        Raises:
            BandError: a band is not here.
        """
        wanted, have = tuple(names), self.band_names
        if missing := [name for name in wanted if name not in have]:
            raise BandError(
                f"scene has bands {', '.join(have)}; {', '.join(missing)} not among them",
                f"needed are {', '.join(wanted)}",
                "name the scene's bands in order with --bands (bands=), or use another model",
            )
        return [have.index(name) for name in wanted]

    def select(self, names: Iterable[str]) -> Self:
        """Return the sensor with these bands alone, in the order asked."""
        return replace(self, bands=tuple(self.bands[i] for i in self.index(names)))

    def to_reflectance(self, dn: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """Return stored numbers (..., C, H, W) as float32 values of the same shape."""
        value = np.empty(dn.shape, np.float32)
        for i, band in enumerate(self.bands):
            value[..., i, :, :] = band.to_reflectance(dn[..., i, :, :])
        return value

    def to_dn(self, reflectance: npt.NDArray[np.floating]) -> npt.NDArray[np.generic]:
        """Return values (..., C, H, W) as stored numbers; inverse of ``to_reflectance``."""
        dtype = np.result_type(*(np.dtype(band.dtype) for band in self.bands))
        dn = np.empty(reflectance.shape, dtype)
        for i, band in enumerate(self.bands):
            dn[..., i, :, :] = band.to_dn(reflectance[..., i, :, :])
        return dn

    def is_valid(self, dn: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
        """Say of each stored number (..., C, H, W) whether it is a measurement."""
        valid = np.empty(dn.shape, bool)
        for i, band in enumerate(self.bands):
            valid[..., i, :, :] = band.is_valid(dn[..., i, :, :])
        return valid


# Central wavelengths and pixel sizes: ESA, Sentinel-2 MSI user guide.
_SENTINEL2 = (
    ("B01", 442.7, 60), ("B02", 492.4, 10), ("B03", 559.8, 10), ("B04", 664.6, 10),
    ("B05", 704.1, 20), ("B06", 740.5, 20), ("B07", 782.8, 20), ("B08", 832.8, 10),
    ("B8A", 864.7, 20), ("B09", 945.1, 60), ("B10", 1373.5, 60), ("B11", 1613.7, 20),
    ("B12", 2202.4, 20),
)  # fmt: skip


def _sentinel2(level: str, without: Sequence[str] = ()) -> Sensor:
    bands = tuple(
        Band(name, wavelength_nm, resolution_m, scale=1e-4, nodata=0)
        for name, wavelength_nm, resolution_m in _SENTINEL2
        if name not in without
    )
    return Sensor(f"sentinel-2-{level.lower()}", bands, level=level)


SENSORS = MappingProxyType(
    {
        "sentinel-2-l2a": _sentinel2("L2A", without=("B10",)),
        "sentinel-2-l1c": _sentinel2("L1C"),
        "rgb": Sensor(
            "rgb",
            tuple(Band(name, scale=1 / 255, dtype="uint8") for name in ("red", "green", "blue")),
            unit="display",
        ),
        "sentinel-1-rtc": Sensor(
            "sentinel-1-rtc",
            tuple(Band(name, None, 10, nodata=np.nan, dtype="float32") for name in ("VV", "VH")),
            unit="dB",
        ),
    }
)  # fmt: skip
"""Sensors by name: the starting point for a scene, whose own metadata has the last word."""

DISPLAY_REFLECTANCE = 0.3558
"""What 255 stands for in a true-colour image of Sentinel-2 (ESA, L2A product definition)."""

LUMA = (0.299, 0.587, 0.114)
"""How much red, green and blue add to brightness (ITU-R Rec. BT.601)."""

ALIASES = MappingProxyType(
    {
        **{name.replace("B0", "B"): name for name, _, _ in _SENTINEL2 if name.startswith("B0")},
        "blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "coastal": "B01",
        "rededge1": "B05", "rededge2": "B06", "rededge3": "B07", "nir08": "B8A", "nir09": "B09",
        "cirrus": "B10", "swir16": "B11", "swir22": "B12",
        "tci_r": "red", "tci_g": "green", "tci_b": "blue",
    }
)  # fmt: skip
"""Other spellings of Sentinel-2 band names: without the zero, and the common names of STAC."""

CLASS_BANDS = frozenset({"SCL", "QA60", "CLM", "FMASK", "QA_PIXEL"})
"""Bands whose numbers are classes or flags: never scaled, never averaged."""
