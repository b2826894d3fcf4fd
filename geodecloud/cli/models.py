"""models: which models are here, what one of them is, and one handed on to other programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

TARGETS = ("dlpk", "deepness", "mlm")
MOST_COLUMNS = 120  # longer lines are hard to read


@click.command()
@click.argument("name", required=False)
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option(
    "--export",
    "target",
    type=click.Choice(TARGETS),
    help="Write the model to OUT: all of it in one file (dlpk), a graph for the QGIS plugin "
    "Deepness, or a STAC item (mlm).",
)
@click.option("--direction", help="Which way, of models with two; for Deepness.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def models(
    name: str | None,
    out: Path | None,
    target: str | None,
    direction: str | None,
    as_json: bool,
    overwrite: bool,
) -> None:
    """List the models that can be used here, or show the card of the model NAME.

    NAME is one of the list, a model's folder, or a .dlpk.
    """
    if target is not None:
        if name is None or out is None:
            raise click.UsageError("--export wants NAME and OUT")
        _export(name, out, target, direction, overwrite)
    elif out is not None:
        raise click.UsageError("OUT wants --export")
    elif name is not None:
        _show(name, as_json)
    else:
        _list(as_json)


def _list(as_json: bool) -> None:
    from geodecloud.models import list_models

    found = list_models()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    formatter = click.HelpFormatter(width=min(shutil.get_terminal_size().columns, MOST_COLUMNS))
    formatter.write_dl([(model["name"], model["summary"]) for model in found])
    click.echo(formatter.getvalue(), nl=False)


def _show(name: str, as_json: bool) -> None:
    from geodecloud.models import show_model

    card, unread = show_model(name, as_json=as_json)
    click.echo(card.rstrip())
    for file in unread:
        click.echo(f"note: {file} is a program: it was never run, nor read", err=True)


def _export(name: str, out: Path, target: str, direction: str | None, overwrite: bool) -> None:
    from geodecloud.models import export_model

    export_model(name, out, target, direction=direction, overwrite=overwrite)
    click.echo(f"{target}: {out}")
