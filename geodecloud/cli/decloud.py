"""decloud: clouds out of a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geodecloud.cli.mask import mask_options
from geodecloud.cli.progress import Reporter, progress_option
from geodecloud.cli.several import Listeners, each_scene

FILE = click.Path(path_type=Path)

MODEL_HELP = (
    "'fill', a model's name, or a model package.  [the first that suits the scene; 'fill' beside "
    "a reference]"
)

FURTHER = ("provenance", "uncertainty", "mask_out", "compare")
"""Files that are written beside the output."""


@click.command()
@click.argument("scene", nargs=-1, required=True, type=FILE)
@click.argument("out", type=FILE)
@click.option("--model", help=MODEL_HELP)
@mask_options
@click.option(
    "--feather",
    "feather_m",
    type=float,
    help="Fade the generated in over this many metres inside the mask's rim.  [30]",
)
@click.option(
    "--halo",
    type=click.Choice(["exact", "fast"]),
    default="exact",
    show_default=True,
    help="exact: the tile grid cannot be told from the result; fast: blend instead.",
)
@click.option("--tile-size", "tile_size_px", type=int, help="Side of a tile in pixels.  [512]")
@click.option("--batch-size", default="auto", show_default=True, help="Tiles in one request.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the model runs.",
)
@click.option("--max-cloud", type=float, help="Refuse above this share of masked pixels.  [0.95]")
@click.option("--bands", help="Names of the scene's bands in order, such as B02,B03,B04,B08.")
@click.option("--scale", type=float, help="Reflectance of one stored step, such as 0.0001.")
@click.option(
    "--offset",
    type=float,
    help="Added to stored numbers before scaling; -1000 since baseline 04.00.",
)
@click.option("--level", type=click.Choice(["L1C", "L2A"]), help="Product level of the scene.")
@click.option("--sensor", type=FILE, help="A TOML file that says what the numbers mean.")
@click.option("--resolution", "resolution_m", type=float, help="Pixel size in metres.  [finest]")
@click.option(
    "--reference",
    "references",
    multiple=True,
    type=FILE,
    help="Another date of the place: clouds are filled from what it saw. May be given again.",
)
@click.option("--sar", type=FILE, help="Radar (Sentinel-1 RTC), for models that look at it.")
@click.option("--aoi", type=FILE, help="Polygons (GeoJSON, GeoPackage): write what is inside.")
@click.option("--keep-bands", is_flag=True, help="Also write the other bands, unchanged.")
@click.option("--provenance", type=FILE, help="Write where each pixel comes from.")
@click.option("--uncertainty", type=FILE, help="Write how far generated values may be off.")
@click.option("--mask-out", type=FILE, help="Write the classes of the mask.")
@click.option("--compare", type=FILE, help="Write a before/after page (HTML).")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@progress_option
@click.pass_obj
def decloud(reporter: Reporter, /, scene: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Remove clouds from SCENE into OUT.tif, or from several into a folder OUT.

    SCENE is one GeoTIFF, the folder or .zip of a product (Sentinel-2, Landsat), or one file per
    band. Where OUT is a folder (one that is there, or a name without an ending) each SCENE is
    one of its own; further files to write are folders then, too.

    Pixels outside the mask leave bit-identical; OUT keeps the grid, the encoding and the
    metadata of the scene.
    """
    from geodecloud.geo.several import Task, tasks_of
    from geodecloud.options import DecloudOptions, DecloudResult
    from geodecloud.tasks import decloud

    chosen = {name: value for name, value in options.items() if value is not None}
    chosen["batch_size"] = batch_size(chosen["batch_size"])
    if "bands" in chosen:
        chosen["bands"] = tuple(name.strip() for name in chosen["bands"].split(","))
    asked = DecloudOptions(**chosen)

    def work(task: Task, listeners: Listeners) -> DecloudResult:
        further = {what: path for what, path in task.outputs.items() if what != "out"}
        return decloud(
            task.source,
            task.outputs["out"],
            asked,
            on_start=listeners.on_start,
            on_note=listeners.on_note,
            on_progress=listeners.on_progress,
            **further,
        )

    beside = {name: chosen[name] for name in FURTHER if name in chosen}
    tasks = tasks_of(scene, out, beside, overwrite=asked.overwrite)
    each_scene(reporter, "decloud", tasks, work)


def batch_size(text: str) -> int | None:
    """Return the number in ``--batch-size``; None for "auto"."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is neither 'auto' nor a number", param_hint="--batch-size"
        ) from error
