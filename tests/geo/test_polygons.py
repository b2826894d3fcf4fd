"""Polygons of any coordinate system on the grid of a scene, and what is refused."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.features import geometry_mask

from geodecloud.errors import GridError, InputError
from geodecloud.geo.masks import CLOUD, SHADOW
from geodecloud.geo.polygons import Polygons
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Window

GRID = GeoBox((60, 80), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")
AREA = shapely.box(600_100, 4_999_600, 600_300, 4_999_850)  # cols 10-29, rows 15-39


def scene_on(geobox):
    return ArrayScene(np.ones((1, *geobox.shape), np.uint16), Sensor("s", (Band("B02"),)), geobox)


def moved(area, crs):
    there = Transformer.from_crs("EPSG:32632", crs, always_xy=True)
    return shapely.transform(area, lambda at: np.stack(there.transform(*at.T), axis=1))


def geojson(path, areas, crs=None, classes=()):
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(area),
            "properties": {"class": classes[i]} if classes else None,
        }
        for i, area in enumerate(areas)
    ]
    tree = {"type": "FeatureCollection", "features": features}
    if crs:
        tree["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(tree))
    return path


def read(path, geobox=GRID):
    return Polygons.open(path, scene_on(geobox)).read(Window.whole(tuple(geobox.shape)))


def burnt(rows, cols, code=CLOUD, shape=(60, 80)):
    codes = np.zeros(shape, np.uint8)
    codes[rows, cols] = code
    return codes


INSIDE = burnt(slice(15, 40), slice(10, 30))


def test_longitude_and_latitude_are_what_a_geojson_without_a_system_means(tmp_path) -> None:
    path = geojson(tmp_path / "a.geojson", [moved(AREA, "EPSG:4326")])
    assert np.array_equal(read(path), INSIDE)


@pytest.mark.parametrize(
    "crs", ["EPSG:32632", "EPSG:32633", "EPSG:3857", "urn:ogc:def:crs:EPSG::3035"]
)
def test_a_named_system_is_honoured(tmp_path, crs) -> None:
    path = geojson(tmp_path / "a.geojson", [moved(AREA, crs)], crs)
    assert (read(path) != INSIDE).sum() <= 4  # corners between pixels


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32632", "EPSG:3857"])
def test_a_geopackage_of_another_program_is_read(tmp_path, crs) -> None:
    geopandas = pytest.importorskip("geopandas")
    path = tmp_path / "drawn layer's.gpkg"
    frame = geopandas.GeoDataFrame({"class": ["shadow"]}, geometry=[moved(AREA, crs)], crs=crs)
    frame.to_file(path, layer='odd "name"')
    assert (read(path) != np.where(INSIDE, SHADOW, 0)).sum() <= 4


def test_a_geopackage_that_is_still_being_edited_shows_its_latest_polygons(tmp_path) -> None:
    geopandas = pytest.importorskip("geopandas")
    path = tmp_path / "a.gpkg"
    frame = geopandas.GeoDataFrame(geometry=[AREA, AREA.buffer(-50)], crs="EPSG:32632")
    frame.to_file(path, layer="a")
    editor = sqlite3.connect(path)
    editor.execute("PRAGMA journal_mode = WAL")
    triggers = editor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:  # they call functions that only spatial programs have
        editor.execute(f'DROP TRIGGER "{name}"')
    editor.execute("DELETE FROM a WHERE fid = 1")
    editor.commit()
    found = read(path)
    editor.close()
    assert np.array_equal(found, burnt(slice(20, 35), slice(15, 25)))


@given(st.integers(0, 10_000), st.data())
def test_windows_show_what_the_whole_shows(seed, data) -> None:
    rng = np.random.default_rng(seed)
    areas = [
        shapely.Point(*rng.uniform((0, 0), (80, 60))).buffer(rng.uniform(0.3, 15))
        for _ in range(rng.integers(1, 6))
    ]
    polygons = Polygons(areas, [1 + i % 3 for i in range(len(areas))])
    row, col = data.draw(st.integers(0, 59)), data.draw(st.integers(0, 79))
    window = Window(
        row, col, data.draw(st.integers(1, 60 - row)), data.draw(st.integers(1, 80 - col))
    )
    whole = polygons.read(Window(0, 0, 60, 80))
    assert np.array_equal(polygons.read(window), whole[window.slices])
    inside = ~geometry_mask(areas, (60, 80), Affine.identity())
    assert np.array_equal(whole > 0, inside)


def test_a_class_by_name_or_code_is_burnt_and_the_last_area_lies_on_top(tmp_path) -> None:
    small = AREA.buffer(-50, join_style="mitre")
    path = geojson(tmp_path / "a.geojson", [AREA, small], "EPSG:32632", ["Thin cloud", 3])
    wanted = np.where(INSIDE, 2, 0)
    wanted[20:35, 15:25] = SHADOW
    assert np.array_equal(read(path), wanted)


def test_a_lone_geometry_and_a_figure_of_eight_are_areas_too(tmp_path) -> None:
    eight = {"type": "Polygon", "coordinates": [[[0, 0], [40, 30], [40, 0], [0, 30], [0, 0]]]}
    eight["coordinates"][0] = [
        [600_000 + 10 * x, 5_000_000 - 10 * y] for x, y in eight["coordinates"][0]
    ]
    tree = {**eight, "crs": {"properties": {"name": "EPSG:32632"}}}
    (tmp_path / "a.json").write_text(json.dumps(tree))
    found = read(tmp_path / "a.json")
    assert 500 < (found > 0).sum() < 700  # both loops: half of 40x30


def test_long_edges_bend_with_the_grid(tmp_path) -> None:
    """A parallel is no straight line in UTM: its middle lies off the chord of its ends."""
    grid = GeoBox((1000, 1000), Affine(100, 0, 600_000, 0, -100, 6_700_000), "EPSG:32632")
    south, north = 59.6, 60.2
    path = geojson(tmp_path / "a.geojson", [shapely.box(5, south, 20, north)])
    found = read(path, grid)
    rows, cols = np.mgrid[:1000, :1000] + 0.5
    to_degrees = Transformer.from_crs("EPSG:32632", "OGC:CRS84", always_xy=True)
    _, latitude = to_degrees.transform(600_000 + 100 * cols, 6_700_000 - 100 * rows)
    wanted = (latitude > south) & (latitude < north)
    assert ((found > 0) != wanted).mean() < 0.0005


BAD = {
    "empty file": (b"", "cannot be read as polygons"),
    "not json": (b"hello", "cannot be read as polygons"),
    "a list": (b"[1, 2]", "cannot be read as polygons"),
    "no features": (b'{"type": "FeatureCollection", "features": []}', "holds no polygon"),
    "points": (b'{"type": "Point", "coordinates": [9, 45]}', "holds no polygon"),
    "half a ring": (b'{"type": "Polygon", "coordinates": [[[9, 45], [9, 46]]]}', "cannot be read"),
    "no such system": (
        b'{"type": "Point", "coordinates": [9, 45], "crs": {"properties": {"name": "EPSG:0"}}}',
        "cannot be read as polygons",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_geojson_is_one_clear_error(tmp_path, name) -> None:
    content, words = BAD[name]
    path = tmp_path / "bad.geojson"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert "bad.geojson" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(100)])
def test_a_bad_geopackage_is_one_clear_error(tmp_path, content) -> None:
    path = tmp_path / "bad.gpkg"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as polygons"):
        read(path)
    assert path.read_bytes() == content


def test_a_geopackage_of_two_layers_names_them(tmp_path) -> None:
    geopandas = pytest.importorskip("geopandas")
    path = tmp_path / "two.gpkg"
    for layer in ("roofs", "lakes"):
        geopandas.GeoDataFrame(geometry=[AREA], crs="EPSG:32632").to_file(path, layer=layer)
    with pytest.raises(InputError, match="roofs, lakes"):
        read(path)


def test_an_unknown_class_is_refused_naming_those_there_are(tmp_path) -> None:
    path = geojson(tmp_path / "a.geojson", [AREA], "EPSG:32632", ["fog"])
    with pytest.raises(InputError, match=r"'fog'.*cloud, thin cloud, shadow, margin"):
        read(path)


@pytest.mark.parametrize("far", [(1_000_000, 0), (0, 40_000_000)], ids=["beside", "off the Earth"])
def test_polygons_outside_the_scene_are_refused(tmp_path, far) -> None:
    elsewhere = shapely.transform(AREA, lambda at: at + far)
    path = geojson(tmp_path / "a.geojson", [elsewhere], "EPSG:32632")
    with pytest.raises(GridError, match="none of the 1 polygons"):
        read(path)


def test_coordinates_in_metres_called_degrees_are_refused(tmp_path) -> None:
    with pytest.raises(GridError, match="none of the 1 polygons"):
        read(geojson(tmp_path / "a.geojson", [AREA]))


def test_a_scene_that_lies_nowhere_takes_no_polygons(tmp_path) -> None:
    path = geojson(tmp_path / "a.geojson", [AREA], "EPSG:32632")
    with pytest.raises(GridError, match="no georeference"):
        read(path, GeoBox((60, 80), Affine.identity(), None))
