"""Detectors measured: every table of docs/masks.md, as Markdown.

The one true mask is that of ukis_cloudmask_512; the other tables say what they stand for. Reads
the real scenes beside the repository; detectors that are not installed are left out.

    python benchmarks/masks.py [DATA] [--only TABLE ...] [--detectors NAME ...]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.clouding import clouds
from geodecloud.errors import GeodecloudError
from geodecloud.geo.classing import Shaping, write_classes
from geodecloud.geo.masks import CLOUD, MARGIN, SHADOW, THIN, Disk, dilate, pixel_size_m
from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import ArrayScene, ArraySink, shape_of
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.masking import DETECTED
from geodecloud.run.detectors import Detector, detector_named

BANDS = ("B02", "B03", "B04", "B08")
RGB = ("blue", "green", "red")
NAMES = (
    *("joint", "cloud-mask", "spectral"),
    *("joint-rgb", "cloud-mask-rgb", "spectral-rgb"),
    "ukis-csmask",
)
UNGROWN = Shaping(specks_m2=DETECTED.specks_m2, holes_m2=DETECTED.holes_m2)

THICK, THIN_FROM = 0.15, 0.04  # how much brighter in blue the cloudy side of a real pair is
UNSURE_DEPTH = 1.0  # a synthetic cloud that is thinner can hardly be seen


def pixels(scene: ArrayScene) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance (C, H, W) and validity (H, W)."""
    dn, valid = scene.read(Window.whole(shape_of(scene.geobox)))
    return scene.sensor.to_reflectance(dn), valid.all(axis=0)


def scene_of(
    reflectance: np.ndarray, level: str | None, geobox: GeoBox | None = None
) -> ArrayScene:
    """Four or more bands, blue first, as a scene of reflectance; 0 in all is nodata."""
    known = {band.name: band for band in SENSORS["sentinel-2-l1c"].bands}
    bands = []
    for name in (*BANDS, "B11", "B12")[: len(reflectance)]:
        nm = known[name].wavelength_nm
        bands.append(Band(name, nm, nodata=0, dtype="float32"))
    valid = np.broadcast_to((reflectance != 0).any(axis=0), reflectance.shape)
    values = reflectance.astype(np.float32)
    return ArrayScene(values, Sensor("sentinel-2", tuple(bands), level=level), geobox, valid)


def found(detector: Detector, scene: ArrayScene, shaping: Shaping = UNGROWN) -> np.ndarray | None:
    """The codes (H, W) that a detector finds; None where it is not installed or lacks a band."""
    if set(detector.bands) == set(RGB):
        three = scene.select(BANDS[:3])
        bands = tuple(Band(name, dtype="float32") for name in RGB)
        valid = three.read(Window.whole(shape_of(three.geobox)))[1]
        scene = ArrayScene(
            pixels(three)[0], Sensor("s", bands, level=scene.sensor.level), scene.geobox, valid
        )
    try:
        prepared = detector.prepare(scene)
    except GeodecloudError:
        return None
    with ArraySink(1, shape_of(scene.geobox), np.uint8) as sink:
        write_classes(scene, prepared, sink, shaping)
    return sink.dn[0]


def is_cloud(codes: np.ndarray) -> np.ndarray:
    return np.isin(codes, [CLOUD, THIN, MARGIN])


def is_masked(codes: np.ndarray) -> np.ndarray:
    return np.isin(codes, [CLOUD, THIN, SHADOW, MARGIN])


def score(said: np.ndarray, true: np.ndarray, where: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F1."""
    both = (said & true & where).sum()
    precision = both / max(1, (said & where).sum())
    recall = both / max(1, (true & where).sum())
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def rows_of(data: Path, kind: Iterable[str]) -> Iterator[dict]:
    """Rows of splits.json of these kinds, paths made whole."""
    splits = json.loads((Path(__file__).parent / "splits.json").read_text())
    for row in splits["rows"]:
        if row["kind"] in kind:
            yield {**row, "data": data}


def opened(row: dict, side: str = "clear") -> ArrayScene:
    """One side of a row in its four bands."""
    with open_scene(row["data"] / row[side]) as raster:
        first = row.get("first_band", 1) - 1
        window = Window.whole(shape_of(raster.geobox))
        dn = raster.read(window)[0][first : first + len(row["bands"])]
        dn = dn[[row["bands"].index(name) for name in BANDS]]
        return scene_of(dn * float(Fraction(row["scale"])), row["level"], raster.geobox)


def table(title: str, head: Iterable[str], lines: Iterable[Iterable[object]]) -> None:
    head = list(head)
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for line in lines:
        print("| " + " | ".join(str(cell) for cell in line) + " |", flush=True)


def share(of: np.ndarray, where: np.ndarray) -> str:
    return f"{of[where].mean():.1%}" if where.any() else "none"


def truth(data: Path, names: Sequence[str]) -> None:
    """Beside the reference mask of ukis-csmask's authors; the file does not say its pixel size."""
    (path,) = (data / "test/ukis_cloudmask_512").glob("*.npz")
    file = np.load(path)
    image, mask = np.moveaxis(file["img"], -1, 0), file["msk"][..., 0]
    lines = []
    for name, side_m, n_bands in (
        *((name, side_m, 4) for name in NAMES[:3] for side_m in (10, 30)),
        *((name, side_m, 3) for name in NAMES[3:6] for side_m in (10, 30)),
        ("ukis-csmask", 10, 4), ("ukis-csmask", 30, 4), ("ukis-csmask", 30, 6),
    ):  # fmt: skip
        if name not in names:
            continue
        grid = GeoBox((512, 512), Affine(side_m, 0, 6e5, 0, -side_m, 5e6), "EPSG:32632")
        codes = found(detector_named(name), scene_of(image[: max(n_bands, 4)], "L1C", grid))
        if codes is not None:
            cloud = score(is_cloud(codes), mask == 4, mask != 1)
            shadow = score(codes == SHADOW, mask == 0, mask != 1)
            lines.append((name, n_bands, f"{side_m} m", *(f"{v:.2f}" for v in cloud + shadow)))
    head = ("", "bands", "taken as", "precision", "recall", "F1 cloud")
    table("Reference mask", (*head, "precision", "recall", "F1 shadow"), lines)


def synthetic(data: Path, names: Sequence[str]) -> None:
    """Synthetic skies over the clear scenes; pixels of cloud below ``UNSURE_DEPTH`` not counted."""
    grounds = [row for row in rows_of(data, ["clear"]) if "scenes_clear" in row["clear"]]
    grounds = [row for row in grounds if row["place"] != "bouconne"]
    lines = []
    for kind in ("cumulus", "deck", "cirrus"):
        scores = defaultdict(list)
        for seed, row in enumerate(grounds):
            scene = opened(row)
            codes, depth, sky = under_sky(scene, kind, seed)
            where = (codes != 255) & ~((depth > 0) & (depth < UNSURE_DEPTH))
            for name in names:
                said = found(detector_named(name), sky)
                if said is not None:
                    cloud = score(is_cloud(said), np.isin(codes, [CLOUD, THIN]), where)
                    scores[name].append(
                        (cloud[2], score(said == SHADOW, codes == SHADOW, where)[2])
                    )
        for name, both in scores.items():
            cloud, shadow = np.mean(both, axis=0)
            lines.append((kind, name, f"{cloud:.2f}", f"{shadow:.2f}"))
    table("Synthetic skies", ("sky", "", "F1 cloud", "F1 shadow"), lines)


def under_sky(scene: ArrayScene, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, ArrayScene]:
    """True codes, optical depth, and the scene under a sky of its own."""
    shape = shape_of(scene.geobox)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.tif" for name in ("truth", "depth")}
        sink = ArraySink(len(BANDS), shape, np.float32)
        clouds(scene, sink, seed=seed, coverage=0.25, type=kind, **files)
        planes = []
        for path in files.values():
            with open_scene(path, scale=1, offset=0) as raster:
                planes.append(raster.read(Window.whole(shape))[0][0])
    return planes[0], planes[1], ArrayScene(sink.dn, scene.sensor, scene.geobox, sink.valid)


def pairs(data: Path, names: Sequence[str]) -> None:
    """Real pairs: how much is masked, as decloud masks it, where the cloudy side is brighter."""
    sums: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows_of(data, ["pair", "triplet"]):
        if row.get("cloudy_state") in ("clear", "changed") or row.get("state"):
            continue
        scene = opened(row, "cloudy")
        brighter = (pixels(scene)[0] - pixels(opened(row))[0])[0]
        for name in names:
            codes = found(detector_named(name), scene, DETECTED)
            if codes is None:
                continue
            said, valid = is_masked(codes), codes != 255
            for kind, true in (
                ("thick", brighter > THICK),
                ("thin", (brighter > THIN_FROM) & (brighter <= THICK)),
                ("neither", np.abs(brighter) < THIN_FROM / 2),
            ):
                sums[name][kind] += [(said & true & valid).sum(), (true & valid).sum()]
    lines = (
        (name, *(f"{sum(kind[::2]) / sum(kind[1::2]):.2f}" for kind in kinds.values()))
        for name, kinds in sums.items()
    )
    table(
        "Real pairs: masked share", ("", "thick cloud", "thin cloud", "as on the clear day"), lines
    )


COVERS: Mapping[str, Callable[..., np.ndarray]] = {
    "water": lambda b, g, r, n: g > n,
    "woods and crops": lambda b, g, r, n: (n - r > 0.4 * (n + r)) & (g <= n),
    "red and brown soil": lambda b, g, r, n: (n - r <= 0.4 * (n + r)) & (g <= n) & (r > 1.5 * b),
    "dark grey": lambda b, g, r, n: (
        (n - r <= 0.4 * (n + r)) & (g <= n) & (r <= 1.5 * b) & (g <= 0.15)
    ),
    "bright grey, roofs": lambda b, g, r, n: (
        (n - r <= 0.4 * (n + r)) & (g <= n) & (r <= 1.5 * b) & (g > 0.15)
    ),
}
"""Land covers by the colours of four bands of surface reflectance."""


def clear(data: Path, names: Sequence[str]) -> None:
    """False alarms: what is called cloud or shadow on clear scenes, as found and as masked."""
    lines = []
    by_cover: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    places: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows_of(data, ["clear"]):
        if row.get("state") or "_cloudy_" in row["clear"]:
            continue
        scene = opened(row)
        values, valid = pixels(scene)
        place = "EuroSAT" if row["place"].startswith("eurosat") else row["place"]
        for name in names:
            codes = found(detector_named(name), scene)
            if codes is None:
                continue
            grown = dilate(is_masked(codes), Disk.of_metres(DETECTED.dilate_m, scene.geobox))
            places[place][name] += [is_masked(codes)[valid].mean(), grown[valid].mean()]
            if row["level"] == "L2A":
                for cover, is_it in COVERS.items():
                    where = valid & is_it(*values)
                    by_cover[cover][name][0] += int(is_masked(codes)[where].sum())
                    by_cover[cover][name][1] += int(where.sum())
    for place, each in places.items():
        cells = (f"{np.mean(v[::2]):.2%} / {np.mean(v[1::2]):.2%}" for v in each.values())
        lines.append((place, *cells))
    table("Clear scenes: false alarms, found / grown by 60 m", ("scene", *names), lines)
    covers = (
        (cover, f"{each[names[0]][1]:,}", *(f"{a / max(b, 1):.2%}" for a, b in each.values()))
        for cover, each in by_cover.items()
    )
    table("The same by land cover (surface reflectance)", ("cover", "pixels", *names), covers)


def snow(data: Path, names: Sequence[str]) -> None:
    """Snow painted over the clear town of Bolzano: no clear scene here has any.

    Dry snow reflects 0.9 in blue to 0.8 in near infrared (Warren 1982); it lies on all ground
    that is not wooded, or in patches on a third of it.
    """
    (row,) = (row for row in rows_of(data, ["clear"]) if row["place"] == "bolzano")
    scene = opened(row)
    (blue, green, red, nir), valid = pixels(scene)
    open_ground = (nir - red <= 0.4 * (nir + red)) & (green <= nir) & valid
    rows, cols = np.indices(valid.shape) // 8
    patches = np.random.default_rng(0).random(valid.shape)[rows, cols] < 0.33
    lines = []
    for kind, where in (("closed", open_ground), ("in patches of 80 m", open_ground & patches)):
        values = np.stack([blue, green, red, nir])
        values[:, where] *= 0.2
        values[:, where] += 0.8 * np.array([0.9, 0.89, 0.88, 0.8])[:, None]
        snowy, cells = scene_of(values, "L2A", scene.geobox), []
        for name in names:
            codes = found(detector_named(name), snowy)
            if codes is not None:
                cells.append(
                    f"{share(is_masked(codes), where)} / {share(is_masked(codes), ~where)}"
                )
        lines.append((kind, f"{where.mean():.0%}", *cells))
    table("Snow, painted: false alarms on it / beside it", ("snow", "of scene", *names), lines)


def dates(data: Path, names: Sequence[str]) -> None:
    """One place on thirty dates of 2018: the share of it that is masked, as decloud masks it."""
    lines = []
    folder = data / "test/sen12mscrts_ROI146_patch0_30dates"
    for path in sorted(folder.glob("*.tif"), key=lambda path: path.name.split("_")[5]):
        with open_scene(path) as raster:
            dn = raster.read(Window.whole(shape_of(raster.geobox)))[0]
            scene = scene_of(dn * 1e-4, "L1C", raster.geobox)
        cells = []
        for name in names:
            codes = found(detector_named(name), scene, DETECTED)
            if codes is not None:
                cells.append(f"{is_masked(codes).mean():.0%}")
        blue = np.median(scene.read(Window.whole(dn.shape[1:]))[0][0])
        lines.append((path.name.split("_")[5], f"{blue:.2f}", *cells))
    table("Thirty dates of one place", ("date", "median blue", *names), lines)


def madagascar(data: Path, names: Sequence[str]) -> None:
    """Agreement with the mask that s2cloudless made: no truth, and known to be generous."""
    file = np.load(data / "test/s2cloudless_madagascar/rgbn_u16_mask.npz")
    image = np.moveaxis(file["s2"], -1, 0)[[2, 1, 0, 3]] * 1e-4
    theirs = file["cl_mask"].reshape(image.shape[1:]) > 0
    lines = []
    for name in names:
        codes = found(detector_named(name), scene_of(image, "L1C"))
        if codes is not None:
            values = score(is_cloud(codes), theirs, codes != 255)
            lines.append((name, f"{theirs.mean():.0%}", *(f"{v:.2f}" for v in values)))
    head = ("", "theirs", "of ours theirs", "of theirs ours", "F1")
    table("Madagascar: agreement with s2cloudless", head, lines)


def zurich(data: Path, names: Sequence[str]) -> None:
    """What is left beside the clouds of Zurich, by how far the mask grows; no truth is known."""
    (path,) = (data / "test/scenes_cloudy").glob("20190530*")
    with open_scene(path) as raster:
        window = Window.whole(shape_of(raster.geobox))
        four = raster.select(BANDS)
        scene = scene_of(four.sensor.to_reflectance(four.read(window)[0]), "L2A", raster.geobox)
    for name in names:
        codes = found(detector_named(name), scene)
        if codes is None:
            continue
        values, valid = pixels(scene)
        side_m = pixel_size_m(scene.geobox)[0]
        mask = is_masked(codes)
        far = np.median(values[0][valid & ~dilate(mask, Disk.of_metres(300, scene.geobox))])
        lines = []
        for grown_m in (0, 20, 40, 60, 80, 100, 160):
            grown = dilate(mask, Disk.of_metres(grown_m, scene.geobox))
            ring = dilate(grown, Disk.of_metres(2 * side_m, scene.geobox)) & ~grown & valid
            ring &= dilate(is_cloud(codes), Disk.of_metres(grown_m + 3 * side_m, scene.geobox))
            over = np.median(values[0][ring]) - far
            lines.append((f"{grown_m} m", f"{over:.3f}", f"{grown[valid].mean():.0%}"))
        head = ("growth", "blue above far clear ground", "masked")
        table(f"Zurich, {name}: cloud {is_cloud(codes).mean():.0%}, shadow "
              f"{(codes == SHADOW).mean():.0%}; far blue {far:.3f}", head, lines)  # fmt: skip


def smoke(data: Path, names: Sequence[str]) -> None:
    """Smoke and a burn scar in Pilbara: what of the scene is called what."""
    (path,) = (data / "test/scenes_smoke").glob("*.tif")
    with open_scene(path) as raster:
        dn = raster.read(Window.whole(shape_of(raster.geobox)))[0]
        scene = scene_of(dn / 65535, "L2A", raster.geobox)
    lines = []
    for name in names:
        codes = found(detector_named(name), scene)
        if codes is not None:
            lines.append((name, f"{is_cloud(codes).mean():.1%}", f"{(codes == SHADOW).mean():.1%}"))
    table("Smoke", ("", "cloud", "shadow"), lines)


TABLES = (truth, synthetic, pairs, clear, snow, dates, madagascar, zurich, smoke)


def main() -> None:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=beside)
    parser.add_argument("--only", nargs="+", choices=[one.__name__ for one in TABLES])
    parser.add_argument("--detectors", nargs="+", choices=NAMES, default=NAMES)
    asked = parser.parse_args()
    for one in TABLES:
        if not asked.only or one.__name__ in asked.only:
            one(asked.data, asked.detectors)


if __name__ == "__main__":
    main()
