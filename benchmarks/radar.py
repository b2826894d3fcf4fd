"""What radar adds: the radar recipes trained once a place, each measured on the place left out.

    python benchmarks/radar.py DATA OUT
    python benchmarks/radar.py DATA OUT --recipes sar2rgb-pix2pix --set training.epochs=1
    python benchmarks/radar.py DATA OUT --recipes --models decloud-s1s2-4band decloud-s2-4band
    python benchmarks/radar.py DATA OUT --recipes decloud-s1s2-4band --begin NAME=PATH,PATH
    python benchmarks/radar.py DATA OUT --device cuda --figure docs/figures/radar-places.jpg

DATA is the folder of real scenes that ``benchmarks/splits.json`` names; the five places with radar
lie in five folds. decloud-s1s2-4band is begun with a model without radar: with --begin each fold
with the first package that its places did not teach, else from nothing, for the shipped one knows
four of the five. Those packages, and --models, are measured beside, as they are. --ship FOLD writes
the package of that fold, with the figures of all on its card, into OUT/shipped. OUT keeps states,
packages and figures.json: a run that was stopped goes on, and what is trained is not trained again.
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
from geodecloud.benchmark.averages import Tally, without_missing
from geodecloud.benchmark.case import Case
from geodecloud.benchmark.contest import run_suite
from geodecloud.benchmark.measures import rounded, sums_of
from geodecloud.benchmark.models import TrainedModel, places_of
from geodecloud.benchmark.suites import SUITES
from geodecloud.datasets import pack_folder
from geodecloud.errors import GeodecloudError, OptionError
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

HIDDEN = ", radar hidden"
"""What the row of a model is called where it does not see its radar, after its name."""

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
    parser.add_argument(
        "--begin", metavar="NAME=PATH,PATH", help="what models that begin with another begin with"
    )
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE")
    parser.add_argument("--figure", type=Path, help="a picture of each place")
    parser.add_argument("--ship", type=int, metavar="FOLD", help="write this fold's with figures")
    asked = parser.parse_args(arguments)
    try:
        begun = TrainedModel.parse(asked.begin) if asked.begin else None
        models = [trained(name, asked, begun) for name in asked.recipes]
        models += [begun] if begun else []
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


def trained(name: str, asked: argparse.Namespace, begun: TrainedModel | None) -> TrainedModel:
    """Return a recipe's models, one a fold, trained where they are not there yet."""
    recipe = Recipe.read(name)
    chips = asked.out / "chips.safetensors"
    if not chips.exists():
        asked.out.mkdir(parents=True, exist_ok=True)
        pack_folder(asked.data, chips, bands=BANDS, splits=SPLITS)
    packed = PackedChips(chips)
    folders = {fold: asked.out / recipe.name / f"fold{fold}" for fold in asked.folds}
    untrained = {
        fold: beginning(recipe, begun, places_in(packed, fold)).with_settings(asked.set)
        for fold, folder in folders.items()
        if not (folder / recipe.name).exists()
    }
    for fold, own in untrained.items():
        train_fold(own, packed, fold, folders[fold], asked.device)
    packages = ",".join(str(folder / recipe.name) for folder in folders.values())
    return TrainedModel.parse(f"{recipe.name}={packages}")


def places_in(packed: PackedChips, fold: int) -> set[str]:
    """The places of a fold."""
    return {packed.places[place] for place in packed.place[packed.fold == fold]}


def beginning(recipe: Recipe, begun: TrainedModel | None, held_out: set[str]) -> Recipe:
    """A recipe whose model begins with nothing that knows what is held out.

    It is the first package that none of these places taught; without packages it is nothing.

    Raises:
        OptionError: each package was taught by one of the places.
    """
    if "pretrained_path" not in recipe.model:
        return recipe
    if begun is None:
        model = {key: value for key, value in recipe.model.items() if key != "pretrained_path"}
        return replace(recipe, model={**model, **FROM_NOTHING})
    for package in begun.packages:
        taught = places_of(package)
        if taught is not None and not taught & held_out:
            model = {**recipe.model, "pretrained_path": str(package.folder)}
            return replace(recipe, model=model)
    raise OptionError(
        f"--begin {begun.name}: each of its packages was taught by {' or '.join(sorted(held_out))}",
        "a fold begins with a model that its places did not teach",
        "add one that was trained with this fold held out, or leave the fold out of --folds",
    )


def train_fold(recipe: Recipe, packed: PackedChips, fold: int, folder: Path, device: str) -> None:
    """Write the package of a model that has not seen a fold."""
    print(f"{recipe.name}: fold {fold} held out", flush=True)
    resume = (folder / "state.json").exists()
    model = recipe.train(recipe.chips(packed, fold), folder, resume=resume, device=device)
    model.training["held_out_fold"] = fold
    # its figures are those of the suites, over all folds
    model.save(Path.cwd() / folder / recipe.name, compute_metrics=False, **recipe.card)


def measured(models: Sequence[TrainedModel], data: Path, gallery: Gallery) -> list[dict[str, Any]]:
    """Return the figures of each suite that one of the models suits, printed as they come."""
    archive = Archive.open(data, SPLITS)
    results = []
    for suite in (SUITES[name] for name in MEASURED):
        taking_part = [model for model in models if model.suits(suite)]
        if taking_part:
            added = Added([model.name for model in taking_part if "sar" in model.way.inputs])
            look = gallery.add if suite.source else added.add
            result = run_suite(suite, archive, taking_part, on_case=look)
            results.append({**result, "radar_adds": added.figures()})
            print(f"\n{table(result)}", flush=True)
            for name, figures in results[-1]["radar_adds"].items():
                print(f"\n{table_of_added(result['suite'], name, figures)}", flush=True)
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


def table_of_added(suite: str, name: str, figures: Result) -> str:
    """What radar adds to a model, in Markdown: a line a region."""
    places = list(next(iter(figures.values()))["psnr_by_place"])
    head = [f"{suite}: {name}, dB by radar", "mean", "95 %", *places, "pixels"]
    lines = [head, ["---"] * len(head)]
    for region, found in figures.items():
        low_high = " to ".join(signed(value) for value in found["interval"])
        cells = [signed(value) for value in found["psnr_by_place"].values()]
        pixels = f"{sum(found['pixels_by_place'].values()):,}"
        lines.append([region, signed(found["psnr"]), low_high, *cells, pixels])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def signed(value: float | None) -> str:
    """A difference in dB."""
    return "–" if value is None else f"{round(value, 2) + 0:+.2f}"  # + 0: no minus before zero


@dataclass
class Added:
    """What models draw better for their radar: each beside itself where the radar is hidden.

    Attributes:
        names: of the models that look at radar.
    """

    names: Sequence[str]
    tally: Tally = field(default_factory=Tally)

    def add(self, case: Case, answers: Mapping[str, Pixels]) -> None:
        """Take one case, answered with the radar and without it, (C, H, W) each."""
        rows = [name + which for name in self.names for which in ("", HIDDEN)]
        sums = {name: sums_of(answers[name], case) for name in rows if name in answers}
        if sums:
            self.tally.add(case.place, sums)

    def figures(self) -> dict[str, Any]:
        """Return by model and region what radar adds to PSNR, in dB, and on how many pixels."""
        regions = [region for region in REGIONS if region in self.tally.regions]
        return {
            name: {region: self._of(name, region) for region in regions}
            for name in self.names
            if name in self.tally.sums
        }

    def _of(self, name: str, region: str) -> dict[str, Any]:
        hidden = self.tally.by_place(name + HIDDEN, region, "psnr")
        shown = self.tally.by_place(name, region, "psnr")
        adds = {place: shown[place] - hidden[place] for place in shown}
        return rounded(
            {
                "psnr": without_missing(list(adds.values())),
                "interval": self.tally.interval(name, region, "psnr", name + HIDDEN),
                "psnr_by_place": adds,
                "pixels_by_place": self._pixels(name, region),
            }
        )

    def _pixels(self, name: str, region: str) -> dict[str, int]:
        pixels = dict.fromkeys(self.tally.places, 0)
        for place, sums in zip(self.tally.places, self.tally.sums[name], strict=True):
            if region in sums:
                pixels[place] += int(sums[region]["squared"].n_values) // len(BANDS)
        return pixels


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
