"""mask: the clouds of a scene as a raster to look at, edit and give back; its options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from geodecloud.cli.progress import Reporter, progress_option

FILE = click.Path(path_type=Path)
Command = TypeVar("Command", bound=Callable[..., Any])

READING = ("scale", "offset", "level", "sensor", "resolution_m")
"""Options that say how a scene is read, beside its bands."""

_OPTIONS = (
    click.option(
        "--mask",
        multiple=True,
        default=("auto",),
        show_default="auto",
        help="What is masked: auto, all, none, scl, qa60, another detector, a cloud-mask model, "
        "a raster on the same grid (all but 0 and nodata), or polygons (GeoJSON, GeoPackage). "
        "Terms are joined by + and taken away by -, as in auto+lake.geojson-town.tif; given "
        "again, the option adds, or takes away with a leading -.",
    ),
    click.option("--detector", help="Whom auto means: a detector, or a cloud-mask model."),
    click.option(
        "--dilate",
        "dilate_m",
        type=float,
        help="Grow the mask by this many metres.  [60 where detected, 0 where drawn]",
    ),
    click.option(
        "--specks",
        "specks_m2",
        type=float,
        help="Drop cloud and shadow of less than this many square metres.  [500 where detected, 0 "
        "where drawn]",
    ),
    click.option(
        "--holes",
        "holes_m2",
        type=float,
        help="Mask clear ground shut in of less than this many square metres.  [5000 where "
        "detected, 0 where drawn]",
    ),
    click.option(
        "--shadows/--no-shadows", default=True, help="Mask detected shadows too.  [shadows]"
    ),
)


def mask_options(command: Command) -> Command:
    """Add to a command the options that say what is masked, by the names of ``MaskOptions``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("scene", nargs=-1, required=True, type=FILE)
@click.argument("out", type=FILE)
@mask_options
@click.option("--bands", help="Names of the scene's bands in order, such as B02,B03,B04,B08.")
@click.option("--scale", type=float, help="Reflectance of one stored step, such as 0.0001.")
@click.option("--offset", type=float, help="Added to stored numbers before scaling.")
@click.option("--level", type=click.Choice(["L1C", "L2A"]), help="Product level of the scene.")
@click.option("--sensor", type=FILE, help="A TOML file that says what the numbers mean.")
@click.option("--resolution", "resolution_m", type=float, help="Pixel size in metres.  [finest]")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
@progress_option
@click.pass_obj
def mask(
    reporter: Reporter,
    /,
    scene: tuple[Path, ...],
    out: Path,
    bands: str | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Write where the clouds of SCENE are into OUT.tif: a raster of classes with colours.

    Codes: 0 clear, 1 cloud, 2 thin cloud, 3 shadow, 4 margin, 255 nodata. Look at it, paint over
    it, and give it back: geodecloud decloud SCENE CLEAR.tif --mask OUT.tif.
    """
    from geodecloud.geo.raster import open_scene
    from geodecloud.masking import MaskOptions, mask

    names = None if bands is None else [name.strip() for name in bands.split(",")]
    asked = {name: options.pop(name) for name in READING}
    chosen = MaskOptions(**options)
    source = scene[0] if len(scene) == 1 else scene
    with open_scene(source, bands=names, **asked) as opened:
        reporter.open("mask", device="cpu", model="+".join(options["mask"]))
        result = mask(opened, out, chosen, overwrite=overwrite, on_progress=reporter)
    reporter.close(result.to_json(), result.summary())
