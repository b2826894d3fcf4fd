"""Keeper: what happens between the steps of a run: reports, guards, saved states."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from geodecloud.errors import TrainingError
from geodecloud.learn.plan import Plan
from geodecloud.learn.state import TrainingState
from geodecloud.progress import Cancelled, Listener, Progress

REPORT_STEPS = 10
"""Losses stay on the device between reports: reading one waits for all that is queued there."""

STUCK_STEPS = 300
"""A loss may leave its bounds for a moment; so many steps in a row mean that it stays."""


class Keeper:
    """Adds up losses, tells the listener, saves states, and stops a run that diverges."""

    def __init__(
        self,
        state: TrainingState,
        plan: Plan,
        bounds: Mapping[str, tuple[float, float]],
        out: Path | None,
        listener: Listener,
        validate: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        """Take the state as it is for the first good one."""
        self._validate = validate
        self._state = state
        self._plan = plan
        self._bounds = bounds
        self._out = out
        self._listener = listener
        self._pending: list[dict[str, Tensor]] = []
        self._outside = dict.fromkeys(bounds, 0)
        self._good = state.tensors()
        self._good_step = state.step
        self._saved = self._told = time.monotonic()

    def is_over(self) -> bool:
        """Say whether the run has reached its end, by steps or by patience."""
        patience, rows = self._plan.patience, self._state.rows
        worse = len(rows) - self._state.best.get("epoch", 0)
        return self._state.step >= self._plan.n_steps or bool(
            patience and self._state.best and worse >= patience
        )

    def after_step(self, losses: dict[str, Tensor]) -> None:
        """Take the losses of a step; every few steps look at them, save, and tell.

        Whoever listens may stop the run by raising: the state is whole, and is saved first.
        """
        self._pending.append(losses)
        ends_epoch = self._state.step % self._plan.steps_per_epoch == 0
        if len(self._pending) < REPORT_STEPS and not ends_epoch:
            return
        steps = len(self._pending)
        means = self._settle()
        if ends_epoch:
            self._end_epoch()
        now = time.monotonic()
        means["steps_per_second"] = steps / max(now - self._told, 1e-9)
        self._told = now
        if now - self._saved > self._plan.checkpoint_seconds:
            self.save("running")
        try:
            self._tell(means)
        except (Cancelled, KeyboardInterrupt):
            self.save("stopped")
            raise

    def _end_epoch(self) -> None:
        """Close the table row of an epoch, validate the averages, save."""
        state = self._state
        n_steps = self._plan.steps_per_epoch
        row = {name: total / n_steps for name, total in state.sums.items()}
        row["epoch"] = float(len(state.rows) + 1)
        if self._validate is not None:
            with state.averaged():
                row |= self._validate()
        state.sums = {}
        state.rows.append(row)
        monitor = self._plan.monitor
        if monitor in row and row[monitor] < state.best.get(monitor, math.inf):
            state.keep_best(row)
        self.save("running")

    def save(self, status: str) -> None:
        """Take the state for good, and write it where states are saved."""
        self._settle()
        self._state.status = status
        self._good, self._good_step = self._state.tensors(), self._state.step
        if self._out is not None:
            self._state.save(self._out)
        self._saved = time.monotonic()

    def _settle(self) -> dict[str, float]:
        """Add the waiting losses to the epoch's sums and return their means."""
        means: dict[str, float] = {}
        for losses in self._pending:
            values = torch.stack([loss.float() for loss in losses.values()]).tolist()
            for name, value in zip(losses, values, strict=True):
                self._guard(name, value)
                self._state.sums[name] = self._state.sums.get(name, 0.0) + value
                means[name] = means.get(name, 0.0) + value / len(self._pending)
        self._pending = []
        return means

    def _guard(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            self._give_up(f"{name} became {value}")
        if name in self._bounds:
            low, high = self._bounds[name]
            self._outside[name] = 0 if low <= value <= high else self._outside[name] + 1
            if self._outside[name] > STUCK_STEPS:
                self._give_up(f"{name} stays at {value:.3g}, outside {low:g} to {high:g}")

    def _give_up(self, reason: str) -> None:
        at = self._state.step
        self._pending = []
        self._state.load_tensors(self._good)
        self._state.step = self._good_step
        self._state.status = "diverged"
        if self._out is not None:
            self._state.save(self._out)
        raise TrainingError(
            f"the run diverged near step {at}: {reason}",
            f"the networks are back at step {self._good_step}, the last good state",
            "use a lower learning rate, a smaller adversarial weight, or a larger batch",
        )

    def _tell(self, means: dict[str, float]) -> None:
        epoch = (self._state.step - 1) // self._plan.steps_per_epoch + 1
        means["epoch"] = float(epoch)
        self._listener(Progress(self._state.step, self._plan.n_steps, "training", means))
