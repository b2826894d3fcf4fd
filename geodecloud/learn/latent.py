"""DCGAN and LinearGAN: networks that draw chips (B, C, S, S) of random numbers (B, N)."""

from __future__ import annotations

from torch import Tensor, nn

from geodecloud.learn.discriminators import n_halvings


class DCGAN(nn.Module):
    """Draws chips by transposed convolutions alone, no pooling, no linear layer.

    Args:
        out_channels: bands of a chip.
        latent_size: random numbers of each chip.
        chip_size: side of a chip, 4 doubled some times.
        width: channels of the last hidden layer; each before has twice as many.

    Source: Radford et al. 2016, https://arxiv.org/abs/1511.06434

    Example:
        >>> import torch
        >>> DCGAN(3, latent_size=5, width=4)(torch.zeros(2, 5)).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self, out_channels: int, latent_size: int = 128, chip_size: int = 64, width: int = 64
    ) -> None:
        """Build one transposed convolution for each doubling."""
        super().__init__()
        channels = width * 2 ** (n_halvings(chip_size) - 1)
        layers = _normed(nn.ConvTranspose2d(latent_size, channels, 4, bias=False))
        while channels > width:
            doubling = nn.ConvTranspose2d(channels, channels // 2, 4, 2, padding=1, bias=False)
            layers += _normed(doubling)
            channels //= 2
        last = nn.ConvTranspose2d(width, out_channels, 4, 2, padding=1)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, latent: Tensor) -> Tensor:
        """Return (B, C, S, S) of (B, N)."""
        chips: Tensor = self.layers(latent[..., None, None])
        return chips


def _normed(convolution: nn.ConvTranspose2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)]


class LinearGAN(nn.Module):
    """Draws chips by four linear layers.

    Args:
        out_channels: bands of a chip.
        latent_size: random numbers of each chip.
        chip_size: side of a chip.
        width: of the first hidden layer; the next are two and four times as wide.

    Source: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661
    """

    def __init__(
        self, out_channels: int, latent_size: int = 128, chip_size: int = 64, width: int = 256
    ) -> None:
        """Build the layers for chips of this size."""
        super().__init__()
        layers: list[nn.Module] = []
        seen = latent_size
        for wide in (width, 2 * width, 4 * width):
            layers += [nn.Linear(seen, wide), nn.LeakyReLU(0.2)]
            seen = wide
        shape = (out_channels, chip_size, chip_size)
        last = nn.Linear(seen, out_channels * chip_size**2)
        self.layers = nn.Sequential(*layers, last, nn.Unflatten(1, shape))

    def forward(self, latent: Tensor) -> Tensor:
        """Return (B, C, S, S) of (B, N)."""
        chips: Tensor = self.layers(latent)
        return chips
