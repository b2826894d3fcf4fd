"""docs/xarray.md: its steps run as they stand there, one after the other, as in a notebook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray

from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import write_array
from geodecloud.geo.sensors import SENSORS
from tests.labelled_scenes import NAMES, geobox, ground

PAGE = Path(__file__).resolve().parents[1] / "docs" / "xarray.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_has_blocks() -> None:
    assert len(BLOCKS) == 8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the darkest numbers", "ignore:no cloud was found")
def test_the_steps_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = SENSORS["sentinel-2-l2a"].select(NAMES)
    dn = np.pad(ground((96, 96)), ((0, 0), (0, 416), (0, 160)), "edge")  # one small cloud
    write_array(tmp_path / "cloudy.tif", dn, geobox((512, 256)), Profile.for_sensor(sensor))
    earlier = np.roll(ground((512, 256)), 100, axis=1)
    write_array(tmp_path / "may.tif", earlier, geobox((512, 256)), Profile.for_sensor(sensor))
    monkeypatch.chdir(tmp_path)
    notebook: dict[str, Any] = {}
    for block in BLOCKS:
        exec(block, notebook)
    with rioxarray.open_rasterio("clear.tif") as clear:
        assert clear.shape == (4, 512, 256)
        assert clear.attrs["GEODECLOUD_GENERATED_BY"] == "decloud-s2-4band"
    assert 0 < notebook["seen_in_may"] < 0.1
    assert 0 <= float(notebook["off_by"].max()) < 0.2
    assert notebook["series"]["eo:cloud_cover"].dims == ("time",)
    assert list(notebook["clear"].dims) == ["band", "y", "x"]
    assert notebook["hazy"].truth.dims == ("y", "x")
    assert notebook["data"].dataset_type == "CloudRemoval"
