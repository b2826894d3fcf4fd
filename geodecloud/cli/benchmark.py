"""benchmark: models beside what needs no training, on suites of real scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geodecloud.cli.progress import Reporter, progress_option

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("data", type=FILE)
@click.option("--suite", "suites", multiple=True, help="This one alone; may be repeated.")
@click.option(
    "--models",
    multiple=True,
    metavar="NAME|PATH|NAME=PATH,PATH",
    help="A model, or the folds of one; may be repeated. Else those shipped.",
)
@click.option(
    "--folds",
    type=FILE,
    help="Folder of packages, NAME/FOLD: they stand for the model NAME where they were not taught.",
)
@click.option("--splits", type=FILE, help="Table of places and folds; else DATA/splits.json.")
@click.option("--json", "as_json", is_flag=True, help="All figures as JSON, for programs.")
@click.option("--out", type=FILE, help="Write a page in Markdown, its pictures in figures/.")
@click.option("--overwrite", is_flag=True, help="Replace a page that exists.")
@click.option("--limit", type=click.IntRange(1), help="Windows of each suite, at most.")
@click.option(
    "--feature-weights", type=FILE, help="Inception v3 of torchvision as safetensors, for FID."
)
@progress_option
@click.pass_obj
def benchmark(
    reporter: Reporter,
    data: Path,
    suites: Sequence[str],
    models: Sequence[str],
    folds: Path | None,
    splits: Path | None,
    as_json: bool,
    out: Path | None,
    overwrite: bool,
    limit: int | None,
    feature_weights: Path | None,
) -> None:
    """Measure models on the real scenes of DATA, beside what needs no training.

    DATA holds train/ and test/, as the table of splits names them. Suites: synthetic (clear windows
    under known skies), real-pairs, triplets (with radar), multidate and multidate-real (with
    another date), temporal-1band; sar2rgb and sar2rgb-pictures where a model draws from radar. A
    model is measured on places that did not teach it; every row of a table sees the same windows,
    and a suite has a table more for models that fewer places are new to. It takes some minutes on
    a CPU.
    """
    from geodecloud.benchmark.run import BenchmarkOptions, run_benchmark

    options = BenchmarkOptions(
        suites=suites,
        models=models,
        folds=folds,
        splits=splits,
        limit=limit,
        feature_weights=feature_weights,
        out=out,
        command=_command(suites, models, limit, has_folds=folds is not None),
        overwrite=overwrite,
    )
    reporter.open("benchmark", device="cpu", model=", ".join(models) or "shipped")
    result = run_benchmark(data, options, on_note=reporter.note, on_progress=reporter)
    reporter.close(result, json.dumps(result, indent=1) if as_json else _as_text(result))


def _command(
    suites: Sequence[str], models: Sequence[str], limit: int | None, *, has_folds: bool
) -> str:
    """What a reader types to have the page again."""
    parts = ["--folds benchmarks/folds"] if has_folds else []
    parts += [f"--suite {name}" for name in suites]
    parts += [f"--models {_without_folders(name)}" for name in models]
    parts += [] if limit is None else [f"--limit {limit}"]
    line = " ".join(["geodecloud benchmark DATA --splits benchmarks/splits.json", *parts])
    return f"{line} --out docs/benchmark.md"


def _without_folders(text: str) -> str:
    """A model as the page names it: where it lay is nobody's business."""
    label, is_labelled, _ = text.partition("=")
    return f"{label}=FOLDER" if is_labelled else Path(text).name


def _as_text(result: dict[str, Any]) -> str:
    lines = []
    for suite in result["suites"]:
        n_windows, n_places = sum(suite["n_cases"].values()), len(suite["n_cases"])
        named = ", beside ".join([suite["suite"], *suite["where_new"]])
        lines.append(f"{named}: {n_windows} windows of {n_places} {suite['unit']}s")
        regions = ("masked", "thin", "thick", "shadow")
        head = "".join(f"{name:>9}" for name in (*regions, "SSIM", "SAM"))
        lines.append(f"  {'PSNR dB':28}{head}")
        for row in suite["rows"]:
            of = row["regions"]
            cells = [(of.get(name, {}).get("psnr"), 2) for name in regions]
            cells += [(of["masked"]["ssim"], 3), (of["masked"]["sam"], 2)]
            shown = "".join(f"{_number(value, digits):>9}" for value, digits in cells)
            lines.append(f"  {row['name']:28}{shown}")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
