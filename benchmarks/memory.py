"""Peak memory and seconds of decloud on a whole Sentinel-2 tile, and on one twice as high.

python benchmarks/memory.py                10980 and 21960 rows of 10980 x 4 uint16
python benchmarks/memory.py --side 2745
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud import decloud
from geodecloud.geo.raster import Profile, RasterSink
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


def child(path: Path, model: str) -> None:
    """Clear a scene and print the figures of this process."""
    result = decloud(
        path, path.with_name("out.tif"), provenance=path.with_name("origin.tif"), model=model
    )
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": result.seconds, "peak_mb": peak_mb, "model": result.model}))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=10980)
    parser.add_argument("--model", default="auto", help="name or folder")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.model)
        return
    print("| scene | model | seconds | peak MB |\n|---|---|---|---|")
    for factor in (1, 2):
        shape = (factor * options.side, options.side)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.tif"
            make_scene(path, shape)
            done = subprocess.run(
                [sys.executable, __file__, "--child", str(path), "--model", options.model],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        figures = json.loads(done.stdout)
        size = f"{shape[0]} x {shape[1]} x 4 uint16"
        print(
            f"| {size} | {figures['model']} | {figures['seconds']:.0f} | {figures['peak_mb']:.0f} |"
        )


if __name__ == "__main__":
    main()
