"""The decloud command as its users run it: a process, its exit code, its words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

SAMPLE = Path(__file__).parents[2] / "sample" / "zurich_2019.tif"
COMMAND = [sys.executable, "-I", "-m", "geodecloud"]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def test_the_sample_scene_is_cleared(tmp_path: Path) -> None:
    done = run("decloud", SAMPLE, tmp_path / "out.tif", "--provenance", tmp_path / "origin.tif",
               "--compare", tmp_path / "page.html", "--progress", "json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "start"
    assert events[0]["protocol"] == "geodecloud-progress"
    assert events[0]["version"] == 1
    assert events[-1]["event"] == "result"
    assert 0.1 < events[-1]["generated_share"] < 0.6
    assert {event["message"] for event in events if event["event"] == "progress"} >= {"tiles"}
    with rasterio.open(SAMPLE) as before, rasterio.open(tmp_path / "out.tif") as after:
        kind = rasterio.open(tmp_path / "origin.tif").read(1)
        assert (before.read()[:, kind == 1] == after.read()[:, kind == 1]).all()
        assert np.percentile(after.read(1), 99.9) < np.percentile(before.read(1), 99)
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_an_error_is_one_line_exit_1_and_no_traceback(tmp_path: Path) -> None:
    done = run("decloud", tmp_path / "none.tif", tmp_path / "out.tif")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_in_json_mode_the_error_is_an_event(tmp_path: Path) -> None:
    done = run("decloud", tmp_path / "none.tif", tmp_path / "out.tif", "--progress", "json")
    event = json.loads(done.stdout.splitlines()[-1])
    assert event["event"] == "error"
    assert event["kind"] == "InputError"
    assert {"found", "expected", "todo"} <= set(event)


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["decloud"], ["decloud", "a", "b", "--halo", "x"],
     ["decloud", "a", "b", "--batch-size", "many"]],
    ids=["command", "missing", "choice", "number"],
)  # fmt: skip
def test_wrong_usage_exits_1_with_help(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Usage" in done.stderr or "Error" in done.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_stopping_exits_130_and_leaves_nothing(sign: signal.Signals, tmp_path: Path) -> None:
    with start("decloud", SAMPLE, tmp_path / "out.tif", "--progress", "json") as child:
        assert json.loads(child.stdout.readline())["event"] == "start"
        child.send_signal(sign)
        errors = child.stderr.read()
    assert child.returncode == 130, errors
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())


def test_the_child_stops_when_its_parent_closes_the_pipe(tmp_path: Path) -> None:
    arguments = ("decloud", SAMPLE, tmp_path / "out.tif", "--progress", "json", "--watch-stdin")
    with start(*arguments) as child:
        child.stdout.readline()
        child.stdin.close()
        assert child.wait(timeout=20) == 130


def _kill_at_random(tmp_path: Path, times: int) -> None:
    rng = np.random.default_rng(7)
    begun = time.perf_counter()
    run("decloud", SAMPLE, tmp_path / "whole.tif")
    seconds = time.perf_counter() - begun
    whole = (tmp_path / "whole.tif").read_bytes()
    out = tmp_path / "out.tif"
    n_killed = n_runs = 0
    while n_killed < times and n_runs < 4 * times:  # runs that end before their kill prove nothing
        n_runs += 1
        with start("decloud", SAMPLE, out, "--overwrite") as child:
            try:
                child.wait(timeout=rng.uniform(0.1, 0.9) * seconds)
            except subprocess.TimeoutExpired:
                os.kill(child.pid, signal.SIGKILL)
                n_killed += 1
        if out.exists():
            assert out.read_bytes() == whole
            out.unlink()
    assert n_killed >= times // 2
    # what a killed run left is no obstacle to the next one
    assert run("decloud", SAMPLE, out).returncode == 0
    assert out.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tif", "whole.tif"]


@pytest.mark.slow
def test_killed_at_any_moment_nothing_bad_stands_under_the_final_name(tmp_path: Path) -> None:
    _kill_at_random(tmp_path, 60)


def test_killed_a_few_times_nothing_bad_stands_under_the_final_name(tmp_path: Path) -> None:
    _kill_at_random(tmp_path, 4)


def test_several_scenes_go_into_a_folder_of_rasters(tmp_path: Path) -> None:
    scenes = [tmp_path / "first.tif", tmp_path / "second.tif"]
    with rasterio.open(SAMPLE) as sample:
        dn, profile = sample.read(window=((0, 128), (0, 128))), dict(sample.profile)
    for scene in scenes:
        with rasterio.open(scene, "w", **{**profile, "height": 128, "width": 128}) as made:
            made.write(dn)
            made.descriptions = ("B02", "B03", "B04", "B08")
    arguments = ("--model", "fill", "--progress", "json", "--compare", tmp_path / "pages")
    done = run("decloud", *scenes, tmp_path / "clear", *arguments)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events].count("start") == 1
    files = [scene["files"] for scene in events[-1]["scenes"]]
    assert [Path(named["output"]).name for named in files] == ["first.tif", "second.tif"]
    assert all(Path(path).is_file() for named in files for path in named.values())
    done = run("decloud", *scenes, tmp_path / "one.tif", "--model", "fill")
    assert done.returncode == 1
    assert "second.tif both hold band B02" in done.stderr
    assert not (tmp_path / "one.tif").exists()
