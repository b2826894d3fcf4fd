"""PatchGAN, ResNetJudge, ConvolutionalJudge, LinearJudge: networks that tell real from drawn.

None has norms that keep statistics: judging in one phase leaves no trace for the next.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from geodecloud.errors import OptionError


class PatchGAN(nn.Module):
    """Judges (B, C, H, W) by patches: one logit for each field of 34 px, every 4 px.

    Two strided layers: the usual 70-px field is larger than a chip of 64. The norm is
    InstanceNorm, which keeps no statistics: judging in one phase leaves no trace for the next.

    Source: Isola et al. 2017, https://arxiv.org/abs/1611.07004
    """

    def __init__(self, in_channels: int, width: int = 64) -> None:
        """Build the four convolutions."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, 2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            *_normed(width, 2 * width, 2),
            *_normed(2 * width, 4 * width, 1),
            nn.Conv2d(4 * width, 1, 4, 1, padding=1),
        )

    def forward(self, encoded: Tensor) -> Tensor:
        """Return one logit a patch, (B, 1, H', W')."""
        logits: Tensor = self.layers(encoded)
        return logits


def _normed(channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, out_channels, 4, stride, padding=1, bias=False),
        nn.InstanceNorm2d(out_channels, affine=True),
        nn.LeakyReLU(0.2, inplace=True),
    ]


class ResNetJudge(nn.Module):
    """Judges (B, C, H, W) as a whole: a residual net of 3-4-6-3 blocks, one logit.

    Source: He et al. 2016, https://arxiv.org/abs/1512.03385; with the norm by groups of Wu and He
    2018, https://arxiv.org/abs/1803.08494
    """

    def __init__(
        self, in_channels: int, width: int = 64, n_blocks: Sequence[int] = (3, 4, 6, 3)
    ) -> None:
        """Build the stages, each at half the side and twice the width of the one before."""
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 7, 2, padding=3),
            nn.LeakyReLU(0.2),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        channels = width
        for stage, count in enumerate(n_blocks):
            out_channels = width * 2**stage
            for i in range(count):
                stride = 2 if stage and not i else 1
                layers.append(_Block(channels, out_channels, stride))
                channels = out_channels
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 1, 1))

    def forward(self, encoded: Tensor) -> Tensor:
        """Return one logit a chip, (B, 1, 1, 1)."""
        logits: Tensor = self.layers(encoded)
        return logits


class _Block(nn.Module):
    """Two convolutions of 3x3 and a way past them."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        n_groups = max(1, out_channels // 16)
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.GroupNorm(n_groups, out_channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.GroupNorm(n_groups, out_channels),
        )
        same = in_channels == out_channels and stride == 1
        self.past = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, stride)
        self.bend = nn.LeakyReLU(0.2)

    def forward(self, encoded: Tensor) -> Tensor:
        bent: Tensor = self.bend(self.layers(encoded) + self.past(encoded))
        return bent


class ConvolutionalJudge(nn.Module):
    """Judges chips by strided convolutions alone, no pooling, no linear layer: one logit.

    Each of ``log2(chip_size) - 2`` layers halves the side; the last sees the 4x4 that are left.
    Where the paper has BatchNorm, whose statistics a judge would keep, this has InstanceNorm.

    Source: Radford et al. 2016, https://arxiv.org/abs/1511.06434
    """

    def __init__(self, in_channels: int, chip_size: int = 64, width: int = 64) -> None:
        """Build the convolutions for chips of this size."""
        super().__init__()
        layers = [nn.Conv2d(in_channels, width, 4, 2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for i in range(n_halvings(chip_size) - 1):
            layers += _normed(width * 2**i, width * 2 ** (i + 1), 2)
        last = width * 2 ** (n_halvings(chip_size) - 1)
        self.layers = nn.Sequential(*layers, nn.Conv2d(last, 1, 4))

    def forward(self, encoded: Tensor) -> Tensor:
        """Return one logit a chip, (B, 1, 1, 1)."""
        logits: Tensor = self.layers(encoded)
        return logits


def n_halvings(chip_size: int) -> int:
    """Return how often a chip is halved until 4x4 pixels are left.

    Raises:
        OptionError: it never comes to 4x4.
    """
    count = chip_size.bit_length() - 3
    if count < 1 or chip_size != 4 * 2**count:
        raise OptionError(
            f"chips of {chip_size} px",
            "dcgan doubles 4x4 pixels until they are a chip: 8, 16, 32, 64, 128, ...",
            "prepare the data with chip_size=64, or use architecture mlp",
        )
    return count


class LinearJudge(nn.Module):
    """Judges chips by four linear layers: one logit.

    Args:
        in_channels: bands of a chip.
        chip_size: its side.
        width: of the last hidden layer; those before are two and four times as wide.
        dropout: after each hidden layer: a judge that learns chips by heart teaches nothing.

    Source: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661
    """

    def __init__(
        self, in_channels: int, chip_size: int = 64, width: int = 256, dropout: float = 0.3
    ) -> None:
        """Build the layers for chips of this size."""
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        seen = in_channels * chip_size**2
        for wide in (4 * width, 2 * width, width):
            layers += [nn.Linear(seen, wide), nn.LeakyReLU(0.2), nn.Dropout(dropout)]
            seen = wide
        self.layers = nn.Sequential(*layers, nn.Linear(seen, 1), nn.Unflatten(1, (1, 1, 1)))

    def forward(self, encoded: Tensor) -> Tensor:
        """Return one logit a chip, (B, 1, 1, 1)."""
        logits: Tensor = self.layers(encoded)
        return logits


def features_of(judge: nn.Module, encoded: Tensor) -> list[Tensor]:
    """Return what each stage of a judge makes of (B, C, H, W), for a perceptual distance.

    Raises:
        OptionError: the judge is not a sequence of layers.
    """
    layers = getattr(judge, "layers", None)
    if not isinstance(layers, nn.Sequential):
        raise OptionError(
            f"perceptual_loss with a {type(judge).__name__}",
            "it compares what the stages of a discriminator see, in its nn.Sequential `layers`",
            "choose a discriminator by name, or leave perceptual_loss off",
        )
    seen = []
    for layer in layers:
        encoded = layer(encoded)
        if isinstance(layer, nn.LeakyReLU | _Block):
            seen.append(encoded)
    return [stage if stage.ndim == 4 else stage[..., None, None] for stage in seen]
