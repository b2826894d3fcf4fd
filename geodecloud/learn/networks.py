"""GENERATORS, DISCRIMINATORS, ADAPTERS: the networks, and how a request becomes their channels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geodecloud.errors import ModelError, OptionError

ENCODED_LIMITS = (-3.0, 6.0)
"""What a network sees is cut to this: a saturated cloud (reflectance 2) must not swamp norms."""


DETAIL_PX = 9
"""Size of what a correction takes for detail: several pixels, less than most clouds."""

BRIGHTEST = 3.0
"""Spans of a band beyond which a cloud is white, whatever is beneath."""


class UNet(nn.Module):
    """Maps (B, C, H, W) to (B, C', H, W), sides multiples of ``stride_px``.

    Each level halves the side and has its own width; up again by 1x1 convolution and bilinear
    doubling, which leaves no checkerboard. Norms are BatchNorm: at inference they know nothing
    of the tile, so answers do not depend on where a scene is cut.

    Source: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597

    Example:
        >>> UNet(3, 2, widths=(4, 8))(torch.zeros(1, 3, 6, 4)).shape
        torch.Size([1, 2, 6, 4])
    """

    def __init__(
        self, in_channels: int, out_channels: int, widths: Sequence[int] = (32, 64, 128, 256)
    ) -> None:
        """Build one pair of convolutions a level on each side."""
        super().__init__()
        self.stride_px = 2 ** (len(widths) - 1)
        self.down = nn.ModuleList(
            _convolve_twice(channels, width)
            for channels, width in zip((in_channels, *widths), widths, strict=False)
        )
        upwards = list(zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True))
        self.reduce = nn.ModuleList(nn.Conv2d(deep, width, 1) for deep, width in upwards)
        self.up = nn.ModuleList(_convolve_twice(2 * width, width) for _, width in upwards)
        self.head = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, encoded: Tensor) -> Tensor:
        """Return (B, C', H, W) of encoded (B, C, H, W)."""
        kept = []
        for i, level in enumerate(self.down):
            encoded = level(encoded if i == 0 else F.max_pool2d(encoded, 2))
            kept.append(encoded)
        kept.pop()
        for reduce, level in zip(self.reduce, self.up, strict=True):
            doubled = F.interpolate(
                reduce(encoded), scale_factor=2.0, mode="bilinear", align_corners=False
            )
            encoded = level(torch.cat([kept.pop(), doubled], 1))
        answer: Tensor = self.head(encoded)
        return answer


def _convolve_twice(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class PatchGAN(nn.Module):
    """Judges (B, C, H, W) by patches: one logit for each field of 34 px, every 4 px.

    Two strided layers: the usual 70-px field is larger than a chip of 64. The norm is
    InstanceNorm, which keeps no statistics: judging in one phase leaves no trace for the next.

    Source: Isola et al. 2017, https://arxiv.org/abs/1611.07004
    """

    def __init__(self, in_channels: int, width: int = 64) -> None:
        """Build the four convolutions."""
        super().__init__()

        def layer(channels: int, out_channels: int, stride: int) -> list[nn.Module]:
            return [
                nn.Conv2d(channels, out_channels, 4, stride, padding=1, bias=False),
                nn.InstanceNorm2d(out_channels, affine=True),
                nn.LeakyReLU(0.2, inplace=True),
            ]

        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, 2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            *layer(width, 2 * width, 2),
            *layer(2 * width, 4 * width, 1),
            nn.Conv2d(4 * width, 1, 4, 1, padding=1),
        )

    def forward(self, encoded: Tensor) -> Tensor:
        """Return one logit a patch, (B, 1, H', W')."""
        logits: Tensor = self.layers(encoded)
        return logits


class Encoder(nn.Module):
    """Values in a sensor's unit to what a network sees, -1 at low to 1 at high, and back."""

    low: Tensor
    span: Tensor

    def __init__(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Hold the limits of each band; they are arguments of the model, not weights."""
        super().__init__()
        column = torch.tensor([low, high], dtype=torch.float32)[..., None, None]
        self.register_buffer("low", column[0], persistent=False)
        self.register_buffer("span", (column[1] - column[0]) / 2, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode (B, C, H, W)."""
        return (pixels - self.low) / self.span - 1

    def decode(self, encoded: Tensor) -> Tensor:
        """Decode (B, C, H, W); inverse of encoding."""
        return (encoded + 1) * self.span + self.low


class FillCorrection(nn.Module):
    """Answers the fill and what shines through: reflectance under the mask.

    What the measured pixels differ from the fill by, d, is taken apart into its fine detail and
    the smooth rest, and for each pixel the network draws two matrices, bands by bands, and an
    offset::

        answer = fill + G_fine (d - smooth(d)) + G_smooth smooth(d) + offset

    All start at exactly zero, so that the untrained answer is the fill. A cloud's own texture is
    nearly the same in all bands and cancels in their differences, the ground's is not: hence
    matrices. Under thin cloud they bring through what is seen, under thick cloud the offset draws
    what is not. Large d is bent towards ``BRIGHTEST`` spans: behind that nothing is seen.
    """

    inputs = ("pixels", "mask", "fill", "level")
    reach_px = DETAIL_PX // 2

    def __init__(
        self,
        generator: Callable[[int, int], nn.Module],
        low: Sequence[float],
        high: Sequence[float],
    ) -> None:
        """Build the generator for these bands and silence its last layer."""
        super().__init__()
        n_bands = len(low)
        self.encoder = Encoder(low, high)
        self.n_condition_channels = 2 * n_bands + 2
        self.generator = generator(self.n_condition_channels, (2 * n_bands + 1) * n_bands)
        _silence_last_layer(self.generator)

    def condition(self, pixels: Tensor, mask: Tensor, fill: Tensor, level: Tensor) -> Tensor:
        """Return what the networks see, (B, 2C + 2, H, W)."""
        seen = torch.cat([self.encoder(pixels), self.encoder(fill)], 1).clamp(*ENCODED_LIMITS)
        level = level.view(-1, 1, 1, 1).expand(-1, 1, *mask.shape[-2:])
        return torch.cat([seen, mask, level], 1)

    def forward(self, pixels: Tensor, mask: Tensor, fill: Tensor, level: Tensor) -> Tensor:
        """Return reflectance (B, C, H, W).

        Args:
            pixels: (B, C, H, W) reflectance as measured.
            mask: (B, 1, H, W), 1 where an answer is wanted.
            fill: (B, C, H, W) reflectance, clear pixels drawn under the mask.
            level: (B,): 1 top of atmosphere, -1 surface, 0 unknown.
        """
        drawn = self.generator(self.condition(pixels, mask, fill, level))
        n_bands, (height, width) = fill.shape[1], fill.shape[-2:]
        offset, fine, coarse = drawn.split([n_bands, n_bands**2, n_bands**2], 1)
        brightest = BRIGHTEST * self.encoder.span
        seen = brightest * torch.tanh((pixels - fill) / brightest)
        smooth = F.avg_pool2d(
            F.pad(seen, (DETAIL_PX // 2,) * 4, mode="replicate"), DETAIL_PX, stride=1
        )
        answer: Tensor = fill + offset * self.encoder.span
        for matrices, part in ((fine, seen - smooth), (coarse, smooth)):
            mixed = matrices.reshape(-1, n_bands, n_bands, height, width) * part[:, None]
            answer = answer + mixed.sum(2)
        return answer


class Translation(nn.Module):
    """Answers the generator's drawing of the pixels alone, decoded into the target's unit."""

    inputs = ("pixels",)
    reach_px = 0

    def __init__(
        self,
        generator: Callable[[int, int], nn.Module],
        low: Sequence[float],
        high: Sequence[float],
        low_out: Sequence[float] = (),
        high_out: Sequence[float] = (),
    ) -> None:
        """Build the generator; without limits of their own the target's bands are the source's."""
        super().__init__()
        self.source_encoder = Encoder(low, high)
        self.encoder = Encoder(low_out or low, high_out or high)
        self.n_condition_channels = len(low)
        self.generator = generator(len(low), len(low_out or low))

    def condition(self, pixels: Tensor) -> Tensor:
        """Return what the networks see, (B, C, H, W)."""
        seen: Tensor = self.source_encoder(pixels).clamp(*ENCODED_LIMITS)
        return seen

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, C', H, W) in the target's unit."""
        return self.encoder.decode(torch.tanh(self.generator(self.condition(pixels))))


GENERATORS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType({"unet": UNet})
"""Networks that draw: ``network(in_channels, out_channels, **arguments)``."""

DISCRIMINATORS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType({"patchgan": PatchGAN})
"""Networks that judge: ``network(in_channels, **arguments)``."""

ADAPTERS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"fill-correction": FillCorrection, "translation": Translation}
)
"""From a request's arrays to a generator's channels and back: ``adapter(build, low, high)``."""


def build_network(
    adapter: str, generator: str, arguments: Mapping[str, Any], limits: Mapping[Any, Any]
) -> nn.Module:
    """Return the whole network that answers requests, freshly initialised.

    Raises:
        ModelError: no adapter or generator has this name, or it does not take these arguments.
    """
    for name, known in ((adapter, ADAPTERS), (generator, GENERATORS)):
        if name not in known:
            raise ModelError(
                f"network {name!r} is unknown",
                f"known here are {', '.join(known)}",
                "choose one of them, or install the version of geodecloud that has it",
            )

    def build(in_channels: int, out_channels: int) -> nn.Module:
        return GENERATORS[generator](in_channels, out_channels, **arguments)

    try:
        return ADAPTERS[adapter](build, **limits)
    except TypeError as error:
        raise ModelError(
            f"{adapter} with {generator} does not take its arguments ({error})",
            "the arguments of model.json are those of the network",
            "use the version of geodecloud that made the model",
        ) from error


def stride_of(network: nn.Module) -> int:
    """The step, in pixels, by which a network's answers move with its input."""
    return max(int(getattr(module, "stride_px", 1)) for module in network.modules())


def halo_of(generator: nn.Module, in_channels: int, *, limit_px: int = 1024) -> int:
    """How far a generator looks around a pixel: counted by gradient, at the worst phase.

    All weights are made positive, so that no path cancels another.

    Raises:
        OptionError: the network looks farther than ``limit_px``: answers would hang on the tile.
    """
    probe = copy.deepcopy(generator).float().cpu().eval()
    for parameter in probe.parameters():
        nn.init.constant_(
            parameter, 1 / max(1, parameter[0].numel()) if parameter.ndim > 1 else 1.0
        )
    stride = stride_of(generator)
    half = 64
    while half < limit_px:
        half *= 2
        reach = max(_reach(probe, in_channels, half, phase) for phase in range(stride))
        if reach < half - stride:
            return reach
    raise OptionError(
        f"the network looks at least {half} px around each pixel",
        f"a halo of at most {limit_px} px can be read around a tile",
        "use norms with tracked statistics and fewer levels",
    )


def _reach(probe: nn.Module, in_channels: int, half: int, phase: int) -> int:
    # one row of pixels is enough in each direction: the kernels are the same for rows and columns
    reach = 0
    thin = stride_of(probe) * 2
    for shape in ((2 * half, thin), (thin, 2 * half)):
        encoded = torch.ones(1, in_channels, *shape, requires_grad=True)
        drawn = probe(encoded)
        at = half + phase
        line = drawn[..., at, :] if shape[0] > shape[1] else drawn[..., at]
        (gradient,) = torch.autograd.grad(line.sum(), encoded)
        seen = gradient.abs().sum((0, 1, 3) if shape[0] > shape[1] else (0, 1, 2)).nonzero()
        reach = max(reach, at - int(seen.min()), int(seen.max()) - at)
    return reach


def _silence_last_layer(generator: nn.Module) -> None:
    last = [module for module in generator.modules() if isinstance(module, nn.Conv2d)][-1]
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
