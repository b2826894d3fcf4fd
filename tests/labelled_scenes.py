"""Labelled arrays as the readers of others hand them out, and a model that looks around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from geodecloud.pipeline import Answer, Request

NAMES = ("B02", "B03", "B04", "B08")
COMMON = ("blue", "green", "red", "nir")
ORIGIN = (600_000.0, 5_100_000.0)
CRS = "EPSG:32632"


def geobox(shape: tuple[int, int], row: int = 0, col: int = 0) -> GeoBox:
    """A 10 m grid whose corner lies ``row``, ``col`` pixels inside of a tile of Sentinel-2."""
    x, y = ORIGIN[0] + 10 * col, ORIGIN[1] - 10 * row
    return GeoBox(shape, Affine(10, 0, x, 0, -10, y), CRS)


def ground(shape: tuple[int, int] = (97, 83), seed: int = 1) -> np.ndarray:
    """(4, H, W) uint16: smooth ground of four bands, a white cloud in the middle, some nodata."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    dn = 900 + 300 * np.sin(rows / 9 + seed) * np.cos(cols / 7) + rng.normal(0, 20, (4, *shape))
    dn[3] += 2000
    cloud = (rows - shape[0] / 2) ** 2 + (cols - shape[1] / 2) ** 2 < (min(shape) / 6) ** 2
    dn[:, cloud] = 8000 + rng.normal(0, 50, (4, int(cloud.sum())))
    dn = dn.astype(np.uint16)
    dn[:, :3, -5:] = 0
    return dn


def array(dn: np.ndarray, *, row: int = 0, col: int = 0, **attrs: object) -> xr.DataArray:
    """(band, y, x) with the coordinates of odc-geo, bands named as Earth Search names them."""
    labelled = wrap_xr(np.moveaxis(dn, 0, -1), geobox(dn.shape[1:], row, col), axis=0)
    labelled = labelled.rename({labelled.dims[-1]: "band"}).transpose("band", "y", "x")
    labelled = labelled.assign_coords(band=list(COMMON[: len(dn)]))
    labelled.attrs = {"nodata": 0, **attrs}
    return labelled


def dataset(dn: np.ndarray, times: int = 0) -> xr.Dataset:
    """Variables red, green, ... as odc-stac gives them, with dates where ``times`` asks."""
    box = geobox(dn.shape[-2:])
    dates = [f"2024-06-{1 + 10 * i:02d}" for i in range(times)]
    bands = {}
    for i, name in enumerate(COMMON):
        pixels = dn[..., i, :, :]
        bands[name] = wrap_xr(pixels, box, time=dates or None, nodata=0)
    return xr.Dataset(bands)


def stacked(dn: np.ndarray) -> xr.DataArray:
    """(time, band, y, x) float64 of reflectance, with the conventions of stackstac.

    x and y are those of the pixels' upper left corners; the CRS is in ``epsg`` and in attributes;
    what items say is in coordinates.
    """
    n_times, n_bands, height, width = dn.shape
    box = geobox((height, width))
    values = np.where(dn == 0, np.nan, dn.astype(np.float64) * 1e-4)
    coords = {
        "time": np.array(["2024-06-01", "2024-06-11"], "datetime64[ns]")[:n_times],
        "id": ("time", [f"S2A_32TMT_{i}" for i in range(n_times)]),
        "band": list(COMMON[:n_bands]),
        "x": ORIGIN[0] + 10.0 * np.arange(width),
        "y": ORIGIN[1] - 10.0 * np.arange(height),
        "title": ("band", [f"{name} - 10m" for name in COMMON[:n_bands]]),
        "common_name": ("band", list(COMMON[:n_bands])),
        "proj:shape": ((), {10980}),
        "epsg": 32632,
    }
    attrs = {
        "spec": "RasterSpec(...)",
        "crs": "epsg:32632",
        "transform": box.affine,
        "resolution": 10.0,
    }
    return xr.DataArray(values, coords, ("time", "band", "y", "x"), "stackstac-1", attrs)


@dataclass(frozen=True)
class Blur:
    """A model that sees 5 px around a pixel and tells places of 8 px apart, as a U-Net does."""

    bands_in: tuple[str, ...] = NAMES
    bands_out: tuple[str, ...] = NAMES
    name: str = "blur"
    device: str = "cpu"
    task: str = "cloud-removal"
    sensor_out: str | None = None
    resolution_m: float | None = None
    stride_px: int = 8
    halo_px: int = 5

    def __call__(self, request: Request) -> Answer:
        seen = request.pixels if request.fill is None else request.fill
        total = np.zeros_like(seen)
        for shift in range(-5, 6):
            total += np.roll(seen, shift, 2) + np.roll(seen, shift, 3)
        phase = np.arange(seen.shape[-1], dtype=np.float32) % self.stride_px
        return Answer(total / np.float32(22) + np.float32(1e-3) * phase)
