"""UNet, FoldedUNet, StridedUNet, ResNet, WNet: networks that draw (B, C', H, W) of (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geodecloud.errors import OptionError


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
        self.down = _descent(in_channels, widths)
        upwards = list(zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True))
        self.reduce = nn.ModuleList(nn.Conv2d(deep, width, 1) for deep, width in upwards)
        self.up = nn.ModuleList(_convolve_twice(2 * width, width) for _, width in upwards)
        self.head = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, encoded: Tensor) -> Tensor:
        """Return (B, C', H, W) of encoded (B, C, H, W)."""
        *kept, encoded = _descend(self.down, encoded)
        answer: Tensor = self.head(_ascend(encoded, kept, self.reduce, self.up))
        return answer


class FoldedUNet(nn.Module):
    """A U-Net at half the side: squares of pixels are folded into channels, and unfolded again.

    It looks twice as far as a U-Net of the same widths, at a quarter of the cost a pixel.

    Source: Shi et al. 2016 (sub-pixel convolution), https://arxiv.org/abs/1609.05158

    Example:
        >>> FoldedUNet(3, 2, widths=(4, 8))(torch.zeros(1, 3, 8, 4)).shape
        torch.Size([1, 2, 8, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int] = (16, 32, 48, 64),
        fold_px: int = 2,
    ) -> None:
        """Build the U-Net that sees squares of ``fold_px`` as one pixel."""
        super().__init__()
        self._fold_px = fold_px
        self.folded = UNet(in_channels * fold_px**2, out_channels * fold_px**2, widths)
        self.stride_px = fold_px * self.folded.stride_px

    def forward(self, encoded: Tensor) -> Tensor:
        """Return (B, C', H, W) of encoded (B, C, H, W)."""
        drawn: Tensor = self.folded(F.pixel_unshuffle(encoded, self._fold_px))
        return F.pixel_shuffle(drawn, self._fold_px)


class WNet(nn.Module):
    """Two U-Nets' encoders, one for each input, and one decoder that sees what both kept.

    The last ``n_second`` channels of (B, C, H, W) go into the second encoder: what a radar
    measures has little in common with colours before it was looked at as a texture of its own.

    Source: Bittner, Reinartz and Körner 2019, "Late or Earlier Information Fusion from Depth and
    Spectral Data?", CVPR Workshops

    Example:
        >>> WNet(5, 3, n_second=2, widths=(4, 8))(torch.zeros(1, 5, 6, 4)).shape
        torch.Size([1, 3, 6, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_second: int = 1,
        widths: Sequence[int] = (32, 64, 128, 256),
        second_widths: Sequence[int] | None = None,
    ) -> None:
        """Build both encoders and the decoder of these widths, the second of its own if given."""
        super().__init__()
        if not 0 < n_second < in_channels:
            raise OptionError(
                f"{n_second} of {in_channels} channels for the second encoder",
                "each of two encoders has one at least",
                "give data with two inputs, or use generator unet",
            )
        second_widths = second_widths or widths
        if len(second_widths) != len(widths):
            raise OptionError(
                f"encoders of {len(widths)} and {len(second_widths)} levels",
                "one decoder sees what both keep at each level",
                "give as many second_widths as widths",
            )
        self.stride_px = 2 ** (len(widths) - 1)
        self._n_first = in_channels - n_second
        self.first = _descent(self._n_first, widths)
        self.second = _descent(n_second, second_widths)
        kept = [one + other for one, other in zip(widths, second_widths, strict=True)]
        upwards = list(zip((kept[-1], *reversed(widths[1:-1])), reversed(widths[:-1]), strict=True))
        self.reduce = nn.ModuleList(nn.Conv2d(deep, width, 1) for deep, width in upwards)
        self.up = nn.ModuleList(
            _convolve_twice(beside + width, width)
            for beside, (_, width) in zip(reversed(kept[:-1]), upwards, strict=True)
        )
        self.head = nn.Conv2d(widths[0] if upwards else kept[0], out_channels, 1)

    @classmethod
    def fitted(cls, chip_size: int, n_extra: int) -> dict[str, Any]:
        """Return the arguments that hang on the data."""
        return {"n_second": n_extra}

    def forward(self, encoded: Tensor) -> Tensor:
        """Return (B, C', H, W) of encoded (B, C, H, W)."""
        one = _descend(self.first, encoded[:, : self._n_first])
        other = _descend(self.second, encoded[:, self._n_first :])
        *kept, merged = (torch.cat(pair, 1) for pair in zip(one, other, strict=True))
        answer: Tensor = self.head(_ascend(merged, kept, self.reduce, self.up))
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


def _descent(in_channels: int, widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(
        _convolve_twice(channels, width)
        for channels, width in zip((in_channels, *widths), widths, strict=False)
    )


def _descend(levels: Iterable[nn.Module], encoded: Tensor) -> list[Tensor]:
    """What each level draws, the next at half the side of the one before."""
    kept: list[Tensor] = []
    for level in levels:
        kept.append(level(F.max_pool2d(kept[-1], 2) if kept else encoded))
    return kept


def _ascend(
    encoded: Tensor, kept: list[Tensor], reduce: Iterable[nn.Module], up: Iterable[nn.Module]
) -> Tensor:
    """Double the deepest level until it has the full side, beside what was kept on the way."""
    for narrow, level, beside in zip(reduce, up, reversed(kept), strict=True):
        doubled = F.interpolate(
            narrow(encoded), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        encoded = level(torch.cat([beside, doubled], 1))
    return encoded


class StridedUNet(nn.Module):
    """The U-Net of pix2pix: strided 4x4 convolutions down, transposed ones up.

    Norms are BatchNorm; dropout acts in training alone, so that a scene has one answer.

    Args:
        in_channels, out_channels: of what is seen and drawn.
        depth: how often the side is halved; ``fitted`` leaves a bottleneck of 2x2 or more, because
            a single pixel less its mean is nothing.
        width: channels of the first level; each next has twice as many, up to eight times.
        dropout: in the three deepest levels on the way up.

    Source: Isola et al. 2017, https://arxiv.org/abs/1611.07004
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depth: int = 5,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        """Build one strided convolution a level on each side."""
        super().__init__()
        self.stride_px = 2**depth
        widths = [width * min(2**i, 8) for i in range(depth)]
        self.down = nn.ModuleList()
        for i, channels in enumerate((in_channels, *widths[:-1])):
            norm = [nn.BatchNorm2d(widths[i])] if i else []
            convolution = nn.Conv2d(channels, widths[i], 4, 2, padding=1, bias=not i)
            self.down.append(nn.Sequential(convolution, *norm, nn.LeakyReLU(0.2)))
        self.up = nn.ModuleList()
        for i in range(depth - 1, 0, -1):
            seen = widths[i] * (1 if i == depth - 1 else 2)
            drop = [nn.Dropout(dropout)] if i >= max(1, depth - 3) else []
            doubling = nn.ConvTranspose2d(seen, widths[i - 1], 4, 2, padding=1, bias=False)
            self.up.append(nn.Sequential(doubling, nn.BatchNorm2d(widths[i - 1]), *drop, nn.ReLU()))
        seen = width * (1 if depth == 1 else 2)
        self.head = nn.ConvTranspose2d(seen, out_channels, 4, 2, padding=1)

    @classmethod
    def fitted(cls, chip_size: int, n_extra: int) -> dict[str, Any]:
        """Return the depth that leaves 2x2 pixels or more of a chip, 7 at most.

        Example:
            >>> [StridedUNet.fitted(size, 0)["depth"] for size in (64, 96, 256)]
            [5, 5, 7]
        """
        depths = [d for d in range(1, 8) if chip_size % 2**d == 0 and chip_size // 2**d >= 2]
        return {"depth": max(depths, default=1)}

    def forward(self, encoded: Tensor) -> Tensor:
        """Return (B, C', H, W) of encoded (B, C, H, W)."""
        kept: list[Tensor] = []
        for level in self.down:
            encoded = level(encoded)
            kept.append(encoded)
        kept.pop()
        for level in self.up:
            encoded = torch.cat([kept.pop(), level(encoded)], 1)
        answer: Tensor = self.head(encoded)
        return answer


NORMS: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {
        "batch": nn.BatchNorm2d,
        "instance": lambda width: nn.InstanceNorm2d(width, affine=True, track_running_stats=True),
    }
)
"""Norms whose statistics at inference are those of the training, not of the tile."""


class ResNet(nn.Module):
    """Halves the side twice, adds to what it sees in ``n_blocks`` blocks, and doubles it twice.

    Args:
        in_channels, out_channels: of what is seen and drawn.
        n_blocks: 9 by default, as in CycleGAN.
        width: channels at full side.
        norm: "batch", or "instance" with tracked statistics.

    Source: Johnson et al. 2016, https://arxiv.org/abs/1603.08155; Zhu et al. 2017,
    https://arxiv.org/abs/1703.10593

    Raises:
        OptionError: no norm has this name.
    """

    stride_px = 4

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_blocks: int = 9,
        width: int = 64,
        norm: str = "batch",
    ) -> None:
        """Build the convolutions, reflected at the edge."""
        super().__init__()
        if norm not in NORMS:
            raise OptionError(f"norm {norm!r}", f"norms are {', '.join(NORMS)}", "choose one")

        def normed(convolution: nn.Module, channels: int) -> list[nn.Module]:
            return [convolution, NORMS[norm](channels), nn.ReLU(inplace=True)]

        layers: list[nn.Module] = [nn.ReflectionPad2d(3)]
        layers += normed(nn.Conv2d(in_channels, width, 7, bias=False), width)
        for wide in (width, 2 * width):
            layers += normed(nn.Conv2d(wide, 2 * wide, 3, 2, 1, bias=False), 2 * wide)
        layers += [_Residual(4 * width, NORMS[norm]) for _ in range(n_blocks)]
        for wide in (4 * width, 2 * width):
            doubling = nn.ConvTranspose2d(wide, wide // 2, 3, 2, 1, 1, bias=False)
            layers += normed(doubling, wide // 2)
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7)]
        self.layers = nn.Sequential(*layers)

    def forward(self, encoded: Tensor) -> Tensor:
        """Return (B, C', H, W) of encoded (B, C, H, W)."""
        answer: Tensor = self.layers(encoded)
        return answer


class _Residual(nn.Module):
    """Adds to (B, C, H, W) what two convolutions make of it."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            norm(channels),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            norm(channels),
        )

    def forward(self, encoded: Tensor) -> Tensor:
        answer: Tensor = encoded + self.layers(encoded)
        return answer
