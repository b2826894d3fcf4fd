"""Conventions: which assets of an item are which bands, and what the item says of their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from geodecloud.batch.query import Item
from geodecloud.errors import BandError
from geodecloud.geo.assets import Asset, AssetBand
from geodecloud.geo.radiometry import known_name
from geodecloud.geo.sensors import CLASS_BANDS

USUAL_BANDS = ("B02", "B03", "B04", "B08")
"""What is taken of an item where neither the user nor the model names bands."""

RASTER_TYPES = re.compile(r"image/(tiff|vnd\.stac\.geotiff|jp2|png|jpeg)", re.I)
RASTER_NAMES = re.compile(r"\.(tiff?|jp2)$", re.I)
NO_BANDS = frozenset({"thumbnail", "overview", "visual", "metadata", "uncertainty"})
"""Roles and keys of what is made for looking at, or tells of the bands without being them."""

SHIFTED_SINCE = 4.0
"""The processing baseline since which Sentinel-2's numbers are 1000 higher (ESA)."""

_LEVEL = re.compile(r"(?:^|[^A-Za-z0-9])(?:MSI|level-?)?(L?)([12])([AC])(?![A-Za-z0-9])", re.I)

Properties = Mapping[str, Any]


class _Candidate(NamedTuple):
    """An asset and the bands it holds, as the item tells them."""

    key: str
    asset: Mapping[str, Any]
    names: tuple[str, ...]

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """Cloud-optimised first, then what is named as the band itself, then few bands."""
        is_jp2 = "jp2" in f"{self.asset.get('type')} {self.asset.get('href')}".lower()
        is_other = len(self.names) == 1 and known_name(self.key) != self.names[0]
        return is_jp2, is_other, len(self.names)


def choose_assets(
    item: Item, names: Sequence[str], *, optional: Sequence[str] = ()
) -> tuple[Asset, ...]:
    """Return the assets of an item that hold these bands: one file a band, or a stack.

    Args:
        item: as JSON.
        names: bands that are needed, in our spelling.
        optional: bands that are taken where they are there.

    Raises:
        BandError: one is not there.
    """
    candidates = sorted(_candidates(item), key=lambda candidate: candidate.rank)
    chosen: dict[str, _Candidate] = {}
    missing = []
    for name in (*names, *optional):
        if any(name in taken.names for taken in chosen.values()):
            continue
        found = next((each for each in candidates if name in each.names), None)
        if found is not None:
            chosen[found.key] = found
        elif name in names:
            missing.append(name)
    if missing:
        there = ", ".join(f"{key} ({asset.get('type', '?')})" for key, asset in _assets(item))
        raise BandError(
            f"item {item['id']} has no asset for {', '.join(missing)}",
            f"bands are found by the keys of assets and by their bands; here are {there[:300]}",
            "name others with --bands, or choose another collection",
        )
    return tuple(_asset(item, each) for each in chosen.values())


def band_names(item: Item) -> set[str]:
    """Return the bands that an item's assets hold."""
    return {name for each in _candidates(item) for name in each.names}


def clouds_of(item: Item) -> float:
    """Return the percentage of cloud that an item tells; 100 where it does not."""
    found = item["properties"].get("eo:cloud_cover")
    return float(found) if isinstance(found, int | float) else 100.0


def _assets(item: Item) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, asset in (item.get("assets") or {}).items():
        roles = {str(role).lower() for role in asset.get("roles") or ()} | {key.lower()}
        kind, href = str(asset.get("type") or ""), str(asset.get("href") or "")
        is_raster = RASTER_TYPES.match(kind) or RASTER_NAMES.search(href.partition("?")[0])
        if is_raster and href and not roles & NO_BANDS:
            yield key, asset


def _candidates(item: Item) -> Iterator[_Candidate]:
    for key, asset in _assets(item):
        told = _told(asset)
        names = tuple(_name(band) for band in told)
        if len(told) <= 1:
            name = known_name(key) or next(filter(None, names), None)
            names = (name,) if name else ()
        if names and all(names):
            yield _Candidate(key, asset, tuple(str(name) for name in names))


def _told(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What an asset says of each of its bands, older and newer words for it put together."""
    lists = [asset.get(key) or [] for key in ("eo:bands", "raster:bands", "bands")]
    n_bands = max(map(len, lists))
    told: list[Mapping[str, Any]] = []
    for i in range(n_bands):
        parts = [
            entries[i] for entries in lists if i < len(entries) and isinstance(entries[i], dict)
        ]
        told.append({key: value for part in parts for key, value in part.items()})
    return told


def _name(band: Mapping[str, Any]) -> str | None:
    for key in ("name", "common_name", "eo:common_name", "description"):
        if name := known_name(str(band.get(key) or "")):
            return name
    return str(band["name"]) if band.get("name") else None


def _asset(item: Item, chosen: _Candidate) -> Asset:
    properties, asset = item["properties"], chosen.asset
    told = _told(asset) or [{}] * len(chosen.names)
    is_applied = _is_applied(properties)
    bands = tuple(
        _band(name, {**asset, **band}, is_applied=is_applied)
        for name, band in zip(chosen.names, told, strict=True)
    )
    is_told = any(band.offset is not None for band in bands) or is_applied
    place = {**properties, **asset}
    transform, shape = place.get("proj:transform"), place.get("proj:shape")
    return Asset(
        href=str(asset["href"]),
        bands=bands,
        level=_level(item),
        crs=_crs(place),
        transform=tuple(map(float, transform[:6])) if transform else None,
        shape=(int(shape[0]), int(shape[1])) if shape else None,
        is_shifted=not is_told and _baseline(properties) >= SHIFTED_SINCE,
    )


def _band(name: str, told: Mapping[str, Any], *, is_applied: bool) -> AssetBand:
    if name in CLASS_BANDS:
        return AssetBand(name)
    numbers = [
        _number(told.get(f"raster:{key}", told.get(key))) for key in ("scale", "offset", "nodata")
    ]
    scale, offset, nodata = numbers
    return AssetBand(name, scale, 0.0 if is_applied and offset else offset, nodata)


def _number(value: object) -> float | None:
    if isinstance(value, str):  # "nan", "inf": JSON has no word for them
        value = {"nan": float("nan")}.get(value.lower())
    return float(value) if isinstance(value, int | float) else None


def _is_applied(properties: Properties) -> bool:
    """Whether the catalog says that it has taken the offset off the numbers."""
    return any(
        key.endswith("boa_offset_applied") and value is True for key, value in properties.items()
    )


def _baseline(properties: Properties) -> float:
    said = properties.get("s2:processing_baseline") or properties.get("processing:version") or ""
    match = re.fullmatch(r"\D*(\d\d?\.\d\d)", str(said))
    return float(match[1]) if match else 0.0


def _level(item: Item) -> str | None:
    properties = item["properties"]
    said = [properties.get(key) for key in ("s2:product_type", "processing:level")]
    for text in (*said, item.get("collection"), item["id"]):
        if match := _LEVEL.search(str(text or "").replace("S2MSI", "MSI")):
            level = f"L{match[2]}{match[3].upper()}"
            if level in {"L1C", "L2A"}:
                return level
    return None


def _crs(place: Mapping[str, Any]) -> str | None:
    if code := place.get("proj:code"):
        return str(code)
    if epsg := place.get("proj:epsg"):
        return f"EPSG:{epsg}"
    wkt = place.get("proj:wkt2")
    return None if wkt is None else str(wkt)
