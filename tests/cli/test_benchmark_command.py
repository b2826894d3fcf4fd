"""The benchmark command as its users run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmark.small_archive import make_archive, make_model


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-m", "geodecloud", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_figures_come_as_json_and_as_a_table(tmp_path: Path) -> None:
    data = make_archive(tmp_path / "data")
    model = make_model(tmp_path / "model", ["north"])
    arguments = ("benchmark", data, "--suite", "real-pairs", "--models", f"mine={model}")
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    (suite,) = json.loads(done.stdout)["suites"]
    rows = {row["name"]: row for row in suite["rows"]}
    shown = run(*arguments).stdout
    assert f"{rows['mine']['regions']['masked']['psnr']:.2f}" in shown
    assert "1 windows of 1 places" in shown


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    done = run("benchmark", tmp_path / "nowhere")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "does not exist" in line
    assert "Traceback" not in done.stderr
