"""Training folders of every layout, generated: what arcgis.learn, EuroSAT and people leave."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from geodecloud.geo.chips import ChipStore, cut_scene
from geodecloud.geo.esri import EsriRaster, write_esri
from geodecloud.geo.profile import profile_of
from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.sensors import SENSORS, Sensor

BANDS = ("B02", "B03", "B04", "B08")
CLASSES = ("AnnualCrop", "Forest", "SeaLake")
SIZE_PX = 32
N_CHIPS = 12


def write_raster(path: Path, size: tuple[int, int] = (32, 32), *, at: int = 0, **changed) -> Path:
    """A raster of random numbers, ``at`` chips east of a corner; bands named where asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "count": 4,
        "height": size[0],
        "width": size[1],
        "dtype": "uint16",
        "crs": "EPSG:32632",
        "transform": from_origin(600_000 + 320 * at, 5_000_000, 10, 10),
        "bands": BANDS,
        "low": 200,
        "high": 4000,
        **changed,
    }
    names, low, high = (profile.pop(name) for name in ("bands", "low", "high"))
    random = np.random.default_rng(round(2 * at))
    shape = (profile["count"], *size)
    if np.dtype(profile["dtype"]).kind == "f":
        numbers = random.uniform(low, high, shape)
    else:
        numbers = random.integers(low, high, shape, endpoint=True)
    with rasterio.open(path, "w", **profile) as file:
        file.write(numbers.astype(profile["dtype"]))
        if names:
            file.descriptions = names[: profile["count"]]
    return path


def write_picture(path: Path, *, at: int = 0, size: tuple[int, int] = (32, 32)) -> Path:
    """An 8-bit picture of three bands; without georeference."""
    driver = {".jpg": "JPEG", ".png": "PNG"}[path.suffix]
    plain = {"dtype": "uint8", "count": 3, "bands": (), "low": 1, "high": 255}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return write_raster(path, size, at=at, driver=driver, crs=None, transform=None, **plain)


def scene_of(sensor: Sensor, seed: int, *, size_px: int = 96) -> ArrayScene:
    """A small scene of random numbers where Sentinel-2 has some."""
    shape = (len(sensor.bands), size_px, size_px)
    random = np.random.default_rng(seed)
    if sensor.unit == "dB":
        dn = random.uniform(-25, -3, shape).astype(np.float32)
    else:
        dn = random.integers(200, 3000, shape).astype(np.uint16)
    affine = from_origin(600_000, 5_000_000, 10, 10)
    return ArrayScene(dn, sensor, GeoBox((size_px, size_px), affine, "EPSG:32632"))


def export(out: Path, *sensors: Sensor, mode: str = "Export_Tiles", size_px: int = 32) -> Path:
    """An export as of ArcGIS, of scenes of these sensors on one grid."""
    scenes = [scene_of(sensor, seed) for seed, sensor in enumerate(sensors)]
    rasters = [EsriRaster(scene.sensor, profile_of(scene)) for scene in scenes]
    places = zip(*(cut_scene(scene, size_px=size_px) for scene in scenes), strict=True)
    write_esri(out, places, rasters, mode=mode)
    return out


OPTICAL = SENSORS["sentinel-2-l2a"].select(BANDS)
RADAR = SENSORS["sentinel-1-rtc"]


def _store(root: Path) -> None:
    ChipStore.cut(scene_of(OPTICAL, 1), root, size_px=32)


def _stores(root: Path) -> None:
    for name in ("one", "two"):
        scene = write_raster(root.parent / f"{name}.tif", (64, 64), at=20 * len(name))
        with open_scene(scene) as opened:
            ChipStore.cut(opened, root / name, size_px=32)


def _own_pairs(root: Path) -> None:
    for seed, side in enumerate(("images", "images2")):
        ChipStore.cut(scene_of(OPTICAL, seed), root / side, name="one", size_px=32)


def _pairs(root: Path, first: str = "images", second: str = "images2") -> None:
    for i in range(N_CHIPS):
        write_raster(root / first / f"{i}.tif", at=8 * i)
        write_raster(root / second / f"{i}.tif", at=8 * i)


def _domains(root: Path) -> None:
    export(root / "A", OPTICAL, mode="CycleGAN")
    export(root / "B", OPTICAL.select(["B02", "B03"]), mode="CycleGAN", size_px=32)


def _guided(root: Path) -> None:
    export(root / "train_A_C", OPTICAL, OPTICAL, mode="WNet_cGAN")
    export(root / "train_B", RADAR, mode="WNet_cGAN")


def _by_hand_apart(root: Path) -> None:
    for i in range(N_CHIPS):
        write_picture(root / "Images" / "Train_A" / f"horse{i}.jpg", at=i)
        write_picture(root / "Images" / "Train_B" / f"zebra{i}.png", at=i)


def _eurosat_rgb(root: Path) -> None:
    for name in CLASSES:
        for i in range(1, 5):
            write_picture(root / name / f"{name}_{i}.jpg", at=i, size=(64, 64))


def _eurosat_13(root: Path) -> None:
    for number, name in enumerate(CLASSES):
        for i in range(1, 5):
            path = root / name / f"{name}_{i}.tif"
            write_raster(path, (64, 64), at=40 * (4 * number + i), count=13, bands=())


def _sen12mscr(root: Path) -> None:
    """Two places of two seasons as they are unpacked, three patches each; of 13 and 2 bands."""
    radar = {"count": 2, "dtype": "float32", "low": -25, "high": -3}
    for number, (season, place) in enumerate((("ROIs1158_spring", 39), ("ROIs1970_fall", 8))):
        for patch in range(3):
            at = 100 * number + 4 * patch  # half of each lies on the next
            for kind in ("s1", "s2", "s2_cloudy"):
                folder = root / f"{season}_{kind}" / f"{kind}_{place}"
                path = folder / f"{season}_{kind}_{place}_p{30 + patch}.tif"
                bands = radar if kind == "s1" else {"count": 13}
                write_raster(path, (64, 64), at=at, **{"bands": (), **bands})


def _sen12ms_flat(root: Path) -> None:
    """Clear patches of four places, all in one folder, beside land cover."""
    for i in range(N_CHIPS):
        for kind, bands in (("s2", BANDS), ("lc", ())):
            name = f"ROIs1868_summer_{kind}_{7 + i // 3}_p{i}.tif"
            write_raster(root / name, at=8 * i, bands=bands)


def _loose_chips(root: Path) -> None:
    for i in range(N_CHIPS):
        write_raster(root / f"chip{i:02}.tif", at=8 * i)


def _loose_scenes(root: Path) -> None:
    for i in range(2):
        write_raster(root / "tiles" / f"scene{i}.tif", (600, 300), at=100 * i)


# name: (layout, dataset type that is inferred or None, how many samples, what writes it)
FOLDERS: dict[str, tuple[str, str | None, int, Callable[[Path], object]]] = {
    "own store": ("store", "CloudRemoval", 9, _store),
    "own stores": ("store", "CloudRemoval", 8, _stores),
    "exported pairs": (
        "pairs", "Pix2Pix", 9, lambda root: export(root, OPTICAL, OPTICAL, mode="Pix2Pix")
    ),
    "own pairs": ("pairs", "Pix2Pix", 9, _own_pairs),
    "pairs without Esri's files": ("pairs", "Pix2Pix", N_CHIPS, _pairs),
    "exported tiles": ("tiles", "CloudRemoval", 9, lambda root: export(root, OPTICAL)),
    "exported domains": ("domains", "CycleGAN", 18, _domains),
    "exported guided pairs": ("guided", "WNet_cGAN", 9, _guided),
    "pairs by hand": (
        "by hand", "Pix2Pix", N_CHIPS, lambda root: _pairs(root, "TRAIN_A", "train_b")
    ),
    "domains by hand": ("by hand", "CycleGAN", 2 * N_CHIPS, _by_hand_apart),
    "EuroSAT pictures": ("classes", None, 12, _eurosat_rgb),
    "EuroSAT 13 bands": ("classes", "CloudRemoval", 12, _eurosat_13),
    "SEN12MS-CR": ("patches", "CloudRemoval", 6, _sen12mscr),
    "SEN12MS, flat": ("patches", "CloudRemoval", N_CHIPS, _sen12ms_flat),
    "loose chips": ("loose", "CloudRemoval", N_CHIPS, _loose_chips),
    "loose scenes": ("loose", "CloudRemoval", 2, _loose_scenes),
}  # fmt: skip
"""Every layout in every shape that it comes in."""
