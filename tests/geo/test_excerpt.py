"""The part of a scene inside an area: its own pixels, on its own grid."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geodecloud.errors import GridError
from geodecloud.geo.excerpt import bounds_of, footprint, within
from geodecloud.geo.part import WindowScene
from geodecloud.geo.scene import ArrayScene, without_georeference
from geodecloud.geo.tiling import Window
from tests.strategies import make_scene, make_sensor, utm_geobox

SCENE = make_scene((96, 80))


@given(st.data())
def test_its_pixels_are_those_of_the_scene(data):
    row, col = data.draw(st.integers(0, 90)), data.draw(st.integers(0, 70))
    window = Window(
        row, col, data.draw(st.integers(1, 96 - row)), data.draw(st.integers(1, 80 - col))
    )
    part = WindowScene(SCENE, window)
    inside = Window.whole(window.shape)
    np.testing.assert_array_equal(part.read(inside)[0], SCENE.read(window)[0])
    assert part.geobox == SCENE.geobox[window.slices]
    assert part.select(["B08"]).sensor.band_names == ("B08",)


def test_it_ends_where_its_window_ends():
    with pytest.raises(ValueError, match="beyond"):
        WindowScene(SCENE, Window(0, 0, 10, 10)).read(Window(5, 5, 10, 10))


@given(st.integers(0, 60), st.integers(0, 50))
def test_an_area_takes_the_pixels_that_it_touches(row, col):
    wanted = SCENE.geobox[row : row + 30, col : col + 20]
    part = within(SCENE, bounds_of(wanted))
    corner = ~SCENE.geobox.affine * (part.geobox.affine * (0, 0))
    height, width = part.geobox.shape
    assert -1e-6 <= corner[1] <= row + 1e-6
    assert -1e-6 <= corner[0] <= col + 1e-6
    assert corner[1] + height >= row + 30 - 1e-6
    assert corner[0] + width >= col + 20 - 1e-6
    assert height <= 32
    assert width <= 22


def test_an_area_around_it_all_is_the_scene_itself():
    west, south, east, north = bounds_of(SCENE.geobox)
    assert within(SCENE, (west - 1, south - 1, east + 1, north + 1)) is SCENE


@pytest.mark.parametrize("bounds", [(0, 0, 1, 1), (-180, -90, -179, -89), (170, 80, 180, 90)])
def test_an_area_elsewhere_is_refused(bounds):
    with pytest.raises(GridError, match="does not show"):
        within(SCENE, bounds)


def test_a_scene_that_lies_nowhere_has_no_part_in_an_area():
    scene = ArrayScene(
        SCENE.read(Window.whole((96, 80)))[0], make_sensor(), without_georeference((96, 80))
    )
    with pytest.raises(GridError, match="without georeference"):
        within(scene, (0, 0, 1, 1))


def test_degrees_and_rotated_grids_have_areas_too():
    dn = SCENE.read(Window.whole((96, 80)))[0]
    degrees = GeoBox((96, 80), Affine(1e-4, 0, 10, 0, -1e-4, 46), "EPSG:4326")
    part = within(ArrayScene(dn, make_sensor(), degrees), (10.001, 45.992, 10.002, 45.993))
    assert part.geobox.shape == (10, 10)
    turned = utm_geobox((96, 80))
    turned = GeoBox(turned.shape, turned.affine * Affine.rotation(30), turned.crs)
    scene = ArrayScene(dn, make_sensor(), turned)
    inner = turned[40:50, 30:40]
    assert within(scene, bounds_of(inner)).geobox.shape[0] >= 10


def test_the_outline_turns_against_the_clock_and_closes():
    ring = footprint(SCENE.geobox)
    assert ring[0] == ring[-1]
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))
    assert area > 0
