"""chip and mosaic: scenes to chips and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from geodecloud.cli.progress import Reporter, progress_option

if TYPE_CHECKING:
    from geodecloud.progress import Progress

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
@click.option("--overwrite", is_flag=True, help="Replace the chips of another cut.")
@progress_option
@click.pass_obj
def chip(
    reporter: Reporter,
    scenes: tuple[Path, ...],
    chips: Path,
    size_px: int,
    overlap_px: int,
    bands: str | None,
    overwrite: bool,
) -> None:
    """Cut each SCENE into georeferenced GeoTIFFs in the folder CHIPS, with a manifest.

    All chips are of one size and lie inside the scene; smaller scenes are padded by reflection.
    Several scenes get a folder each inside CHIPS. A run that was stopped goes on where it was.
    """
    from geodecloud.geo.chips import ChipStore
    from geodecloud.geo.raster import open_scene

    reporter.open("chip", device="cpu", model="none")
    names = _folder_names(scenes)
    wanted = None if bands is None else [name.strip() for name in bands.split(",")]
    n_chips = 0
    for path, name in zip(scenes, names, strict=True):

        def tell(progress: Progress, name: str = name) -> None:
            reporter(replace(progress, message=f"{progress.message} of {name}"))

        with open_scene(path, bands=wanted) as scene:
            store = ChipStore.cut(
                scene,
                chips if len(scenes) == 1 else chips / name,
                name=name,
                size_px=size_px,
                overlap_px=overlap_px,
                overwrite=overwrite,
                on_progress=tell,
            )
        n_chips += len(store)
    reporter.close(
        {"chips": str(chips), "scenes": names, "n_chips": n_chips},
        f"{n_chips} chips of {size_px} px out of {', '.join(names)}: {chips}",
    )


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


def _folder_names(scenes: tuple[Path, ...]) -> list[str]:
    """A name for each scene; they become folders side by side."""
    from geodecloud.errors import OptionError
    from geodecloud.geo.manifest import slug

    names = [slug(path.name if path.is_dir() else path.stem) for path in scenes]
    for name, path in zip(names, scenes, strict=True):
        first = scenes[names.index(name)]
        if first != path:
            raise OptionError(
                f"{first} and {path} are both named {name}",
                "each scene has a folder of its name",
                "cut them one by one into folders of their own",
            )
    return names
