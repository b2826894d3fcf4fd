"""A model taught by all places, with the figures of models of its recipe that were not.

    python benchmarks/ship.py DATA MODEL OUT --folds PACKAGE PACKAGE …

DATA is the folder of real scenes that ``benchmarks/splits.json`` names, MODEL a package that every
place taught, OUT the package that is written: MODEL, and on its card the figures of the suites
``synthetic`` and ``real-pairs``, where each place is drawn by a fold that has not seen it. Where
one of the folds knows how far it may be off, the network that says so is taken over: it was
calibrated on places that were held out, and MODEL has none. The folds are written without their
graphs into ``benchmarks/folds/NAME/``, where ``benchmarks/quality.py`` finds them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geodecloud.benchmark.archive import Archive
from geodecloud.benchmark.contest import run_suite
from geodecloud.benchmark.models import TrainedModel
from geodecloud.benchmark.suites import SUITES
from geodecloud.errors import GeodecloudError, ModelError
from geodecloud.learn.state import write_atomically
from geodecloud.run.exchange import package_files
from geodecloud.run.package import UNCERTAINTY, WEIGHTS, ModelCard, Package, open_package

HERE = Path(__file__).parent
SPLITS = HERE / "splits.json"
MEASURED = {"synthetic": "", "real-pairs": "pairs_"}
"""Suites, and what the names of their regions begin with on a card."""

REGIONS = ("whole", "masked", "thin", "thick", "shadow")
KINDS = ("psnr", "ssim", "mae", "sam")
BESIDE = ("identity", "fill")
"""Rows that stand beside the model's own."""

HOW = (
    "Means over places, each drawn by a model of the same recipe that had not seen it: every place "
    "taught the model that is shipped."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the folds and write the package; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", type=Path, nargs="+", required=True, metavar="PACKAGE")
    parser.add_argument("--keep", type=Path, default=HERE / "folds", metavar="FOLDER")
    asked = parser.parse_args(arguments)
    try:
        name = asked.out.name.lower()
        folds = [open_package(folder) for folder in asked.folds]
        kept = [asked.keep / name / held_out_of(fold) for fold in folds]
        metrics = measured(TrainedModel(name, folds), Archive.open(asked.data, SPLITS))
        ship(open_package(asked.model), folds, metrics, asked.out)
        for folder, fold in zip(kept, folds, strict=True):
            write_package(folder, *without_graphs(fold))
    except GeodecloudError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def measured(model: TrainedModel, archive: Archive) -> dict[str, Any]:
    """Return the figures of a card: by region, the model's own and those beside it."""
    metrics: dict[str, Any] = {}
    for suite, prefix in MEASURED.items():
        rows = {row["name"]: row for row in run_suite(SUITES[suite], archive, [model])["rows"]}
        shown = {"": rows[model.name], **{f"_{name}": rows[name] for name in BESIDE}}
        for region in (name for name in REGIONS if name in rows[model.name]["regions"]):
            metrics[f"{prefix}{region}"] = {
                f"{kind}{beside}": row["regions"][region][kind]
                for kind in KINDS
                for beside, row in shown.items()
            }
    return metrics


def ship(package: Package, folds: Sequence[Package], metrics: Mapping[str, Any], out: Path) -> None:
    """Write a package with these figures, and how far it may be off by the folds that know."""
    update: dict[str, Any] = {
        "name": out.name.lower(),
        "metrics": dict(metrics),
        "training": {**package.card.training, "figures": HOW},
    }
    files = {name: package.read(name) for name in package.card.files}
    for fold in folds:
        if (way := fold.card.uncertainty) is not None:
            own = {name: fold.read(name) for name in fold.card.files if UNCERTAINTY in name}
            files |= own
            update |= {
                "uncertainty": way,
                "files": {**package.card.files, **{name: fold.card.files[name] for name in own}},
            }
            update["metrics"][UNCERTAINTY] = fold.card.metrics[UNCERTAINTY]
    write_package(out, package.card.model_copy(update=update), files)


def held_out_of(package: Package) -> str:
    """Return what a model was not taught, as the name of a folder."""
    folds = package.card.training.get("held_out_fold")
    if folds is None:
        raise ModelError(
            f"{package.folder} held out no fold",
            "figures are those of models that have not seen a place",
            "train it with --fold, and --fold again for more than one",
        )
    return "-".join(["fold", *map(str, folds if isinstance(folds, list) else [folds])])


def without_graphs(package: Package) -> tuple[ModelCard, dict[str, bytes]]:
    """Return the card and the weights alone: torch rebuilds the network from them."""
    ways = tuple(way.model_copy(update={"graph": None}) for way in package.card.directions)
    update = {
        "directions": ways,
        "uncertainty": None,
        "files": {WEIGHTS: package.card.files[WEIGHTS]},
    }
    return package.card.model_copy(update=update), {WEIGHTS: package.read(WEIGHTS)}


def write_package(folder: Path, card: ModelCard, files: Mapping[str, bytes]) -> None:
    """Write a package's files, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in package_files(card, files).items():
        write_atomically(folder / name, content)


if __name__ == "__main__":
    sys.exit(main())
