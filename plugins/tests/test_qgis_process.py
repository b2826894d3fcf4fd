"""qgis_process runs every algorithm, and takes its child with it when it is killed."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import PYTHON, cut, pixels, qgis_process


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    child = qgis_process(profile, "plugins", "enable", "qgis_geodecloud")
    _, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return profile


@pytest.fixture
def call(profile):
    def call(name, **parameters):
        words = [f"--{key}={value}" for key, value in parameters.items()]
        child = qgis_process(
            profile, "--json", "run", f"geodecloud:{name}", *words, GEODECLOUD_PYTHON=str(PYTHON)
        )
        out, err = child.communicate(timeout=500)
        assert child.returncode == 0, err
        return json.loads(out)["results"]

    return call


def test_scenes_go_through_every_algorithm_of_rasters(call, scene, tmp_path):
    cloudy = call(
        "addclouds", INPUT=scene, OUTPUT=tmp_path / "cloudy ü.tif", TYPE="cumulus", LEVEL="L2A"
    )
    mask = call("cloudmask", INPUT=cloudy["OUTPUT"], OUTPUT=tmp_path / "mask.tif")
    assert 0 < mask["MASK_SHARE"] < 1
    clear = call(
        "removeclouds", INPUT=cloudy["OUTPUT"], MODEL="fill", MASK="only the layers below",
        MASK_LAYER=mask["OUTPUT"], OUTPUT=tmp_path / "clear.tif",
        PROVENANCE=tmp_path / "origin.tif",
    )  # fmt: skip
    origin = pixels(clear["PROVENANCE"])[0]
    assert (pixels(clear["OUTPUT"]) == pixels(cloudy["OUTPUT"]))[:, origin == 1].all()
    page = call(
        "compare", BEFORE=scene, AFTER=clear["OUTPUT"], PROVENANCE=clear["PROVENANCE"],
        OUTPUT=tmp_path / "page.html",
    )  # fmt: skip
    assert Path(page["OUTPUT"]).stat().st_size > 10_000
    chips = call("makechips", INPUT=scene, CHIP_SIZE=48, OUTPUT=tmp_path / "chips")
    assert chips["CHIPS"] == 4
    again = call("mosaicchips", INPUT=chips["OUTPUT"], OUTPUT=tmp_path / "again.tif")
    assert (pixels(again["OUTPUT"]) == pixels(scene)).all()


def test_models_are_trained_measured_and_used(call, tmp_path, recipe):
    for number, corner in enumerate(((0, 0), (100, 300), (300, 100), (400, 400))):
        cut(tmp_path / "data" / f"{number}.tif", *corner)
    made = call(
        "trainmodel", INPUT=tmp_path / "data", RECIPE=recipe, DEVICE="cpu", OUTPUT=tmp_path / "m"
    )
    figures = call(
        "evaluate", INPUT=tmp_path / "data", MODEL_FOLDER=made["OUTPUT"], LIMIT=2, DEVICE="cpu"
    )
    assert figures["WINDOWS"] == 2
    scene = tmp_path / "data/3.tif"
    drawn = call(
        "translate", INPUT=scene, MODEL_FOLDER=made["OUTPUT"], OUTPUT=tmp_path / "drawn.tif"
    )
    assert pixels(drawn["OUTPUT"]).shape == pixels(scene).shape


def test_a_catalog_goes_through_a_batch(call, catalog, tmp_path):
    made = call(
        "batchstac", STAC=catalog, MAX_CLOUD=50, MODEL="fill", ALLOW_LOCAL="true",
        OUTPUT=tmp_path / "results",
    )  # fmt: skip
    assert (made["DONE"], made["FAILED"]) == (1, 0)
    assert (Path(made["OUTPUT"]) / "catalog.json").is_file()


def test_the_environment_is_checked(call):
    assert call("checkenvironment")["VERSION"][0].isdigit()


def test_an_error_is_told_and_the_exit_code_says_so(profile, tmp_path):
    child = qgis_process(profile, "run", "geodecloud:checkenvironment", "--PYTHON=/no/python")
    out, err = child.communicate(timeout=120)
    assert child.returncode != 0
    assert "/no/python, from the parameter PYTHON" in out + err


def test_a_killed_qgis_takes_its_child_along(profile, scene, tmp_path):
    os.mkfifo(tmp_path / "never.tif")
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        f"echo $$ > '{tmp_path}/pid'\n"
        f'exec {PYTHON} -I -m geodecloud compare --watch-stdin --out "{tmp_path}/p.html" '
        f'"{tmp_path}/never.tif" b.tif\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    child = qgis_process(profile, "run", "geodecloud:checkenvironment", f"--PYTHON={python}")
    pid = waited_for(tmp_path / "pid", seconds=60)
    time.sleep(3)  # until it waits for a writer
    assert is_alive(pid)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    deadline = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(pid)


def waited_for(path, seconds):
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.1)
    return int(path.read_text())


def is_alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
