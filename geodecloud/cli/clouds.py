"""clouds: a synthetic sky over a clear scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geodecloud.cli.progress import Reporter, progress_option

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("clear", nargs=-1, required=True, type=FILE)
@click.argument("cloudy", type=FILE)
@click.option("--seed", type=int, help="Another seed, another sky.  [0]")
@click.option("--coverage", type=float, help="Share of the scene under cloud.  [0.4]")
@click.option(
    "--type",
    help="haze, cirrus, cumulus, deck or fog; several joined by +, the lowest first.  [cumulus]",
)
@click.option("--sun-azimuth", "sun_azimuth_deg", type=float, help="Degrees from north.  [150]")
@click.option(
    "--sun-elevation", "sun_elevation_deg", type=float, help="Degrees above the horizon.  [50]"
)
@click.option("--sky", type=FILE, help="Take the sky of this JSON file, as --sky-out wrote it.")
@click.option("--sky-out", type=FILE, help="Write the sky, for windows of this scene.")
@click.option("--truth", type=FILE, help="Write what each pixel is, as a mask of colours.")
@click.option("--depth", type=FILE, help="Write the optical depth at 550 nm.")
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
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@progress_option
@click.pass_obj
def clouds(reporter: Reporter, /, clear: tuple[Path, ...], cloudy: Path, **options: Any) -> None:
    """Hang a synthetic sky over CLEAR into CLOUDY.tif.

    CLEAR is one GeoTIFF, a folder, or one file per band. Pixels under clear sky leave
    bit-identical; CLOUDY keeps the grid, the encoding and the metadata of the scene.
    """
    from geodecloud.clouding import CloudsOptions
    from geodecloud.clouding import clouds as hang

    chosen = {name: value for name, value in options.items() if value is not None}
    if "bands" in chosen:
        chosen["bands"] = tuple(name.strip() for name in chosen["bands"].split(","))
    reporter.open("clouds", device="cpu", model="none")
    result = hang(
        clear[0] if len(clear) == 1 else clear,
        cloudy,
        CloudsOptions(**chosen),
        on_note=reporter.note,
        on_progress=reporter,
    )
    reporter.close(result.to_json(), result.summary())
