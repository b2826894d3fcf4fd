"""From one coordinate system to another."""

from __future__ import annotations

import json

import pytest
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from geodecloud.errors import GridError
from geodecloud.geo.crossing import way_between
from geodecloud.geo.polygons import Polygons
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.tiling import Window
from geodecloud.geo.warped import WarpedScene
from tests.strategies import make_scene

MINE = 'LOCAL_CS["Mine grid",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'


def test_x_stays_first_whatever_the_authority_says():
    x, y = way_between(CRS("EPSG:4326"), CRS("EPSG:32632"))([9.0], [46.0])
    assert (x[0], y[0]) == pytest.approx((500_000, 5_094_000), abs=1000)


def test_a_grid_that_nobody_can_place_is_one_error(tmp_path):
    with pytest.raises(GridError, match="Mine grid"):
        way_between(CRS(MINE), CRS("EPSG:4326"))
    made = make_scene((20, 20))
    dn, _ = made.read(Window.whole((20, 20)))
    mine = ArrayScene(dn, made.sensor, GeoBox((20, 20), Affine(10, 0, 0, 0, -10, 200), MINE))
    with pytest.raises(GridError, match="Mine grid"):
        WarpedScene(mine, made.geobox)
    path = tmp_path / "area.geojson"
    path.write_text(
        json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]})
    )
    with pytest.raises(GridError, match="Mine grid"):
        Polygons.open(path, mine)
