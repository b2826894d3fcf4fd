"""The install: what pyproject.toml asks for, constraints.txt pins, and what may be absent."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.conftest import absent

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = (line for line in lines if line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in map(split_pin, pinned)}


def split_pin(line: str) -> tuple[str, str]:
    name, equals, version = line.partition("==")
    assert equals, f"constraints.txt pins exact versions, and nothing by path or address: {line}"
    return name, version


def test_every_requirement_is_pinned(project, pins):
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {re.split(r"[\[<>=~! ]", line)[0] for group in groups for line in group}
    assert {name.lower().replace("_", "-") for name in wanted} - {"geodecloud"} <= set(pins)


def test_torch_and_torchvision_are_pinned_as_a_pair(pins):
    """Another pair installs and then fails on import: raise both, and this line, together."""
    assert (pins["torch"], pins["torchvision"]) == ("2.15.0", "0.29.2")


def bounds_without_a_reason(text: str) -> list[str]:
    quoted = re.compile(r'^\s+"\w[\w.\[\],-]*[<>=~!]=?[^"]*",?(?P<rest>.*)$')
    found = (quoted.match(line) for line in text.splitlines())
    return [match[0] for match in found if match and "#" not in match["rest"]]


def test_every_version_bound_has_its_reason():
    assert bounds_without_a_reason((REPOSITORY / "pyproject.toml").read_text()) == []


def test_a_bound_without_a_reason_is_caught():
    text = '    "numpy",\n    "rich>=13",\n    "torch>=2.6", # for its safety\n'
    assert bounds_without_a_reason(text) == ['    "rich>=13",']


@pytest.mark.parametrize(
    ("ci", "outcome"), [("true", pytest.fail.Exception), ("false", pytest.skip.Exception)]
)
def test_what_a_test_needs_may_be_absent_save_in_ci(monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no such thing"):
        absent("no such thing here")
