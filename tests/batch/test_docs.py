"""The page about batches: what it tells people to run, runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "batch.md").read_text()


def workflow() -> dict:
    """The Argo workflow of the page."""
    return yaml.safe_load(PAGE.partition("```yaml\n")[2].partition("```")[0])


def shell(script: str, out: Path, **values: str) -> str:
    """Run a script of the workflow with its parameters filled in; return what it prints."""
    for name, value in values.items():
        script = script.replace("{{" + name.replace("_", ".") + "}}", value)
    assert "{{" not in script
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", script.replace("/out", str(out))], capture_output=True, text=True,
        check=False, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_containers_of_the_workflow_do_their_items(server, tmp_path):
    templates = {each["name"]: each for each in workflow()["spec"]["templates"]}
    values = {
        "workflow_parameters_stac": server.url,
        "workflow_parameters_search": "--collections sentinel-2-l2a --model fill",
    }
    ids = json.loads(shell(templates["plan"]["script"]["source"], tmp_path, **values))
    assert ids == [f"S2A_32TMT_{i}" for i in range(3)]
    for name in ids[:2]:
        script = templates["item"]["script"]["source"]
        shell(script, tmp_path, inputs_parameters_id=name, **values)
    assert len(json.loads((tmp_path / "catalog.json").read_text())["links"]) == 3
    said = shell(templates["catalog"]["script"]["source"], tmp_path, **values)
    assert "1 done, 2 skipped, 0 failed; 3 in" in said


def test_the_steps_of_the_workflow_name_templates_that_are_there():
    spec = workflow()["spec"]
    names = {each["name"] for each in spec["templates"]}
    (steps,) = (each["steps"] for each in spec["templates"] if "steps" in each)
    assert {step["template"] for group in steps for step in group} | {spec["entrypoint"]} == names
