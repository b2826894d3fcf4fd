"""batch: all scenes of a catalog; the table of what became of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geodecloud.cli.decloud import MODEL_HELP, batch_size
from geodecloud.cli.mask import mask_options
from geodecloud.cli.progress import Reporter, progress_option

if TYPE_CHECKING:
    from geodecloud.batch import BatchOptions, Job, JobResult, Query, Report

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path)
TOKEN = "GEODECLOUD_STAC_TOKEN"
"""Environment variable; what stands on a command line is read by everybody on the machine."""

FAILED_ITEMS = 3  # exit code


@click.command()
@click.option(
    "--stac",
    required=True,
    help="A STAC API, a static catalog.json, a file with items (items.json, items.parquet), or "
    "one item: a URL or a path.",
)
@click.option("--out", required=True, type=FOLDER, help="Folder of the output catalog.")
@click.option("--collections", help="Ids of collections, with commas between.")
@click.option("--ids", help="Ids of items, with commas between.")
@click.option("--bbox", help="west,south,east,north in degrees: the part of the scenes to work on.")
@click.option("--intersects", type=FILE, help="The same as an area (GeoJSON).")
@click.option("--datetime", help="A date or an interval, such as 2026-06 or 2026-06-01/2026-06-30.")
@click.option(
    "--query",
    "queries",
    multiple=True,
    help="A condition, such as 'eo:cloud_cover<60'. May be given again.",
)
@click.option("--max-items", type=int, help="No more than the first so many items.")
@click.option("--bands", help="Bands to take, such as B02,B03,B04,B08.  [the model's]")
@click.option("--model", help=MODEL_HELP)
@mask_options
@click.option("--feather", "feather_m", type=float, help="Fade in over this many metres.  [30]")
@click.option("--max-cloud", type=float, help="Refuse above this share of masked pixels.  [0.95]")
@click.option("--halo", type=click.Choice(["exact", "fast"]), help="See decloud.  [exact]")
@click.option("--tile-size", "tile_size_px", type=int, help="Side of a tile in pixels.  [512]")
@click.option("--batch-size", default="auto", show_default=True, help="Tiles in one request.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the model runs.  [auto]"
)
@click.option(
    "--reference",
    type=click.Choice(["none", "auto"]),
    default="none",
    show_default=True,
    help="auto: fill clouds from the clearest items of the same place within 60 days.",
)
@click.option("--sar-collection", help="Sentinel-1 collection, for models that look at radar.")
@click.option(
    "--sar-days",
    type=float,
    default=3,
    show_default=True,
    help="Days that radar and scene may lie apart.",
)
@click.option(
    "--uncertainty/--no-uncertainty",
    default=None,
    help="Write how far generated values may be off.  [where the model knows it]",
)
@click.option(
    "--engine",
    type=click.Choice(["serial", "processes", "dask"]),
    default="serial",
    show_default=True,
    help="Who does the work: this process, others of this machine, or Dask.",
)
@click.option("--scheduler", help="Dask scheduler that runs already, such as tcp://host:8786.")
@click.option("--workers", type=int, help="Worker processes, one core each.  [one per core]")
@click.option("--retries", type=int, default=2, show_default=True, help="Further tries of an item.")
@click.option(
    "--sign",
    type=click.Choice(["planetary-computer"]),
    help="Sign links as this catalog asks for, when they are read.",
)
@click.option("--allow-local", is_flag=True, help="Links may lead to this disk and network.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@progress_option
@click.pass_context
def batch(ctx: click.Context, /, stac: str, out: Path, dry_run: bool, **chosen: Any) -> None:
    """Remove the clouds of all scenes of a STAC catalog.

    OUT becomes a STAC catalog of its own: one folder per item, catalog.json and items.parquet.
    What is done already with the same options, and whole, is skipped. Exit code 3 says that some
    items failed.

    The environment variable GEODECLOUD_STAC_TOKEN is shown to the server of --stac alone.
    """
    from geodecloud.batch import Workers, plan, run

    reporter = ctx.ensure_object(Reporter)
    query = _query(chosen)
    workers = Workers(chosen.pop("engine"), chosen.pop("workers"), chosen.pop("scheduler"))
    options = _options(chosen)
    reporter.open(
        "batch",
        device=str(options.decloud.get("device", "auto")),
        model=str(options.decloud.get("model", "auto")),
    )
    if dry_run:
        jobs, failures = plan(stac, query, options, on_note=reporter.note)
        said = {
            "items": [_planned(job) for job in jobs],
            "failures": [result.to_json() for result in failures],
        }
        reporter.close(said, _plan_table(jobs, failures))
    else:
        report = run(
            stac, out, query, options, workers, on_note=reporter.note, on_progress=reporter
        )
        failures = list(report.failed)
        reporter.close(report.to_json(), _table(report, out))
    for result in failures:
        click.echo(f"failed: {result.id}: {result.message}", err=True)
    if failures:
        ctx.exit(FAILED_ITEMS)


def _query(chosen: dict[str, Any]) -> Query:
    from geodecloud.batch.query import Query, Term, read_area

    bbox, area = chosen.pop("bbox"), chosen.pop("intersects")
    return Query(
        collections=tuple(_listed(chosen.pop("collections"))),
        ids=tuple(_listed(chosen.pop("ids"))),
        bbox=None if bbox is None else _bbox(bbox),
        intersects=None if area is None else read_area(area),
        datetime=chosen.pop("datetime"),
        terms=tuple(Term.of(text) for text in chosen.pop("queries")),
        max_items=chosen.pop("max_items"),
    )


def _options(chosen: dict[str, Any]) -> BatchOptions:
    from geodecloud.batch import BatchOptions

    names = (
        "reference", "sar_collection", "sar_days", "uncertainty", "retries", "sign", "allow_local",
    )  # fmt: skip
    own = {name: chosen.pop(name) for name in names}
    bands = _listed(chosen.pop("bands"))
    chosen["batch_size"] = batch_size(chosen["batch_size"])
    given = {name: value for name, value in chosen.items() if value is not None}
    return BatchOptions(given, bands=bands or None, token=os.environ.get(TOKEN), **own)


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _bbox(text: str) -> tuple[float, float, float, float]:
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is not west,south,east,north", param_hint="--bbox"
        ) from error
    return west, south, east, north


def _planned(job: Job) -> dict[str, Any]:
    """A job as the programs that hand out items want it."""
    from geodecloud.geo.links import redacted

    return {
        "id": job.id,
        "collection": job.collection,
        "folder": job.folder,
        "href": redacted(job.scene.href),
        "bands": list(job.bands),
        "cloud_cover": job.item["properties"].get("eo:cloud_cover"),
        "references": [source.id for source in job.references],
        "radar": job.radar.id if job.radar else None,
    }


def _plan_table(jobs: list[Job], failures: list[JobResult]) -> str:
    rows = []
    for job in jobs:
        said = _planned(job)
        cloud = said["cloud_cover"]
        helped = [*said["references"], *filter(None, [said["radar"]])]
        when = str(job.item["properties"].get("datetime") or "")[:10]
        share = "" if cloud is None else f"{cloud:.0f} %"
        rows.append((job.id, when, share, ", ".join(helped) or "-"))
    drawn = _drawn(("item", "date", "cloud", "helped by"), rows)
    return f"{drawn}\n{len(jobs)} to do, {len(failures)} cannot be done; nothing was written"


def _table(report: Report, out: Path) -> str:
    rows = []
    for result in report.results:
        shares = (result.cloud_share, result.generated_share, result.observed_share)
        is_new = result.status == "done"
        cells = [f"{share:.1%}" if is_new else "" for share in shares]
        rows.append((result.id, result.status, *cells, f"{result.seconds:.1f} s"))
    drawn = _drawn(("item", "", "cloud", "generated", "other dates", "time"), rows)
    said = report.to_json()
    return (
        f"{drawn}\n{said['done']} done, {said['skipped']} skipped, {said['failed']} failed; "
        f"{report.n_items} in {out / 'catalog.json'}"
    )


def _drawn(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, no_wrap=True, justify="left" if head in {"item", ""} else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # ids are no markup
    page = StringIO()
    Console(file=page, width=160, force_terminal=False).print(table)
    return page.getvalue().rstrip()
