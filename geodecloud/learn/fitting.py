"""fit and lr_find of a model: what is asked of a training, made a plan and followed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from geodecloud.learn import training
from geodecloud.learn.plan import Carried, History, LrSearch, Plan
from geodecloud.learn.state import saved_lr
from geodecloud.progress import Listener, silent

if TYPE_CHECKING:
    from geodecloud.learn.model import Model

PATIENCE = 5  # epochs, of early stopping


def lr_find(
    model: Model,
    allow_plot: bool = True,
    mixed_precision: bool = False,
    start_lr: float = 1e-6,
    end_lr: float = 1.0,
) -> float:
    """Return the learning rate at which the loss falls fastest; weights stay as they are.

    With ``allow_plot`` a notebook shows the losses over the rates, the pick marked.
    """
    model.search = _search(model, mixed_precision, start_lr, end_lr)
    if allow_plot:
        from geodecloud.learn.plots import plot_lr, show

        show(plot_lr(model.search))
    return model.search.best


def fit(
    model: Model,
    epochs: int = 10,
    lr: float | None = None,
    one_cycle: bool = True,
    early_stopping: bool = False,
    checkpoint: bool | Literal["all"] = True,
    tensorboard: bool = False,
    monitor: str = "valid_loss",
    mixed_precision: bool | str = False,
    *,
    schedule: str | None = None,
    out: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    devices: int = 1,
    steps_per_epoch: int | None = None,
    checkpoint_seconds: float = 120.0,
    keep: Literal["best", "last"] = "best",
    listener: Listener = silent,
) -> History:
    """Train and return a table row for each epoch; the best epoch's weights stay.

    Args:
        model: what is trained.
        epochs: rows of the table.
        lr: highest learning rate; None takes that of the run that goes on, the class's own,
            or looks for one.
        one_cycle: let it rise and fall, or follow the class's own schedule; else constant.
        early_stopping: end after 5 epochs without a better ``monitor``.
        checkpoint: save states into ``out``, or into a folder beside the data; "all" keeps
            the weights of each epoch too.
        tensorboard: write events beside the states.
        monitor: value of a table row that is to fall.
        mixed_precision: True or "bf16", or "fp16", on CUDA.
        schedule: "one_cycle", "constant", "linear_decay" or "step_decay"; overrules
            ``one_cycle``.
        out: folder of the saved states.
        resume: go on from the state in ``out``.
        device: "cpu", "cuda", "cuda:1" or "auto".
        devices: how many share each batch.
        steps_per_epoch: None takes as many as show the training part once.
        checkpoint_seconds: time between saved states.
        keep: the weights of which epoch stay.
        listener: told every few steps.

    Raises:
        TrainingError: the run diverged, memory ran out, or the state is of another run.
    """
    if out is None and checkpoint and model.data.working_dir is not None:
        out = model.data.working_dir / "training"
    model._states = out if checkpoint else None
    if lr is None:
        lr = saved_lr(out) if resume and out is not None else model.default_lr
    if lr is None:
        model.search = _search(model, mixed_precision, 1e-6, 1.0, device, devices)
        lr = model.search.best
    plan = Plan(
        epochs=epochs,
        steps_per_epoch=steps_per_epoch or model.data.steps_per_epoch,
        lr=lr,
        schedule=schedule or (model.default_schedule if one_cycle else "constant"),
        device=device,
        devices=devices,
        mixed_precision=mixed_precision,
        patience=PATIENCE if early_stopping else 0,
        monitor=monitor,
        seed=model.data.seed,
        checkpoint_seconds=checkpoint_seconds,
        keep=keep,
        keep_epochs=checkpoint == "all",
        tensorboard=tensorboard,
    )
    model.history = training.fit(
        model,
        model.data.batches,
        plan,
        out=model._states,
        validate=model._validate,
        listener=listener,
        resume=resume,
    )
    model.training = {
        "dataset_type": model.data.dataset_type,
        "plan": plan.identity(),
        "best": model.history.best,
        **model.arguments(),
    }
    return model.history


def _search(
    model: Model,
    mixed_precision: bool | str,
    start_lr: float,
    end_lr: float,
    device: str = "auto",
    devices: int = 1,
) -> LrSearch:
    plan = Plan(
        1, 100,
        seed=model.data.seed, device=device, devices=devices, mixed_precision=mixed_precision,
    )  # fmt: skip
    return training.find_lr(model, model.data.batches, plan, start_lr=start_lr, end_lr=end_lr)


def table_columns(model: Model) -> list[str]:
    """Return what a row of the training table will hold besides the number of its epoch.

    A batch goes through all losses; the model stays as it is.

    Raises:
        DataError: the model has no data.
    """
    batch = model.data.batches.at(0, model._device)
    memory, was_training = dict(model.memory), {}
    for name, network in model.networks.items():
        was_training[name] = network.training
        network.eval()  # norms count nothing
    names: dict[str, None] = {}
    carried: Carried = {}
    with torch.no_grad(), training.seeded(0):
        for phase in model.phases:
            losses, more = model.losses(phase, batch, carried)
            names |= dict.fromkeys(losses)
            carried = {**carried, **more}
    for name, network in model.networks.items():
        network.train(was_training[name])
    model.memory = memory
    return [*names, "valid_loss"]
