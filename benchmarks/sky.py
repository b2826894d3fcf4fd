"""Skies beside their peers: chips a second, and the figure of docs/skies.md.

Noise of twelve octaves on chips of 64x64 pixels at 10 m, and whole skies with shadows on four
bands. Contestants take turns. Quoted are, on one thread, the median of the processor's time for
their own turns; on all cores the shortest time on the wall, which other work lengthens. Ratios are
to the double loop over ``noise.pnoise2`` and to satellite-cloud-generator as it comes, by the same
clock; who is not installed is left out with a word.

    python benchmarks/sky.py
    python benchmarks/sky.py --figure docs/figures/skies.png --ground GROUND.tif --beside CLOUDY.tif
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from geodecloud.sky.clouds import CELLS_M, Sky, apply_sky, random_skies
from geodecloud.sky.perlin import HashGradients, Places, layered_noise

PX, PIXEL_M = 64, 10.0
AMPLITUDES = [0.7**octave for octave in range(len(CELLS_M))]
NM = (492.4, 559.8, 664.6, 832.8)  # B02, B03, B04, B08
TURN_CHIPS = 64  # in a turn, so that it takes some milliseconds


def installed(name: str) -> ModuleType | None:
    """The module, or None and a word about it."""
    try:
        return import_module(name)
    except ImportError:
        print(f"{name} is not installed: left out")
        return None


def ground_of(n_chips: int) -> np.ndarray:
    base = np.asarray([0.05, 0.08, 0.06, 0.3], np.float32)[:, None, None]
    return base * np.random.default_rng(0).uniform(0.5, 1.5, (n_chips, 4, PX, PX)).astype("f4")


def places_of(n_chips: int, to: Callable[[np.ndarray], Any]) -> Places:
    start = to(np.arange(n_chips) * 1000.0 + 0.5)
    return Places(start, start, PIXEL_M, (PX, PX))


def loop(noise: ModuleType) -> Callable[[], None]:
    """One chip by the tutorials' double loop: every pixel, every octave, written into an array."""

    def chip() -> None:
        field = np.zeros((PX, PX))
        for i in range(PX):
            for j in range(PX):
                for amplitude, cell in zip(AMPLITUDES, CELLS_M, strict=True):
                    field[i][j] += amplitude * noise.pnoise2(
                        i * PIXEL_M / cell, j * PIXEL_M / cell, octaves=1, persistence=0.5,
                        lacunarity=2.0, repeatx=1024, repeaty=1024, base=0,
                    )  # fmt: skip

    return chip


def bare_loop(noise: ModuleType) -> Callable[[], None]:
    """One chip by the same loop, with nothing in it but the calls."""

    def chip() -> None:
        pnoise2 = noise.pnoise2
        for i in range(PX):
            for j in range(PX):
                for cell in CELLS_M:
                    pnoise2(i * PIXEL_M / cell, j * PIXEL_M / cell)

    return chip


def our_noise(
    n_chips: int, to: Callable[[np.ndarray], Any], threads: int = 1
) -> Callable[[], None]:
    seeds, places = to(np.arange(n_chips)), places_of(n_chips, to)
    amplitudes, cells = to(np.asarray([AMPLITUDES])), dict(enumerate(CELLS_M))

    def chips() -> None:
        layered_noise(HashGradients(seeds), places, cells, amplitudes, threads=threads)

    return chips


def our_sky(n_chips: int, to: Callable[[np.ndarray], Any], threads: int = 1) -> Callable[[], None]:
    seeds, places, ground = to(np.arange(n_chips)), places_of(n_chips, to), to(ground_of(n_chips))

    def chips() -> None:
        apply_sky(ground, NM, random_skies(seeds), places, threads=threads)

    return chips


class Contestant(NamedTuple):
    """Who it is, how many chips a call makes, the call, and whether it takes all cores."""

    name: str
    n_chips: int
    make: Callable[[], object]
    takes_all: bool = False


LOOP, PEER = "noise: double loop over noise.pnoise2", "sky: satellite-cloud-generator, defaults"


def contestants(batch: int, cores: int) -> Iterable[Contestant]:
    all_cores = f"numpy, {cores} threads, wall clock"
    if noise := installed("noise"):
        yield Contestant(LOOP, 1, loop(noise))
        yield Contestant("noise: the calls of that loop alone", 1, bare_loop(noise))
    yield Contestant("noise: ours, numpy", batch, our_noise(batch, np.asarray))
    yield Contestant(f"noise: ours, {all_cores}", batch, our_noise(batch, np.asarray, cores), True)
    if torch := installed("torch"):
        torch.set_num_threads(1)
        yield Contestant("noise: ours, torch", batch, our_noise(batch, torch.from_numpy))
    if torch and (peer := installed("satellite_cloud_generator")):
        chips = torch.from_numpy(ground_of(8))
        yield Contestant(PEER, 8, lambda: peer.add_cloud(chips))
        yield Contestant("sky: the same with shadows", 8, lambda: peer.add_cloud_and_shadow(chips))
    yield Contestant("sky: ours, numpy", batch, our_sky(batch, np.asarray))
    yield Contestant(f"sky: ours, {all_cores}", batch, our_sky(batch, np.asarray, cores), True)
    if torch:
        yield Contestant("sky: ours, torch", batch, our_sky(batch, torch.from_numpy))


def compare(batch: int, turns: int, cores: int) -> None:
    field = list(contestants(batch, cores))
    clocks = time.process_time, time.perf_counter
    seconds: dict[str, list[np.ndarray]] = {each.name: [] for each in field}
    for turn in range(turns + 1):
        for name, n_chips, make, _ in field:
            times = max(1, TURN_CHIPS // n_chips) if n_chips > 1 else 1
            start = np.asarray([clock() for clock in clocks])
            for _ in range(times):
                make()
            took = np.asarray([clock() for clock in clocks]) - start
            if turn:  # the first warms up
                seconds[name].append(took / n_chips / times)
    # by the clock: of the processor, of the wall
    rates = {
        name: (1 / np.median(values, 0)[0], 1 / np.min(values, 0)[1])
        for name, values in seconds.items()
    }
    print(
        f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, batches of {batch}, "
        f"{versions()}\n"
        f"\n| {'64x64, 12 octaves':42} | chips/s | x double loop | x generator |"
        f"\n|{'-' * 44}|--------:|--------------:|------------:|"
    )
    for name, _, _, takes_all in field:
        clock = int(takes_all)
        rate = rates[name][clock]
        ratios = [
            f"{rate / rates[peer][clock]:.1f}" if peer in rates else "" for peer in (LOOP, PEER)
        ]
        print(f"| {name:42} | {rate:7.0f} | {ratios[0]:>13} | {ratios[1]:>11} |")


def versions() -> str:
    found = []
    for name in ("numpy", "torch", "noise", "satellite-cloud-generator"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


FIGURE_PX, SHRINK = 480, 2  # side of a panel's ground, and pixels of it in one of the figure
PANELS = (
    ("cumulus", Sky(24, 0.3, "cumulus", 145, 60)),
    ("deck", Sky(3, 0.75, "deck", 145, 60)),
    ("cirrus", Sky(11, 0.6, "cirrus", 145, 60)),
    ("haze", Sky(1, 0.9, "haze", 145, 60)),
    ("fog", Sky(3, 0.5, "fog", 145, 60)),
)
CLASSES = {"is_thin": (0.55, 0.75, 0.95), "is_thick": (1, 1, 1), "is_shadow": (0.25, 0.2, 0.35)}


def read_bands(path: Path, row: int, col: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Reflectance (1, 4, px, px) of B02, B03, B04, B08, and row and col of its first pixel."""
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(path) as scene:
        names = ("B02", "B03", "B04", "B08")
        held = scene.descriptions
        bands = [held.index(name) + 1 for name in names] if held[0] else [1, 2, 3, 4]
        dn = scene.read(bands, window=Window(col, row, FIGURE_PX, FIGURE_PX))
        x, y = scene.transform * (col + 0.5, row + 0.5)
    return dn[None].astype(np.float32) / 1e4, (-y / PIXEL_M, x / PIXEL_M)


def true_colour(reflectance: np.ndarray) -> np.ndarray:
    rgb = np.moveaxis(reflectance[0, [2, 1, 0]], 0, -1)
    side = FIGURE_PX // SHRINK
    rgb = rgb.reshape(side, SHRINK, side, SHRINK, 3).mean((1, 3))
    return np.clip(rgb / 0.35, 0, 1) ** (1 / 1.6)


def draw(target: Path, ground_path: Path, beside: Path | None) -> None:
    """Write the figure: clear ground, four skies over it, one truth, and real clouds beside."""
    from io import BytesIO

    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    ground, (row, col) = read_bands(ground_path, 120, 120)
    places = Places(np.asarray([row]), np.asarray([col]), PIXEL_M, (FIGURE_PX, FIGURE_PX))
    panels = [("clear ground", true_colour(ground))]
    for name, sky in PANELS:
        cloudy, truth = apply_sky(ground, NM, sky, places)
        panels.append((name, true_colour(cloudy)))
        if sky.type == "cumulus":
            classes = np.full((FIGURE_PX, FIGURE_PX, 3), (0.35, 0.5, 0.3))
            for mask, colour in CLASSES.items():
                classes[getattr(truth, mask)[0, 0]] = colour
            panels.append(("its truth: thin, thick, shadow", classes[::SHRINK, ::SHRINK]))
    if beside is not None:
        panels.append(("real clouds", true_colour(read_bands(beside, 300, 420)[0])))
    side = FIGURE_PX // SHRINK / 100
    columns = 4
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * (side + 0.06), rows * (side + 0.26)), dpi=100
    )
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.2 / (rows * 2.8), 0.02, 0.09)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, picture) in zip(axes.flat, panels, strict=False):
        axis.imshow(picture, interpolation="none")
        axis.set_title(name, fontsize=9, pad=3)
    page = BytesIO()
    figure.savefig(page, format="png")
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.open(page).convert("RGB").quantize(200).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64, help="chips in one call (64)")
    parser.add_argument("--turns", type=int, default=9, help="turns of each contestant (9)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="of the rows on all cores"
    )
    parser.add_argument("--figure", type=Path, help="draw the figure of the guide here instead")
    parser.add_argument("--ground", type=Path, help="a clear Sentinel-2 L2A scene, for the figure")
    parser.add_argument("--beside", type=Path, help="a cloudy one, drawn beside the figure")
    options = parser.parse_args()
    if options.figure is None:
        compare(options.batch, options.turns, options.threads)
    elif options.ground is None:
        parser.error("--figure needs --ground")
    else:
        draw(options.figure, options.ground, options.beside)


if __name__ == "__main__":
    main()
