"""Keeper: what happens between the steps of a run: reports, guards, saved states."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from geodecloud.errors import OptionError, TrainingError
from geodecloud.learn.board import Board
from geodecloud.learn.place import Place
from geodecloud.learn.plan import Plan, System
from geodecloud.learn.state import TrainingState
from geodecloud.progress import Listener, Progress, silent

REPORT_STEPS = 10
"""Losses stay on the device between reports: reading one waits for all that is queued there."""

STUCK_STEPS = 300
"""A loss may leave its bounds for a moment; so many steps in a row mean that it stays."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who follows a run: the folder of its states, who hears of it, and who judges an epoch."""

    out: Path | None = None
    listener: Listener = silent
    validate: Callable[[], dict[str, float]] | None = None


class Keeper:
    """Adds up losses, tells the listener, saves states, and stops a run that diverges."""

    def __init__(
        self, system: System, state: TrainingState, plan: Plan, place: Place, watch: Watch
    ) -> None:
        """Take the state as it is for the first good one."""
        self._system, self._state, self._plan, self._place = system, state, plan, place
        self._watch = watch
        self._out = watch.out if place.is_first else None
        has_board = plan.tensorboard and place.is_first
        self._board = Board.open(watch.out, state.step) if has_board else None
        self._pending: list[dict[str, Tensor]] = []
        self._outside = dict.fromkeys(system.bounds, 0)
        self._good = state.snapshot()
        self._saved = self._told = time.monotonic()
        self._n_chips = 0

    def is_over(self) -> bool:
        """Say whether the run has reached its end, by steps or by patience."""
        patience, rows = self._plan.patience, self._state.rows
        worse = len(rows) - self._state.best.get("epoch", 0)
        return self._state.step >= self._plan.n_steps or bool(
            patience and self._state.best and worse >= patience
        )

    def after_step(self, losses: dict[str, Tensor], *, n_chips: int) -> None:
        """Take the losses of a step; every few steps look at them, save, and tell."""
        self._pending.append(losses)
        self._n_chips += n_chips * self._place.n_ranks
        ends_epoch = self._state.step % self._plan.steps_per_epoch == 0
        if len(self._pending) < REPORT_STEPS and not ends_epoch:
            return
        steps = len(self._pending)
        means = self._settle()
        if self._board is not None:
            self._board.add("step", self._state.step, means)
        if ends_epoch:
            means |= self._end_epoch()
        now = time.monotonic()
        seconds, self._told = max(now - self._told, 1e-9), now
        means |= {
            "steps_per_second": steps / seconds,
            "chips_per_second": self._n_chips / seconds,
            "epoch": float((self._state.step - 1) // self._plan.steps_per_epoch + 1),
        }
        self._n_chips = 0
        if now - self._saved > self._plan.checkpoint_seconds:
            self._save("running")
        if self._place.is_first:
            self._watch.listener(Progress(self._state.step, self._plan.n_steps, "training", means))

    def close(self, status: str) -> None:
        """Save the last state, and how the run ended."""
        self._settle()
        self._save(status)
        if self._board is not None:
            self._board.close()

    def _end_epoch(self) -> dict[str, float]:
        """Close the table row of an epoch, validate the averages, save; return what was found."""
        state = self._state
        n_steps = self._plan.steps_per_epoch
        row = {name: total / n_steps for name, total in state.sums.items()}
        row["epoch"] = float(len(state.rows) + 1)
        found = self._judge(len(state.rows) + 1)
        row |= found
        state.sums = {}
        state.rows.append(row)
        if self._board is not None:
            self._board.add("epoch", len(state.rows), row)
        monitor = self._plan.monitor
        if found and monitor not in row:
            raise OptionError(
                f"monitor {monitor!r}", f"a row has {', '.join(row)}", "choose one of them"
            )
        is_better = monitor in row and row[monitor] < state.best.get(monitor, math.inf)
        if is_better or self._plan.keep == "last":
            state.keep_best(row)
        if self._out is not None and self._plan.keep_epochs:
            state.save_epoch(self._out)
        self._save("running")
        return found

    def _judge(self, epoch: int) -> dict[str, float]:
        """What the validation says of the averages; random numbers stay as they were."""
        found: dict[str, float] = {}
        with self._state.averaged(), torch.random.fork_rng(_devices(self._place)):
            if self._watch.validate is not None:
                found = self._watch.validate()
            if self._place.is_first:
                self._system.on_epoch(self._out, epoch)
        if not found:
            return found
        # one verdict for all ranks, which would else not end together
        values = torch.tensor(list(found.values()), dtype=torch.float64, device=self._place.device)
        for name, value in zip(found, self._place.mean(values).tolist(), strict=True):
            found[name] = value
            if not math.isfinite(value):
                self._give_up(f"{name} became {value}", LOWER_LR)
        return found

    def _save(self, status: str) -> None:
        """Write the state where states are saved; where all is well it is the last good one."""
        if not self._state.is_finite():
            self._give_up("weights are no numbers any more", LOWER_LR)
        self._state.status = status
        if not any(self._outside.values()):
            self._good = self._state.snapshot()
        if self._out is not None:
            self._state.save(self._out)
        self._saved = time.monotonic()

    def _settle(self) -> dict[str, float]:
        """Add the waiting losses to the epoch's sums and return their means."""
        means: dict[str, float] = {}
        for losses in self._pending:
            values = torch.stack([loss.float() for loss in losses.values()])
            for name, value in zip(losses, self._place.mean(values).tolist(), strict=True):
                self._guard(name, value)
                self._state.sums[name] = self._state.sums.get(name, 0.0) + value
                means[name] = means.get(name, 0.0) + value / len(self._pending)
        self._pending = []
        return means

    def _guard(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            self._give_up(f"{name} became {value}", LOWER_LR)
        if name in self._system.bounds:
            low, high = self._system.bounds[name]
            self._outside[name] = 0 if low <= value <= high else self._outside[name] + 1
            if self._outside[name] > STUCK_STEPS:
                self._give_up(
                    f"{name} stays at {value:.3g}, outside {low:g} to {high:g}",
                    EASIER_JUDGE if value < low else LOWER_LR,
                )

    def _give_up(self, reason: str, todo: str) -> NoReturn:
        at = self._state.step
        self._pending = []
        self._state.restore(self._good)
        self._state.status = "diverged"
        if self._out is not None:
            self._state.save(self._out)
        if self._board is not None:
            self._board.close()
        raise TrainingError(
            f"the run diverged near step {at}: {reason}",
            f"the networks are back at step {self._good.step}, the last good state",
            todo,
        )


LOWER_LR = "use a lower learning rate, a smaller adversarial weight, or a larger batch"

# A verdict that is wrong costs the cross entropy 0.69, the squared distance 0.25, and more: a loss
# of 1e-3 means that more than 99 of 100 verdicts are right, and nothing is left to learn from.
EASIER_JUDGE = (
    "the discriminator is hardly ever wrong: use a smaller one, a lower learning rate, a larger "
    "weight on the distance to the target, or more data"
)


def _devices(place: Place) -> list[torch.device]:
    return [place.device] if place.device.type == "cuda" else []
