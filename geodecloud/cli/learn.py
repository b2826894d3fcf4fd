"""pack and train: training folders to packed chips, and those to a model."""

from __future__ import annotations

from pathlib import Path

import click

from geodecloud.cli.progress import Reporter, progress_option

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
    reporter.close(
        {"chips": str(out), "n_samples": n_samples},
        f"{n_samples} samples, {megabytes:.0f} MB: {out}",
    )


@click.command()
@click.argument("data", type=FILE)
@click.option("--recipe", default="decloud-s2-4band", show_default=True, help="Name or TOML file.")
@click.option("--out", type=FILE, required=True, help="Folder of the model that is made.")
@click.option("--resume", is_flag=True, help="Go on where a stopped training was.")
@click.option("--splits", type=FILE, help="Table of places and folds, where DATA is not packed.")
@click.option("--fold", type=int, help="The fold that is held out; else a tenth of the places.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--lr", type=float, help="Highest learning rate, instead of the recipe's.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option("--overwrite", is_flag=True, help="Replace a model that is there.")
@progress_option
@click.pass_obj
def train(
    reporter: Reporter,
    data: Path,
    recipe: str,
    out: Path,
    resume: bool,
    splits: Path | None,
    fold: int | None,
    epochs: int | None,
    lr: float | None,
    device: str,
    overwrite: bool,
) -> None:
    """Train a model on DATA, packed chips or a training folder, as a recipe says.

    States are kept in OUT.training, so that a run that was stopped can go on with --resume; the
    last lines are the model's figures on what was held out, beside those of the fill.
    """
    from geodecloud.datasets import pack_folder
    from geodecloud.errors import OutputError
    from geodecloud.learn.packed import PackedChips
    from geodecloud.learn.recipe import Recipe

    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists", "a model gets a new folder", "pass --overwrite")
    recipe_ = Recipe.read(recipe)
    states = out.with_name(f"{out.name}.training")
    states.mkdir(parents=True, exist_ok=True)
    packed = data
    if data.suffix != ".safetensors":
        packed = states / "chips.safetensors"
        if not (resume and packed.exists()):
            pack_folder(
                data, packed, bands=recipe_.data.get("bands"), splits=splits, listener=reporter
            )
    reporter.open("train", device=device, model=recipe_.name)
    changed = {name: value for name, value in (("epochs", epochs), ("lr", lr)) if value is not None}
    model = recipe_.train(
        recipe_.chips(PackedChips(packed), fold),
        states,
        resume=resume,
        device=device,
        listener=reporter,
        **changed,
    )
    figures = model.compute_metrics()
    folder = model.save(out, compute_metrics=False, overwrite=overwrite, **recipe_.card)
    lines = [f"{'region':13} {'model':>7} {'fill':>7} {'cloudy':>7}   PSNR in dB, held-out places"]
    lines += [
        f"{region:13} {of['psnr']:7.2f} {of.get('psnr_fill', of['psnr']):7.2f} "
        f"{of['psnr_identity']:7.2f}"
        for region, of in figures.items()
    ]
    reporter.close({"model": str(folder), "metrics": figures}, "\n".join([*lines, str(folder)]))


def _names(bands: str | None) -> list[str] | None:
    return None if bands is None else [name.strip() for name in bands.split(",")]
