"""The examples of docs/skies.md, run in their order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geodecloud
from geodecloud.geo.raster import open_scene, profile_of, write_array
from geodecloud.geo.tiling import Window

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "skies.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window(0, 0, 192, 256)  # holds the one of the page
    with open_scene(REPOSITORY / "sample" / "zurich_2019.tif") as scene:
        dn, _ = scene.read(window)
        geobox = scene.geobox[: window.height, : window.width]
        write_array(tmp_path / "clear.tif", dn, geobox, profile_of(scene))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"geodecloud": geodecloud}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    truth, chips, cloudy = names["truth"], names["chips"], names["cloudy"]
    is_touched = truth.is_thin | truth.is_thick | truth.is_shadow
    assert is_touched.any()
    np.testing.assert_array_equal(np.where(is_touched, chips, cloudy), chips)
    assert {path.name for path in tmp_path.glob("*.tif")} == {
        "clear.tif",
        "cloudy.tif",
        "truth.tif",
    }
