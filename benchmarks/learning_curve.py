"""How a model grows with its places: PSNR on held-out ones after training on a part of the others.

    geodecloud pack DATA chips.safetensors --splits benchmarks/splits.json --bands B02,B03,B04,B08
    python benchmarks/learning_curve.py chips.safetensors OUT
    python benchmarks/learning_curve.py chips.safetensors OUT --draws 3 \
        --epochs 4 --set 'model.widths=[16,32,64,128]' --set training.steps_per_epoch=100

Each point is trained anew, with the same number of steps; the smaller of a draw's parts lie in its
larger ones. The best epoch on the held-out places stays, as in every training, which flatters all
points alike. OUT keeps states and figures: a run that was stopped goes on. Without --set it is the
recipe in full, which wants a GPU. OUT/learning-curve.png shows the gain over the fill, by places.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geodecloud.errors import GeodecloudError
from geodecloud.learn.data import ChipData
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.plots import save_png
from geodecloud.learn.recipe import Recipe
from geodecloud.learn.state import write_atomically

REGIONS = {
    "thin": "thin synthetic cloud",
    "shadow": "synthetic shadow",
    "thick": "thick synthetic cloud",
    "masked": "all under synthetic masks",
    "pairs_masked": "all under masks, real pairs",
}
RESULTS = "learning-curve.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not trained yet, and show the curve; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("chips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", default="decloud-s2-4band")
    parser.add_argument("--fold", type=int, default=2, help="held out")
    parser.add_argument("--shares", type=float, nargs="+", default=[25, 50, 100], help="percent")
    parser.add_argument("--draws", type=int, default=1, help="of places, for each share below 100")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE")
    parser.add_argument("--figure", type=Path, help="where else the picture goes")
    asked = parser.parse_args(arguments)
    try:
        recipe = Recipe.read(asked.recipe).with_settings(asked.set)
        if asked.epochs is not None:
            recipe = recipe.with_settings([f"training.epochs={asked.epochs}"])
        points = list(measured(recipe, asked))
    except GeodecloudError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for path in (asked.out / "learning-curve.png", asked.figure):
        if path is not None:
            save_png(drawn(points), path)
    return 0


def measured(recipe: Recipe, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a point for each share and draw, printed as it is there."""
    data = recipe.chips(PackedChips(asked.chips), asked.fold)
    print(f"{'share':>6} {'draw':>4} {'places':>6} {'windows':>7} {'best':>5}", *REGIONS)
    for share in asked.shares:
        for draw in range(asked.draws if share < 100 else 1):
            folder = asked.out / f"{share:g}-{draw}"
            part = part_of(data, share / 100, draw)
            point = known(folder, recipe) or trained(recipe, part, folder, asked.device)
            row = {"share": share, "draw": draw, **about(part), **point}
            print(
                f"{share:5g}% {draw:4} {row['n_places']:6} {row['n_windows']:7}"
                f" {row['best_epoch']:5}",
                *(
                    f"{row['psnr'][name]:.2f} ({row['fill'][name]:.2f})"
                    if name in row["psnr"]
                    else "-"
                    for name in REGIONS
                ),
                flush=True,
            )
            yield row


def part_of(data: ChipData, share: float, draw: int) -> ChipData:
    """The training set with a share of its places, drawn; what is held out stays.

    Normalisation is that of the part: a smaller archive would not know of more.
    """
    place = data.packed.place[data.train]
    places = np.random.default_rng(draw).permutation(np.unique(place))
    chosen = places[: max(1, math.ceil(share * len(places) - 1e-9))]
    train = data.train[np.isin(place, chosen)]
    return replace(data, train=train, normalization={})


def about(part: ChipData) -> dict[str, Any]:
    """What a part holds."""
    n_places = len(np.unique(part.packed.place[part.train]))
    return {"n_places": n_places, "n_windows": len(part.train)}


def known(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """The figures of a point that an earlier run has measured; None where there are none."""
    path = folder / RESULTS
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found if found.pop("recipe") == told(recipe) else None


def trained(recipe: Recipe, part: ChipData, folder: Path, device: str) -> dict[str, Any]:
    """Train a point, and return and keep its figures."""
    model = recipe.train(part, folder, resume=(folder / "state.json").exists(), device=device)
    regions = {name: found for name, found in model.compute_metrics().items() if name in REGIONS}
    best = min(model.history.rows, key=lambda row: row["valid_loss"])
    figures = {
        "psnr": {name: found["psnr"] for name, found in regions.items()},
        "fill": {name: found["psnr_fill"] for name, found in regions.items()},
        "best_epoch": int(best["epoch"]),
    }
    write_atomically(
        folder / RESULTS, json.dumps({"recipe": told(recipe), **figures}, indent=1).encode()
    )
    return figures


def told(recipe: Recipe) -> dict[str, Any]:
    """What figures hang on."""
    return {"data": recipe.data, "model": recipe.model, "training": recipe.training}


def drawn(points: Sequence[dict[str, Any]]) -> Any:
    """Decibels over the fill by places: a panel a region, a dot a draw, a line through means."""
    from matplotlib.figure import Figure

    names = [name for name in REGIONS if name in points[0]["psnr"]]
    figure = Figure(figsize=(2.4 * len(names), 3.2), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        gains: dict[int, list[float]] = {}
        for point in sorted(points, key=lambda point: point["n_places"]):
            gain = point["psnr"][name] - point["fill"][name]
            gains.setdefault(point["n_places"], []).append(gain)
            axes.plot(point["n_places"], gain, "o", color="tab:blue", alpha=0.5)
        axes.plot(list(gains), [sum(found) / len(found) for found in gains.values()])
        axes.axhline(0, color="tab:gray", linestyle="--")
        axes.set_title(REGIONS[name], fontsize="small")
        axes.set(xlabel="places", xticks=list(gains))
    panels[0].set_ylabel("PSNR over the fill's (dB)")
    return figure


if __name__ == "__main__":
    sys.exit(main())
