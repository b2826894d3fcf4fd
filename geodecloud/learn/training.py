"""fit and find_lr: the training loop, which runs phases and knows no GAN."""

from __future__ import annotations

import copy
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from geodecloud.learn.keeper import Keeper, Watch
from geodecloud.learn.place import Place
from geodecloud.learn.plan import (
    Batch,
    Batches,
    Carried,
    History,
    Losses,
    LrSearch,
    Plan,
    System,
)
from geodecloud.learn.state import TrainingState
from geodecloud.progress import Cancelled, Listener, Progress, silent


def fit(
    system: System,
    batches: Batches,
    plan: Plan,
    *,
    out: Path | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
    listener: Listener = silent,
    resume: bool = False,
) -> History:
    """Train a system and return how it went; its averaged networks end at their best.

    With ``out``, states are saved there, and a run that was killed and resumed equals, on a
    CPU bit for bit, one that never stopped.

    Args:
        system: networks, phases and losses.
        batches: where batches come from.
        plan: how long and how fast.
        out: folder of the saved states.
        validate: called after each epoch, with the averages in the networks.
        listener: told every few steps; may stop the run by raising.
        resume: go on from the state in ``out``.

    Raises:
        TrainingError: the run diverged (the networks are back at the last good state), memory
            ran out, or the state in ``out`` is not one of this run.
    """
    place = Place.of(plan)
    plan = replace(plan, lr=place.first(plan.lr))  # each rank may have looked for one
    state = start(system, plan, place)
    with seeded(plan.seed), stops_between_steps() as stops:
        if resume and out is not None:
            state.load(out)
        watch = Watch(out, held_back(listener, stops), validate)
        keeper = Keeper(system, state, plan, place, watch)
        while not keeper.is_over():
            batch = place.deal(batches, state.step)
            losses = take_step(system, state, batch, plan.lr_at(state.step), place)
            state.average(plan.average_decay)
            state.step += 1
            keeper.after_step(losses, n_chips=max(map(len, batch.values())))
            if place.any(bool(stops)):
                keeper.close("stopped")
                raise stops[0] if stops else Cancelled
        keeper.close("finished")
    state.use_best()
    return History(state.rows, state.best, state.status)


def take_step(
    system: System, state: TrainingState, batch: Batch, lr: float, place: Place
) -> Losses:
    """Run every phase once on a batch and return the detached losses by name."""
    carried: Carried = {}
    shown: Losses = {}
    for phase in system.phases:
        optimiser = state.optimisers[phase.name]
        for group in optimiser.param_groups:
            group["lr"] = lr * phase.optimiser.lr_ratio
        with only_moving(system.networks, phase.networks), place.advising(batch):
            for _ in range(phase.repeats):
                with place.precision():
                    losses, more = system.losses(phase, batch, carried)
                place.descend(torch.stack(list(losses.values())).sum(), optimiser)
                shown |= {name: loss.detach() for name, loss in losses.items()}
                carried = {**carried, **more}
    place.settle(system.networks)
    return shown


SEARCHED = 5
"""Batches that a search for a learning rate looks at."""


def find_lr(
    system: System,
    batches: Batches,
    plan: Plan,
    *,
    start_lr: float = 1e-6,
    end_lr: float = 1.0,
    n_steps: int = 100,
) -> LrSearch:
    """Return losses over rising learning rates, and the rate where they fall fastest.

    The system is left exactly as it was.
    """
    place = Place.of(plan)
    state = start(system, plan, place)
    before = state.tensors()
    lrs: list[float] = []
    raw: list[float] = []
    smooth: list[float] = []
    with seeded(plan.seed):
        for step in range(n_steps):
            lr = start_lr * (end_lr / start_lr) ** (step / max(1, n_steps - 1))
            # a few batches again and again: the curve is to show the rate, not the luck of a draw
            batch = place.deal(batches, step % SEARCHED)
            losses = take_step(system, state, batch, lr, place)
            # what is bounded is an adversary's: it need not fall
            falling = [losses[name] for name in losses if name not in system.bounds]
            loss = float(place.mean(torch.stack(falling or list(losses.values())).sum()))
            lrs.append(lr)
            raw.append(loss)
            smooth.append(sum(raw[-SEARCHED:]) / len(raw[-SEARCHED:]))
            settled = smooth[n_steps // 10 :]  # one batch alone may hold next to nothing to learn
            if not math.isfinite(loss) or (settled and smooth[-1] > 4 * min(settled)):
                break
    state.load_tensors(before)
    return LrSearch(lrs, smooth, _steepest(lrs, smooth))


def _steepest(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The middle of the stretch, twice the batches long, in which the loss falls most."""
    # the first steps move nothing and the last ones explode: look between
    stretch = min(2 * SEARCHED, len(losses) - 1)
    low, high = len(lrs) // 10, max(len(lrs) // 10, losses.index(min(losses)) - stretch)
    falls = [
        losses[i] - losses[i + stretch] for i in range(low, high + 1) if i + stretch < len(lrs)
    ]
    if not falls or max(falls) <= 0:
        return lrs[0]
    return lrs[low + falls.index(max(falls)) + stretch // 2]


def start(system: System, plan: Plan, place: Place) -> TrainingState:
    """Return the state of a run before its first step, everything on its device."""
    for network in system.networks.values():
        network.to(place.device).to(memory_format=torch.channels_last).train()
    place.alike(system.networks)
    averages = {
        name: copy.deepcopy(system.networks[name]).eval().requires_grad_(False)
        for name in system.averaged
    }
    optimisers = {
        phase.name: torch.optim.AdamW(
            [p for name in phase.networks for p in system.networks[name].parameters()],
            lr=plan.lr * phase.optimiser.lr_ratio,
            betas=phase.optimiser.betas,
            weight_decay=phase.optimiser.weight_decay,
        )
        for phase in system.phases
    }
    configuration = {**system.configuration(), "plan": plan.identity()}
    return TrainingState(
        system.networks, averages, optimisers, system.memory, configuration, place.scaler
    )


@contextmanager
def only_moving(networks: Mapping[str, nn.Module], names: Sequence[str]) -> Iterator[None]:
    """Freeze all other networks: no gradient reaches them while the context lasts.

    Weights that were held before are held within and after it.
    """
    others = [network for name, network in networks.items() if name not in names]
    moving = [p for network in others for p in network.parameters() if p.requires_grad]
    try:
        for parameter in moving:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's own random numbers from a seed, and give the caller's back afterwards."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def held_back(listener: Listener, stops: list[BaseException]) -> Listener:
    """Return a listener that stops the run by the list, as a signal does: after a whole step."""

    def hear(progress: Progress) -> None:
        try:
            listener(progress)
        except (Cancelled, KeyboardInterrupt) as stop:
            stops.append(stop)

    return hear


@contextmanager
def stops_between_steps() -> Iterator[list[BaseException]]:
    """Hold SIGINT and SIGTERM back until a step is whole; the list says that one came."""
    stops: list[BaseException] = []
    if threading.current_thread() is not threading.main_thread():
        yield stops  # signals go to the main thread alone
        return
    kinds = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Cancelled}
    before = {
        number: signal.signal(number, lambda *_, kind=kind: stops.append(kind()))
        for number, kind in kinds.items()
    }
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
