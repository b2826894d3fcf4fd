"""Clouds filled from another date beside other ways to use it: PSNR under the mask, in dB.

    python benchmarks/references.py DATA

DATA holds ``test/sen12mscrts_ROI146_patch0_30dates``: one place on thirty dates of 2018. Of two
clear dates that follow each other the first is put under drawn clouds and filled from the second.
"""

from __future__ import annotations

import argparse
import datetime
import re
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np

from geodecloud.geo import references
from geodecloud.geo.fill import Fill
from geodecloud.geo.raster import open_scene
from geodecloud.geo.references import Reference, ReferenceFill
from geodecloud.geo.scene import ArrayMask, ArrayScene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.metrics import psnr

FOLDER = "test/sen12mscrts_ROI146_patch0_30dates"
BANDS = ("B02", "B03", "B04", "B08")
CLOUD_SHARE = 0.35
SIZES_PX = (6, 20, 60)


def date_of(file: Path) -> datetime.date:
    """The date in a file's name."""
    return datetime.date.fromisoformat(re.search(r"\d{4}-\d\d-\d\d", file.name).group())


def clear_scenes(folder: Path) -> list[ArrayScene]:
    """The dates without cloud, in order: dark in the blue throughout."""
    scenes = []
    for file in sorted(folder.glob("*.tif"), key=date_of):
        with open_scene(file, bands=BANDS, scale=1e-4, offset=0) as scene:
            dn, valid = scene.read(Window.whole(shape_of(scene.geobox)))
            if np.median(dn[0]) < 1400 and np.percentile(dn[0], 99) < 1600:
                scenes.append(ArrayScene(dn, scene.sensor, scene.geobox, valid))
    return scenes


def blobs(shape: tuple[int, int], size_px: int, random: np.random.Generator) -> np.ndarray:
    """(H, W) bool: smooth noise above a threshold."""
    rows, cols = (np.fft.fftfreq(side) for side in shape)
    pass_low = np.exp(-2 * (np.pi * size_px) ** 2 * (rows[:, None] ** 2 + cols**2))
    smooth = np.fft.ifft2(np.fft.fft2(random.normal(size=shape)) * pass_low).real
    return smooth > np.quantile(smooth, 1 - CLOUD_SHARE)


def answers(scene: ArrayScene, other: ArrayScene, mask: ArrayMask) -> dict[str, np.ndarray]:
    """What each way puts under the mask, (C, H, W) reflectance."""
    whole = Window.whole(shape_of(scene.geobox))
    clear = ArrayMask(np.zeros(whole.shape, bool))
    reference = Reference(other, clear)
    raw = other.sensor.to_reflectance(other.read(whole)[0])
    gain, offset = references.match(scene, mask, reference)
    unmatched = np.ones_like(gain), np.zeros_like(gain)
    with patch.object(references, "match", lambda *_: unmatched):
        difference = ReferenceFill.build(scene, mask, [reference]).read(whole)
    return {
        "fill: this date alone": Fill.build(scene, mask).read(whole),
        "the other date as it is": raw,
        "matched by a line a band": gain * raw + offset,
        "difference drawn on": difference,
        "geodecloud: both": ReferenceFill.build(scene, mask, [reference]).read(whole),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    scenes = clear_scenes(parser.parse_args().data / FOLDER)
    found: dict[str, dict[int, list[float]]] = {}
    random = np.random.default_rng(0)
    for size_px in SIZES_PX:
        for scene, other in pairwise(scenes):
            shape = shape_of(scene.geobox)
            clouds = blobs(shape, size_px, random)
            truth = scene.sensor.to_reflectance(scene.read(Window.whole(shape))[0])
            for name, answer in answers(scene, other, ArrayMask(clouds)).items():
                rows = found.setdefault(name, {}).setdefault(size_px, [])
                rows.append(psnr(answer, truth, clouds, data_range=1))
    print(f"| {len(scenes) - 1} pairs of dates | " + " | ".join(f"{s} px" for s in SIZES_PX) + " |")
    print("|---" * (1 + len(SIZES_PX)) + "|")
    for name, by_size in found.items():
        print(f"| {name} | " + " | ".join(f"{np.mean(row):.1f}" for row in by_size.values()) + " |")


if __name__ == "__main__":
    main()
