"""calibrate: a trained model learns to say how far its answers may be off."""

from __future__ import annotations

from pathlib import Path

import click

from geodecloud.cli.progress import Reporter, progress_option

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("chips", metavar="CHIPS.safetensors", type=FILE)
@click.option("--model", required=True, help="A model that removes clouds: its name or package.")
@click.option("--out", type=FILE, required=True, help="Folder of the model that is made.")
@click.option("--fold", type=int, help="The fold that the model's training held out.")
@click.option("--epochs", type=click.IntRange(1), default=6, show_default=True)
@click.option(
    "--steps", type=click.IntRange(1), default=100, show_default=True, help="Steps of an epoch."
)
@click.option("--lr", type=float, default=3e-3, show_default=True, help="Highest learning rate.")
@click.option("--chip-size", type=click.IntRange(8), default=128, show_default=True)
@click.option("--batch-size", type=click.IntRange(2), default=4, show_default=True)
@click.option("--resume", is_flag=True, help="Go on where a stopped training was.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option("--overwrite", is_flag=True, help="Replace a model that is there.")
@progress_option
@click.pass_obj
def calibrate(
    reporter: Reporter,
    chips: Path,
    model: str,
    out: Path,
    fold: int | None,
    epochs: int,
    steps: int,
    lr: float,
    chip_size: int,
    batch_size: int,
    resume: bool,
    device: str,
    overwrite: bool,
) -> None:
    """Teach a cloud-removing model how far its answers may be off, for decloud --uncertainty.

    CHIPS are those that it was trained on, packed. The model's own files stay as they are; a small
    network is put beside them, and calibrated on the places that were held out.
    """
    from geodecloud.errors import OutputError
    from geodecloud.learn.data import ChipData, split
    from geodecloud.learn.packed import PackedChips
    from geodecloud.learn.plan import Plan
    from geodecloud.learn.uncertainty import Uncertainty

    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists", "a model gets a new folder", "pass --overwrite")
    packed = PackedChips(chips)
    train, valid = split(packed, fold=fold)
    data = ChipData(
        packed, "CloudRemoval", train, valid, chip_size=chip_size, batch_size=batch_size
    )
    system = Uncertainty(data, model)
    reporter.open("calibrate", device=device, model=system.package.card.name)
    plan = Plan(epochs, steps, lr=lr, device=device, average_decay=0.98)
    states = out.with_name(f"{out.name}.training")
    system.fit(plan, out=states, resume=resume, listener=reporter)
    system.save(out, overwrite=overwrite)
    lines = [f"{name.replace('_', ' '):26} {value:.3f}" for name, value in system.figures.items()]
    reporter.close(
        {"model": str(out), "metrics": dict(system.figures)}, "\n".join([*lines, str(out)])
    )
