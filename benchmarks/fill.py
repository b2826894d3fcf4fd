"""The fill beside other ways to draw what is under a mask: PSNR there, in dB.

Clear chips of real scenes under drawn blobs of three sizes, and real cloudy/clear pairs under
their difference, grown by 40 and 80 m. Reads the real scenes beside the repository.

    python benchmarks/fill.py [DATA]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rasterio

from geodecloud.geo.fill import Fill
from geodecloud.geo.masks import Disk, dilate
from geodecloud.geo.scene import ArrayMask, ArrayScene
from geodecloud.geo.sensors import SENSORS
from geodecloud.geo.tiling import Window
from geodecloud.metrics import psnr

SENSOR = SENSORS["sentinel-2-l2a"].select(["B02", "B03", "B04", "B08"])
BLOBS_PX = {"blobs of 4 px": 4, "12 px": 12, "40 px": 40}


def read(path: Path) -> np.ndarray:
    """Stored numbers (4, H, W)."""
    with rasterio.open(path) as raster:
        return raster.read([1, 2, 3, 4])


def blobs(shape: tuple[int, int], size_px: int, rng: np.random.Generator) -> np.ndarray:
    """A third of the pixels, in blobs: smoothed noise above a threshold."""
    noise = rng.normal(size=shape)
    for axis in (0, 1):
        for _ in range(3):
            kernel = np.ones(size_px) / size_px
            noise = np.apply_along_axis(np.convolve, axis, noise, kernel, "same")
    return noise > np.quantile(noise, 0.67)


def cases(data: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Kind, dn as seen, mask, true dn."""
    rng = np.random.default_rng(1)
    bolzano = read(data / "train/scenes_clear/bolzano_S2_L2A_B02B03B04B08SCL.tif")
    clear = [bolzano[:, row : row + 256, col : col + 256] for row in (0, 256) for col in (0, 400)]
    folder = data / "train/sen12mscr_pairs"
    pairs = sorted(path for path in folder.glob("*_s2_[0-9]*.tif"))
    clear += [read(path) for path in pairs[:4]]
    for dn in clear:
        for kind, size_px in BLOBS_PX.items():
            yield kind, dn, blobs(dn.shape[1:], size_px, rng), dn
    for path in pairs:
        dn, cloudy = read(path), read(Path(str(path).replace("_s2_", "_s2_cloudy_")))
        change = np.abs(cloudy.astype(float) - dn).mean(0) / 10_000 > 0.04
        for grown_px in (4, 8):
            mask = dilate(change, Disk.of_px(grown_px))
            if 0.05 < mask.mean() < 0.97:
                yield f"pairs + {grown_px}0 m", cloudy, mask, dn


def fill(dn: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Ours."""
    filled = Fill.build(ArrayScene(dn, SENSOR), ArrayMask(mask))
    return filled.read(Window.whole(mask.shape))


def scene_mean(dn: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean of all clear pixels."""
    values = dn / np.float32(10_000)
    return np.where(mask, values[:, ~mask].mean(1)[:, None, None], values)


def inpaint(flag: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """OpenCV's inpainting, radius 5, band by band in 16 bits."""
    import cv2

    def run(dn: np.ndarray, mask: np.ndarray) -> np.ndarray:
        bands = [cv2.inpaint(band, mask.astype("uint8"), 5, flag) for band in dn]
        return np.stack(bands) / np.float32(10_000)

    return run


def methods() -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """All that are installed."""
    found = {"mean of the scene": scene_mean}
    try:
        import cv2

        found["OpenCV, Telea"] = inpaint(cv2.INPAINT_TELEA)
        found["OpenCV, Navier-Stokes"] = inpaint(cv2.INPAINT_NS)
    except ModuleNotFoundError:
        print("OpenCV is not installed\n")
    return {**found, "fill": fill}


def main() -> None:
    """Print the table."""
    default = Path(__file__).parents[2] / "shared" / "data"
    data = Path(sys.argv[1]) if sys.argv[1:] else default
    if not data.is_dir():
        print(f"no real scenes at {data}: nothing measured")
        return
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    known = methods()
    kinds: dict[str, int] = defaultdict(int)
    for kind, dn, mask, truth in cases(data):
        kinds[kind] += 1
        for name, method in known.items():
            start = time.perf_counter()
            drawn = method(dn, mask)
            seconds[name] += time.perf_counter() - start
            wanted = truth / np.float32(10_000)
            figures[name, kind].append(psnr(drawn, wanted, mask, data_range=1.0))
    heads = [f"{kind} ({n})" for kind, n in kinds.items()]
    print("| PSNR under the mask, dB (cases) | " + " | ".join(heads) + " | seconds |")
    print("|---" * (len(kinds) + 2) + "|")
    for name in known:
        row = [f"{statistics.mean(figures[name, kind]):.1f}" for kind in kinds]
        print(f"| {name} | " + " | ".join(row) + f" | {seconds[name]:.1f} |")


if __name__ == "__main__":
    main()
