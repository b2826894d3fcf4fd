"""A scene through the pipeline beside its peers: seconds, memory, and what the tile grid leaves.

Each contestant reads the same GeoTIFF, applies the same network with the same weights (or the
identity) and writes a GeoTIFF, in a process of its own; contestants take turns, medians are
quoted, ratios are to the fastest peer.

    python benchmarks/pipeline.py                              identity and U-Net, 2048 px
    python benchmarks/pipeline.py --side 10980 --net identity
    python benchmarks/pipeline.py --net unet --cloudy 0.2
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window as Block

TILE_PX, OVERLAP_PX, BATCH = 64, 16, 64  # the peers' tiling
BANDS = ("red", "green", "blue")
WRITE = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512,
         "compress": "zstd", "zstd_level": 1, "bigtiff": "IF_SAFER"}  # fmt: skip


def make_scene(path: Path, side: int) -> None:
    """Smooth ground with texture, 3 x uint8, written block row by block row."""
    rng = np.random.default_rng(3)
    tile = rng.normal(0, 12, (3, 512, 1024))
    with rasterio.open(
        path, "w", height=side, width=side, count=3, dtype="uint8", crs="EPSG:32632",
        transform=rasterio.transform.from_origin(600_000, 5_000_000, 10, 10), **WRITE
    ) as out:  # fmt: skip
        out.descriptions = BANDS
        columns = np.arange(side)
        for row in range(0, side, 512):
            rows = np.arange(row, min(row + 512, side))
            base = 120 + 50 * np.sin(rows[:, None] / 310) * np.cos(columns / 170)
            texture = np.tile(tile, (1, 1, -(-side // 1024)))[:, : len(rows), :side]
            block = np.clip(base + texture, 1, 255).astype("uint8")
            out.write(block, window=Block(0, row, side, len(rows)))


def make_mask(path: Path, side: int, share: float) -> None:
    """Round clouds that cover about ``share`` of the scene."""
    rng = np.random.default_rng(4)
    mask = np.zeros((side, side), "uint8")
    rows, cols = np.ogrid[:side, :side]
    while mask.mean() < share:
        radius, row, col = rng.uniform(0.02, 0.06) * side, *rng.uniform(0, side, 2)
        mask |= ((rows - row) ** 2 + (cols - col) ** 2 < radius**2).astype("uint8")
    with rasterio.open(path) as scene:
        profile = scene.profile
    path = path.with_name("mask.tif")
    with rasterio.open(path, "w", **{**profile, **WRITE, "count": 1, "dtype": "uint8"}) as out:
        out.write(mask, 1)


def network(folder: Path):
    """The U-Net of the shipped models (four levels, 32-256), random weights, BatchNorm settled."""
    import torch

    from geodecloud.learn.networks import UNet

    torch.manual_seed(0)
    net = UNet(3, 3)
    for _ in range(3):
        net(torch.rand(4, 3, 64, 64))
    return net.eval()


def export(folder: Path) -> None:
    """The same weights for ONNX Runtime."""
    import torch

    torch.onnx.export(
        network(folder), (torch.rand(2, 3, 64, 64),), folder / "net.onnx", dynamo=True,
        external_data=False, input_names=["pixels"], output_names=["answer"], verbose=False,
        dynamic_shapes=[dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)],
    )  # fmt: skip


def ours(folder: Path, net: str, halo: str, mask: bool) -> None:
    """geodecloud: open_scene, translate_scene, RasterSink."""
    from geodecloud.geo.raster import RasterSink, open_scene, profile_of
    from geodecloud.pipeline import Aids, Answer, Road, translate_scene
    from geodecloud.run.baselines import IdentityTranslator

    scene = open_scene(folder / "scene.tif")
    translator = IdentityTranslator(BANDS)
    if net == "unet":
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "net.onnx")

        class Net(IdentityTranslator):
            stride_px, halo_px = 8, 51

            def __call__(self, request):
                return Answer(session.run(None, {"pixels": request.pixels})[0])

        translator = Net(BANDS)
    clouds = None
    if mask:
        from geodecloud.geo.masks import ClassMask

        clouds = ClassMask(open_scene(folder / "mask.tif"), scene)
    sink = RasterSink(
        folder / "out.tif", scene.geobox, profile_of(scene), cog=False, compress="zstd",
        overwrite=True,
    )  # fmt: skip
    with sink:
        translate_scene(scene, sink, translator, aids=Aids(clouds), road=Road(halo))


def copy(folder: Path) -> None:
    """Rasterio alone: block rows read and written."""
    with (
        rasterio.Env(GDAL_CACHEMAX=64),
        rasterio.open(folder / "scene.tif") as scene,
        rasterio.open(folder / "out.tif", "w", **{**scene.profile, **WRITE}) as out,
    ):
        for row in range(0, scene.height, 512):
            block = Block(0, row, scene.width, min(512, scene.height - row))
            out.write(scene.read(window=block), window=block)


def _peer_net(folder: Path, net: str):
    import torch

    return torch.nn.Identity() if net == "identity" else network(folder)


def _write_whole(folder: Path, profile: dict, pixels: np.ndarray) -> None:
    with rasterio.open(folder / "out.tif", "w", **{**profile, **WRITE}) as out:
        out.write(np.rint(np.clip(pixels * 255, 0, 255)).astype("uint8"))


def monai(folder: Path, net: str) -> None:
    """MONAI sliding_window_inference, gaussian blending."""
    import torch
    from monai.inferers import sliding_window_inference

    with rasterio.open(folder / "scene.tif") as scene:
        pixels, profile = scene.read().astype("float32") / 255, scene.profile
    with torch.no_grad():
        answer = sliding_window_inference(
            torch.from_numpy(pixels)[None], (TILE_PX, TILE_PX), BATCH, _peer_net(folder, net),
            overlap=OVERLAP_PX / TILE_PX, mode="gaussian",
        )  # fmt: skip
    _write_whole(folder, profile, answer[0].numpy())


def toolbelt(folder: Path, net: str) -> None:
    """pytorch-toolbelt ImageSlicer and TileMerger, pyramid weights."""
    import torch
    from pytorch_toolbelt.inference.tiles import ImageSlicer, TileMerger

    with rasterio.open(folder / "scene.tif") as scene:
        pixels, profile = scene.read().transpose(1, 2, 0), scene.profile
    slicer = ImageSlicer(pixels.shape, TILE_PX, TILE_PX - OVERLAP_PX, weight="pyramid")
    merger = TileMerger(slicer.target_shape, 3, slicer.weight, device="cpu")
    model = _peer_net(folder, net)
    tiles = list(zip(slicer.iter_split(pixels), slicer.crops, strict=True))
    with torch.no_grad():
        for start in range(0, len(tiles), BATCH):
            batch = tiles[start : start + BATCH]
            stacked = np.stack([tile for (tile, _), _ in batch]).transpose(0, 3, 1, 2)
            answer = model(torch.from_numpy(stacked.astype("float32") / 255))
            merger.integrate_batch(answer, np.stack([coords for _, coords in batch]))
    merged = slicer.crop_to_orignal_size(merger.merge().numpy().transpose(1, 2, 0))
    _write_whole(folder, profile, merged.transpose(2, 0, 1))


def contestants(net: str, cloudy: float) -> dict[str, tuple[str, ...]]:
    """Who runs: name -> arguments of the child."""
    runs = {
        "geodecloud, exact": ("ours", net, "exact"),
        "geodecloud, fast": ("ours", net, "fast"),
        "MONAI sliding_window_inference": ("monai", net),
        "pytorch-toolbelt tiles": ("toolbelt", net),
    }
    if cloudy < 1:
        runs["geodecloud, exact, clouds alone"] = ("ours", net, "exact", "mask")
    if net == "identity":
        runs.pop("geodecloud, fast")
        runs["rasterio copy alone"] = ("copy",)
    return runs


def child(arguments: list[str]) -> None:
    """Run one contestant and print its figures."""
    folder, kind, *rest = arguments
    start = time.perf_counter()
    match kind:
        case "ours":
            ours(Path(folder), rest[0], rest[1], "mask" in rest)
        case "copy":
            copy(Path(folder))
        case "monai":
            monai(Path(folder), rest[0])
        case "toolbelt":
            toolbelt(Path(folder), rest[0])
        case "export":
            export(Path(folder))
    seconds = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb}))


def run(folder: Path, arguments: tuple[str, ...]) -> dict | None:
    """One turn of a contestant; None where it is not installed."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(folder), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def largest_jump(path: Path, step: int) -> int:
    """The largest step, in stored units, across the tile borders of a grid (first 2048 px)."""
    with rasterio.open(path) as out:
        side = min(2048, out.width)
        pixels = out.read(window=Block(0, 0, side, side)).astype(int)
    edges = np.arange(step, side - 1, step)
    return int(np.abs(pixels[:, :, edges] - pixels[:, :, edges - 1]).max())


def compare(net: str, side: int, cloudy: float, repeats: int) -> None:
    """Print the table of one network."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_scene(folder / "scene.tif", side)
        if cloudy < 1:
            make_mask(folder / "scene.tif", side, cloudy)
        if net == "unet":
            run(folder, ("export",))
        runs = contestants(net, cloudy)
        figures: dict[str, list[dict]] = {who: [] for who in runs}
        for _ in range(repeats):
            for who, arguments in runs.items():
                if (figure := run(folder, arguments)) is not None:
                    figures[who].append(figure)
    _print_table(net, side, cloudy, figures)


def _print_table(net: str, side: int, cloudy: float, figures: dict[str, list[dict]]) -> None:
    medians = {
        who: [statistics.median(turn[key] for turn in turns) for key in ("seconds", "peak_mb")]
        for who, turns in figures.items()
        if turns
    }
    peers = [medians[who][0] for who in medians if "geodecloud" not in who and "copy" not in who]
    best = min(peers, default=float("nan"))
    n_turns = max(len(turns) for turns in figures.values())
    share = f", {cloudy:.0%} cloudy" if cloudy < 1 else ""
    print(f"\n{net}, {side} x {side} x 3 uint8{share}; medians of {n_turns}\n")
    print("| contestant | seconds | of the fastest peer | Mpx/s | peak MB |")
    print("|---|---|---|---|---|")
    for who, turns in figures.items():
        if not turns:
            print(f"| {who} | not installed | | | |")
            continue
        seconds, peak = medians[who]
        rate = side**2 / seconds / 1e6
        print(f"| {who} | {seconds:.2f} | {seconds / best:.2f} | {rate:.2f} | {peak:.0f} |")


def main() -> None:
    """Read the options and run."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--net", choices=["identity", "unet", "both"], default="both")
    parser.add_argument("--cloudy", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for package in ("geodecloud", "torch", "onnxruntime", "monai", "pytorch-toolbelt"):
        try:
            print(package, version(package))
        except PackageNotFoundError:
            print(package, "not installed")
    for net in ("identity", "unet") if options.net == "both" else (options.net,):
        compare(net, options.side, options.cloudy, options.repeats)


if __name__ == "__main__":
    main()
