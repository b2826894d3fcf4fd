"""Plan, Phase, System, Batches: what a training run is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from geodecloud.errors import OptionError

Batch = dict[str, Tensor]
Losses = dict[str, Tensor]
Carried = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Optimiser:
    """How a phase descends: AdamW, at ``lr_ratio`` times the run's learning rate."""

    lr_ratio: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of a step: which networks move, how, and how often; all others stand still."""

    name: str
    networks: tuple[str, ...]
    optimiser: Optimiser = Optimiser()
    repeats: int = 1


class System(Protocol):
    """What ``fit`` trains.

    Attributes:
        networks: by name.
        phases: what one step is made of, in order.
        averaged: networks whose moving average is kept, validated and shipped.
        memory: tensors kept from step to step; part of the training state.
        bounds: for a loss, (low, high): out of them for long means the run diverged.
    """

    memory: dict[str, Tensor]

    @property
    def networks(self) -> Mapping[str, nn.Module]: ...  # noqa: D102 - see Attributes

    @property
    def phases(self) -> Sequence[Phase]: ...  # noqa: D102

    @property
    def averaged(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def bounds(self) -> Mapping[str, tuple[float, float]]: ...  # noqa: D102

    def losses(self, phase: Phase, batch: Batch, carried: Carried) -> tuple[Losses, Carried]:
        """Return weighted losses, whose sum is descended, and what later phases get to see.

        ``carried`` is empty at the start of each step. What is carried on is detached.
        """
        ...

    def configuration(self) -> dict[str, Any]:
        """Return, in JSON's types, what a saved state must share with this system."""
        ...

    def on_epoch(self, out: Path | None, epoch: int) -> None:
        """Do what is to be done after each epoch, with the averages in the networks."""
        ...


class Batches(Protocol):
    """Where batches come from: a function of the step alone, so that a run can go on exactly."""

    def at(self, step: int, device: torch.device) -> Batch:
        """Return the batch of a step, on this device."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast a run goes.

    Attributes:
        epochs, steps_per_epoch: an epoch is what a table row stands for.
        lr: the highest learning rate.
        schedule: one of ``SCHEDULES``.
        average_decay: of the moving average of the weights.
        clip_norm: gradients longer than this are shortened; 0 leaves them.
        seed: of everything random that is not the batches' own.
        device: "cpu", "cuda", "cuda:1" or "auto".
        devices: how many of them; more than one share each batch.
        mixed_precision: "fp16", or True or "bf16", on CUDA. CPUs are ten times slower with it:
            refused there.
        checkpoint_seconds: time between saved states, besides one at the end of each epoch.
        keep_epochs: save the averages of each epoch, not of the best alone.
        tensorboard: write the losses as TensorBoard's events beside the states.
        patience: epochs without a better validation before the run ends early; 0 for never.
        monitor: the value of the validation that is to fall.
        keep: "best" ends with the averages of the best epoch, "last" with those of the last.
    """

    epochs: int
    steps_per_epoch: int
    lr: float = 2e-4
    schedule: str = "one_cycle"
    average_decay: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    mixed_precision: bool | str = False
    checkpoint_seconds: float = 120.0
    keep_epochs: bool = False
    tensorboard: bool = False
    patience: int = 0
    monitor: str = "valid_loss"
    keep: str = "best"

    def __post_init__(self) -> None:
        """Refuse plans that cannot be followed."""
        if self.schedule not in SCHEDULES:
            raise OptionError(
                f"schedule {self.schedule!r}",
                f"schedules are {', '.join(SCHEDULES)}",
                "choose one of them",
            )
        if self.mixed_precision not in (False, True, "bf16", "fp16"):
            raise OptionError(
                f"mixed_precision {self.mixed_precision!r}",
                "it is off, or bf16 (True), or fp16",
                "choose one of them",
            )
        if self.keep not in ("best", "last"):
            raise OptionError(f"keep {self.keep!r}", "it is best or last", "choose one of them")
        for name in ("epochs", "steps_per_epoch", "lr", "devices"):
            if not 0 < getattr(self, name) < math.inf:
                raise OptionError(
                    f"{name} is {getattr(self, name)}", "it is positive", f"choose another {name}"
                )

    @property
    def n_steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def precision(self) -> str:
        """In what losses are computed: "whole", "bf16" or "fp16"."""
        if not self.mixed_precision:
            return "whole"
        return "bf16" if self.mixed_precision is True else str(self.mixed_precision)

    def lr_at(self, step: int) -> float:
        """The learning rate of a step."""
        return self.lr * SCHEDULES[self.schedule](step / self.n_steps, self.epochs)

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share: all but where it runs and what it leaves behind."""
        return {name: value for name, value in asdict(self).items() if name not in LOOSE}


LOOSE = (
    *("device", "devices", "mixed_precision"),
    *("checkpoint_seconds", "keep", "keep_epochs", "tensorboard"),
)
"""Of a plan, what may change when a run goes on."""


def _one_cycle(share: float, _epochs: int) -> float:
    # up from 1/25 in a quarter of the run, then down to nearly nothing, both along a cosine
    if share < 0.25:
        return 1 + (1 / 25 - 1) * (1 + math.cos(math.pi * share / 0.25)) / 2
    return 1e-5 + (1 - 1e-5) * (1 + math.cos(math.pi * (share - 0.25) / 0.75)) / 2


def _step_decay(share: float, epochs: int) -> float:
    # to a tenth every ten epochs; the last step before an epoch's end must not round into it
    return float(0.1 ** (int(share * epochs + 1e-9) // 10))


SCHEDULES: Mapping[str, Callable[[float, int], float]] = MappingProxyType(
    {
        "one_cycle": _one_cycle,
        "constant": lambda share, epochs: 1.0,
        "linear_decay": lambda share, epochs: min(1.0, 2 * (1 - share)),
        "step_decay": _step_decay,
    }
)
"""Learning rate as a part of the highest, by the share of the run that is done and its epochs."""


@dataclass(frozen=True, slots=True)
class LrSearch:
    """Smoothed losses over rising learning rates, and the one to use."""

    lrs: list[float]
    losses: list[float]
    best: float


@dataclass(frozen=True, slots=True)
class History:
    """How a run went: a row for each epoch, the best of them, and how it ended."""

    rows: list[dict[str, float]]
    best: dict[str, float]
    status: str
