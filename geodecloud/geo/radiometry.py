"""What a file's metadata says about its bands, and whether its numbers agree."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np

from geodecloud.errors import BandError, OptionError, RadiometryError
from geodecloud.geo.profile import Profile, Tags
from geodecloud.geo.sensors import (
    ALIASES,
    CLASS_BANDS,
    SENSORS,
    Band,
    Sensor,
)

SENTINEL2 = MappingProxyType({band.name: band for band in SENSORS["sentinel-2-l1c"].bands})
SENTINEL1 = MappingProxyType({band.name: band for band in SENSORS["sentinel-1-rtc"].bands})
DISPLAY = SENSORS["rgb"].band_names
OTHERS = frozenset({"AOT", "WVP", "CLP", "angle", "alpha"})
"""Bands that are neither classes nor reflectance: they are carried along as they are."""

EUROSAT_ORDER = (*(name for name in SENTINEL2 if name != "B8A"), "B8A")
"""The 13 bands of a EuroSAT chip (Helber et al. 2019): B8A comes last."""

EUROSAT_SHAPE = (64, 64)

_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(B(?:0?[1-9]|1[0-2]|8A)|SCL|QA60|CLM|FMASK|QA_PIXEL|AOT|WVP|CLP|VV|VH)"
    r"(?![A-Za-z0-9])",
    re.IGNORECASE,
)
# Sensors whose B5 is not Sentinel-2's.
_FOREIGN = re.compile(r"(?<![A-Za-z0-9])(S[RT]_B\d|L[CETMO]0\d_|L30\b)|landsat|modis|viirs", re.I)
_LEVEL = re.compile(r"L(?:EVEL)?[-_ ]?(1C|2A)(?![A-Z0-9])", re.IGNORECASE)
_OFFSET_KEY = re.compile(r"(?:BOA|RADIO)_ADD_OFFSET(?:_(\w+))?")
_PICTURE = re.compile(r"(?<![A-Za-z0-9])TCI(?![A-Za-z0-9])")
_SCALE_KEY = re.compile(r"(?:BOA_|L1C_|L2A_)?QUANTIFICATION_VALUE")


@dataclass(frozen=True)
class Overrides:
    """What the caller says about the stored numbers; it wins over what the file says.

    ``sensor`` says all of it, band by band in the order of the channels, and names the bands.
    """

    bands: tuple[str, ...] | None = None
    scale: float | None = None
    offset: float | None = None
    level: str | None = None
    sensor: Sensor | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.bands is not None and self.sensor is not None:
            raise OptionError(
                f"bands {', '.join(self.bands)} beside the sensor {self.sensor.name}",
                "a sensor names its bands",
                "leave one of them out",
            )
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise OptionError(f"scale is {self.scale}", "it is a number above 0", "try 0.0001")
        if self.offset is not None and not math.isfinite(self.offset):
            raise OptionError(f"offset is {self.offset}", "it is a number", "try 0 or -1000")
        if self.level not in {None, "L1C", "L2A"}:
            raise OptionError(f"level is {self.level}", "L1C and L2A are known", "choose one")

    def check(self, paths: Sequence[Path], n_bands: Sequence[int]) -> None:
        """Refuse names that do not fit the files' numbers of bands.

        Raises:
            BandError: there are fewer names, or more.
        """
        names = self.bands if self.sensor is None else self.sensor.band_names
        if names is not None and len(names) != sum(n_bands):
            others = f" and {len(paths) - 1} more" if paths[1:] else ""
            raise BandError(
                f"{paths[0]}{others} holds {sum(n_bands)} bands",
                f"{len(names)} names are given: {', '.join(names)}",
                "name each band once, in the order of the file",
            )

    def part(self, first: int, n_bands: int) -> Self:
        """The same about ``n_bands`` channels from ``first`` on."""
        here = slice(first, first + n_bands)
        sensor = self.sensor
        return replace(
            self,
            bands=None if self.bands is None else self.bands[here],
            sensor=None if sensor is None else replace(sensor, bands=sensor.bands[here]),
        )

    def over(self, band: Band) -> Band:
        """The band with what the caller says of its numbers; classes are never scaled."""
        if band.name in CLASS_BANDS:
            return band
        scale, offset = band.scale, band.offset
        if self.scale is not None:
            scale, offset = self.scale, offset / scale * self.scale
        if self.offset is not None:
            offset = self.offset * scale
        return replace(band, scale=scale, offset=offset)


def sensor_of(
    profile: Profile,
    stem: str,
    shape: tuple[int, int],
    asked: Overrides | None = None,
    n_before: int = 0,
) -> Sensor:
    """Return what a file's numbers mean, from the caller, its metadata and its name, in this order.

    Scale and offset: the caller's, else those declared for the band, else those of the product
    among the tags, else what is usual for the dtype. A processing baseline alone proves nothing.
    Nodata: the file's, else 0 in unsigned 16 bits, as Sentinel-2 has it; none where a mask says
    what is valid.

    Args:
        profile: how the file stores its pixels.
        stem: name of the file without its ending.
        shape: (height, width) of the file.
        asked: the caller's word.
        n_before: bands in the files before this one; bands without a name are counted on.

    Raises:
        BandError: two bands have one name.
        RadiometryError: the metadata holds a scale or an offset that is no number.
    """
    asked = asked or Overrides()
    if asked.sensor is not None:
        bands = tuple(asked.over(replace(b, dtype=profile.dtype)) for b in asked.sensor.bands)
        return replace(asked.sensor, bands=bands, level=asked.level or asked.sensor.level)
    names = _names(profile, stem, shape, asked, n_before)
    bands = tuple(_band(profile, i, name, asked) for i, name in enumerate(names))
    kinds = set(names) - CLASS_BANDS - OTHERS
    if profile.dtype == "uint8" and kinds:
        if _PICTURE.search(stem):  # true colours run from 1 to 255 (ESA, product specification)
            bands = tuple(replace(b, nodata=0 if b.nodata is None else b.nodata) for b in bands)
        return replace(SENSORS["rgb"], bands=bands)
    if kinds and kinds <= set(SENTINEL1):
        return replace(SENSORS["sentinel-1-rtc"], bands=bands)
    level = asked.level or _level(profile.tags, stem, names)
    name = _sentinel2_name(level) if kinds & set(SENTINEL2) else "unknown"
    return Sensor(name, bands, unit="reflectance" if kinds else "class", level=level)


def stacked(sensor: Sensor, parts: Sequence[Sensor]) -> Sensor:
    """Return the sensor of files side by side, known by the first that measures something."""
    main = next((part for part in parts if part.unit != "class"), parts[0])
    level = next((part.level for part in parts if part.level), None)
    name = _sentinel2_name(level) if main.name.startswith("sentinel-2") else main.name
    return replace(sensor, name=name, unit=main.unit, level=level)


def known_name(text: str, dtype: str = "uint16") -> str | None:
    """Return the band that a description or a file name speaks of, in our spelling.

    Example:
        >>> [known_name(text) for text in ("B2", "nir", "T32TMT_20220728T102559_B8A_20m", "x")]
        ['B02', 'B08', 'B8A', None]
    """
    word = text.strip().lower()
    if dtype == "uint8" and word in DISPLAY:
        return word
    if word in ALIASES:
        return ALIASES[word]
    tokens = [] if _FOREIGN.search(text) else _TOKEN.findall(text)
    found = {ALIASES.get(token.upper(), token.upper()) for token in tokens}
    return found.pop() if len(found) == 1 else None


def _sentinel2_name(level: str | None) -> str:
    return f"sentinel-2-{level.lower()}" if level else "sentinel-2"


def _names(
    profile: Profile, stem: str, shape: tuple[int, int], asked: Overrides, n_before: int
) -> tuple[str, ...]:
    """The bands' names: known ones in our spelling, others as they are."""
    n, dtype = profile.n_bands, profile.dtype
    if asked.bands is not None:
        return tuple(known_name(text, dtype) or text.strip() for text in asked.bands)
    described = [text or "" for text in profile.descriptions]
    known = [known_name(text, dtype) for text in described]
    if n == 1 and known[0] is None:
        known = [known_name(stem, dtype)]
    usual = _usual_names(profile, shape)
    if not any(described) and known[0] is None and usual is not None:
        return usual
    names = tuple(
        name or text or f"band_{n_before + i}"
        for i, (name, text) in enumerate(zip(known, described, strict=True), 1)
    )
    if len(set(names)) == n:
        return names
    return tuple(f"band_{n_before + i}" for i in range(1, n + 1))


def _usual_names(profile: Profile, shape: tuple[int, int]) -> tuple[str, ...] | None:
    """Names by the number of bands, for files that do not name them."""
    n, colors = profile.n_bands, profile.colorinterp
    if profile.dtype == "uint8" and n in {3, 4} and (n == 3 or colors[3] == "alpha"):
        is_ordered = sorted(colors[:3]) == sorted(DISPLAY)
        return (*(colors[:3] if is_ordered else DISPLAY), *("alpha",) * (n - 3))
    if profile.dtype == "uint16" and n == len(SENTINEL2):
        return EUROSAT_ORDER if shape == EUROSAT_SHAPE else tuple(SENTINEL2)
    return None


def _band(profile: Profile, channel: int, name: str, asked: Overrides) -> Band:
    """One band with its scale, offset and nodata."""
    known = SENTINEL2.get(name) or SENTINEL1.get(name) or Band(name)
    scale, offset, nodata = 1.0, 0.0, profile.nodata[channel]
    if name == "SCL":
        nodata = 0 if nodata is None else nodata
    elif name in CLASS_BANDS:
        # 0 says of a flag that nothing was found, whatever the file declares for its bands
        nodata = None if nodata == 0 else nodata
    elif name not in OTHERS:
        is_radar = name in SENTINEL1 and profile.dtype != "uint8"
        scale, offset = _meaning(profile, channel, name, is_radar=is_radar)
        # beyond a swath radar is 0, which is no backscatter, and almost never exactly a decibel
        is_silent = nodata is None or (is_radar and math.isnan(nodata))
        if is_silent and not profile.is_masked and (is_radar or profile.dtype == "uint16"):
            nodata = 0
    band = replace(known, scale=scale, offset=offset, nodata=nodata, dtype=profile.dtype)
    return band if name in OTHERS else asked.over(band)


def _meaning(profile: Profile, channel: int, name: str, *, is_radar: bool) -> tuple[float, float]:
    """Scale and offset of value = dn * scale + offset, as the metadata or the dtype have it."""
    scale, offset = profile.scales[channel], profile.offsets[channel]
    if not (math.isfinite(scale) and math.isfinite(offset) and scale != 0):
        raise _no_number(f"scale {scale} and offset {offset} of band {name}")
    if (scale, offset) == (1, 0) and not is_radar:
        dtype = np.dtype(profile.dtype)
        scale = {"uint8": 1 / 255, "uint16": 1e-4, "int16": 1e-4}.get(dtype.name, 1.0)
        if dtype.kind != "f" and dtype.itemsize > 1:
            tags = (profile.band_tags[channel], profile.tags)
            quantification = _tagged(tags, _SCALE_KEY, name)
            scale = 1 / quantification if quantification else scale
            offset = (_tagged(tags, _OFFSET_KEY, name) or 0.0) * scale
    return scale, offset


def _tagged(places: Sequence[Tags], pattern: re.Pattern[str], name: str) -> float | None:
    """The number of a product's tag: the one for this band, else the one for all."""
    for tags in places:
        for_all = None
        for key, text in tags.items():
            match = pattern.fullmatch(key.upper())
            if match is None:
                continue
            suffix = match[1] if pattern.groups else None
            if suffix is None:
                for_all = _number(key, text)
            elif _is_band(suffix, name):
                return _number(key, text)
        if for_all is not None:
            return for_all
    return None


def _is_band(suffix: str, name: str) -> bool:
    """Whether a tag's suffix means this band: by name, or by its number in the product."""
    if suffix.isdecimal():
        order = tuple(SENTINEL2)
        return int(suffix) < len(order) and order[int(suffix)] == name
    return known_name(suffix) == name


def _number(key: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _no_number(f"{key}={text[:40]}")
    return number


def _no_number(found: str) -> RadiometryError:
    return RadiometryError(
        f"the metadata says {found}",
        "a scale and an offset are numbers",
        "repair the metadata, or convert the file first",
    )


def _level(tags: Tags, stem: str, names: Sequence[str]) -> str | None:
    """The product level, where the tags, the file's name or its bands tell."""
    said = [text for key, text in tags.items() if re.search("LEVEL|PRODUCT", key.upper())]
    for text in (*said, stem):
        if match := _LEVEL.search(text):
            return f"L{match[1].upper()}"
    if "B10" in names:
        return "L1C"
    return "L2A" if "SCL" in names else None
