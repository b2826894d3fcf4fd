"""chip and mosaic: scenes to chips and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geodecloud.cli.progress import Reporter, progress_option

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("scenes", metavar="SCENE...", nargs=-1, required=True, type=FILE)
@click.argument("chips", type=FILE)
@click.option(
    "--chip-size", "size_px", type=click.IntRange(1), default=64, show_default=True,
    help="Side of a chip in pixels.",
)  # fmt: skip
@click.option(
    "--overlap", "overlap_px", type=int, default=0, show_default=True,
    help="Pixels that neighbours share.",
)  # fmt: skip
@click.option("--bands", help="Names of the scenes' bands in order, such as B02,B03,B04,B08.")
@click.option("--sensor", type=FILE, help="A TOML file that says what the numbers mean.")
@click.option("--resolution", "resolution_m", type=float, help="Pixel size in metres.  [finest]")
@click.option("--aoi", type=FILE, help="Polygons (GeoJSON, GeoPackage) outside of which is nodata.")
@click.option("--pairs", is_flag=True, help="Cut a source and a target into images/ and images2/.")
@click.option(
    "--layout", type=click.Choice(["geodecloud", "esri"]), default="geodecloud", show_default=True,
    help="esri: one export of all scenes, on which ArcGIS can train.",
)  # fmt: skip
@click.option(
    "--min-valid", type=float, help="Leave out chips with a smaller share of valid pixels."
)
@click.option("--max-cloud", type=float, help="Leave out chips with a larger share of cloud.")
@click.option("--overwrite", is_flag=True, help="Replace the chips of another cut.")
@progress_option
@click.pass_obj
def chip(reporter: Reporter, /, scenes: tuple[Path, ...], chips: Path, **options: Any) -> None:
    """Cut each SCENE into georeferenced GeoTIFFs in the folder CHIPS, with a manifest.

    All chips are of one size and lie inside the scene; smaller scenes are padded by reflection.
    Several scenes get a folder each inside CHIPS. A run that was stopped goes on where it was.
    With --layout esri all scenes make one export without a manifest.
    """
    from geodecloud.chipping import ChipOptions, chip

    chosen = {name: value for name, value in options.items() if value is not None}
    if "bands" in chosen:
        chosen["bands"] = tuple(name.strip() for name in chosen["bands"].split(","))
    reporter.open("chip", device="cpu", model="none")
    result = chip(scenes, chips, ChipOptions(**chosen), on_note=reporter.note, on_progress=reporter)
    reporter.close(result.to_json(), result.summary())


@click.command()
@click.argument("chips", type=FILE)
@click.argument("out", metavar="OUT.tif", type=FILE)
@click.option("--nodata", type=float, help="Stored number for gaps between loose chips.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.tif if it exists.")
@progress_option
@click.pass_obj
def mosaic(
    reporter: Reporter, chips: Path, out: Path, nodata: float | None, overwrite: bool
) -> None:
    """Put the CHIPS of a folder together into one GeoTIFF (COG).

    Chips that geodecloud cut give their scene back bit for bit. Other georeferenced chips, such
    as those of ArcGIS or GDAL, are laid on their common grid; overlaps are blended.
    """
    from geodecloud.geo.chips import mosaic_chips

    reporter.open("mosaic", device="cpu", model="none")
    mosaic_chips(chips, out, nodata=nodata, overwrite=overwrite, on_progress=reporter)
    reporter.close({"output": str(out)}, f"scene: {out}")
