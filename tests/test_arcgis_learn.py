"""docs/arcgis-learn.md: its steps run as they stand there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import write_array
from geodecloud.geo.sensors import SENSORS, Band, Sensor

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "arcgis-learn.md").read_text(), re.DOTALL)

RADAR = Sensor(
    "radar", tuple(Band(name, dtype="float32", nodata=0) for name in ("VV", "VH")), unit="dB"
)
OPTICAL = Sensor(
    "optical", tuple(Band(n, scale=1e-4, nodata=0) for n in ("B02", "B03", "B04", "B08"))
)


def write(path: Path, sensor: Sensor, shape: tuple[int, int], place: int) -> Path:
    """Ground of some fields, as this sensor sees it, at a place of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    fields = np.random.default_rng(place).uniform(0.1, 0.4, (9, 9))[rows // 16 % 9, cols // 16 % 9]
    low, span = {"dB": (-20.0, 30.0), "display": (20.0, 400.0)}.get(sensor.unit, (200.0, 8000.0))
    dn = np.stack([low + span * fields + band for band in range(len(sensor.bands))])
    affine = Affine(10, 0, 6e5 + 20_000 * place, 0, -10, 5e6)
    profile = Profile.for_sensor(sensor)
    write_array(
        path, dn.astype(sensor.bands[0].dtype), GeoBox(shape, affine, "EPSG:32632"), profile
    )
    return path


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the page names."""
    for i in range(12):
        write(tmp_path / f"export/images/{i:09d}.tif", RADAR, (64, 64), i)
        write(tmp_path / f"export/images2/{i:09d}.tif", SENSORS["rgb"], (64, 64), i)
        write(tmp_path / f"domains/train_a/{i}.tif", OPTICAL, (64, 64), i)
        write(tmp_path / f"domains/train_b/{i}.tif", OPTICAL, (64, 64), 50 + i)
    for i in range(2):
        write(tmp_path / f"clear_scenes/{i}.tif", OPTICAL, (128, 128), i)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mpl, "get_backend", lambda: "agg")
    return tmp_path


@pytest.fixture
def in_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow judges, a short search of the rate, no Fabric: each has tests of its own."""
    from geodecloud.learn.discriminators import PatchGAN
    from geodecloud.learn.training import find_lr

    monkeypatch.setattr(PatchGAN.__init__, "__defaults__", (4,))
    monkeypatch.setitem(find_lr.__kwdefaults__, "n_steps", 12)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)


def shortened(block: str) -> str:
    """The block with fewer epochs, steps and a narrower network: what it does stays the same."""
    block = re.sub(r"fit\(10", "fit(1", block)
    block = block.replace("lr_find()", "lr_find(start_lr=1e-3, end_lr=4e-3)")
    return block.replace("Pix2Pix(data", "Pix2Pix(data, widths=(8, 16)").replace(
        "gen_blocks=9", "gen_blocks=1, width=8"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("in_little_time")
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_steps_of_the_page_run(notebook: Path, number: int) -> None:
    sensor = OPTICAL if "CycleGAN" in BLOCKS[number] else RADAR
    scene = write(notebook / "scene.tif", sensor, (100, 130), 99)
    exec(shortened(BLOCKS[number]), {})
    for name in ("rgb.tif", "as_b.tif"):
        if f'"{name}"' in BLOCKS[number]:
            with rasterio.open(notebook / name) as out, rasterio.open(scene) as raster:
                assert (out.crs, out.transform, out.shape) == (
                    raster.crs,
                    raster.transform,
                    raster.shape,
                )


def test_the_page_has_blocks() -> None:
    assert len(BLOCKS) == 3
