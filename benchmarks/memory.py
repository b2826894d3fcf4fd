"""Peak memory and seconds of a command on a whole Sentinel-2 tile, and on one twice as high.

python benchmarks/memory.py                10980 and 21960 rows of 10980 x 4 uint16
python benchmarks/memory.py --side 2745
python benchmarks/memory.py --work translate --model identity
python benchmarks/memory.py --work info
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud import decloud, translate
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.raster import Profile, RasterSink, open_scene
from geodecloud.geo.sensors import SENSORS
from geodecloud.geo.tiling import Window

BANDS = ("B02", "B03", "B04", "B08")


def make_scene(path: Path, shape: tuple[int, int]) -> None:
    """Textured ground with round clouds, written in strips."""
    sensor = SENSORS["sentinel-2-l2a"].select(BANDS)
    texture = np.random.default_rng(0).normal(0, 60, (4, 512, 1024))
    grid = GeoBox(shape, Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")
    with RasterSink(path, grid, Profile.for_sensor(sensor), cog=False, compress="zstd") as sink:
        cols = np.arange(shape[1])
        for row in range(0, shape[0], 512):
            rows = np.arange(row, min(row + 512, shape[0]))[:, None]
            ground = 900 + 300 * np.sin(rows / 310) * np.cos(cols / 170)
            cloud = np.clip(np.sin(rows / 400) * np.sin(cols / 330) - 0.75, 0, 0.2) * 30_000
            grain = np.tile(texture, (1, 1, -(-shape[1] // 1024)))[:, : len(rows), : shape[1]]
            dn = np.clip(ground + grain + cloud, 1, 20_000).astype(np.uint16)
            window = Window(row, 0, len(rows), shape[1])
            sink.write(window, dn, np.ones(dn.shape, bool))


def child(path: Path, work: str, model: str) -> None:
    """Work on a scene and print the figures of this process."""
    start = time.perf_counter()
    out = path.with_name("out.tif")
    if work == "decloud":
        model = decloud(path, out, provenance=path.with_name("origin.tif"), model=model).model
    elif work == "translate":
        model = translate(path, out, model=model).model
    else:
        with open_scene(path) as scene:
            check_radiometry(scene)
        model = "none"
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "model": model}))


def peak_mb() -> float:
    """The most memory this process ever held; ru_maxrss would count its parent's as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=10980)
    parser.add_argument("--work", choices=["decloud", "translate", "info"], default="decloud")
    parser.add_argument("--model", default="auto", help="name or folder")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.work, options.model)
        return
    print("| scene | work | model | seconds | peak MiB |\n|---|---|---|---|---|")
    for factor in (1, 2):
        shape = (factor * options.side, options.side)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.tif"
            make_scene(path, shape)
            done = subprocess.run(
                [sys.executable, __file__, "--child", str(path), "--work", options.work,
                 "--model", options.model],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        figures = json.loads(done.stdout)
        size = f"{shape[0]} x {shape[1]} x 4 uint16"
        numbers = f"{figures['seconds']:.0f} | {figures['peak_mb']:.0f}"
        print(f"| {size} | {options.work} | {figures['model']} | {numbers} |")


if __name__ == "__main__":
    main()
