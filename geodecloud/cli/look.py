"""compare, info and doctor: what can be seen of scenes, and of this installation."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geodecloud.cli.progress import Reporter, progress_option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from odc.geo.geobox import GeoBox

    from geodecloud.geo.raster import RasterScene, RasterStack
    from geodecloud.geo.scene import Scene
    from geodecloud.geo.sensors import Band

FILE = click.Path(path_type=Path)

SAMPLE_PX = 128
SAMPLES_A_SIDE = 5


@click.command()
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@click.option("-o", "--out", required=True, type=FILE, help="HTML file to write.")
@click.option("--mask", type=FILE, help="Raster whose pixels that are not 0 are marked.")
@click.option("--provenance", type=FILE, help="Raster of where each pixel comes from.")
@click.option("--bands", help="Names of BEFORE's bands in order, such as B02,B03,B04,B08.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@progress_option
@click.pass_obj
def compare(
    reporter: Reporter,
    before: Path,
    after: Path,
    out: Path,
    mask: Path | None,
    provenance: Path | None,
    bands: str | None,
    overwrite: bool,
) -> None:
    """Make one HTML file that shows BEFORE and AFTER under a swipe bar.

    It holds all it shows, so it can be sent by mail and opened anywhere. Both sides have the same
    stretch.
    """
    from geodecloud.compare import compare
    from geodecloud.geo.raster import open_scene

    reporter.open("compare", device="cpu", model="none")
    with open_scene(before, bands=_names(bands)) as scene:
        compare(scene, after, out, mask=mask, provenance=provenance, overwrite=overwrite)
    reporter.close({"output": str(out)}, f"page: {out}")


@click.command()
@click.argument("scene", nargs=-1, required=True, type=FILE)
@click.option("--bands", help="Names of the scene's bands in order, such as B02,B03,B04,B08.")
@click.option("--sensor", type=FILE, help="A TOML file that says what the numbers mean.")
@click.option("--resolution", "resolution_m", type=float, help="Pixel size in metres.  [finest]")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
def info(
    scene: tuple[Path, ...],
    bands: str | None,
    sensor: Path | None,
    resolution_m: float | None,
    as_json: bool,
) -> None:
    """Show what SCENE is made of (a raster, a product's folder or .zip, or one file per band).

    Value ranges come from a sample of the pixels.
    """
    from geodecloud.geo.raster import open_scene

    source = scene[0] if len(scene) == 1 else scene
    with open_scene(
        source, bands=_names(bands), sensor=sensor, resolution_m=resolution_m
    ) as opened:
        facts = _facts(opened)
    click.echo(json.dumps(facts, indent=2) if as_json else _as_text(facts))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@progress_option
@click.pass_obj
def doctor(reporter: Reporter, as_json: bool) -> None:
    """Check this installation: versions, devices, raster formats, memory, disk."""
    from geodecloud.cli.doctor import checks

    reporter.open("doctor", device="cpu", model="none")
    checked = checks()
    found = {name: check.to_json() for name, check in checked.items()}
    width = max(map(len, checked))
    lines = [
        f"{name:{width}}  {check.status:8} {check.text}".rstrip() for name, check in checked.items()
    ]
    reporter.close({"checks": found}, json.dumps(found, indent=2) if as_json else "\n".join(lines))


def _names(bands: str | None) -> list[str] | None:
    return None if bands is None else [name.strip() for name in bands.split(",")]


def _facts(scene: RasterScene | RasterStack) -> dict[str, Any]:
    """What is known of a scene, as JSON has it."""
    from geodecloud.errors import InputError
    from geodecloud.geo.plausible import check_radiometry
    from geodecloud.geo.raster import RasterScene, profile_of
    from geodecloud.geo.scene import shape_of

    files = [scene] if isinstance(scene, RasterScene) else list(scene.files)
    height, width = shape_of(scene.geobox)
    dn, valid = _sample(scene)
    try:
        notes = check_radiometry(scene)
    except InputError as error:  # what is wrong with a scene is worth showing, too
        notes = [str(error)]
    return {
        "files": [str(file.path) for file in files],
        "drivers": sorted({file.driver for file in files}),
        "width": width,
        "height": height,
        **_place(scene.geobox),
        "sensor": scene.sensor.name,
        "level": scene.sensor.level,
        "unit": scene.sensor.unit,
        "valid_share": round(float(valid.any(axis=0).mean()), 4),
        "bands": [
            _band(band, numbers[is_valid])
            for band, numbers, is_valid in zip(scene.sensor.bands, dn, valid, strict=True)
        ],
        "tags": dict(profile_of(scene).tags),
        "notes": notes,
    }


def _place(geobox: GeoBox) -> dict[str, Any]:
    """Where a scene lies; without georeference its pixels have no size."""
    from geodecloud.geo.masks import pixel_size_m

    crs, transform = geobox.crs, list(geobox.affine)[:6]
    if crs is None:
        nowhere = dict.fromkeys(("crs", "crs_name", "pixel_m", "bounds_lonlat"))
        return {**nowhere, "transform": transform}
    code = crs.to_epsg()
    return {
        "crs": f"EPSG:{code}" if code else str(crs),
        "crs_name": crs.proj.name,
        "pixel_m": [round(side, 4) for side in pixel_size_m(geobox)],
        "bounds_lonlat": _bounds(geobox),
        "transform": transform,
    }


def _bounds(geobox: GeoBox) -> list[float] | None:
    """West, south, east, north; None where the CRS has no way to degrees."""
    from rasterio.warp import transform_bounds

    from geodecloud.geo.guard import FAILURES, guarded

    try:
        with guarded():  # without, GDAL writes to stderr
            bounds = transform_bounds(str(geobox.crs), "EPSG:4326", *geobox.extent.boundingbox.bbox)
    except FAILURES:
        return None
    return [round(value, 6) for value in bounds]


def _band(band: Band, numbers: npt.NDArray[Any]) -> dict[str, Any]:
    """What is known of a band; its range, in the sensor's unit, where a sample has a value."""
    import numpy as np

    low = median = high = None
    if numbers.size:
        ends = np.percentile(band.to_reflectance(numbers), (1, 50, 99))
        low, median, high = (float(f"{value:.4g}") for value in ends)
    nodata = band.nodata
    return {
        "name": band.name,
        "dtype": band.dtype,
        "scale": band.scale,
        "offset": band.offset,
        "nodata": "nan" if nodata is not None and nodata != nodata else nodata,
        "low": low,
        "median": median,
        "high": high,
    }


def _sample(scene: Scene) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Stored numbers and validity (C, N) of windows spread over the scene."""
    import numpy as np

    from geodecloud.geo.scene import shape_of
    from geodecloud.geo.tiling import Window

    shape = shape_of(scene.geobox)
    height, width = (min(length, SAMPLE_PX) for length in shape)
    corners = (
        sorted({round(share * (length - size)) for share in np.linspace(0, 1, SAMPLES_A_SIDE)})
        for length, size in zip(shape, (height, width), strict=True)
    )
    parts = [
        scene.read(Window(row, col, height, width)) for row, col in itertools.product(*corners)
    ]
    flat = [[array.reshape(len(array), -1) for array in part] for part in parts]
    dn, valid = (np.concatenate(arrays, axis=1) for arrays in zip(*flat, strict=True))
    return dn, valid


def _as_text(facts: dict[str, Any]) -> str:
    """The facts for people, a line each."""
    size = f"{facts['width']} x {facts['height']} px, {len(facts['bands'])} bands"
    lines = [*facts["files"], f"  format   {', '.join(facts['drivers'])}", f"  size     {size}"]
    if facts["crs"] is None:
        lines.append("  place    no georeference")
    else:
        height_m, width_m = facts["pixel_m"]
        lines += [
            f"  place    {facts['crs'].splitlines()[0][:60]}, {facts['crs_name']}",
            f"  pixels   {width_m:g} x {height_m:g} m",
        ]
    if facts["bounds_lonlat"] is not None:
        west, south, east, north = facts["bounds_lonlat"]
        lines.append(f"  extent   {west:.4f} to {east:.4f} E, {south:.4f} to {north:.4f} N")
    level = f", level {facts['level']}" if facts["level"] else ""
    lines += [
        f"  sensor   {facts['sensor']}{level}; values are {facts['unit']}",
        f"  valid    {facts['valid_share']:.1%} of a sample",
        "",
        _row("band", "dtype", "scale", "offset", "nodata", "1 %", "median", "99 %"),
    ]
    for band in facts["bands"]:
        lines.append(_row(*("-" if value is None else _short(value) for value in band.values())))
    lines += [f"note: {note}" for note in facts["notes"]]
    return "\n".join(lines)


def _row(name: str, dtype: str, *numbers: str) -> str:
    return f"  {name:10} {dtype:8}" + "".join(f" {number:>9}" for number in numbers)


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
