"""Fixtures that every test may ask for, and how hard hypothesis tries."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

import tests.strategies

REPOSITORY = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# HYPOTHESIS_PROFILE=full before a release. No deadline: this machine may be busy with others.
settings.register_profile("quick", max_examples=50, deadline=None, print_blob=True)
settings.register_profile("full", max_examples=500, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def absent(reason: str) -> NoReturn:
    """Skip the test, save in CI, where what is absent is a hole in the checks."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scenes, named by GEODECLOUD_DATA or beside the repository."""
    beside = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("GEODECLOUD_DATA", beside))
    if not folder.is_dir():
        absent(f"no real scenes in {folder}: put them there, or set GEODECLOUD_DATA")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that takes screenshots without a display."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or absent("no chromium on the PATH: make system")


@pytest.fixture(scope="session")
def make_scene():  # a fixture so that no test needs to import it
    """The function ``tests.strategies.make_scene``."""
    return tests.strategies.make_scene


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what reads real scenes; skip what needs a GPU where there is none."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("realdata")
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and not _has_gpu():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
