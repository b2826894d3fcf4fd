"""Killed, out of room, cut off, flipped: the file under its name is whole, or there is none."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geodecloud.errors import OutputError
from geodecloud.geo import raster
from geodecloud.geo.raster import RasterSink, open_scene, profile_of, write_array
from geodecloud.geo.tiling import Window
from tests.conftest import absent
from tests.strategies import make_scene

REPOSITORY = Path(__file__).resolve().parents[2]

CHILD = """
import json, os, random, resource, sys, time
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from geodecloud.errors import GeodecloudError, OutputError
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.raster import RasterSink, open_scene, profile_of
from geodecloud.geo.profile import Profile
from geodecloud.geo.scene import shape_of
from geodecloud.geo.tiling import Window

def noise(n_px, n_bands=2):
    return np.random.default_rng(0).integers(1, 65536, (n_bands, n_px, n_px), np.uint16)

def write(path, array, rows_px=200, **options):
    n_bands, height, width = array.shape
    geobox = GeoBox((height, width), Affine(10, 0, 6e5, 0, -10, 5e6), "EPSG:32632")
    profile = Profile("uint16", (0,) * n_bands, (None,) * n_bands, (1,) * n_bands, (0,) * n_bands,
                      (None,) * n_bands, ("undefined",) * n_bands)
    with RasterSink(path, geobox, profile, **options) as sink:
        for row in range(0, height, rows_px):
            part = array[:, row : row + rows_px]
            sink.write(Window(row, 0, part.shape[1], width), part, part > 0)

def is_whole(path, array):
    with open_scene(path) as scene:
        return np.array_equal(scene.read(Window.whole(shape_of(scene.geobox)))[0], array)

"""


def start(code, *arguments):
    """A process that runs the code after the common part."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + code, *map(str, arguments)],
        cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE,
    )  # fmt: skip


def answer(process, timeout_s=300):
    """What a process says at its end; it must end well."""
    out, error = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, error[-2000:]
    return json.loads(out)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


KILLED = """
path, is_cog = sys.argv[1], sys.argv[2] == "True"
array = noise(1200)
print("ready", flush=True)
sys.stdin.readline()
write(path, array, overwrite=True, cog=is_cog, compress="deflate")
"""


def kill_while_writing(path, *, is_cog, seconds):
    """Start a writer, and kill it after so many seconds of writing."""
    with start(KILLED, path, is_cog) as process:
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)


def check_kills(folder, n_kills, seed):
    rng = random.Random(seed)
    expected = np.random.default_rng(0).integers(1, 65536, (2, 1200, 1200), np.uint16)
    old = make_scene((10, 10))
    for kill in range(n_kills):
        path = folder / "out.tif"
        has_old = kill % 2
        if has_old:
            write_array(path, old.read(Window.whole((10, 10)))[0], old.geobox, profile_of(old))
        kill_while_writing(path, is_cog=kill % 4 < 2, seconds=rng.uniform(0, 0.9))
        if not path.exists():
            assert not has_old, "the old file is gone and no new one is there"
            continue
        with open_scene(path) as scene:
            dn, _ = scene.read(Window.whole(scene.geobox.shape))
        assert np.array_equal(dn, old.read(Window.whole((10, 10)))[0] if has_old else expected) or (
            np.array_equal(dn, expected)
        )
        path.unlink()
    small = make_scene((10, 10))
    write_array(
        folder / "out.tif", small.read(Window.whole((10, 10)))[0], small.geobox, profile_of(small)
    )
    assert names(folder) == ["out.tif"], "the next writer clears away what was left"


def test_killed_at_any_moment_no_bad_file_has_the_name(tmp_path):
    check_kills(tmp_path, 4, seed=1)


@pytest.mark.slow
def test_killed_sixty_times_no_bad_file_has_the_name(tmp_path):
    check_kills(tmp_path, 60, seed=2)


# A limit on the size of files fails each write beyond it with EFBIG, in GDAL's threads as well.
LIMITED = """
folder, n_limits = sys.argv[1], int(sys.argv[2])
array = noise(1200)
counts = {"failed": 0, "whole": 0, "silent": [], "left": []}
rng = random.Random(0)
for i in range(n_limits):
    options = {"cog": i % 3 < 2, "compress": rng.choice(["deflate", "zstd", "none"])}
    # random numbers do not compress: with overviews a COG is a third larger than its rows
    limit = rng.randrange(5_000_000, 8_500_000) if i % 2 else rng.randrange(0, 6_500_000)
    path = os.path.join(folder, "out.tif")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write(path, array, **options)
    except OutputError as error:
        counts["failed"] += 1
        if os.listdir(folder):
            counts["left"].append([limit, options, os.listdir(folder)])
    else:
        if is_whole(path, array):
            counts["whole"] += 1
        else:
            counts["silent"].append([limit, options])
        os.unlink(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
print(json.dumps(counts))
"""


def check_limits(folder, n_limits):
    counts = answer(start(LIMITED, folder, n_limits), timeout_s=1200)
    assert counts["silent"] == []
    assert counts["left"] == []
    assert counts["failed"] + counts["whole"] == n_limits
    assert counts["failed"] > n_limits / 2


def test_a_write_that_fails_at_any_byte_is_never_a_silent_success(tmp_path):
    check_limits(tmp_path, 12)


@pytest.mark.slow
def test_five_hundred_failing_writes_and_no_silent_success(tmp_path):
    check_limits(tmp_path, 500)


FULL = """
folder, array, counts = sys.argv[1], noise(700), {"failed": 0, "whole": 0, "bad": []}
for size in range(100_000, 7_000_000, int(sys.argv[2])):
    os.system(f"mount -o remount,size={size} {folder}")
    path = os.path.join(folder, "out.tif")
    is_cog = (size // 1000) % 2 == 0
    try:
        write(path, array, cog=is_cog)
    except OutputError as error:
        counts["failed"] += 1
        if os.listdir(folder) or "MB are free" not in str(error):
            counts["bad"].append([size, is_cog, str(error), os.listdir(folder)])
    else:
        counts["whole"] += is_whole(path, array)
        os.unlink(path)
print(json.dumps(counts))
"""


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, whose size root may change."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        absent("no mount command here")
    if done.returncode:
        absent(f"a small disk needs root: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_is_an_error_that_names_the_room_left(small_disk):
    counts = answer(start(FULL, small_disk, 531_000))
    assert counts["bad"] == []
    assert counts["failed"] >= 6
    assert counts["whole"] >= 2


INTERRUPTED = """
path = sys.argv[1]
array = noise(6000, 1)
print("ready", flush=True)
try:
    write(path, array, rows_px=6000, compress="lzw")
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_ends_the_conversion_soon_and_leaves_nothing(tmp_path):
    with start(INTERRUPTED, tmp_path / "out.tif") as process:
        assert process.stdout.readline() == "ready\n"
        part = tmp_path / "out.tif.part"
        while not any(
            name.startswith(part.name) and "rows" not in name for name in names(tmp_path)
        ):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert time.monotonic() - asked < 5
    assert names(tmp_path) == []


def open_sink(path):
    scene = make_scene((40, 50))
    return RasterSink(path, scene.geobox, profile_of(scene), overwrite=True), scene


def test_two_writers_of_one_output_get_one_clear_refusal(tmp_path):
    (first, scene), (second, _) = (open_sink(tmp_path / "out.tif") for _ in range(2))
    with first:
        with pytest.raises(OutputError, match="written by another"):
            second.__enter__()
        first.write(Window.whole((40, 50)), *scene.read(Window.whole((40, 50))))
    with second:  # now it may
        second.write(Window.whole((40, 50)), *scene.read(Window.whole((40, 50))))
    assert names(tmp_path) == ["out.tif"]


HELD = """
array = noise(50)
geobox = GeoBox((50, 50), Affine(10, 0, 6e5, 0, -10, 5e6), "EPSG:32632")
profile = Profile("uint16", (0,), (None,), (1,), (0,), (None,), ("gray",))
with RasterSink(sys.argv[1], geobox, profile) as sink:
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_another_process_is_refused_until_the_first_is_gone_even_killed(tmp_path):
    sink, scene = open_sink(tmp_path / "out.tif")
    with start(HELD, tmp_path / "out.tif") as process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(OutputError, match="written by another"):
            sink.__enter__()
        process.kill()
        process.wait()
    with sink:
        sink.write(Window.whole((40, 50)), *scene.read(Window.whole((40, 50))))
    assert names(tmp_path) == ["out.tif"]


@pytest.mark.parametrize("is_cog", [True, False])
def test_a_bit_that_flips_before_the_file_is_verified_is_found(tmp_path, monkeypatch, is_cog):
    scene = make_scene((64, 64))  # one whole block: the last bytes are pixels
    options = {"cog": is_cog, "compress": "none"}
    sink = RasterSink(tmp_path / "out.tif", scene.geobox, profile_of(scene), **options)
    open_file = raster._File

    def open_damaged(entry):
        path = entry.path
        if path.name == "out.tif.part":
            content = bytearray(path.read_bytes())
            content[-100] ^= 1
            path.write_bytes(content)
        return open_file(entry)

    monkeypatch.setattr(raster, "_File", open_damaged)
    with pytest.raises(OutputError, match="reads back differently"), sink:
        sink.write(Window.whole((64, 64)), *scene.read(Window.whole((64, 64))))
    assert names(tmp_path) == []


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    events = []
    fsync, rename = os.fsync, Path.replace

    def record_fsync(descriptor):
        events.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def record_rename(path, target):
        events.append(f"rename {path.name} {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_rename)
    sink, scene = open_sink(tmp_path / "out.tif")
    with sink:
        sink.write(Window.whole((40, 50)), *scene.read(Window.whole((40, 50))))
    assert events == [
        "fsync out.tif.part", "rename out.tif.part out.tif", f"fsync {tmp_path.name}"
    ]  # fmt: skip


def test_a_failing_conversion_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(raster, "_convert", fail)
    sink, scene = open_sink(tmp_path / "out.tif")
    with pytest.raises(OutputError, match="No space left"), sink:
        sink.write(Window.whole((40, 50)), *scene.read(Window.whole((40, 50))))
    assert names(tmp_path) == []


MUTATED = """
folder, n_files, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng, path = random.Random(seed), os.path.join(folder, "mutated.tif")
seeds = [open(os.path.join(folder, name), "rb").read() for name in sorted(os.listdir(folder))]
counts = {"read": 0, "refused": 0, "untyped": [], "slow": []}
for _ in range(n_files):
    content = bytearray(rng.choice(seeds))
    header = rng.random() < 0.7  # the first bytes say how to read the rest
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(min(len(content), 600) if header else len(content))
        content[at] ^= 1 << rng.randrange(8)
    if rng.random() < 0.2:
        del content[rng.randrange(len(content)):]
    with open(path, "wb") as file:
        file.write(content)
    start = time.monotonic()
    try:
        with open_scene(path) as scene:
            profile_of(scene)
            shape = shape_of(scene.geobox)
            for row in range(0, min(shape[0], 2000), 64):
                scene.read(Window(row, 0, min(64, shape[0] - row), min(shape[1], 2000)))
            check_radiometry(scene)
        counts["read"] += 1
    except GeodecloudError:
        counts["refused"] += 1
    except Exception as error:
        counts["untyped"].append(repr(error)[:300])
    if time.monotonic() - start > 10:
        counts["slow"].append(content[:600].hex())
with open("/proc/self/status") as file:  # getrusage would count the parent's memory before exec
    counts["peak_mb"] = next(int(line.split()[1]) for line in file if "VmHWM" in line) / 1024
print(json.dumps(counts))
"""


def check_mutations(folder, n_files, seed):
    scene = make_scene((130, 70))
    dn, _ = scene.read(Window.whole((130, 70)))
    for name, options in {
        "cog": {}, "zstd": {"compress": "zstd"}, "plain": {"cog": False},
        "none": {"cog": False, "compress": "none"}, "lzw": {"cog": False, "compress": "lzw"},
    }.items():  # fmt: skip
        write_array(folder / f"{name}.tif", dn, scene.geobox, profile_of(scene), **options)
    for driver, dtype in {"PNG": "uint8", "JPEG": "uint8", "JP2OpenJPEG": "uint16"}.items():
        with rasterio.open(folder / driver, "w", driver=driver, width=70, height=130, count=3,
                           dtype=dtype, transform=scene.geobox.affine) as file:  # fmt: skip
            file.write(dn[:3].astype(dtype))
    counts = answer(start(MUTATED, folder, n_files, seed), timeout_s=600)
    assert counts["untyped"] == []
    assert counts["slow"] == []
    assert counts["peak_mb"] < 1000
    assert counts["refused"] > n_files / 10
    assert counts["read"] + counts["refused"] == n_files


def test_mutated_rasters_give_a_typed_error_or_a_scene(tmp_path):
    check_mutations(tmp_path, 300, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_thousands_of_mutated_rasters_give_a_typed_error_or_a_scene(tmp_path, seed):
    check_mutations(tmp_path, 3000, seed)
