"""evaluate: a model's figures on chips it may never have seen, beside naive answers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geodecloud.cli.figures import DIGITS, table
from geodecloud.cli.progress import Reporter, progress_option

if TYPE_CHECKING:
    from geodecloud.learn.model import Model

FILE = click.Path(path_type=Path)

OF_TASK = {"cloud-removal": "CloudRemoval", "cloud-mask": "CloudMask"}
"""The dataset type of models whose cards do not name one."""


@click.command()
@click.argument("data", type=FILE)
@click.option("--model", "name", required=True, help="Name or folder of a model.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option("--dataset-type", help="What DATA is; else what the model was trained on.")
@click.option("--splits", type=FILE, help="Table of places and folds, where DATA is not packed.")
@click.option("--fold", type=int, help="Only this fold; else all of DATA.")
@click.option("--skies", type=click.IntRange(1), default=1, help="Synthetic ones a window.")
@click.option("--limit", type=click.IntRange(1), help="Windows at most.")
@click.option(
    "--feature-weights", type=FILE, help="Inception v3 of torchvision as safetensors, for FID."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@progress_option
@click.pass_obj
def evaluate(
    reporter: Reporter,
    data: Path,
    name: str,
    as_json: bool,
    dataset_type: str | None,
    splits: Path | None,
    fold: int | None,
    skies: int,
    limit: int | None,
    feature_weights: Path | None,
    device: str,
) -> None:
    """Measure a model on DATA: PSNR, SSIM, SAM and MAE by region, beside naive answers.

    Only valid pixels count, and the range of the data is said. Regions of cloudy scenes: whole,
    masked, thin, thick, shadow, excess (clear, yet masked), ring (5 px around the mask), clear.
    The seam index is that of tiles of 64 px; 1 is no seam.
    """
    from geodecloud.learn.assess import assess
    from geodecloud.learn.place import device_of

    place = device_of(device)
    reporter.open("evaluate", device=str(place), model=name)
    with tempfile.TemporaryDirectory(prefix="geodecloud-") as folder:
        model = _with_data(reporter, name, data, Path(folder), dataset_type, splits, fold)
        found = assess(model, place, skies=skies, limit=limit, feature_weights=feature_weights)
    result = {"model": name, "data": str(data), **found}
    reporter.close(result, json.dumps(result, indent=2) if as_json else _as_text(result))


def _with_data(
    reporter: Reporter,
    name: str,
    data: Path,
    folder: Path,
    dataset_type: str | None,
    splits: Path | None,
    fold: int | None,
) -> Model:
    """The model, its data being what it is measured on."""
    import numpy as np

    from geodecloud.datasets import pack_folder
    from geodecloud.learn.data import ChipData, split
    from geodecloud.learn.dataset_types import inferred_type
    from geodecloud.learn.models import from_model
    from geodecloud.learn.packed import PackedChips
    from geodecloud.run.package import open_package

    card = open_package(name).card
    bands = card.directions[0].bands_out
    learnt = card.training.get("data", {}).get("dataset_type")
    kind = dataset_type or card.training.get("dataset_type") or learnt
    if data.suffix != ".safetensors":
        packed_path = folder / "chips.safetensors"
        pack_folder(
            data,
            packed_path,
            bands=bands if kind == "CloudRemoval" else None,
            splits=splits,
            dataset_type=kind,
            listener=reporter,
        )
        data = packed_path
    packed = PackedChips(data)
    if card.task != "cloud-mask":  # which looks for its bands among these
        packed = packed.select(bands)
    if kind is None:
        kind = OF_TASK.get(card.task) or inferred_type(packed)
    every = np.arange(len(packed))
    valid = every if fold is None else split(packed, fold=fold)[1]
    return from_model(name, ChipData(packed, kind, every, valid, chip_size=packed.size_px))


def _as_text(result: dict[str, Any]) -> str:
    lines = table(result["regions"], tuple(DIGITS))
    lines.append(
        f"{result['n_windows']} windows, data range {result['data_range']:g} ({result['unit']}), "
        "valid pixels alone"
    )
    for key, title, digits in (("seam_index", "seam index", 3), ("fid", "FID", 2)):
        found = {way: figure for way, figure in result.get(key, {}).items() if figure is not None}
        if found:
            shown = "  ".join(f"{way} {figure:.{digits}f}" for way, figure in found.items())
            lines.append(f"{title}: {shown}")
    return "\n".join(lines)
