"""Layers of QGIS as files that geodecloud reads."""

import re
from pathlib import Path

from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsGeometry,
    QgsProcessingException,
    QgsProcessingUtils,
    QgsProviderRegistry,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from .runner import Cancelled

READABLE = {".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg"}
# how GDAL names the part of a Sentinel-2 product that a layer shows
PRODUCT = re.compile(r"SENTINEL2_L\w+:(?:/vsizip/)?(?P<path>.+?\.zip|.+/MTD_\w+\.xml)\b")


def raster_file(layer, feedback, extent=None):
    """Return the path of a raster layer's file, or of a product that it is a part of.

    What geodecloud does not open (a virtual raster, a GeoPackage, a web address) is written to a
    temporary GeoTIFF, and so is the part of a raster inside an extent.

    Args:
        layer: a raster layer.
        feedback: told what is written, and asked whether to stop.
        extent: the part that is wanted, in the layer's CRS; None for all of it.
    """
    if layer.providerType() != "gdal":
        raise QgsProcessingException(
            f"The layer {layer.name()} is of the kind {layer.providerType()}; geodecloud reads "
            "rasters of stored numbers: export the layer as a GeoTIFF (raw data)"
        )
    whole = extent is None or extent.isNull() or extent.contains(layer.extent())
    product = product_of(layer.source())
    if product and whole:
        return product
    parts = QgsProviderRegistry.instance().decodeUri("gdal", layer.source())
    path = Path(parts.get("path") or layer.source())
    if whole and not parts.get("layerName") and path.suffix.lower() in READABLE and path.is_file():
        return str(path)
    return _written(layer, path.stem, feedback, None if whole else extent)


def polygon_file(layer, context, crs=None, ending="gpkg"):
    """Write the polygons of a layer, without their fields, to a temporary file; its path."""
    path = QgsProcessingUtils.generateTempFilename(f"polygons.{ending}")
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = {"gpkg": "GPKG", "geojson": "GeoJSON"}[ending]
    options.layerName = "polygons"
    options.skipAttributeCreation = True
    if crs is not None:
        target = QgsCoordinateReferenceSystem(crs)
        options.ct = QgsCoordinateTransform(layer.crs(), target, context.transformContext())
    error, message, *_ = QgsVectorFileWriter.writeAsVectorFormatV3(
        layer, path, context.transformContext(), options
    )
    if error != QgsVectorFileWriter.WriterError.NoError:
        raise QgsProcessingException(f"The polygons of {layer.name()} cannot be written: {message}")
    return path


def rectangle(extent, crs):
    """Return a layer that holds one rectangle."""
    layer = QgsVectorLayer("Polygon", "extent", "memory")
    layer.setCrs(crs)
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromRect(extent))
    layer.dataProvider().addFeatures([feature])
    return layer


def product_of(source):
    """Return the folder or archive of the product that a source is a part of; None for others."""
    found = PRODUCT.match(source)
    if found is None:
        return None
    path = Path(found["path"])
    return str(path.parent if path.suffix == ".xml" else path)


def _written(layer, stem, feedback, extent):
    """The path of a temporary GeoTIFF with the stored numbers of a layer, in whole pixels.

    It keeps the stem of the layer's file, whose name may say what the numbers mean.
    """
    target = QgsProcessingUtils.generateTempFilename(f"{stem}.tif")
    feedback.pushInfo(f"{layer.name()}: written to a temporary GeoTIFF, {target}")
    failure = None
    try:  # GDAL answers None or raises, as another plugin has set it
        dataset = gdal.Open(layer.source())
        window = extent and dataset and _window(dataset, extent, layer.name())
        done = dataset and gdal.Translate(
            target,
            dataset,
            format="GTiff",
            srcWin=window,
            creationOptions=["TILED=YES", "COMPRESS=DEFLATE", "BIGTIFF=IF_SAFER"],
            callback=lambda *_: 0 if feedback.isCanceled() else 1,
        )
    except RuntimeError as error:
        done, failure = None, error
    if feedback.isCanceled():
        raise Cancelled
    if done is None:
        raise QgsProcessingException(
            f"{layer.name()} cannot be written to {target}: {failure or gdal.GetLastErrorMsg()}"
        )
    return target


def _window(dataset, extent, name):
    """First column and row, width and height of the pixels that an extent touches."""
    x0, dx, shear_x, y0, shear_y, dy = dataset.GetGeoTransform()
    if shear_x or shear_y:
        raise QgsProcessingException(f"{name} is rotated: leave the extent empty")
    columns = sorted(((extent.xMinimum() - x0) / dx, (extent.xMaximum() - x0) / dx))
    rows = sorted(((extent.yMinimum() - y0) / dy, (extent.yMaximum() - y0) / dy))
    ends = []
    for (first, last), length in ((columns, dataset.RasterXSize), (rows, dataset.RasterYSize)):
        # an extent drawn on pixel edges keeps them, whatever its last digits
        first, last = max(0, int(first + 0.001)), min(length, -int(-(last - 0.001) // 1))
        if first >= last:
            raise QgsProcessingException(f"The extent lies outside of {name}")
        ends.append((first, last - first))
    (column, width), (row, height) = ends
    return [column, row, width, height]
