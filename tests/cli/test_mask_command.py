"""The mask command as its users run it: written, painted over, given back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio

SAMPLE = Path(__file__).parents[2] / "sample" / "zurich_2019.tif"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-m", "geodecloud", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_mask_is_written_and_given_back(tmp_path: Path) -> None:
    done = run("mask", SAMPLE, tmp_path / "mask.tif", "--dilate", 40, "--progress", "json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["command"] == "mask"
    assert 0.1 < events[-1]["mask_share"] < 0.8
    keep = tmp_path / "my-roofs+yards.tif"
    with rasterio.open(tmp_path / "mask.tif") as written:
        codes, profile = written.read(1), written.profile
    with rasterio.open(keep, "w", **{**profile, "driver": "GTiff"}) as roofs:
        roofs.write((np.mgrid[: codes.shape[0], : codes.shape[1]][0] < 100).astype("u1"), 1)
    again = run("mask", SAMPLE, tmp_path / "again.tif", "--mask", f"{tmp_path / 'mask.tif'}-{keep}")
    assert again.returncode == 0, again.stderr
    assert "to be replaced" in again.stdout
    twice = run(
        "mask", SAMPLE, tmp_path / "twice.tif",
        "--mask", tmp_path / "mask.tif", f"--mask=-{keep}",
    )  # fmt: skip
    assert twice.returncode == 0, twice.stderr
    codes[:100] = np.where(codes[:100] == 255, 255, 0)
    for name in ("again", "twice"):
        with rasterio.open(tmp_path / f"{name}.tif") as written:
            assert np.array_equal(written.read(1), codes)


def test_a_bad_mask_is_one_line_exit_1_and_no_file(tmp_path: Path) -> None:
    done = run("mask", SAMPLE, tmp_path / "mask.tif", "--detector", "no-such")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no detector 'no-such'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_mask_has_the_pixels_that_decloud_asks_for(tmp_path: Path) -> None:
    done = run("mask", SAMPLE, tmp_path / "mask.tif", "--mask", "none", "--resolution", 20)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "mask.tif") as written:
        assert written.res == (20, 20)
        assert written.shape == (256, 256)
