"""An archive of two places, small enough to be measured in a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from safetensors.numpy import save
from scipy.ndimage import gaussian_filter

from tests.packages import direction, mixing_package
from tests.strategies import utm_geobox

BANDS = ("B02", "B03", "B04", "B08")
SIDE_PX = 160
PLACES = ("north", "south")
WEIGHTS = save({"a": np.ones((3, 2)), "b.running_mean": np.ones(5)})


def ground(seed: int) -> np.ndarray:
    """(4, H, W) uint16: fields, as Sentinel-2 stores them at the top of the atmosphere."""
    random = np.random.default_rng(seed)
    rough = gaussian_filter(random.normal(size=(4, SIDE_PX, SIDE_PX)), (0, 3, 3)) * 6
    level = np.array([0.12, 0.11, 0.1, 0.3])[:, None, None]
    return np.rint(1e4 * (level + 0.015 * rough)).astype(np.uint16)


def write(path: Path, dn: np.ndarray, *, row: int = 0) -> None:
    """A GeoTIFF of this array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    box = utm_geobox(dn.shape[1:], row=row)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(dn), height=dn.shape[1], width=dn.shape[2],
        dtype=dn.dtype, crs="EPSG:32632", transform=box.affine,
    ) as raster:  # fmt: skip
        raster.write(dn)


def make_archive(root: Path) -> Path:
    """A clear scene and a pair of each place, and the table that names them; returns the root."""
    rows = []
    for number, place in enumerate(PLACES):
        clear = ground(number)
        cloudy = clear.copy()
        cloudy[:, 40:90, 30:100] += np.uint16(2500)
        files = {"clear": f"train/{place}.tif", "cloudy": f"train/{place}_cloudy.tif"}
        write(root / files["clear"], clear, row=1000 * number)
        write(root / files["cloudy"], cloudy, row=1000 * number)
        said = {"place": place, "fold": number, "level": "L1C", "bands": BANDS, "scale": 1e-4}
        rows.append({"kind": "pair", **files, **said})
    table = {"about": {"attribution": {}}, "rows": rows}
    (root / "splits.json").write_text(json.dumps(table))
    return root


def add_triplets(root: Path) -> Path:
    """Radar beside each pair, whose two bands are those of the clear ground in disguise."""
    table = json.loads((root / "splits.json").read_text())
    for row in table["rows"]:
        with rasterio.open(root / row["clear"]) as clear:
            dn = clear.read()
        row |= {"kind": "triplet", "sar": f"train/{row['place']}_sar.tif"}
        decibels = np.stack([1e-3 * dn[2] - 30, 1e-3 * dn[0] - 30]).astype(np.float32)
        write(root / row["sar"], decibels, row=1000 * row["fold"])
    (root / "splits.json").write_text(json.dumps(table))
    return root


def make_radar_model(folder: Path, taught: list[str]) -> Path:
    """A model that takes red from VV, blue from VH and green from both."""
    way = direction(
        "forward", ["VV", "VH"], ["B04", "B03", "B02"], ("sentinel-1-rtc", "sentinel-2-l1c")
    )
    # -29 dB is a reflectance of 0.1, and -28.8 one of 0.12: near enough for a matrix alone
    share = -0.1 / 29
    matrix = [[share, 0.0], [share / 2, share / 2], [0.0, share]]
    data = {"data": {"places": taught, "n_places": len(taught)}}
    return mixing_package(folder, [way], {"forward": matrix}, training=data, weights=WEIGHTS)


def make_colour_model(folder: Path, taught: list[str]) -> Path:
    """A model that takes brightness for each of red, green and blue."""
    way = direction("forward", ["luma"], ["B04", "B03", "B02"], ("grey", "sentinel-2-l1c"))
    data = {"data": {"places": taught, "n_places": len(taught)}}
    return mixing_package(folder, [way], {"forward": [[1.0]] * 3}, training=data, weights=WEIGHTS)


def make_model(
    folder: Path,
    taught: list[str] | None,
    *,
    factor: float = 1.0,
    bands: tuple[str, ...] = BANDS,
    bands_out: tuple[str, ...] | None = None,
) -> Path:
    """A model that answers the fill times a factor, and says which places taught it."""
    way = direction(
        "forward", bands, bands_out or bands, ("sentinel-2-l1c",) * 2, inputs=["fill"],
    )  # fmt: skip
    data = {} if taught is None else {"data": {"places": taught, "n_places": len(taught)}}
    return mixing_package(
        folder, [way], {"forward": (factor * np.eye(len(bands))).tolist()}, task="cloud-removal",
        training=data, weights=WEIGHTS,
    )  # fmt: skip


def make_guided_model(folder: Path, taught: list[str]) -> Path:
    """A model that draws clouded ground of radar alone: -29 dB is a reflectance of 0.1."""
    way = direction(
        "forward", BANDS, BANDS, ("sentinel-2-l1c", "sentinel-2-l1c"),
        inputs=["sar"], extras={"sar": ["VV", "VH"]},
    )  # fmt: skip
    share = -0.1 / 29
    matrix = [[0.0, share], [share / 2, share / 2], [share, 0.0], [3 * share, 0.0]]
    data = {"data": {"places": taught, "n_places": len(taught)}}
    return mixing_package(
        folder, [way], {"forward": matrix}, task="cloud-removal", training=data, weights=WEIGHTS
    )
