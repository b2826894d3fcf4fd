"""How results look once they are on the map."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import PYTHON

SCRIPT = Path(__file__).with_name("styled_runs.py")


@pytest.fixture
def looks(scene, tmp_path):
    """How the layers of two runs look, by name, told by a QGIS that ended as it should."""
    environment = {
        **os.environ,
        "GEODECLOUD_PYTHON": str(PYTHON),
        "QT_QPA_PLATFORM": "offscreen",
        "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "profile"),
    }
    command = [sys.executable, str(SCRIPT), str(scene), str(tmp_path)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_results_are_styled_for_those_who_look(looks):
    for run in looks:  # the second has styles of its own
        assert run["PROVENANCE"]["2"] == "generated"
        assert run["PROVENANCE"]["4"] == "observed on another date"
        assert run["MASK_OUT"]["1"] == "cloud"
        assert "B04" in run["UNCERTAINTY"]["band"]
        assert run["INPUT"]["blue band"] == 2
        assert run["OUTPUT"] == run["INPUT"]


def test_uncertainty_is_a_ramp_in_reflectance_over_what_was_generated(looks):
    for run in looks:
        shown = run["UNCERTAINTY"]
        assert 0.001 < shown["most"] < 0.2
        low, high = shown["called"].split(" to ")
        assert float(low) < shown["most"] <= float(high)
        assert shown["opacity of 0"] == 0
        assert shown["opacity of most"] > 200
        assert shown["legend"][1:3] == ["up to 0.005", "0.005 to 0.01"]
