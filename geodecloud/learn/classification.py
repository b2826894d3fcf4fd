"""Classification: from reflectance to scores of what each pixel is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from geodecloud.learn.adapters import Encoder

CLASS_NAMES = ("clear", "thin", "thick", "shadow")
"""What is scored, in the order of the classes of training data."""


class Classification(nn.Module):
    """Scores what each pixel is: clear, thin cloud, thick cloud, shadow, in this order.

    The network sees square roots of reflectance, in which the dark half of the scale, where
    shadows are, is as wide as the bright one.
    """

    reach_px = 0

    def __init__(
        self,
        generator: Callable[[int, int], nn.Module],
        low: Sequence[float],
        high: Sequence[float],
    ) -> None:
        """Build the generator for these bands."""
        super().__init__()
        self.encoder = Encoder(
            *([max(value, 0.0) ** 0.5 for value in ends] for ends in (low, high))
        )
        self.n_condition_channels = len(low) + 1
        self.generator = generator(self.n_condition_channels, len(CLASS_NAMES))

    def condition(self, pixels: Tensor, level: Tensor) -> Tensor:
        """Return what the network sees, (B, C + 1, H, W)."""
        seen = self.encoder.seen(pixels.clamp_min(0).sqrt())
        return torch.cat([seen, level.view(-1, 1, 1, 1).expand(-1, 1, *pixels.shape[-2:])], 1)

    def logits(self, pixels: Tensor, level: Tensor) -> Tensor:
        """Return what is trained, (B, 4, H, W): logarithms of how likely each class is."""
        logits: Tensor = self.generator(self.condition(pixels, level))
        return logits

    def forward(self, pixels: Tensor, level: Tensor) -> Tensor:
        """Return scores (B, 4, H, W), of which the highest decides.

        The likelier kind of cloud speaks for both: what is cloud for sure, thin or thick, is not
        clear because the two share their votes.

        Args:
            pixels: (B, C, H, W) reflectance.
            level: (B,): 1 top of atmosphere, -1 surface, 0 unknown.
        """
        clear, thin, thick, shadow = torch.split(self.logits(pixels, level), 1, 1)
        cloud = torch.logsumexp(torch.cat([thin, thick], 1), 1, keepdim=True)
        is_thin = thin >= thick
        return torch.cat(
            [clear, torch.where(is_thin, cloud, thin), torch.where(is_thin, thick, cloud), shadow],
            1,
        )
