"""What a batch costs beside plain calls of decloud, and what more workers bring.

The same scenes, cut from a real cloudy one: first by ``decloud``, one call after the other, then by
``geodecloud.batch`` with every engine. The batch opens the files by their items, verifies, and
writes a thumbnail, an item with checksums, a catalog and a table on top; in one row uncertainty
too, for which ``decloud`` is not asked. Seconds are of the wall clock; the overhead is told in
processor time too, which a busy machine changes less.

    OMP_NUM_THREADS=1 python benchmarks/batch.py [DATA] [N_ITEMS] [SIDE_PX]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from geodecloud.batch import BatchOptions, Query, Report, Workers, run
from geodecloud.geo.excerpt import bounds_of, footprint
from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import open_scene, write_array
from geodecloud.geo.tiling import Window
from geodecloud.tasks import decloud

BANDS = ("B02", "B03", "B04", "B08")
SCENE = "test/scenes_cloudy/20190530_T32TMT_MSIL2A_S2A_pixel_division_10m.tiff"
WITH_UNCERTAINTY = "batch, serial, with uncertainty"
ENGINES = {
    "batch, serial": Workers(),
    WITH_UNCERTAINTY: Workers(),
    "batch, 1 process": Workers("processes", 1),
    "batch, 2 processes": Workers("processes", 2),
    "batch, 1 Dask worker": Workers("dask", 1),
    "batch, 2 Dask workers": Workers("dask", 2),
}


class Cost(NamedTuple):
    """Seconds of the clock, and of the processor in this process."""

    wall_s: float
    cpu_s: float


def measured(work: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def publish(data: Path, folder: Path, n_items: int, side_px: int) -> tuple[Path, list[Path]]:
    """Cut the scene into stacks at several places; return a file with their items, and them."""
    paths, features = [], []
    with open_scene(data / SCENE) as whole:
        scene = whole.select(BANDS)
        for i in range(n_items):
            at = Window(37 * i % (1100 - side_px), 61 * i % (1100 - side_px), side_px, side_px)
            geobox, dn = scene.geobox[at.slices], scene.read(at)[0]
            paths.append(folder / f"scene_{i}.tif")
            write_array(paths[-1], dn, geobox, Profile.for_sensor(scene.sensor))
            features.append(item_of(paths[-1], i, geobox))
    file = folder / "items.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return file, paths


def item_of(path: Path, number: int, geobox: object) -> dict[str, object]:
    """A STAC item with one asset."""
    asset = {
        "href": f"./{path.name}",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "eo:bands": [{"name": name} for name in BANDS],
    }
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": path.stem, "links": [],
        "geometry": {"type": "Polygon", "coordinates": [footprint(geobox)]},
        "bbox": list(bounds_of(geobox)), "assets": {"image": asset},
        "properties": {"datetime": f"2019-05-30T10:20:{number % 60:02}Z", "eo:cloud_cover": 17},
    }  # fmt: skip


def plain(paths: list[Path], out: Path) -> None:
    out.mkdir()
    for path in paths:
        beside = {f: out / f"{path.stem}_{f}.tif" for f in ("provenance", "mask_out")}
        decloud(path, out / path.name, max_cloud=1, **beside)


def main() -> None:
    arguments = sys.argv[1:]
    data = Path(arguments[0] if arguments else "../shared/data")
    n_items = int(arguments[1]) if arguments[1:] else 8
    side_px = int(arguments[2]) if arguments[2:] else 512
    options = BatchOptions({"max_cloud": 1.0}, uncertainty=False, retries=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, paths = publish(data, folder, n_items, side_px)
        plain(paths[:1], folder / "warm")  # what is read and imported once
        print(f"{n_items} scenes of {side_px}x{side_px} px, 4 bands", flush=True)
        first = measured(lambda: plain(paths, folder / "plain"))
        tell("decloud, one after the other", first, first, n_items)
        for what, workers in ENGINES.items():
            out = folder / what.replace(" ", "_")
            options = replace(options, uncertainty=what == WITH_UNCERTAINTY)
            done: list[Report] = []
            cost = measured(
                lambda: done.append(run(file, out, Query(), options, workers))  # noqa: B023
            )
            assert not done[0].failed, done[0].failed[0].message
            tell(what, cost, first, n_items)


def tell(what: str, cost: Cost, first: Cost, n_items: int) -> None:
    line = (
        f"{what:30} {cost.wall_s / n_items:7.2f} s an item, {cost.wall_s / first.wall_s:.2f} of it"
    )
    if "process" not in what and "Dask" not in what:
        line += f"; processor {cost.cpu_s / n_items:.2f} s, {cost.cpu_s / first.cpu_s:.2f}"
    print(line, flush=True)


if __name__ == "__main__":
    main()
