"""Product: what a maker's folder or .zip holds, known by the names of its files."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from geodecloud.errors import InputError
from geodecloud.geo.guard import RASTER_SUFFIXES
from geodecloud.geo.profile import Tags
from geodecloud.geo.radiometry import SENTINEL1, SENTINEL2, known_name
from geodecloud.geo.sensors import Band
from geodecloud.geo.trees import Element, Folder, Tree, read_xml


class ProductFile(NamedTuple):
    """A file of a product, of one band.

    Attributes:
        name: in its tree.
        band_name: which band.
        band: what its numbers mean; None where the file says that itself.
        pixel_m: side of its pixels, as its name or its band has it.
    """

    name: str
    band_name: str
    band: Band | None
    pixel_m: float | None


@dataclass(frozen=True)
class Product:
    """The files that a scene is made of, and what their maker says of them.

    Attributes:
        tree: where they are.
        sensor: name of the sensor.
        files: in the order of the bands; a band may be there in several pixel sizes.
        level: product level, where it is known.
        tags: what is worth keeping of the metadata.
    """

    tree: Tree
    sensor: str
    files: Sequence[ProductFile]
    level: str | None = None
    tags: Tags = field(default_factory=dict)


def find_product(tree: Tree) -> Product | None:
    """Return the product in a folder or archive; None where its names are no maker's.

    Raises:
        InputError: there are two of them, or one that cannot be opened as it is.
    """
    beside = [name for name in tree.names if "/" not in name]
    if any(PurePosixPath(name).suffix.lower() in RASTER_SUFFIXES for name in beside):
        tree = replace(tree, names=tuple(beside))  # type: ignore[type-var]
    return next(filter(None, (maker(tree) for maker in MAKERS)), None)


# Sentinel-2 SAFE (ESA, S2 product specification, 14.9). The second name is of before 2016-12.
_S2_METADATA = re.compile(r"MTD_MSI(L1C|L2A)\.xml|S2[A-D]_\w{4}_MTD_SAF(L1C|L2A)_\w+\.xml")
_S2_BAND = re.compile(r"GRANULE/([^/]+)/IMG_DATA/(?:R\d0m/)?[^/]*_(B\d\d|B8A|SCL)(?:_(\d0)m)?\.jp2")
_S2_SCALE = re.compile(r"(?:L[12][AC]_)?(?:BOA_)?QUANTIFICATION_VALUE")
_S2_OFFSET = re.compile(r"(?:BOA|RADIO)_ADD_OFFSET")
_S2_TAGS = (
    "PRODUCT_URI", "PROCESSING_LEVEL", "PROCESSING_BASELINE", "PRODUCT_START_TIME",
    "SPACECRAFT_NAME",
)  # fmt: skip
SCL_M = 20


def is_metadata_of_safe(name: str) -> bool:
    """Say whether a file of this name describes a Sentinel-2 product."""
    return _S2_METADATA.fullmatch(name) is not None


def sentinel2(tree: Tree) -> Product | None:
    """Return the Sentinel-2 product (SAFE, L1C or L2A) in a tree."""
    texts = [name for name in tree.names if is_metadata_of_safe(PurePosixPath(name).name)]
    if not texts:
        return None
    _check_one(tree, [str(PurePosixPath(text).parent) for text in texts], "name one of them")
    level = next(filter(None, _S2_METADATA.fullmatch(PurePosixPath(texts[0]).name).groups()))  # type: ignore[union-attr]
    root = texts[0].rpartition("/")[0]
    names = [name for name in tree.names if name.startswith(f"{root}/" if root else "")]
    matches = {name: match for name in names if (match := _S2_BAND.search(name))}
    if not matches:
        raise InputError(
            f"{tree.root / root} holds no band",
            "a product holds GRANULE/*/IMG_DATA/*_B02*.jp2 and so on",
            "download the whole product again",
        )
    granules = {match[1] for match in matches.values()}
    _check_one(tree, granules, "name the *.jp2 files of one of them")
    said = read_xml(tree, texts[0])
    scale, offsets = _radiometry(said, tree, texts[0])
    files = []
    for name, match in matches.items():
        band = replace(SENTINEL2.get(match[2]) or Band("SCL", resolution_m=SCL_M), nodata=0)
        if band.name in SENTINEL2:
            band = replace(band, scale=scale, offset=offsets.get(band.name, 0.0) * scale)
        pixel_m = float(match[3]) if match[3] else band.resolution_m
        files.append(ProductFile(name, band.name, band, pixel_m))
    order = (*SENTINEL2, "SCL")
    files.sort(key=lambda file: order.index(file.band_name))
    tags = {one.name: one.text for one in said if one.name in _S2_TAGS and one.text}
    return Product(tree, f"sentinel-2-{level.lower()}", tuple(files), level, tags)


def sentinel2_around(path: Path) -> Product | None:
    """Return the Sentinel-2 product that a file of one band lies in, with that band alone."""
    for place in path.parents:
        if place.name == "GRANULE":
            root, name = place.parent, path.relative_to(place.parent).as_posix()
            beside = [file.name for file in root.iterdir() if is_metadata_of_safe(file.name)]
            return sentinel2(Folder(root, (*beside, name))) if _S2_BAND.search(name) else None
    return None


def _radiometry(
    said: Sequence[Element], tree: Tree, name: str
) -> tuple[float, Mapping[str, float]]:
    """Reflectance of one stored step, and what is added to the stored numbers of each band."""
    quantification = [one.text for one in said if _S2_SCALE.fullmatch(one.name)]
    added = [one for one in said if _S2_OFFSET.fullmatch(one.name)]
    try:
        scale = 1 / float(quantification[0])
        order = tuple(SENTINEL2)
        offsets = {order[int(one.attributes["band_id"])]: float(one.text) for one in added}
        if not all(map(math.isfinite, (scale, *offsets.values()))):
            raise ValueError("no finite number")
    except (ValueError, IndexError, KeyError, ZeroDivisionError) as error:
        raise InputError(
            f"{tree.root / name} does not say what the stored numbers mean "
            f"({type(error).__name__}: {error})",
            "it holds a QUANTIFICATION_VALUE, and offsets by band_id 0 to 12",
            "download the product again, or name its *.jp2 files and pass --scale and --offset",
        ) from error
    return scale, offsets


_S1_RAW = re.compile(r"(^|/)s1[a-d]-\w+-(grd|slc|ocn)[-_]", re.IGNORECASE)


def sentinel1_raw(tree: Tree) -> None:
    """Refuse a Sentinel-1 product that is not on a grid: GRD and SLC.

    Raises:
        InputError: the tree holds one.
    """
    if any(_S1_RAW.search(name) for name in tree.names):
        raise InputError(
            f"{tree.root} is a Sentinel-1 product in the radar's own geometry",
            "Sentinel-1 is read terrain-corrected (RTC)",
            "take an RTC product of the same pass (ASF HyP3, OPERA, Planetary Computer), or run "
            "SNAP: Calibration, Terrain-Flattening, Range-Doppler Terrain-Correction",
        )


def sentinel1(tree: Tree) -> Product | None:
    """Return the terrain-corrected Sentinel-1 image in a tree, one file a polarisation.

    What lies beside it, such as incidence angles or a terrain model, is left out.
    """
    rasters = [n for n in tree.names if PurePosixPath(n).suffix.lower() in (".tif", ".tiff")]
    bands = {name: known_name(PurePosixPath(name).stem) for name in rasters}
    if not set(bands.values()) & set(SENTINEL1) or set(bands.values()) & set(SENTINEL2):
        return None
    files = [
        ProductFile(name, band, None, None)
        for band in SENTINEL1
        for name, found in bands.items()
        if found == band
    ]
    _check_one(tree, {_without_polarisation(file.name) for file in files}, "name the files of one")
    return Product(tree, "sentinel-1-rtc", tuple(files))


def _without_polarisation(name: str) -> str:
    return re.sub(r"(?<![A-Za-z0-9])(VV|VH)(?![A-Za-z0-9])", "", name, flags=re.IGNORECASE)


# Theia's Sentinel-2 (CNES, MUSCATE format): flat, else slope-uncorrected surface reflectance.
_THEIA = re.compile(
    r"(SENTINEL2[A-DX]_\d{8}-\d{6}-\d{3}_L[23]A_T\w{5}_\w_V\d+-\d+)_(FRE|FRC|SRE)_(B\d\d?|B8A)\.tif",
    re.IGNORECASE,
)
THEIA_NODATA = -10_000


def theia(tree: Tree) -> Product | None:
    """Return the Sentinel-2 product of Theia (MAJA) in a tree; its masks are left out."""
    matches = _matches(tree, _THEIA)
    if not matches:
        return None
    _check_one(tree, {match[1] for match in matches.values()}, "name one of them")
    kinds = {match[2].upper() for match in matches.values()}
    kind = next(kind for kind in ("FRE", "FRC", "SRE") if kind in kinds)
    found = {
        known_name(match[3]) or match[3]: name
        for name, match in matches.items()
        if match[2].upper() == kind
    }
    files = [
        ProductFile(found[name], name, replace(band, nodata=THEIA_NODATA), band.resolution_m)
        for name, band in SENTINEL2.items()
        if name in found
    ]
    product = next(match[1] for match in matches.values())
    tags = {"PRODUCT_ID": product, "REFLECTANCE": kind}
    return Product(tree, "sentinel-2-l2a", tuple(files), "L2A", tags)


# Landsat Collection 2, Level 2 (USGS LSDS-1619): surface reflectance = dn * 2.75e-5 - 0.2.
_LANDSAT = re.compile(
    r"(L[COTE]0([45789])_L2S[PR]_\d{6}_\d{8}_\d{8}_02_(?:T1|T2|RT))_(SR_B\d|QA_PIXEL)\.TIF",
    re.IGNORECASE,
)
LANDSAT_SCALE, LANDSAT_OFFSET = 2.75e-5, -0.2
LANDSAT_M = 30
QA_FILL = 1
_TM = (("SR_B1", "B02", 485), ("SR_B2", "B03", 560), ("SR_B3", "B04", 660), ("SR_B4", "B08", 830),
       ("SR_B5", "B11", 1650), ("SR_B7", "B12", 2220))  # fmt: skip
_OLI = (("SR_B1", "B01", 443), ("SR_B2", "B02", 482), ("SR_B3", "B03", 561), ("SR_B4", "B04", 655),
        ("SR_B5", "B08", 865), ("SR_B6", "B11", 1609), ("SR_B7", "B12", 2201))  # fmt: skip


def landsat(tree: Tree) -> Product | None:
    """Return the Landsat product (Collection 2, Level 2) in a tree.

    Its bands take the names of Sentinel-2's that detectors and models ask for the same colours.
    """
    matches = _matches(tree, _LANDSAT)
    if not matches:
        return None
    _check_one(tree, {match[1] for match in matches.values()}, "name one of them")
    found = {match[3].upper(): name for name, match in matches.items()}
    product, number = next((match[1], match[2]) for match in matches.values())
    files = []
    for own, name, wavelength_nm in _OLI if number in "89" else _TM:
        if own in found:
            band = Band(name, wavelength_nm, LANDSAT_M, LANDSAT_SCALE, LANDSAT_OFFSET, nodata=0)
            files.append(ProductFile(found[own], name, band, LANDSAT_M))
    if "QA_PIXEL" in found:
        quality = Band("QA_PIXEL", resolution_m=LANDSAT_M, nodata=QA_FILL)
        files.append(ProductFile(found["QA_PIXEL"], "QA_PIXEL", quality, LANDSAT_M))
    return Product(tree, f"landsat-{number}-l2", tuple(files), "L2A", {"PRODUCT_ID": product})


MAKERS: tuple[Callable[[Tree], Product | None], ...] = (
    sentinel2, theia, landsat, sentinel1_raw, sentinel1,
)  # fmt: skip


def _matches(tree: Tree, pattern: re.Pattern[str]) -> dict[str, re.Match[str]]:
    """The files whose names, without their folders, match."""
    found = ((name, pattern.fullmatch(PurePosixPath(name).name)) for name in tree.names)
    return {name: match for name, match in found if match}


def _check_one(tree: Tree, products: Iterable[str], todo: str) -> None:
    """Refuse a tree that holds more than one product, or part of one."""
    names = sorted(set(products))
    if len(names) > 1:
        more = f" and {len(names) - 2} more" if names[2:] else ""
        raise InputError(
            f"{tree.root} holds {len(names)} products: {names[0]}, {names[1]}{more}",
            "a scene is made of one",
            todo,
        )
