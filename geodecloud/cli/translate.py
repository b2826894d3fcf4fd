"""translate: a scene, or its chips, drawn anew by a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geodecloud.cli.decloud import batch_size
from geodecloud.cli.progress import Reporter, progress_option
from geodecloud.cli.several import Listeners, each_scene

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("source", nargs=-1, required=True, type=FILE)
@click.argument("out", type=FILE)
@click.option("--model", required=True, help="A model's name, its folder, or a .dlpk.")
@click.option("--direction", help="Which way, of models with two: AtoB or BtoA.")
@click.option(
    "--mask", default="auto", show_default=True, help="What a cloud-removing model replaces."
)
@click.option(
    "--extra", multiple=True, metavar="NAME=FILE", help="A further input, such as sar=radar.tif."
)
@click.option("--sar", type=FILE, help="Radar (Sentinel-1 RTC): the same as --extra sar=FILE.")
@click.option("--aoi", type=FILE, help="Polygons (GeoJSON, GeoPackage): write what is inside.")
@click.option("--tile-size", "tile_size_px", type=int, help="Side of a tile in pixels.  [512]")
@click.option("--batch-size", default="auto", show_default=True, help="Tiles in one request.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the model runs.",
)
@click.option("--bands", help="Names of the scene's bands in order, such as B02,B03,B04,B08.")
@click.option("--scale", type=float, help="Value of one stored step, such as 0.0001.")
@click.option("--offset", type=float, help="Added to stored numbers before scaling.")
@click.option("--level", type=click.Choice(["L1C", "L2A"]), help="Product level of the scene.")
@click.option("--sensor", type=FILE, help="A TOML file that says what the numbers mean.")
@click.option("--resolution", "resolution_m", type=float, help="Pixel size in metres.  [finest]")
@click.option("--overwrite", is_flag=True, help="Replace what exists.")
@progress_option
@click.pass_obj
def translate(reporter: Reporter, /, source: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Draw SOURCE anew in the bands of the model's target sensor.

    SOURCE is a scene (one GeoTIFF, a folder, or one file per band), and OUT the GeoTIFF that is
    written; or SOURCE is a folder of chips that `geodecloud chip` cut, and OUT a folder of the
    same chips, which `geodecloud mosaic` puts together. Where OUT is a folder each of several
    scenes is drawn into a file of it.
    """
    from geodecloud.geo.manifest import MANIFEST
    from geodecloud.geo.several import Task, tasks_of
    from geodecloud.translating import TranslateOptions, TranslateResult, translate

    chosen = {name: value for name, value in options.items() if value is not None}
    chosen["batch_size"] = batch_size(chosen["batch_size"])
    chosen["extra"] = dict(map(_extra, chosen["extra"]))
    if "sar" in chosen:
        chosen["extra"]["sar"] = chosen.pop("sar")
    if "bands" in chosen:
        chosen["bands"] = tuple(name.strip() for name in chosen["bands"].split(","))
    asked = TranslateOptions(**chosen)

    def work(task: Task, listeners: Listeners) -> TranslateResult:
        return translate(
            task.source,
            task.outputs["out"],
            asked,
            on_start=listeners.on_start,
            on_note=listeners.on_note,
            on_progress=listeners.on_progress,
        )

    are_chips = (source[0] / MANIFEST).is_file()
    tasks = (
        [Task(source[0], {"out": out})]
        if are_chips and len(source) == 1
        else tasks_of(source, out, overwrite=asked.overwrite)
    )
    each_scene(reporter, "translate", tasks, work)


def _extra(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise click.BadParameter(f"{text!r} is no NAME=FILE", param_hint="--extra")
    return name, Path(path)
