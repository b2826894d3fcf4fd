"""Items and their COGs: small scenes with a cloud, as the usual catalogs describe them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from geodecloud.geo.excerpt import bounds_of, footprint
from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import write_array
from geodecloud.geo.sensors import Band, Sensor
from tests.strategies import utm_geobox

BANDS = ("B02", "B03", "B04", "B08")
EARTH_SEARCH = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "SCL": "scl"}
SHAPE = (96, 80)
COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def ground(shape: tuple[int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """(4, H, W) uint16: fields whose darkest reflectance is 0.02."""
    random = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    fields = random.uniform(0, 1, (20, 20))[rows // 7 % 20, cols // 9 % 20]
    planes = [300 + 300 * fields, 500 + 300 * fields, 400 + 700 * fields, 3500 - 900 * fields]
    return (np.stack(planes) + random.normal(0, 20, (4, *shape))).clip(200).astype(np.uint16)


def cloud(shape: tuple[int, int], at: tuple[int, int], radius: int) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return (rows - at[0]) ** 2 + (cols - at[1]) ** 2 < radius**2


def write_scene(
    folder: Path,
    name: str,
    *,
    shape: tuple[int, int] = SHAPE,
    cloud_at: tuple[int, int] | None = (40, 40),
    radius: int = 12,
    offset_dn: int = 0,
    seed: int = 0,
    crs: bool = True,
) -> tuple[dict[str, Path], GeoBox]:
    """Write one COG a band, and SCL at half the resolution; return them, and the grid."""
    dn = ground(shape, seed) + np.uint16(offset_dn)
    is_cloud = np.zeros(shape, bool) if cloud_at is None else cloud(shape, cloud_at, radius)
    dn[:, is_cloud] = 7500 + offset_dn
    geobox = utm_geobox(shape)
    files = {}
    for band, plane in zip(BANDS, dn, strict=True):
        files[band] = _write(folder / f"{name}_{band}.tif", plane, geobox, band, crs=crs)
    classes = np.where(is_cloud[::2, ::2], 9, 4).astype(np.uint8)
    half = geobox.zoom_to((classes.shape[0], classes.shape[1]))
    files["SCL"] = _write(folder / f"{name}_SCL.tif", classes, half, "SCL", crs=crs)
    return files, geobox


def write_stack(folder: Path, name: str, **options: Any) -> tuple[Path, GeoBox]:
    """The four bands of ``write_scene`` in one COG."""
    dn = ground(options.get("shape", SHAPE), options.get("seed", 0))
    is_cloud = cloud(dn.shape[1:], options.get("cloud_at", (40, 40)), options.get("radius", 12))
    dn[:, is_cloud] = 7500
    geobox = utm_geobox(dn.shape[1:])
    sensor = Sensor("test", tuple(Band(band, scale=1e-4, nodata=0) for band in BANDS))
    path = folder / f"{name}.tif"
    write_array(path, dn, geobox, Profile.for_sensor(sensor))
    return path, geobox


def make_item(
    name: str,
    assets: dict[str, dict[str, Any]],
    geobox: GeoBox,
    *,
    at: str = "2026-06-01T10:20:00Z",
    cloud_cover: float = 40.0,
    collection: str = "sentinel-2-l2a",
    **properties: Any,
) -> dict[str, Any]:
    """An item as JSON."""
    said = {
        "datetime": at, "eo:cloud_cover": cloud_cover, "platform": "sentinel-2a",
        "constellation": "sentinel-2", "proj:code": "EPSG:32632", **properties,
    }  # fmt: skip
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection,
        "stac_extensions": [], "bbox": list(bounds_of(geobox)),
        "geometry": {"type": "Polygon", "coordinates": [footprint(geobox)]},
        "properties": said, "links": [], "assets": assets,
    }  # fmt: skip


def band_assets(
    files: dict[str, Path], href: str, keys: dict[str, str] | None = None, **told: Any
) -> dict[str, dict[str, Any]]:
    """One asset a band; ``href`` with {name} for the file's, ``told`` in raster:bands."""
    named = keys or {}
    return {
        named.get(band, band): {
            "href": href.format(name=path.name, base="{base}"),
            "type": COG,
            "roles": ["data"],
            **({"raster:bands": [told]} if told and band != "SCL" else {}),
        }
        for band, path in files.items()
    }


def cog_items(folder: Path, number: int = 3, **options: Any) -> list[dict[str, Any]]:
    """Items like those of Earth Search, a week apart, whose files lie under {base}/assets/."""
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for i in range(number):
        name = f"S2A_32TMT_{i}"
        files, geobox = write_scene(folder, name, seed=i, cloud_at=(30 + 5 * i, 40), **options)
        assets = band_assets(files, "{base}/assets/{name}", EARTH_SEARCH)
        day = f"{date(2026, 6, 1) + timedelta(7 * i)}T10:20:00Z"
        items.append(
            make_item(name, assets, geobox, at=day, cloud_cover=min(100.0, 20.0 * (i + 1)))
        )
    return items


def _write(path: Path, plane: np.ndarray, geobox: GeoBox, band: str, *, crs: bool) -> Path:
    kind = Band(band, nodata=0, dtype=plane.dtype.name)
    profile = replace(Profile.for_sensor(Sensor("test", (kind,))), descriptions=(None,))
    place = geobox if crs else GeoBox(geobox.shape, geobox.affine, None)
    write_array(path, plane[None], place, profile)
    return path
