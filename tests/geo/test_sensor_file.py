"""A sensor out of a TOML file: what it says, and what is said of one that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from geodecloud.errors import BandError, InputError, OptionError
from geodecloud.geo.raster import open_scene, profile_of
from geodecloud.geo.sensor_file import read_sensor
from geodecloud.geo.sensors import Band
from geodecloud.geo.tiling import Window
from tests import makers

TEXT = """
name = "planet"
level = "L2A"
[[band]]
name = "blue"
wavelength_nm = 490
scale = 0.0001
nodata = 0
[[band]]
name = "haze"
scale = 0.01
offset = -1
"""


@pytest.fixture
def described(tmp_path):
    path = tmp_path / "planet.toml"
    path.write_text(TEXT)
    return path


def test_bands_are_described_in_the_order_of_the_channels(described):
    sensor = read_sensor(described)
    assert (sensor.name, sensor.unit, sensor.level) == ("planet", "reflectance", "L2A")
    assert sensor.bands == (
        Band("B02", 490, None, 1e-4, 0, 0),
        Band("haze", None, None, 0.01, -1, None),
    )


def test_a_scene_takes_all_its_meaning_from_it(described, tmp_path):
    dn = np.array([np.full((3, 4), 500), np.full((3, 4), 150)], np.int16)
    path = makers.write_raster(tmp_path / "LC08_x.tif", dn, 10)
    with open_scene(path, sensor=described) as scene:
        assert scene.sensor.band_names == ("B02", "haze")
        assert {band.dtype for band in scene.sensor.bands} == {"int16"}
        values = scene.sensor.to_reflectance(scene.read(Window(0, 0, 1, 1))[0]).ravel()
        np.testing.assert_allclose(values, [0.05, 0.5], atol=1e-6)
        assert profile_of(scene).scales == (1e-4, 0.01)
    with open_scene(path, sensor=read_sensor(described), level="L1C") as scene:
        assert scene.sensor.level == "L1C"
    for band, name in zip(dn, ("a", "b"), strict=True):
        makers.write_raster(tmp_path / "parts" / f"{name}.tif", band, 10)
    with open_scene(tmp_path / "parts", sensor=described) as scene:
        assert scene.sensor.band_names == ("B02", "haze")


def test_another_number_of_bands_is_refused(described, tmp_path):
    path = makers.write_raster(tmp_path / "a.tif", np.ones((3, 5, 5), np.int16), 10)
    with pytest.raises(BandError, match=r"3 bands.*2 names"), open_scene(path, sensor=described):
        pass
    with pytest.raises(OptionError, match="beside the sensor"):
        open_scene(path, sensor=described, bands=["a", "b", "c"])


def test_power_is_read_in_decibels(tmp_path):
    text = 'name = "sar"\nunit = "amplitude"\n[[band]]\nname = "VV"\n[[band]]\nname = "VH"\n'
    (tmp_path / "sar.toml").write_text(text)
    power = makers.backscatter()
    path = makers.write_raster(tmp_path / "a.tif", np.sqrt(power), 10)
    with open_scene(path, sensor=tmp_path / "sar.toml") as scene:
        dn, _ = scene.read(Window.whole(power.shape[1:]))
    np.testing.assert_allclose(dn, 10 * np.log10(power), atol=1e-4)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "name"),
        ("name = ", "Invalid value"),
        ('name = "x"', "band"),
        ('name = "x"\nband = []', "band"),
        ('name = "x"\n[[band]]\nscale = 1', "band.0.name"),
        ('name = "x"\n[[band]]\nname = "a"\nscale = 0', "scale"),
        ('name = "x"\n[[band]]\nname = "a"\nscale = nan', "band.0.scale"),
        ('name = "x"\n[[band]]\nname = "a"\ngain = 2', "band.0.gain"),
        ('name = "x"\nunit = "metres"\n[[band]]\nname = "a"', "unit"),
        ('name = "x"\n[[band]]\nname = "B2"\n[[band]]\nname = "blue"', "B02, B02"),
        ("\x00", "Invalid"),
    ],
)
def test_a_file_that_describes_no_sensor_is_one_error(tmp_path, text, word):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"wrong\.toml does not describe a sensor") as caught:
        read_sensor(path)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "no.toml", tmp_path):
        with pytest.raises(InputError, match="does not describe"):
            read_sensor(path)
