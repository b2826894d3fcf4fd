"""Place: where a run computes, in what precision, and on how many devices at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from geodecloud.errors import MissingExtraError, OptionError, TrainingError
from geodecloud.learn.plan import Batch, Batches, Plan

if TYPE_CHECKING:
    from lightning_fabric import Fabric

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Place:
    """One device, with torch alone: all that a bare machine needs.

    ``FabricPlace`` does the same on Lightning Fabric, on one device or on several: there each rank
    takes its share of every batch, gradients are averaged, and all ranks hold the same weights.

    Attributes:
        device: where networks and batches are.
        scaler: of losses in float16, whose small gradients would vanish; part of the state.
        rank, n_ranks: which of how many; the first alone writes and tells.
    """

    rank = 0
    n_ranks = 1

    def __init__(self, plan: Plan, device: torch.device) -> None:
        """Prepare the precision of the plan."""
        self.device = device
        self._clip_norm = plan.clip_norm
        self._half = HALVES.get(plan.precision)
        self.scaler = torch.amp.GradScaler(device.type) if plan.precision == "fp16" else None

    @staticmethod
    def of(plan: Plan) -> Place:
        """Return the place a plan names: on Fabric where it is installed.

        Raises:
            OptionError: CUDA is asked for and not there, or mixed precision on a CPU.
            MissingExtraError: several devices are asked for without Fabric.
        """
        device = device_of(plan.device)
        if plan.precision != "whole" and device.type != "cuda":
            raise OptionError(
                f"mixed precision on {device}",
                "half precision makes a CPU ten times slower",
                "leave mixed precision off, or train on CUDA",
            )
        try:
            import lightning_fabric  # noqa: F401 - a bare machine has none
        except ImportError as error:
            if plan.devices > 1:
                raise MissingExtraError(
                    "lightning-fabric", "learn", "training on several devices"
                ) from error
            return Place(plan, device)
        return FabricPlace(plan, device)

    @property
    def is_first(self) -> bool:
        """Whether this rank writes and tells."""
        return self.rank == 0

    def precision(self) -> AbstractContextManager[object]:
        """The context in which losses are computed."""
        if self._half is None:
            return nullcontext()
        return torch.autocast(self.device.type, self._half)

    def descend(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        """Move an optimiser's weights one step down a loss, the mean over all ranks."""
        optimiser.zero_grad(set_to_none=True)
        self._backward(loss)
        moving = optimiser.param_groups[0]["params"]
        self._average([p.grad for p in moving if p.grad is not None])
        if self._clip_norm:
            if self.scaler is not None:
                self.scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(moving, self._clip_norm)
        self._step(optimiser)

    def deal(self, batches: Batches, step: int) -> Batch:
        """Return this rank's part of the batch of a step.

        Raises:
            TrainingError: it does not fit into memory.
            OptionError: there are fewer chips than ranks.
        """
        with self.advising():
            return self.share(batches.at(step, self.device))

    def share(self, batch: Batch) -> Batch:
        """Return this rank's part of a batch: every ``n_ranks``-th chip.

        Raises:
            OptionError: there are fewer chips than ranks.
        """
        if self.n_ranks == 1:
            return batch
        if (n_chips := min(map(len, batch.values()))) < self.n_ranks:
            raise OptionError(
                f"a batch of {n_chips} for {self.n_ranks} devices",
                "each device takes its share of a batch",
                "use a larger batch or fewer devices",
            )
        return {name: tensor[self.rank :: self.n_ranks] for name, tensor in batch.items()}

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all ranks."""
        return values

    def any(self, flag: bool) -> bool:
        """Whether any rank says so: all go on, or all stop."""
        if self.n_ranks == 1:
            return flag
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)

    def settle(self, networks: Mapping[str, nn.Module]) -> None:
        """Average what each rank's norms have seen of its share."""
        buffers = (b for network in networks.values() for b in network.buffers())
        self._average([b for b in buffers if b.is_floating_point()])

    def first(self, number: float) -> float:
        """Return the first rank's number."""
        return number

    def alike(self, networks: Mapping[str, nn.Module]) -> None:
        """Give all ranks the weights of the first."""

    @contextmanager
    def advising(self, batch: Batch | None = None) -> Iterator[None]:
        """Turn "out of memory" into an error with a batch that fits."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            size = max(map(len, batch.values())) * self.n_ranks if batch else 0
            raise TrainingError(
                f"a batch{f' of {size} chips' * bool(size)} does not fit into the memory of "
                f"{self.device}",
                "one step holds the batch, all networks and their gradients",
                f"use a batch of {max(1, size // 2)}" if size else "use a smaller batch",
            ) from error

    def _average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all ranks, in place, all in one message."""

    def _backward(self, loss: Tensor) -> None:
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        torch.autograd.backward(scaled)

    def _step(self, optimiser: torch.optim.Optimizer) -> None:
        if self.scaler is None:
            optimiser.step()
        else:
            self.scaler.step(optimiser)
            self.scaler.update()


class FabricPlace(Place):
    """One device, or several by DDP, on Lightning Fabric."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        """Start the other ranks, where the plan wants several."""
        super().__init__(plan, device)
        self._fabric = _fabric(plan, device, self.scaler)
        self.device = self._fabric.device
        self.rank, self.n_ranks = self._fabric.global_rank, self._fabric.world_size

    def precision(self) -> AbstractContextManager[object]:
        """The context in which losses are computed."""
        context: AbstractContextManager[object] = self._fabric.autocast()
        return context

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all ranks."""
        if self.n_ranks == 1:
            return values
        mean: Any = self._fabric.all_reduce(values, reduce_op="mean")
        return torch.as_tensor(mean)

    def first(self, number: float) -> float:
        """Return the first rank's number."""
        return float(self._fabric.broadcast(number))

    def alike(self, networks: Mapping[str, nn.Module]) -> None:
        """Give all ranks the weights of the first."""
        if self.n_ranks > 1:
            for network in networks.values():
                network.load_state_dict(self._fabric.broadcast(network.state_dict()))

    def _average(self, tensors: Iterable[Tensor]) -> None:
        every = list(tensors)
        if self.n_ranks == 1 or not every:
            return
        means = self.mean(torch.cat([tensor.detach().flatten() for tensor in every]))
        parts = torch.split(means, [tensor.numel() for tensor in every])
        for tensor, mean in zip(every, parts, strict=True):
            tensor.detach().copy_(mean.view(tensor.shape))

    def _backward(self, loss: Tensor) -> None:
        self._fabric.backward(loss)

    def _step(self, optimiser: torch.optim.Optimizer) -> None:
        self._fabric.strategy.optimizer_step(optimiser)


def _fabric(plan: Plan, device: torch.device, scaler: torch.amp.GradScaler | None) -> Fabric:
    """Fabric on the plan's devices, its other processes started."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision, Precision

    precision: Precision = Precision()
    if plan.precision == "bf16":
        precision = MixedPrecision("bf16-mixed", device.type)
    elif plan.precision == "fp16":
        precision = MixedPrecision("16-mixed", device.type, scaler)
    fabric = Fabric(
        accelerator=device.type,
        devices=plan.devices if device.index is None else [device.index],
        strategy="ddp" if plan.devices > 1 else "auto",
        plugins=[precision],
    )
    fabric.launch()
    return fabric


def device_of(name: str) -> torch.device:
    """Return the device of this name; "auto" is CUDA where there is one.

    Raises:
        OptionError: CUDA is asked for and not there.
    """
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_cuda else "cpu"
    if name.startswith("cuda") and not has_cuda:
        raise OptionError(
            f"device {name} is not here", "torch sees no CUDA device", "use device cpu or auto"
        )
    return torch.device(name)


def is_first_process() -> bool:
    """Whether this process was started by a user, and not by Fabric for another of the devices."""
    return os.environ.get("LOCAL_RANK", "0") == "0"
