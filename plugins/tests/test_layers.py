"""Layers of every kind as files that geodecloud opens."""

import random

import pytest
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingException,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)

from .conftest import cut, layer_of, pixels


@pytest.fixture
def layers(provider):
    from qgis_geodecloud import layers

    return layers


@pytest.mark.parametrize(
    "name", ["a b.tif", "it's.tif", 'a "b".tif', "ü—é.TIF", "x|y=1.tif", "-a.tif"]
)
def test_a_geotiff_is_taken_as_it_lies(layers, tmp_path, log, name):
    path = cut(tmp_path / "a folder" / name)
    assert layers.raster_file(layer_of(path), log) == str(path)


def test_a_virtual_raster_is_written_out_with_all_it_says(layers, tmp_path, log):
    path = cut(tmp_path / "scene.tif")
    virtual = str(tmp_path / "stack L2A.vrt")
    gdal.BuildVRT(virtual, [str(path)], bandList=[3, 2, 1]).FlushCache()
    written = layers.raster_file(layer_of(virtual), log)
    assert written.endswith("stack L2A.tif")
    assert (pixels(written) == pixels(path)[2::-1]).all()
    assert "temporary GeoTIFF" in log.text


def test_a_part_keeps_numbers_names_and_encoding(layers, tmp_path, log):
    path = cut(tmp_path / "scene.tif")
    layer = layer_of(path)
    full = layer.extent()
    part = QgsRectangle(
        full.xMinimum() + 95, full.yMaximum() - 205, full.xMinimum() + 300, full.yMaximum()
    )
    written = layers.raster_file(layer, log, part)
    assert (pixels(written) == pixels(path)[:, :21, 9:30]).all()
    before, after = gdal.Open(str(path)), gdal.Open(written)
    for number in range(1, 5):
        one, other = before.GetRasterBand(number), after.GetRasterBand(number)
        assert one.GetDescription() == other.GetDescription() != ""
        assert one.GetNoDataValue() == other.GetNoDataValue()
        assert (one.GetScale(), one.GetOffset()) == (other.GetScale(), other.GetOffset())
    assert before.GetProjection() == after.GetProjection()


def test_a_part_is_every_pixel_that_the_extent_touches(layers, tmp_path, log):
    layer = layer_of(cut(tmp_path / "scene.tif", side=40))
    full = layer.extent()
    chance = random.Random(0)
    for _ in range(50):
        columns = sorted(chance.sample(range(41), 2))
        rows = sorted(chance.sample(range(41), 2))
        jitter = chance.choice((0.0, 1e-6, -1e-6))  # what reprojection does to an edge
        part = QgsRectangle(
            full.xMinimum() + 10 * columns[0] + jitter, full.yMaximum() - 10 * rows[1] - jitter,
            full.xMinimum() + 10 * columns[1] + jitter, full.yMaximum() - 10 * rows[0] - jitter,
        )  # fmt: skip
        written = gdal.Open(layers.raster_file(layer, log, part))
        if (columns, rows) == ([0, 40], [0, 40]):
            continue
        left, _, _, top, _, _ = written.GetGeoTransform()
        assert (left, top) == (full.xMinimum() + 10 * columns[0], full.yMaximum() - 10 * rows[0])
        assert written.RasterXSize == columns[1] - columns[0]
        assert written.RasterYSize == rows[1] - rows[0]


@pytest.mark.parametrize("raises", [False, True])
def test_a_raster_that_cannot_be_written_out_is_said_whatever_gdal_does(
    layers, tmp_path, log, raises
):
    path = cut(tmp_path / "scene.tif")
    virtual = str(tmp_path / "stack.vrt")
    gdal.BuildVRT(virtual, [str(path)]).FlushCache()
    layer = layer_of(virtual)
    path.unlink()
    was = gdal.GetUseExceptions()
    (gdal.UseExceptions if raises else gdal.DontUseExceptions)()
    try:
        with pytest.raises(QgsProcessingException, match="a layer cannot be written"):
            layers.raster_file(layer, log)
    finally:
        (gdal.UseExceptions if was else gdal.DontUseExceptions)()


def test_a_copy_that_is_cancelled_is_no_error(layers, tmp_path, log):
    path = cut(tmp_path / "scene.tif")
    virtual = str(tmp_path / "stack.vrt")
    gdal.BuildVRT(virtual, [str(path)]).FlushCache()
    log.cancel()
    with pytest.raises(layers.Cancelled):
        layers.raster_file(layer_of(virtual), log)


def test_an_extent_beside_the_layer_is_refused(layers, tmp_path, log):
    layer = layer_of(cut(tmp_path / "scene.tif"))
    with pytest.raises(QgsProcessingException, match="outside of a layer"):
        layers.raster_file(layer, log, QgsRectangle(0, 0, 10, 10))


def test_a_picture_from_a_server_is_refused_with_what_to_do(layers, log):
    layer = QgsRasterLayer("type=xyz&url=http://127.0.0.1:9/{x}/{y}/{z}", "a web map", "wms")
    with pytest.raises(QgsProcessingException, match=r"a web map.*export the layer as a GeoTIFF"):
        layers.raster_file(layer, log)


@pytest.mark.parametrize(
    ("source", "product"),
    [
        (
            "SENTINEL2_L2A:/d/S2A_MSIL2A_x.SAFE/MTD_MSIL2A.xml:10m:EPSG_32632",
            "/d/S2A_MSIL2A_x.SAFE",
        ),
        (
            "SENTINEL2_L1C:/vsizip//d/a b/S2B.zip/S2B.SAFE/MTD_MSIL1C.xml:20m:EPSG_32632",
            "/d/a b/S2B.zip",
        ),
    ],
)
def test_a_layer_of_a_product_is_the_product(layers, log, source, product):
    assert layers.product_of(source) == product


def test_polygons_keep_their_place_in_another_crs(layers, provider):
    metres = QgsCoordinateReferenceSystem("EPSG:32632")
    drawn = layers.rectangle(QgsRectangle(473_660, 5_249_070, 478_780, 5_254_190), metres)
    path = layers.polygon_file(drawn, QgsProcessingContext(), crs="EPSG:4326", ending="geojson")
    written = QgsVectorLayer(path)
    assert written.featureCount() == 1
    assert written.extent().contains(8.7, 47.4)
    assert written.extent().width() < 0.1
