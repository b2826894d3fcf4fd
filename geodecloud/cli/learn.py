"""pack and train: training folders to packed chips, and those to a model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geodecloud.cli.figures import table
from geodecloud.cli.progress import Reporter, progress_option

if TYPE_CHECKING:
    from geodecloud.learn.data import ChipData
    from geodecloud.learn.model import Model
    from geodecloud.learn.recipe import Recipe

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("data", type=FILE)
@click.argument("out", metavar="CHIPS.safetensors", type=FILE)
@click.option("--bands", help="Which bands, in order, such as B02,B03,B04,B08.")
@click.option(
    "--splits", type=FILE, help="Table of places and folds; its rows are packed, from inside DATA."
)
@click.option("--size", "size_px", type=click.IntRange(8), help="Side of the packed windows.")
@progress_option
@click.pass_obj
def pack(
    reporter: Reporter,
    data: Path,
    out: Path,
    bands: str | None,
    splits: Path | None,
    size_px: int | None,
) -> None:
    """Pack the scenes or chips of the folder DATA into one memory-mapped file to train from.

    DATA holds clear scenes or chips, or pairs: train_a/ and train_b/, or images/ and images2/,
    with the same file names on both sides.
    """
    from geodecloud.datasets import pack_folder

    reporter.open("pack", device="cpu", model="none")
    n_samples = pack_folder(
        data, out, bands=_names(bands), splits=splits, size_px=size_px, listener=reporter
    )
    megabytes = out.stat().st_size / 1e6
    samples = "1 sample" if n_samples == 1 else f"{n_samples} samples"
    reporter.close(
        {"chips": str(out), "n_samples": n_samples},
        f"{samples}, {megabytes:.1f} MB: {out}",
    )


@click.command()
@click.argument("data", type=FILE)
@click.option("--out", type=FILE, required=True, help="Folder of the model that is made.")
@click.option("--recipe", help="Name or TOML file; else the model that fits the data.")
@click.option("--dataset-type", help="What DATA is, such as Pix2Pix or CycleGAN; else inferred.")
@click.option("--model", "system", help="Class to train, such as Pix2Pix; else the one that fits.")
@click.option("--backbone", help="Encoder of a U-Net, such as resnet34.")
@click.option("--epochs", type=click.IntRange(1), help="Rounds over the data.")
@click.option("--lr", type=float, help="Highest learning rate; else looked for.")
@click.option("--batch-size", type=click.IntRange(2), help="Chips in a batch.")
@click.option("--chip-size", type=click.IntRange(8), help="Side of the training chips, in pixels.")
@click.option("--bands", help="Which bands, in order, such as B02,B03,B04,B08.")
@click.option("--val-split", type=float, help="Part of the places held out, 0 for none.")
@click.option("--seed", type=int, help="Of the split and of the batches.")
@click.option("--splits", type=FILE, help="Table of places and folds, where DATA is not packed.")
@click.option("--fold", type=int, multiple=True, help="A fold held out; may be repeated.")
@click.option("--mixed-precision", is_flag=True, help="Half precision, on CUDA.")
@click.option("--tensorboard", is_flag=True, help="Write events into OUT.training.")
@click.option("--early-stopping", is_flag=True, help="End after 5 epochs without a better one.")
@click.option("--resume", is_flag=True, help="Go on where a stopped training was.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option("--devices", type=click.IntRange(1), default=1, help="How many share each batch.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="TABLE.KEY=VALUE",
    help="Any value of the recipe, such as training.schedule='\"constant\"'; may be repeated.",
)
@click.option("--overwrite", is_flag=True, help="Replace a model that is there.")
@progress_option
@click.pass_obj
def train(reporter: Reporter, /, data: Path, out: Path, **asked: Any) -> None:
    """Train a model on DATA: packed chips or a training folder.

    A recipe says how; without one, the model that fits the data is trained plainly. Options
    overrule the recipe. States are kept in OUT.training, so that a run that was stopped goes on
    with --resume; losses.png and results.png are drawn there. The last lines are the model's
    figures on what was held out, beside those of naive answers.
    """
    from geodecloud.learn.checkpoint import refuse_existing
    from geodecloud.learn.place import is_first_process
    from geodecloud.learn.recipe import Recipe

    refuse_existing(out, asked["overwrite"])  # before hours are spent, and again when it is saved
    if not is_first_process():
        reporter.set_mode("none")  # one of several devices: the first speaks for all
    recipe = None if asked["recipe"] is None else Recipe.read(asked["recipe"])
    name = recipe.name if recipe else asked["system"] or "the one that fits"
    reporter.open("train", device=asked["device"], model=name)
    states = out.with_name(f"{out.name}.training")
    with _cleared_unless_begun(states):
        chips, recipe = _prepared(reporter, data, states, recipe, asked)
        model = recipe.train(
            chips,
            states,
            resume=asked["resume"],
            device=asked["device"],
            devices=asked["devices"],
            listener=reporter,
        )
    if not is_first_process():
        return  # and saves for all
    figures = model.compute_metrics() if chips.holds_out else {}
    folder = model.save(
        Path.cwd() / out,  # a bare name would be one in the working folder of the data
        compute_metrics=False,
        overwrite=asked["overwrite"],
        **recipe.card,
    )
    plots = _drawn(model, states)
    lines = [*table(figures), *(f"drawn: {plot}" for plot in plots), str(folder)]
    reporter.close(
        {"model": str(folder), "metrics": figures, "plots": [str(plot) for plot in plots]},
        "\n".join(lines),
    )


def _prepared(
    reporter: Reporter, data: Path, states: Path, recipe: Recipe | None, asked: dict[str, Any]
) -> tuple[ChipData, Recipe]:
    """The training set, and the recipe with all that was asked put in."""
    from geodecloud.datasets import pack_folder, prepare_data
    from geodecloud.learn.packed import PackedChips
    from geodecloud.learn.place import is_first_process
    from geodecloud.learn.recipe import Recipe

    wishes = _wishes(asked)
    source, packed = data, states / PACKED
    if (asked["resume"] or not is_first_process()) and packed.exists():
        source = packed
    where: dict[str, Any] = {"splits": asked["splits"], "listener": reporter}
    if recipe is not None:
        recipe = recipe.changed(wishes)
        if source.suffix != ".safetensors":
            states.mkdir(parents=True, exist_ok=True)
            pack_folder(source, packed, bands=recipe.data.get("bands"), **where)
            source = packed
        chips = recipe.chips(PackedChips(source), asked["fold"] or None)
    else:
        options = {"working_dir": states, "fold": asked["fold"] or None, **where, **wishes.data}
        chips = prepare_data(source, **options)
        recipe = Recipe.fitting(chips, asked["system"]).changed(wishes)
    for note in chips.notes:
        reporter.note(note)
    return chips, recipe


def _wishes(asked: dict[str, Any]) -> Recipe:
    """The options as a recipe that holds nothing but what was asked for."""
    from geodecloud.learn.recipe import Recipe

    tables = {
        "data": {
            "dataset_type": asked["dataset_type"],
            "chip_size": asked["chip_size"],
            "batch_size": asked["batch_size"],
            "val_split_pct": asked["val_split"],
            "seed": asked["seed"],
            "bands": _names(asked["bands"]),
        },
        "model": {"system": asked["system"], "backbone": asked["backbone"]},
        "training": {
            "epochs": asked["epochs"],
            "lr": asked["lr"],
            **{flag: asked[flag] or None for flag in FLAGS},
        },
    }
    given = {
        name: {key: value for key, value in table.items() if value is not None}
        for name, table in tables.items()
    }
    return Recipe("asked", **given).with_settings(asked["settings"])


PACKED = "chips.safetensors"
FLAGS = ("mixed_precision", "tensorboard", "early_stopping")


def _drawn(model: Model, folder: Path) -> list[Path]:
    """Losses, results and, where one was looked for, the learning rate, as pictures."""
    from geodecloud.learn.plots import plot_lr, save_png

    plots = [
        save_png(model.plot_losses(), folder / "losses.png"),
        save_png(model.show_results(), folder / "results.png"),
    ]
    if model.search is not None:
        plots.append(save_png(plot_lr(model.search), folder / "lr.png"))
    return plots


@contextmanager
def _cleared_unless_begun(states: Path) -> Iterator[None]:
    """Leave no folder behind where a training did not get as far as its first state."""
    is_new = not states.exists()
    try:
        yield
    except BaseException:
        if is_new and not (states / "state.json").exists():
            shutil.rmtree(states, ignore_errors=True)
        raise


def _names(bands: str | None) -> list[str] | None:
    return None if bands is None else [name.strip() for name in bands.split(",")]
