"""Polygons drawn by hand: read from GeoJSON and GeoPackage, burnt into a scene's grid."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import shapely
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from geodecloud.errors import GridError, InputError
from geodecloud.geo.crossing import Way, way_between
from geodecloud.geo.masks import CLASSES, CLEAR, CLOUD, NODATA, Classes
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.tiling import Window

POLYGON_SUFFIXES = (".geojson", ".json", ".gpkg")
MAX_GEOJSON_BYTES = 500_000_000

LONGITUDE_LATITUDE = "OGC:CRS84"
"""The coordinate system of a GeoJSON file that names none (RFC 7946, section 4)."""

Box = tuple[float, float, float, float]


class HasGeoInterface(Protocol):
    """A geometry, or several: of shapely, geopandas, odc-geo; ``crs`` is asked where it is."""

    @property
    def __geo_interface__(self) -> Mapping[str, Any]: ...  # noqa: D105


Areas = Path | Mapping[str, Any] | HasGeoInterface
"""A file (GeoJSON, GeoPackage), GeoJSON, or geometries."""

PARTS_OF_EDGE = 64
"""A long edge is cut into pieces of this part of the scene: straight lines bend between grids."""


@dataclass(frozen=True, slots=True)
class Feature:
    """An area and what it is: a code of ``CLASSES``."""

    area: BaseGeometry
    code: int


class Polygons:
    """Areas on the grid of a scene, to be read by windows.

    A pixel belongs to the areas that its centre lies in, the last of them first. An area is
    cloud, or what its property ``class`` names ("shadow", or the code 3).

    Args:
        areas: in pixels of the scene: x counts columns, y rows, from its corner.
        codes: a code of ``CLASSES`` for each.
    """

    def __init__(self, areas: Sequence[BaseGeometry], codes: Sequence[int]) -> None:
        """Index the areas by where they lie."""
        self._areas, self._codes = list(areas), list(codes)
        self._tree = shapely.STRtree(self._areas)

    @classmethod
    def open(cls, source: Areas, scene: Scene, *, classed: bool = True) -> Self:
        """Read areas, whatever their coordinate system, onto a scene's grid.

        Args:
            source: a file, GeoJSON as a mapping, or geometries. Geometries without a coordinate
                system lie in that of the scene.
            scene: whose grid.
            classed: ask the property ``class``; else all areas are of one kind, called cloud.

        Raises:
            InputError: it is damaged, empty, holds no areas, or names an unknown class.
            GridError: the scene lies nowhere on Earth, or nothing of it lies on the scene.
        """
        geobox = scene.geobox
        name = source if isinstance(source, Path) else f"a {type(source).__name__}"
        if geobox.crs is None:
            raise GridError(
                f"the scene has no georeference, so {name} cannot be placed on it",
                "polygons have coordinates on Earth",
                "give a raster of the scene's size as mask",
            )
        features, crs = _read(source, str(name), geobox.crs, classed=classed)
        footprint = _footprint(geobox, way_between(geobox.crs, crs))
        to_scene = way_between(crs, geobox.crs)
        areas = [_on_grid(feature.area, to_scene, footprint, geobox) for feature in features]
        height, width = shape_of(geobox)
        scene_area = shapely.box(0, 0, width, height)
        if not any(area.intersects(scene_area) for area in areas):
            raise GridError(
                f"none of the {len(features)} polygons of {name} lies on the scene",
                f"the scene covers {_corners(footprint)} in their coordinates ({crs})",
                "check their coordinate system, or choose others",
            )
        return cls(areas, [feature.code for feature in features])

    def extent(self, whole: Window) -> Window:
        """Return the smallest window, inside of another, with all pixels that lie in an area.

        Raises:
            GridError: no pixel does.
        """
        left, top, right, bottom = shapely.total_bounds(self._areas)
        row, col = (max(0, math.ceil(first - 0.5)) for first in (top, left))  # by their centres
        row_stop, col_stop = (math.floor(last + 0.5) for last in (bottom, right))
        extent = Window(row, col, max(0, row_stop - row), max(0, col_stop - col)) & whole
        if not (extent.height and extent.width):
            raise GridError(
                "the polygons hold the centre of no pixel",
                "they are as large as a pixel, and lie on the scene",
                "draw a larger polygon",
            )
        return extent

    def relative_to(self, window: Window) -> Polygons:
        """The same areas, on the grid of a window of the scene."""
        corner = (window.col, window.row)
        moved = [shapely.transform(area, lambda at: at - corner) for area in self._areas]
        return Polygons(moved, self._codes)

    def read(self, window: Window) -> Classes:
        """Return (H, W) codes of ``CLASSES``: clear where no area is."""
        row_stop, col_stop = window.row + window.height, window.col + window.width
        here = self._tree.query(shapely.box(window.col, window.row, col_stop, row_stop))
        codes: Classes = np.full(window.shape, CLEAR, np.uint8)
        if len(here):
            burnt = [(self._areas[i], self._codes[i]) for i in sorted(here)]
            corner = Affine.translation(window.col, window.row)
            rasterize(burnt, out=codes, transform=corner)
        return codes


def _footprint(geobox: GeoBox, there: Way) -> Box:
    """Left, bottom, right and top of a scene in a coordinate system."""
    extent = geobox.extent.geom
    edge = shapely.segmentize(extent, extent.length / (4 * PARTS_OF_EDGE))
    left, bottom, right, top = map(float, _moved(edge, there).bounds)
    return left, bottom, right, top


def _moved(area: BaseGeometry, there: Way) -> BaseGeometry:
    return shapely.transform(area, lambda at: np.stack(there(*at.T), axis=1))


def _on_grid(area: BaseGeometry, to_scene: Way, footprint: Box, geobox: GeoBox) -> BaseGeometry:
    """What lies on or near a scene of an area, in the scene's pixels; empty where nothing does."""
    left, bottom, right, top = footprint
    step = max(right - left, top - bottom) / PARTS_OF_EDGE
    if not math.isfinite(step):  # the scene lies beyond the reach of this coordinate system
        return shapely.MultiPolygon()
    near = shapely.box(left - step, bottom - step, right + step, top + step)
    area = _areal(shapely.intersection(area, near))
    moved = _moved(shapely.segmentize(area, step), to_scene)
    a, b, c, d, e, f = tuple(~geobox.affine)[:6]
    return shapely.transform(moved, lambda at: at @ np.array([[a, d], [b, e]]) + (c, f))


def _areal(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons of a geometry, without the lines and points beside them."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return shapely.multipolygons(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON])


def _corners(footprint: Box) -> str:
    left, bottom, right, top = footprint
    return f"{left:.6g} to {right:.6g}, {bottom:.6g} to {top:.6g}"


def _read(source: Areas, name: str, usual: CRS, *, classed: bool) -> tuple[list[Feature], CRS]:
    """The areas of a source, and their coordinate system."""
    try:
        found, crs = _found(source, usual)
        features = [
            Feature(_valid(area), _code_of(properties, name) if classed else CLOUD)
            for area, properties in found
            if area is not None and shapely.get_dimensions(area) == 2 and not area.is_empty
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError,
            shapely.errors.ShapelyError, sqlite3.Error) as error:  # fmt: skip
        raise InputError(
            f"{name} cannot be read as polygons ({str(error) or type(error).__name__})",
            "a GeoJSON or a GeoPackage with one layer of polygons, or geometries",
            "save the polygons again as one of these",
        ) from error
    if not features:
        raise InputError(
            f"{name} holds no polygon",
            "a mask is drawn in polygons: points and lines have no area",
            "draw one, or leave it out",
        )
    return features, crs


def _valid(area: BaseGeometry) -> BaseGeometry:
    # a figure of eight drawn by hand has both its loops
    return _areal(area if area.is_valid else shapely.make_valid(area))


def _code_of(properties: Mapping[str, Any], name: str) -> int:
    """The class that a property ``class`` names; cloud where there is none."""
    said = properties.get("class")
    if said is None or said == "":
        return CLOUD
    known = {kind.name: kind.code for kind in CLASSES.values() if kind.code not in (CLEAR, NODATA)}
    for word, code in known.items():
        if str(said).strip().lower() in (word, str(code)):
            return code
    raise InputError(
        f"{name} has a polygon of class {said!r}",
        f"a class is {', '.join(known)}, or none for cloud",
        "correct the property 'class', or remove it",
    )


Found = Iterator[tuple[BaseGeometry | None, Mapping[str, Any]]]


def _found(source: Areas, usual: CRS) -> tuple[Found, CRS]:
    """Geometries and properties, and their coordinate system."""
    if isinstance(source, Path):
        return _from_gpkg(source) if source.suffix.lower() == ".gpkg" else _from_geojson(source)
    if isinstance(source, Mapping):
        return _from_tree(source, CRS(LONGITUDE_LATITUDE))
    own = getattr(source, "crs", None)
    return _from_tree(source.__geo_interface__, usual if own is None else CRS(own))


def _from_geojson(path: Path) -> tuple[Found, CRS]:
    if path.stat().st_size > MAX_GEOJSON_BYTES:
        raise ValueError(f"it has {path.stat().st_size} bytes")
    return _from_tree(json.loads(path.read_text(encoding="utf-8-sig")), CRS(LONGITUDE_LATITUDE))


def _from_tree(tree: Mapping[str, Any], usual: CRS) -> tuple[Found, CRS]:
    """What GeoJSON holds; its member ``crs`` of before RFC 7946 is honoured."""
    named = tree.get("crs")
    crs = CRS(str(named["properties"]["name"])) if named else usual
    if tree.get("type") == "FeatureCollection":
        features = tree["features"]
    else:
        features = [tree if tree.get("type") == "Feature" else {"geometry": tree}]

    def found() -> Found:
        for feature in features:
            geometry = feature.get("geometry")
            yield geometry and shape(geometry), feature.get("properties") or {}

    return found(), crs


def _from_gpkg(path: Path) -> tuple[Found, CRS]:
    """Geometries and attributes of the only layer (OGC 12-128r19)."""
    with path.open("rb") as file:
        if not file.read(16).startswith(b"SQLite format 3"):
            raise ValueError("it is no GeoPackage")
    # read-only, yet with what an open QGIS has not moved into the main file
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        database.execute("PRAGMA trusted_schema = OFF")
        database.row_factory = sqlite3.Row
        layers = database.execute(
            "SELECT g.table_name, g.column_name, s.organization, s.organization_coordsys_id, "
            "s.definition FROM gpkg_geometry_columns g JOIN gpkg_spatial_ref_sys s "
            "ON g.srs_id = s.srs_id"
        ).fetchall()
        if len(layers) != 1:
            names = ", ".join(layer["table_name"] for layer in layers) or "none"
            raise ValueError(f"its layers are: {names}")
        table, column, organization, number, definition = layers[0]
        known = str(organization).upper() == "EPSG"
        crs = CRS(f"EPSG:{number}" if known else str(definition))
        quoted = str(table).replace('"', '""')
        rows = [dict(row) for row in database.execute(f'SELECT * FROM "{quoted}"')]
    return ((_of_blob(row[column]), row) for row in rows), crs


def _of_blob(blob: bytes | None) -> BaseGeometry | None:
    """The geometry in a GeoPackage's binary: a header, an envelope, then plain WKB."""
    if blob is None:
        return None
    if blob[:2] != b"GP":
        raise ValueError("a geometry is not in GeoPackage's binary")
    envelope_bytes = (0, 32, 48, 48, 64)[blob[3] >> 1 & 0b111]
    return shapely.from_wkb(blob[8 + envelope_bytes :])
