"""The output: items that describe what was made, whether it is whole, and the catalog of all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pystac
from pystac.extensions.eo import Band as EOBand
from pystac.extensions.eo import EOExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.grid import GridExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import DataType, RasterBand, RasterExtension
from pystac.extensions.view import ViewExtension

from geodecloud import __version__
from geodecloud.batch.query import Item
from geodecloud.errors import InputError, MissingExtraError
from geodecloud.geo.excerpt import bounds_of, footprint
from geodecloud.geo.publish import alone, publish
from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import Scene, shape_of
from geodecloud.geo.sensors import ALIASES, SENSORS
from geodecloud.options import DecloudResult
from geodecloud.picture import (
    bands_to_show,
    encode_png,
    limits,
    overview,
    step_for,
    stretched,
)
from geodecloud.run.exchange import package_files
from geodecloud.run.mlm import ITEM, mlm_item
from geodecloud.run.package import Package

CLEAR, PROVENANCE, MASK, THUMBNAIL = "clear.tif", "provenance.tif", "mask.tif", "thumbnail.png"
SPREAD = "uncertainty.tif"
RECORD, CATALOG, TABLE = "item.json", "catalog.json", "items.parquet"
MODELS = "models"
THUMBNAIL_PX = 512

PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
"""pystac has no class for this extension."""

DIGEST = "geodecloud:job"
"""Property that says by which job, options and all, an item was made."""

# Of the item that was read, what is true of the result as well.
_KEPT = (
    "datetime", "start_datetime", "end_datetime", "platform", "constellation", "instruments",
    "mission", "gsd", "eo:cloud_cover", "grid:code", "view:", "s2:mgrs_tile",
)  # fmt: skip

_ROLES = {
    CLEAR: ("Clear bands", ["data", "reflectance"]),
    PROVENANCE: ("Where each pixel comes from", ["metadata"]),
    SPREAD: ("One standard deviation of what was generated", ["metadata", "uncertainty"]),
    MASK: ("Classes of the mask", ["metadata", "cloud", "cloud-shadow"]),
}
_MEASURED = frozenset({CLEAR, SPREAD})
_COMMON = {
    name: word for word, name in ALIASES.items() if word.isalnum() and word[0].islower()
}  # fmt: skip
_UNITS = {"reflectance": "1", "dB": "dB"}  # as UCUM has them
_MULTIHASH_SHA256 = "1220"


class Made(NamedTuple):
    """What a job has made: the item it read, the job, the result, and what it was made from.

    ``inputs`` are links and titles of the items that were read, the scene's first.
    """

    item: Item
    digest: str
    result: DecloudResult
    inputs: Sequence[tuple[str, str]]
    package: Package | None


def record(folder: Path, out: Path, made: Made) -> None:
    """Write the thumbnail of a finished scene and, last, the item that describes its files.

    Raises:
        OutputError: they cannot be written.
    """
    with open_scene(folder / CLEAR) as scene:
        publish(folder / THUMBNAIL, _thumbnail(scene), overwrite=True)
        item = _item(folder, made, scene)
    up = os.path.relpath(out, folder)
    item.add_link(pystac.Link("root", f"{up}/{CATALOG}", pystac.MediaType.JSON))
    item.add_link(pystac.Link("parent", f"{up}/{CATALOG}", pystac.MediaType.JSON))
    if made.package is not None:
        place = f"{MODELS}/{made.package.card.name}"
        _keep_model(made.package, out / place)
        link = pystac.Link("derived_from", f"{up}/{place}/{ITEM}", pystac.MediaType.GEOJSON)
        link.title = f"model: {made.package.card.name}"
        item.add_link(link)
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    publish(folder / RECORD, _json(content), overwrite=True)


def is_done(folder: Path, digest: str) -> bool:
    """Say whether a folder holds the files of this very job, each with its checksum."""
    try:
        item = json.loads((folder / RECORD).read_bytes())
        if item["properties"][DIGEST] != digest:
            return False
        return all(
            asset["file:checksum"] == _checksum(folder / Path(asset["href"]).name)
            for asset in item["assets"].values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def sweep(folder: Path) -> None:
    """Remove what a killed run has left half-written in a folder that is ours."""
    for part in (*folder.glob("*.part"), *folder.glob(".*.part"), *folder.glob("*.part.*")):
        with suppress(OSError):
            part.unlink()


def write_catalog(out: Path) -> int:
    """Write the catalog of all items that are done, and a table of them; return their number.

    The items in the folder are the only state: several runs may add to one catalog, and the same
    items give the same bytes.

    Raises:
        OutputError: it cannot be written.
    """
    with alone(out, patience_s=60):
        sweep(out)
        items = list(_records(out))
        catalog = pystac.Catalog(
            id="geodecloud",
            description="Scenes without clouds: what was generated is marked in their provenance.",
            title="Made by geodecloud",
            catalog_type=pystac.CatalogType.SELF_CONTAINED,
        )
        for place, item in items:
            link = pystac.Link("item", f"./{place}/{RECORD}", pystac.MediaType.GEOJSON)
            link.title = item["id"]
            catalog.add_link(link)
        content = catalog.to_dict(include_self_link=False, transform_hrefs=False)
        own = {"rel": "root", "href": f"./{CATALOG}", "type": "application/json"}
        content["links"] = [own, *(link for link in content["links"] if link["rel"] == "item")]
        publish(out / CATALOG, _json(content), overwrite=True)
        if items:
            _write_table(out, items)
    return len(items)


def _records(out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items of an output folder, and where they lie in it."""
    for path in sorted(out.glob(f"*/*/{RECORD}")):
        place = path.parent.relative_to(out).as_posix()
        if path.resolve().is_relative_to(out.resolve()) and not place.startswith(MODELS):
            try:
                yield place, json.loads(path.read_bytes())
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{path} cannot be read", "the record of an item", "delete it and run again"
                ) from error


def _write_table(out: Path, items: Sequence[tuple[str, dict[str, Any]]]) -> None:
    try:
        from stac_geoparquet.arrow import parse_stac_items_to_parquet
    except ImportError as error:
        raise MissingExtraError("stac-geoparquet", "batch", f"writing {TABLE}") from error
    rows = []
    for place, item in items:
        assets = {
            key: {**asset, "href": f"./{place}/{Path(asset['href']).name}"}
            for key, asset in item["assets"].items()
        }
        own = {"rel": "self", "href": f"./{place}/{RECORD}", "type": "application/geo+json"}
        links = [link for link in item["links"] if link["rel"] == "derived_from"]
        rows.append({**item, "assets": assets, "links": [own, *links]})
    part = out / f".{TABLE}.part"
    parse_stac_items_to_parquet(rows, output_path=str(part.resolve()))
    publish(out / TABLE, part.read_bytes(), overwrite=True)
    part.unlink()


def _item(folder: Path, made: Made, scene: Scene) -> pystac.Item:
    source, result = made.item, made.result
    said = source["properties"]
    kept = {key: value for key, value in said.items() if key.startswith(_KEPT)}
    geometry, bbox = _footprint(scene, source)
    item = pystac.Item(
        id=f"{source['id']}_clear",
        geometry=geometry,
        bbox=bbox,
        datetime=pystac.utils.str_to_datetime(said["datetime"]) if said.get("datetime") else None,
        properties={
            **{name: kept[name] for name in sorted(kept)},
            "processing:level": "L4",
            "processing:software": {"geodecloud": __version__},
            "processing:lineage": _lineage(made),
            "geodecloud:model": result.model,
            "geodecloud:generated_share": round(result.generated_share, 6),
            "geodecloud:observed_share": round(result.observed_share, 6),
            "geodecloud:cloud_share": round(result.cloud_share, 6),
            DIGEST: made.digest,
        },
        stac_extensions=[PROCESSING],
    )
    for prefix, extension in (("view:", ViewExtension), ("grid:", GridExtension)):
        if any(key.startswith(prefix) for key in kept):
            extension.add_to(item)
    if "eo:cloud_cover" in kept:
        EOExtension.ext(item, add_if_missing=True).cloud_cover = kept["eo:cloud_cover"]
    for href, title in made.inputs:
        link = pystac.Link("derived_from", href, pystac.MediaType.GEOJSON)
        link.title = title
        item.add_link(link)
    for name in _ROLES:
        if name == SPREAD and "uncertainty" not in result.files:
            continue
        named = None if name in _MEASURED else [name[:4]]
        with open_scene(folder / name, bands=named) as raster:
            _add_raster(item, folder / name, raster)
    roles = ["thumbnail"]
    asset = pystac.Asset(f"./{THUMBNAIL}", "Thumbnail", media_type="image/png", roles=roles)
    _add(item, "thumbnail", asset, folder / THUMBNAIL)
    return item


def _add_raster(item: pystac.Item, path: Path, scene: Scene) -> None:
    title, roles = _ROLES[path.name]
    asset = pystac.Asset(f"./{path.name}", title, media_type=pystac.MediaType.COG, roles=roles)
    _add(item, path.stem, asset, path)
    geobox = scene.geobox
    if geobox.crs is not None:
        code = geobox.crs.to_epsg()
        ProjectionExtension.ext(asset, add_if_missing=True).apply(
            code=f"EPSG:{code}" if code else None,
            wkt2=None if code else str(geobox.crs.to_wkt()),
            shape=list(shape_of(geobox)),
            transform=list(geobox.affine)[:6],
        )
    is_measured = path.name in _MEASURED
    RasterExtension.ext(asset, add_if_missing=True).bands = [
        RasterBand.create(
            nodata=band.nodata,
            data_type=DataType(band.dtype),
            scale=band.scale if is_measured else None,
            offset=band.offset if is_measured else None,
            unit=_UNITS.get(scene.sensor.unit) if is_measured else None,
        )
        for band in scene.sensor.bands
    ]
    if is_measured:
        described = _described if path.name == CLEAR else _spread_of
        EOExtension.ext(asset, add_if_missing=True).bands = [
            described(name) for name in scene.sensor.band_names
        ]


def _add(item: pystac.Item, key: str, asset: pystac.Asset, path: Path) -> None:
    item.add_asset(key, asset)
    FileExtension.ext(asset, add_if_missing=True).apply(
        checksum=_checksum(path), size=path.stat().st_size
    )


def _described(name: str) -> EOBand:
    known = {band.name: band for band in SENSORS["sentinel-2-l1c"].bands}.get(name)
    micrometres = known.wavelength_nm / 1000 if known and known.wavelength_nm else None
    return EOBand.create(name, common_name=_COMMON.get(name), center_wavelength=micrometres)


def _spread_of(name: str) -> EOBand:
    # without a common name: who asks for "red" wants the ground
    return EOBand.create(name, description=f"One standard deviation of the error in {name}")


def _footprint(scene: Scene, source: Item) -> tuple[dict[str, Any] | None, list[float] | None]:
    """Where the pixels lie, in degrees; what the source says, where they lie nowhere."""
    if scene.geobox.crs is None:
        return source.get("geometry"), source.get("bbox")
    ring = [[round(value, 7) for value in point] for point in footprint(scene.geobox, 3)]
    bounds = [round(value, 7) for value in bounds_of(scene.geobox)]
    return {"type": "Polygon", "coordinates": [ring]}, bounds


def _lineage(made: Made) -> str:
    result = made.result
    return (
        f"Clouds and their shadows, {result.cloud_share + result.shadow_share:.1%} of the valid "
        f"pixels, replaced by {result.model}; {result.generated_share:.1%} generated, "
        f"{result.observed_share:.1%} from other dates; all other pixels are the source's own."
    )


def _thumbnail(scene: Scene) -> bytes:
    shown = scene.select(bands_to_show(scene.sensor.band_names))
    values = overview(shown, step_for(shape_of(shown.geobox), THUMBNAIL_PX))
    return encode_png(stretched(values, [limits(band) for band in values]))


def _keep_model(package: Package, folder: Path) -> None:
    """Write a model and its item beside the results, once."""
    if (folder / ITEM).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    contents = {name: package.read(name) for name in package.card.files}
    for name, content in package_files(package.card, contents).items():
        publish(folder / name, content, overwrite=True)
    publish(folder / ITEM, mlm_item(package.card), overwrite=True)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return _MULTIHASH_SHA256 + hashlib.file_digest(file, "sha256").hexdigest()


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
