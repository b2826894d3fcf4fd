"""TrainingState: everything a run needs to go on exactly where it stopped."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from geodecloud.errors import ModelError, TrainingError

STATE_JSON = "state.json"
BEST_WEIGHTS = "best.safetensors"
SCALER_KEYS = ("scale", "_growth_tracker")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run goes back to when it diverges."""

    tensors: dict[str, Tensor]
    step: int
    sums: dict[str, float]
    rows: list[dict[str, float]]


@dataclass
class TrainingState:
    """Networks, their moving averages, optimisers, random numbers, and how far the run is.

    Attributes:
        networks: what is trained, by name.
        averages: moving averages of some of them, which are what is validated and shipped.
        optimisers: by phase.
        memory: further tensors that a system keeps from step to step (an image pool).
        configuration: what must be equal for a state to fit.
        scaler: of the losses, in a run of float16.
        step: steps done; also the position of the sampler.
        sums: of each loss over the steps of the epoch so far.
        rows: one table row for each finished epoch.
        best: the row with the lowest monitored value.
        status: "running", "finished", "stopped" or "diverged".
    """

    networks: Mapping[str, nn.Module]
    averages: dict[str, nn.Module]
    optimisers: Mapping[str, torch.optim.Optimizer]
    memory: dict[str, Tensor]
    configuration: dict[str, Any]
    scaler: torch.amp.GradScaler | None = None
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    status: str = "running"

    def average(self, decay: float) -> None:
        """Move the averages towards the networks; early steps move them further."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        for name, mean in self.averages.items():
            network = self.networks[name]
            with torch.no_grad():
                for old, new in zip(mean.parameters(), network.parameters(), strict=True):
                    old.lerp_(new, 1 - decay)
                # norms' statistics are averages already
                for kept, fresh in zip(mean.buffers(), network.buffers(), strict=True):
                    kept.copy_(fresh)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Lend the averages' weights to the networks while the context lasts."""
        kept = {name: copy.deepcopy(self.networks[name].state_dict()) for name in self.averages}
        for name, mean in self.averages.items():
            self.networks[name].load_state_dict(mean.state_dict())
        try:
            yield
        finally:
            for name, weights in kept.items():
                self.networks[name].load_state_dict(weights)

    def keep_best(self, row: dict[str, float]) -> None:
        """Remember this epoch's row and averages as the best so far."""
        self.best = dict(row)
        self.best_weights = _cloned(_named_tensors("", self.averages))

    def use_best(self) -> None:
        """Give the networks the best averages; without validation, the last ones."""
        weights = self.best_weights or _cloned(_named_tensors("", self.averages))
        for name in self.averages:
            self.networks[name].load_state_dict(_under(f"{name}.", weights))

    def is_finite(self) -> bool:
        """Whether all weights are numbers: the last step may have broken them unseen."""
        weights = (p for network in self.networks.values() for p in network.parameters())
        return bool(torch.stack([torch.isfinite(p).all() for p in weights]).all())

    def snapshot(self) -> Snapshot:
        """Return all of the state, none of it shared with the run."""
        return Snapshot(self.tensors(), self.step, dict(self.sums), list(self.rows))

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot; the best epoch stays what it was. Inverse of ``snapshot``."""
        self.load_tensors(snapshot.tensors)
        self.step, self.sums = snapshot.step, dict(snapshot.sums)
        self.rows = list(snapshot.rows)

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the state by name, on the CPU, none shared with the run."""
        found = _named_tensors("network.", self.networks)
        found |= _named_tensors("average.", self.averages)
        found |= {f"memory.{name}": tensor for name, tensor in self.memory.items()}
        for phase, optimiser in self.optimisers.items():
            for index, values in optimiser.state_dict()["state"].items():
                for key, value in values.items():
                    found[f"optimiser.{phase}.{index}.{key}"] = torch.as_tensor(value)
        if self.scaler is not None:
            scale = self.scaler.state_dict()
            found |= {f"scaler.{key}": torch.tensor(scale[key]) for key in SCALER_KEYS}
        found["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            found["random.cuda"] = torch.cuda.get_rng_state()
        return _cloned(found)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the state that ``tensors`` describes; inverse of ``tensors``."""
        for name, network in self.networks.items():
            network.load_state_dict(_under(f"network.{name}.", tensors))
        for name, mean in self.averages.items():
            mean.load_state_dict(_under(f"average.{name}.", tensors))
        self.memory.clear()
        self.memory.update(_under("memory.", tensors))
        for phase, optimiser in self.optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _under(f"optimiser.{phase}.", tensors).items():
                index, key = name.split(".")
                state.setdefault(int(index), {})[key] = tensor
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
        if self.scaler is not None and (scale := _under("scaler.", tensors)):
            values = {key: value.item() for key, value in scale.items()}
            self.scaler.load_state_dict({**self.scaler.state_dict(), **values})
        torch.set_rng_state(tensors["random.cpu"])
        if torch.cuda.is_available() and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])

    def save(self, folder: Path) -> None:
        """Write the state; a kill at any moment leaves the old one or the new one, whole.

        The tensors go into a file of their own name, then ``state.json`` turns to it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        content = save_tensors(self.tensors())
        name = f"state-{self.step:09d}.safetensors"
        write_atomically(folder / name, content)
        if self.best_weights:
            write_atomically(folder / BEST_WEIGHTS, save_tensors(self.best_weights))
        else:
            (folder / BEST_WEIGHTS).unlink(missing_ok=True)  # of an earlier run
        about = {
            "file": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "configuration": self.configuration,
            "step": self.step,
            "sums": self.sums,
            "rows": self.rows,
            "best": self.best,
            "status": self.status,
        }
        write_atomically(folder / STATE_JSON, json.dumps(about, indent=1).encode())
        for old in folder.glob("state-*.safetensors"):
            if old.name != name:
                old.unlink()

    def save_epoch(self, folder: Path) -> None:
        """Write the averages of the epoch that just ended, for ``load_averages``."""
        folder.mkdir(parents=True, exist_ok=True)
        content = save_tensors(_cloned(_named_tensors("", self.averages)))
        write_atomically(folder / f"epoch-{len(self.rows):04d}.safetensors", content)

    def load(self, folder: Path) -> None:
        """Take the state saved in a folder.

        Raises:
            TrainingError: no state there, a damaged one, or one of another configuration.
        """
        about = _read_about(folder)
        if about["configuration"] != json.loads(json.dumps(self.configuration)):
            changed = _difference(about["configuration"], self.configuration)
            raise TrainingError(
                f"{folder} holds a run with {changed}",
                "a run goes on with the configuration it began with",
                "use the same recipe and data, or train into another folder",
            )
        try:
            content = (folder / Path(about["file"]).name).read_bytes()
            if hashlib.sha256(content).hexdigest() != about["sha256"]:
                raise ValueError("its sha256 does not fit")
            self.load_tensors(load_tensors(content))
            if about["best"]:
                self.best_weights = load_tensors((folder / BEST_WEIGHTS).read_bytes())
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise TrainingError(
                f"the state in {folder} is damaged ({error})",
                f"{STATE_JSON} names a whole file beside it",
                "train again from the start, into an empty folder",
            ) from error
        self.step, self.sums = int(about["step"]), dict(about["sums"])
        self.rows, self.best = list(about["rows"]), dict(about["best"])
        self.status = "running"


def saved_lr(folder: Path) -> float:
    """Return the highest learning rate of the run whose state is in a folder.

    Raises:
        TrainingError: no state there.
    """
    plan = _read_about(folder)["configuration"].get("plan", {})
    return float(plan.get("lr", math.nan))


def copy_state(source: Path, target: Path) -> None:
    """Copy the state in one folder into another, from where a run goes on just as well.

    Raises:
        TrainingError: no state there.
    """
    file = Path(_read_about(source)["file"]).name
    target.mkdir(parents=True, exist_ok=True)
    for name in (file, BEST_WEIGHTS, STATE_JSON):
        if (source / name).exists():
            write_atomically(target / name, (source / name).read_bytes())


def load_averages(paths: Sequence[Path], networks: Mapping[str, nn.Module]) -> None:
    """Give networks the averages in a ``best.safetensors``, or the mean of several.

    Raises:
        ModelError: one cannot be read, or holds weights of other networks.
    """
    try:
        every = [load_tensors(path.read_bytes()) for path in paths]
        weights = {
            name: torch.stack([each[name].double() for each in every]).mean(0).to(first.dtype)
            for name, first in every[0].items()
        }
        for name in {key.split(".")[0] for key in weights}:
            networks[name].load_state_dict(_under(f"{name}.", weights))
    except (OSError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{', '.join(map(str, paths))}: no fit ({error})"[:600],
            "weights fit the recipe and the bands they were trained with",
            "use the same recipe and chips",
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new, never a part."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _read_about(folder: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((folder / STATE_JSON).read_text())
        {name: about[name] for name in ("file", "sha256", "step", "sums", "rows", "best")}
        return {"configuration": {}, **about}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{folder} holds no training state ({error})",
            f"a run that can go on left {STATE_JSON} there",
            "start without resume",
        ) from error


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    changed = [
        f"{name} {old.get(name)!r} where this one has {new.get(name)!r}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return "; ".join(changed[:3]) or "other values"


def _named_tensors(prefix: str, networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{prefix}{name}.{key}": tensor
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)
    }


def _cloned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # contiguous: safetensors stores rows in order, and channels_last weights are not
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
