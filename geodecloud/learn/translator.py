"""TorchTranslator: a packaged model on any torch device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import nn

from geodecloud.errors import OptionError
from geodecloud.learn.checkpoint import load_network
from geodecloud.run.package import Direction, Package, feeds
from geodecloud.translator import Answer, Request


class TorchTranslator:
    """A translator that runs a network in torch: float32, TF32 off, channels last.

    Args:
        network: what answers, in evaluation mode.
        direction: what it wants and gives.
        name: of the model.
        task: "cloud-removal" or "translation".
        device: "cpu", "cuda", "cuda:1", or "auto" for CUDA where there is one.
        resolution_m: pixel size it was trained on.
        bfloat16: compute in half precision, on CUDA; answers differ by some thousandths.

    Raises:
        OptionError: the device is not here, or bfloat16 is asked of a CPU.
    """

    def __init__(
        self,
        network: nn.Module,
        direction: Direction,
        name: str,
        *,
        task: str = "translation",
        device: str = "auto",
        resolution_m: float | None = None,
        bfloat16: bool = False,
    ) -> None:
        """Put the network on its device."""
        self._device = _device(device)
        if bfloat16 and self._device.type != "cuda":
            raise OptionError(
                f"bfloat16 on {self._device}",
                "it makes a CPU ten times slower",
                "leave it off, or use device cuda",
            )
        self._network = network.to(self._device).to(memory_format=torch.channels_last).eval()
        self._direction = direction
        self._bfloat16 = bfloat16
        self.name, self.task = name, task
        self.sensor_out: str | None = direction.sensor_out
        self.device = _in_words(self._device)
        self.bands_in, self.bands_out = direction.bands_in, direction.bands_out
        self.resolution_m = resolution_m
        self.stride_px, self.halo_px = direction.stride_px, direction.halo_px
        self.inputs = direction.inputs

    @classmethod
    def of(
        cls,
        package: Package,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        *,
        direction: str | None = None,
        bfloat16: bool = False,
    ) -> TorchTranslator:
        """Return the translator of a package.

        Raises:
            ModelError: the package is damaged or has no such direction.
        """
        way = package.direction(direction)
        return cls(
            load_network(package, way),
            way,
            package.card.name,
            task=package.card.task,
            device=device,
            resolution_m=package.card.resolution_m,
            bfloat16=bfloat16,
        )

    def __call__(self, request: Request) -> Answer:
        """Answer a request of B tiles, sides multiples of ``stride_px``."""
        fed = [
            torch.from_numpy(array).to(self._device, non_blocking=True)
            for array in feeds(request, self._direction, self.name).values()
        ]
        fed = [t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in fed]
        half = torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16)
        with torch.inference_mode(), _whole_precision(), half:
            pixels = self._network(*fed)
        return Answer(np.ascontiguousarray(pixels.float().cpu().numpy()))


@contextmanager
def _whole_precision() -> Iterator[None]:
    # TF32 keeps 10 bits of the mantissa, and cuDNN uses it unasked; it is a setting of the
    # whole process, so it is given back
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def _device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_cuda else "cpu"
    if name.startswith("cuda") and not has_cuda:
        raise OptionError(
            f"device {name} is not here", "torch sees no CUDA device", "use device cpu or auto"
        )
    return torch.device(name)


def _in_words(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    return f"{device} {torch.cuda.get_device_name(device)}"
