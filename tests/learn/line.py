"""A system of one small network, to see what the training loop does with any system."""

from __future__ import annotations

import torch
from torch import nn

from geodecloud.learn.plan import Phase, Plan
from geodecloud.progress import Cancelled, Progress


class Line:
    """A system of one network that learns y = 2x; dropout makes it draw random numbers."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        body = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Dropout(0.2), nn.Conv2d(4, 1, 1))
        self.networks = {"line": body}
        self.phases = (Phase("line", ("line",)),)
        self.averaged = ("line",)
        self.memory: dict[str, torch.Tensor] = {"pool": torch.zeros(2)}
        self.bounds: dict[str, tuple[float, float]] = {}
        self.explode_at: int | None = None
        self.n_steps = 0
        self.epochs_seen: list[int] = []

    def losses(self, phase, batch, carried):
        self.n_steps += 1
        loss = ((self.networks["line"](batch["x"]) - 2 * batch["x"]) ** 2).mean()
        self.memory["pool"] = self.memory["pool"] + 1
        if self.explode_at is not None and self.n_steps > self.explode_at:
            loss = loss * float("nan")
        return {"loss": loss}, {}

    def on_epoch(self, out, epoch):
        self.epochs_seen.append(epoch)

    def configuration(self):
        return {"system": "line", "channels": self.networks["line"][0].out_channels}


class Numbers:
    """Batches of a plane of numbers, by step."""

    n_chips = 3

    def at(self, step: int, device: torch.device) -> dict[str, torch.Tensor]:
        random = torch.Generator().manual_seed(step)
        return {"x": torch.rand(self.n_chips, 1, 4, 4, generator=random).to(device)}


def plan(**changed: object) -> Plan:
    options = {"epochs": 3, "steps_per_epoch": 4, "lr": 0.05, "device": "cpu", **changed}
    return Plan(**options)


def weights(system) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": tensor.clone()
        for name, network in system.networks.items()
        for key, tensor in network.state_dict().items()
    }


def stop_after(n_steps: int):
    def listener(progress: Progress) -> None:
        if progress.done >= n_steps:
            raise Cancelled

    return listener
