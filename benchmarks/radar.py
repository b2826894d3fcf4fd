"""What radar adds: the radar recipes trained once a place, each measured on the place left out.

    python benchmarks/radar.py DATA OUT
    python benchmarks/radar.py DATA OUT --recipes sar2rgb-pix2pix --set training.epochs=1
    python benchmarks/radar.py DATA OUT --recipes --models decloud-s1s2-4band decloud-s2-4band
    python benchmarks/radar.py DATA OUT --device cuda --figure docs/figures/radar-places.jpg

DATA is the folder of real scenes that ``benchmarks/splits.json`` names; the five places with radar
lie in five folds. Models start from nothing here: decloud-s1s2-4band is otherwise begun with a
model that knows four of the five places. --models are measured beside, as they are. --ship FOLD
writes the package of that fold, with the figures of all on its card, into OUT/shipped. OUT keeps
states, packages and figures.json: a run that was stopped goes on, and what is trained is not
trained again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geodecloud.benchmark.archive import Archive
from geodecloud.benchmark.case import Case
from geodecloud.benchmark.contest import run_suite
from geodecloud.benchmark.models import TrainedModel
from geodecloud.benchmark.suites import SUITES
from geodecloud.datasets import pack_folder
from geodecloud.errors import GeodecloudError
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.recipe import Recipe
from geodecloud.learn.state import write_atomically
from geodecloud.run.exchange import package_files

SPLITS = Path(__file__).with_name("splits.json")
BANDS = ("B02", "B03", "B04", "B08")
RECIPES = ("sar2rgb-pix2pix", "sar2rgb-cyclegan", "decloud-s1s2-4band")
MEASURED = ("sar2rgb", "triplets-known-skies", "triplets")
REGIONS = ("masked", "thin", "thick", "shadow")
FROM_NOTHING = {"widths": [16, 32, 64, 128], "second_widths": [8, 16, 32, 64]}
"""Of a model that is otherwise begun with another."""

ON_CARDS = ("fill", "mean of other places", "radar as grey", "line of other places")
"""Rows that a card names beside trained models."""

NOT_SHOWN = ("mean of other places", "radar as grey")
"""Rows without a column in the picture: one colour, and what the radar's own column shows."""

Result = Mapping[str, Any]
Pixels = npt.NDArray[np.floating[Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not trained yet, measure it, and show the tables; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), metavar="NAME|FILE")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME|NAME=PATH,PATH")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE")
    parser.add_argument("--figure", type=Path, help="a picture of each place")
    parser.add_argument("--ship", type=int, metavar="FOLD", help="write this fold's with figures")
    asked = parser.parse_args(arguments)
    try:
        models = [trained(name, asked) for name in asked.recipes]
        models += [TrainedModel.parse(text) for text in asked.models]
        gallery = Gallery(asked.figure)
        figures = measured(models, asked.data, gallery)
        if asked.ship is not None:
            for model in (each for each in models if each.name in RECIPES):
                ship(model, figures, asked.ship, asked.out / "shipped" / model.name)
    except GeodecloudError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    write_atomically(asked.out / "figures.json", json.dumps(figures, indent=1).encode())
    gallery.write()
    return 0


def trained(name: str, asked: argparse.Namespace) -> TrainedModel:
    """Return a recipe's models, one a fold, trained where they are not there yet."""
    recipe = begun_from_nothing(Recipe.read(name)).with_settings(asked.set)
    chips = asked.out / "chips.safetensors"
    if not chips.exists():
        asked.out.mkdir(parents=True, exist_ok=True)
        pack_folder(asked.data, chips, bands=BANDS, splits=SPLITS)
    folders = [asked.out / recipe.name / f"fold{fold}" for fold in asked.folds]
    for folder, fold in zip(folders, asked.folds, strict=True):
        if not (folder / recipe.name).exists():
            train_fold(recipe, PackedChips(chips), fold, folder, asked.device)
    packages = ",".join(str(folder / recipe.name) for folder in folders)
    return TrainedModel.parse(f"{recipe.name}={packages}")


def begun_from_nothing(recipe: Recipe) -> Recipe:
    """A recipe without the model that it is begun with, which knows places that are held out."""
    if "pretrained_path" not in recipe.model:
        return recipe
    model = {key: value for key, value in recipe.model.items() if key != "pretrained_path"}
    return replace(recipe, model={**model, **FROM_NOTHING})


def train_fold(recipe: Recipe, packed: PackedChips, fold: int, folder: Path, device: str) -> None:
    """Write the package of a model that has not seen a fold."""
    print(f"{recipe.name}: fold {fold} held out", flush=True)
    resume = (folder / "state.json").exists()
    model = recipe.train(recipe.chips(packed, fold), folder, resume=resume, device=device)
    model.training["held_out_fold"] = fold
    model.save(Path.cwd() / folder / recipe.name, **recipe.card)


def measured(models: Sequence[TrainedModel], data: Path, gallery: Gallery) -> list[dict[str, Any]]:
    """Return the figures of each suite that one of the models suits, printed as they come."""
    archive = Archive.open(data, SPLITS)
    results = []
    for suite in (SUITES[name] for name in MEASURED):
        taking_part = [model for model in models if model.suits(suite)]
        if taking_part:
            look = gallery.add if suite.source else ignore
            results.append(run_suite(suite, archive, taking_part, on_case=look))
            print(f"\n{table(results[-1])}", flush=True)
    return results


def ship(model: TrainedModel, results: Sequence[Result], fold: int, out: Path) -> None:
    """Write one fold's package anew, on its card the figures of all, beside those of others.

    Figures are means over places, each by the model that has not seen it; "pairs_..." are those of
    real clouds. Then PSNR of each place.
    """
    package = next(p for p in model.packages if p.card.training.get("held_out_fold") == fold)
    metrics: dict[str, Any] = {}
    for result in results:
        rows = {shown: row for row in result["rows"] if (shown := beside(row, model)) is not None}
        if "" not in rows:
            continue
        rows = {"": rows[""], **rows}  # its own figures come first
        prefix = "pairs_" if result["suite"] == "triplets" else ""
        regions = REGIONS if prefix or result["suite"] != "sar2rgb" else ("whole",)
        for region in regions:
            metrics[f"{prefix}{region}"] = {
                f"{kind}{shown}": row["regions"][region][kind]
                for kind in ("psnr", "ssim", "mae", "sam")
                for shown, row in rows.items()
            }
        for place in result["n_cases"]:
            found = {
                f"psnr{shown}": row["psnr_masked_by_place"][place] for shown, row in rows.items()
            }
            metrics[f"{prefix}{place}"] = found
    card = package.card.model_copy(update={"metrics": metrics})
    files = {name: package.read(name) for name in card.files}
    out.mkdir(parents=True, exist_ok=True)
    for name, content in package_files(card, files).items():
        write_atomically(out / name, content)


def beside(row: Result, model: TrainedModel) -> str | None:
    """How a card calls the figures of a row: "" its own, "_fill" the fill's; None leaves it out."""
    name = str(row["name"])
    if name.startswith(model.name):
        return name.removeprefix(model.name).replace(", ", "_")
    return f"_{name}" if name in ON_CARDS or row["kind"] == "model" else None


def table(result: Result) -> str:
    """The rows of a suite in Markdown: PSNR by region and place, then the other measures."""
    regions = [name for name in REGIONS if name in result["rows"][0]["regions"]]
    places = list(result["n_cases"])
    head = [f"{result['suite']}: PSNR, dB", *regions, *places, "SSIM", "SAM", "MAE", "spectra, dB"]
    lines = [head, ["---"] * len(head)]
    for row in result["rows"]:
        of = row["regions"]
        cells = [(of[region]["psnr"], 2) for region in regions]
        cells += [(row["psnr_masked_by_place"][place], 2) for place in places]
        cells += [(of["masked"]["ssim"], 3), (of["masked"]["sam"], 2), (of["masked"]["mae"], 4)]
        cells += [(row["spectrum_db"], 1)]
        shown = ("–" if value is None else f"{value:.{digits}f}" for value, digits in cells)
        lines.append([row["name"], *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ignore(case: Case, answers: Mapping[str, Pixels]) -> None:
    """Look at nothing."""


@dataclass
class Gallery:
    """The first window of each place: radar, what is drawn of it, and the clear date.

    Attributes:
        path: of the picture; without one nothing is kept.
    """

    path: Path | None
    rows: dict[str, dict[str, Pixels]] = field(default_factory=dict)

    def add(self, case: Case, answers: Mapping[str, Pixels]) -> None:
        """Keep the pictures of a case, each (H, W, 3) or (H, W), 0 to 1."""
        if self.path is None or case.place in self.rows or case.source is None:
            return
        dn, _ = case.source.read(case.whole)
        high = float(np.percentile(case.target, 99.5))
        drawn = {name: each for name, each in answers.items() if name not in NOT_SHOWN}
        colours = {**drawn, "clear date": case.target}
        self.rows[case.place] = {
            "radar, VV": stretched(dn[0]),
            **{
                name: np.moveaxis(np.clip(each / high, 0, 1), 0, -1)
                for name, each in colours.items()
            },
        }

    def write(self) -> None:
        """Write the picture, a row a place."""
        if self.path is None or not self.rows:
            return
        from matplotlib.figure import Figure

        columns = list(next(iter(self.rows.values())))
        shape = len(self.rows), len(columns)
        figure = Figure(figsize=(1.7 * shape[1], 1.7 * shape[0] + 0.2), layout="constrained")
        grid = figure.subplots(*shape, squeeze=False)
        for (place, pictures), line in zip(self.rows.items(), grid, strict=True):
            for column, axes in zip(columns, line, strict=True):
                axes.imshow(pictures[column], cmap="gray", interpolation="nearest")
                axes.set(xticks=[], yticks=[])
            line[0].set_ylabel(place, fontsize=7)
        for column, axes in zip(columns, grid[0], strict=True):
            axes.set_title(column, fontsize=7)
        figure.savefig(self.path, dpi=110, pil_kwargs={"quality": 85})


def stretched(band: Pixels) -> Pixels:
    """A band between its 2nd and 98th percentile as 0 to 1."""
    low, high = np.percentile(band, (2, 98))
    return np.clip((band - low) / max(high - low, 1e-6), 0, 1)


if __name__ == "__main__":
    sys.exit(main())
