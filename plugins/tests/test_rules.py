"""What plugins.qgis.org checks with the tools of QGIS's own Python."""

import subprocess
import sys

from .conftest import PLUGINS


def test_flake8_finds_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "flake8", "--max-line-length", "100", PLUGINS / "qgis_geodecloud"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
