"""stride_of and halo_of: how a network's answers repeat, and how far it looks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from geodecloud.errors import OptionError


def stride_of(network: nn.Module) -> int:
    """The step, in pixels, by which a network's answers move with its input."""
    return max(int(getattr(module, "stride_px", 1)) for module in network.modules())


def halo_of(generator: nn.Module, in_channels: int, *, limit_px: int = 1024) -> int:
    """How far a generator looks around a pixel: counted by gradient, at the worst phase.

    Convolutions and pooling are taken as means, so that no path cancels or hides another.

    Raises:
        OptionError: the network looks farther than ``limit_px``: answers would hang on the tile.
    """
    probe = copy.deepcopy(generator).double().cpu().eval()
    for module in probe.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.reset_running_stats()
        part: Any = module
        if getattr(part, "inplace", False):
            part.inplace = False  # what is spread shares its memory
    for parameter in probe.parameters():
        nn.init.constant_(
            parameter, 1 / max(1, parameter[0].numel()) if parameter.ndim > 1 else 1.0
        )
    stride = stride_of(generator)
    half = 64
    while half < limit_px:
        half = -(-2 * half // stride) * stride
        reach = _worst_reach(partial(_reach, probe, in_channels, half), stride)
        if reach < half - stride:
            return reach
    raise OptionError(
        f"the network looks at least {half} px around each pixel",
        f"a halo of at most {limit_px} px can be read around a tile",
        "use norms with tracked statistics, fewer levels, and nothing that pools over the whole "
        "image",
    )


def _worst_reach(reach: Callable[[int], tuple[int, int]], stride: int) -> int:
    """The farthest look, back or ahead, over all phases of a stride.

    Where pixels further on never look further back, a phase between two others looks back no
    farther than to where the first does, and ahead no farther than to where the second does:
    phases that cannot be the worst need not be tried.
    """
    tried = {phase: reach(phase) for phase in {0, stride - 1}}
    between = [(0, stride - 1)]
    while between:
        first, last = between.pop()
        width = last - first - 1
        most = width + max(tried[first][0], tried[last][1])
        if width < 1 or most <= max(map(max, tried.values())):
            continue
        middle = (first + last) // 2
        tried[middle] = reach(middle)
        between += [(first, middle), (middle, last)]
    return max(map(max, tried.values()))


def _reach(probe: nn.Module, in_channels: int, half: int, phase: int) -> tuple[int, int]:
    """How far the pixel ``phase`` px beyond the middle looks back and ahead."""
    # one row of pixels is enough in each direction: the kernels are the same for rows and columns
    back = ahead = 0
    thin = stride_of(probe) * 2
    for shape in ((2 * half, thin), (thin, 2 * half)):
        encoded = torch.ones(1, in_channels, *shape, dtype=torch.float64, requires_grad=True)
        with _Spreading():
            drawn = probe(encoded)
        at = half + phase
        is_tall = shape[0] > shape[1]
        line = drawn[..., at, :] if is_tall else drawn[..., at]
        (gradient,) = torch.autograd.grad(line.sum(), encoded)
        seen = gradient.abs().sum((0, 1, 3) if is_tall else (0, 1, 2)).nonzero()
        back, ahead = max(back, at - int(seen.min())), max(ahead, int(seen.max()) - at)
    return back, ahead


class _Spreading(TorchFunctionMode):
    """While it lasts, every channel sees the mean of all, within the same kernel.

    What a pixel depends on stays the same or grows, at a small part of the cost.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return SPREAD.get(func, func)(*args, **(kwargs or {}))


def _convolve(
    seen: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, *rest: Any
) -> Tensor:
    dilation = rest[0] if rest else 1
    spread = F.conv2d(seen.mean(1, True), _mean(weight), None, stride, padding, dilation)
    return spread.expand(-1, len(weight), -1, -1)


def _convolve_transposed(
    seen: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, *rest: Any
) -> Tensor:
    output_padding, groups, dilation = rest or (0, 1, 1)
    spread = F.conv_transpose2d(
        seen.mean(1, True), _mean(weight), None, stride, padding, output_padding, 1, dilation
    )
    return spread.expand(-1, weight.shape[1] * groups, -1, -1)


def _mean(weight: Tensor) -> Tensor:
    height, width = weight.shape[2:]
    return torch.full((1, 1, height, width), 1 / (height * width), dtype=weight.dtype)


def _pool(seen: Tensor, size: Any, stride: Any = None, padding: Any = 0, **named: Any) -> Tensor:
    return F.avg_pool2d(seen, size, stride, padding, bool(named.get("ceil_mode")))


SPREAD: Mapping[Any, Callable[..., Tensor]] = MappingProxyType(
    {
        torch.conv2d: _convolve,
        torch.conv_transpose2d: _convolve_transposed,
        F.max_pool2d: _pool,
    }
)
