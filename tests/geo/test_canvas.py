"""Canvas: the bands and encoding of what is drawn, valid where the scene is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geodecloud.geo.canvas import GENERATED_TAG, Canvas
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.sensors import SENSORS
from geodecloud.geo.tiling import Window

S2 = SENSORS["sentinel-2-l2a"].select(["B02", "B03", "B04"])
RGB = ("red", "green", "blue")


def scene_of(sensor=S2) -> ArrayScene:
    dn = np.full((len(sensor.bands), 4, 6), 500, sensor.bands[0].dtype)
    dn[:, 1, 2] = 0
    dn[0, 3, 3] = 0
    return ArrayScene(dn, sensor)


def test_a_canvas_is_valid_where_any_band_of_the_scene_is() -> None:
    dn, valid = Canvas.of(scene_of(), RGB, "rgb").read(Window(1, 1, 3, 4))
    assert dn.shape == valid.shape == (3, 3, 4)
    assert not valid[:, 0, 1].any()
    assert valid.sum() == 3 * 11
    assert not dn.any()


def test_a_known_sensor_brings_its_own_encoding_and_colours() -> None:
    canvas = Canvas.of(scene_of(), RGB, "rgb")
    assert canvas.profile.dtype == "uint8"
    assert canvas.profile.colorinterp == RGB
    assert canvas.profile.descriptions == RGB
    assert canvas.profile.is_masked  # 8 bits have no nodata: a mask says where nothing is


def test_without_holes_there_is_no_mask() -> None:
    sensor = replace(S2, bands=tuple(replace(band, nodata=None) for band in S2.bands))
    assert not Canvas.of(scene_of(sensor), RGB, "rgb").profile.is_masked


def test_the_scenes_own_sensor_keeps_the_scenes_own_encoding() -> None:
    shifted = replace(S2, bands=tuple(replace(band, offset=-0.1) for band in S2.bands))
    canvas = Canvas.of(scene_of(shifted), ("B04", "B02"), "sentinel-2-l2a")
    assert canvas.sensor == shifted.select(["B04", "B02"])
    assert canvas.profile.offsets == (-0.1, -0.1)


def test_another_level_is_another_sensor() -> None:
    canvas = Canvas.of(scene_of(), ("B02",), "sentinel-2-l1c")
    assert canvas.sensor.level == "L1C"


def test_an_unknown_sensor_is_stored_as_floats() -> None:
    canvas = Canvas.of(scene_of(), ("heat",), "thermal")
    dn, _ = canvas.read(Window(0, 0, 1, 1))
    assert canvas.profile.dtype == "float32"
    assert np.isnan(dn).all()


@pytest.mark.parametrize("name", ["rgb", "sentinel-2-l2a"])
def test_bands_say_who_drew_them(name: str) -> None:
    bands = RGB if name == "rgb" else S2.band_names
    canvas = Canvas.of(scene_of(), bands, name, generated_by="mine")
    assert all(tags[GENERATED_TAG] == "mine" for tags in canvas.profile.band_tags)


def test_some_of_its_bands_are_a_canvas_too() -> None:
    part = Canvas.of(scene_of(), RGB, "rgb").select(["blue"])
    assert part.read(Window(0, 0, 2, 2))[0].shape == (1, 2, 2)
    assert part.profile.descriptions == ("blue",)
