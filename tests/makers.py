"""Small products with the names, folders and metadata that their makers give them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

REPOSITORY = Path(__file__).resolve().parents[1]
CORNER = (600_000.0, 5_100_000.0)
CRS = "EPSG:32632"
TILE, TIME = "T32TMT", "20220728T102559"
SIDE_M = 3840
S2_BANDS = (
    *("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08"),
    *("B8A", "B09", "B10", "B11", "B12"),
)
S2_PIXEL_M = dict(zip(S2_BANDS, (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20), strict=True))


def write_raster(path, array, pixel_m, *, driver="GTiff", corner=CORNER, crs=CRS, **options):
    """Write (C, H, W) with square pixels whose first corner lies there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = array[None] if array.ndim == 2 else array
    if driver == "JP2OpenJPEG":
        options |= {"QUALITY": 100, "REVERSIBLE": "YES", "YCBCR420": "NO"}
    with rasterio.open(
        path, "w", driver=driver, count=len(array), height=array.shape[1], width=array.shape[2],
        dtype=array.dtype, crs=crs, transform=Affine(pixel_m, 0, corner[0], 0, -pixel_m, corner[1]),
        **options,
    ) as dataset:  # fmt: skip
        dataset.write(array)
    for beside in path.parent.glob(f"{path.name}.aux.xml"):
        beside.unlink()
    return path


def ground(pixel_m, value, added, side_m=SIDE_M):
    """Stored numbers that rise by one a pixel of 10 m to the right, around a reflectance."""
    n = round(side_m / pixel_m)
    right = (np.arange(n) + 0.5) * pixel_m / 10
    return np.broadcast_to(10_000 * value + added + right, (n, n)).round().astype(np.uint16)


def metadata(level, baseline, offset, extra=""):
    """The metadata of a Sentinel-2 product, as far as geodecloud reads it."""
    radio, scale, listed = {
        "L1C": ("RADIO_ADD_OFFSET", "QUANTIFICATION_VALUE", "Radiometric_Offset_List"),
        "L2A": ("BOA_ADD_OFFSET", "BOA_QUANTIFICATION_VALUE", "BOA_ADD_OFFSET_VALUES_LIST"),
    }[level]
    rows = "".join(f'<{radio} band_id="{i}">{offset}</{radio}>' for i in range(13))
    offsets = f"<{listed}>{rows}</{listed}>" if offset is not None else ""
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
{extra}<n1:Level-{level[1:]}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/x.xsd">
<n1:General_Info><Product_Info>
<PRODUCT_START_TIME>2022-07-28T10:25:59.024Z</PRODUCT_START_TIME>
<PRODUCT_URI>{safe_name(level, baseline)}</PRODUCT_URI>
<PROCESSING_LEVEL>Level-{level[1:]}</PROCESSING_LEVEL>
<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
<Datatake datatakeIdentifier="x"><SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME></Datatake>
</Product_Info><Product_Image_Characteristics>
<QUANTIFICATION_VALUES_LIST><{scale} unit="none">10000</{scale}></QUANTIFICATION_VALUES_LIST>
{offsets}</Product_Image_Characteristics></n1:General_Info>
</n1:Level-{level[1:]}_User_Product>
"""


def safe_name(level, baseline="04.00"):
    return f"S2A_MSI{level}_{TIME}_N{baseline.replace('.', '')}_R108_{TILE}_20220728T170000.SAFE"


def make_safe(folder, level="L2A", *, baseline="04.00", offset=-1000, bands=None, text=None):
    """Write a Sentinel-2 product of 3.84 km a side; reflectance of a band is 0.1 + its number/100.

    Returns the folder *.SAFE.
    """
    root = Path(folder) / safe_name(level, baseline)
    granule = root / "GRANULE" / f"{level}_{TILE}_A037066_{TIME}"
    added = -(offset or 0)
    for number, name in enumerate(S2_BANDS):
        if (bands and name not in bands) or (level == "L2A" and name == "B10"):
            continue
        finest = S2_PIXEL_M[name]
        sizes = [finest] if level == "L1C" else [m for m in (10, 20, 60) if m >= finest]
        for pixel_m in sizes:
            dn = ground(pixel_m, 0.1 + number / 100, added)
            place = granule / "IMG_DATA" / (f"R{pixel_m}m" if level == "L2A" else "")
            end = f"_{pixel_m}m" if level == "L2A" else ""
            write_raster(
                place / f"{TILE}_{TIME}_{name}{end}.jp2", dn, pixel_m, driver="JP2OpenJPEG"
            )
    n = SIDE_M // 10
    rgb = np.full((3, n, n), 90, np.uint8)
    rgb[:, :8] = 0
    end = "_10m" if level == "L2A" else ""
    image = granule / "IMG_DATA" / ("R10m" if level == "L2A" else "")
    write_raster(image / f"{TILE}_{TIME}_TCI{end}.jp2", rgb, 10, driver="JP2OpenJPEG")
    if level == "L2A":
        scl = np.full((SIDE_M // 20,) * 2, 4, np.uint8)
        scl[:40, :60] = 9
        place = granule / "IMG_DATA" / "R20m"
        write_raster(place / f"{TILE}_{TIME}_SCL_20m.jp2", scl, 20, driver="JP2OpenJPEG")
        mask = np.zeros((SIDE_M // 20,) * 2, np.uint8)
        write_raster(granule / "QI_DATA/MSK_CLDPRB_20m.jp2", mask, 20, driver="JP2OpenJPEG")
    described = metadata(level, baseline, offset) if text is None else text
    (root / f"MTD_MSI{level}.xml").write_text(described)
    (granule / "MTD_TL.xml").write_text("<Granule/>")
    (root / "manifest.safe").write_text("<manifest/>")
    return root


def zipped(root, path=None):
    """Pack a folder as Copernicus does: the folder itself is in the archive."""
    path = path or root.with_suffix(".zip")
    made = shutil.make_archive(str(path.with_suffix("")), "zip", root.parent, root.name)
    return Path(made)


def backscatter(shape=(90, 120), *, seed=0):
    """Gamma0 of land as power, (2, H, W): VV and VH."""
    random = np.random.default_rng(seed)
    return (random.gamma(4, 0.25, (2, *shape)) * np.array([[[0.1]], [[0.02]]])).astype(np.float32)


def make_rtc(folder, *, letters="gpuned", pixel_m=20, corner=CORNER, crs=CRS, values=None):
    """Write an ASF HyP3 product; ``letters`` are those of its name. Returns its folder."""
    name = f"S1A_IW_20220728T053444_DVP_RTC{pixel_m}_G_{letters}_4D3A"
    values = backscatter() if values is None else values
    stored = {"p": values, "a": np.sqrt(values), "d": 10 * np.log10(values)}[letters[1]]
    root = Path(folder) / name
    for polarisation, band in zip(("VV", "VH"), stored.astype(np.float32), strict=True):
        path = root / f"{name}_{polarisation}.tif"
        write_raster(path, band, pixel_m, corner=corner, crs=crs, nodata=0)
    for beside in ("ls_map", "inc_map", "dem"):
        write_raster(root / f"{name}_{beside}.tif", np.ones_like(stored[0]), pixel_m, crs=crs)
    return root


def make_theia(folder, *, kinds=("FRE", "SRE"), date="20190102-104500-000"):
    """Write a product of Theia (MAJA). Returns its folder."""
    name = f"SENTINEL2A_{date}_L2A_T31TCJ_C_V2-2"
    root = Path(folder) / name
    for kind in kinds:
        for band, pixel_m in (("B2", 10), ("B4", 10), ("B8A", 20)):
            dn = np.full((SIDE_M // pixel_m,) * 2, 800 if kind == "FRE" else 700, np.int16)
            dn[:2] = -10_000
            write_raster(root / f"{name}_{kind}_{band}.tif", dn, pixel_m)
    mask = np.zeros((SIDE_M // 10,) * 2, np.uint8)
    write_raster(root / "MASKS" / f"{name}_CLM_R1.tif", mask, 10)
    (root / f"{name}_MTD_ALL.xml").write_text("<Muscate_Metadata_Document/>")
    return root


def make_landsat(folder, *, mission="LC08", date="20220728"):
    """Write a Landsat scene of Collection 2, Level 2. Returns its folder."""
    name = f"{mission}_L2SP_193027_{date}_20220802_02_T1"
    root = Path(folder) / name
    side = SIDE_M // 30
    for number in range(1, 8):
        dn = np.full((side, side), 9000 + 100 * number, np.uint16)
        dn[:1] = 0
        write_raster(root / f"{name}_SR_B{number}.TIF", dn, 30)
    write_raster(root / f"{name}_ST_B10.TIF", np.full((side, side), 44_000, np.uint16), 30)
    write_raster(root / f"{name}_QA_PIXEL.TIF", np.full((side, side), 21_824, np.uint16), 30)
    (root / f"{name}_MTL.txt").write_text("GROUP = LANDSAT_METADATA_FILE\n")
    return root
