"""FillCorrection, Translation, Colouring, Generation: a request's arrays seen, and answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ENCODED_LIMITS = (-3.0, 6.0)
"""What a network sees is cut to this: a saturated cloud (reflectance 2) must not swamp norms."""

DETAIL_PX = 9
"""Size of what a correction takes for detail: several pixels, less than most clouds."""

BRIGHTEST = 3.0
"""Spans of a band beyond which a cloud is white, whatever is beneath."""

USUAL_SPREAD, SPREAD_LIMITS = 0.1, (-7.0, 1.5)
"""Of errors, in spans of a band; and between which logarithms they are kept."""


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

    def seen(self, pixels: Tensor) -> Tensor:
        """Encode (B, C, H, W) and cut to what a network is shown."""
        return self.forward(pixels).clamp(*ENCODED_LIMITS)


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

    With limits of an extra input (radar, another date) the network sees that too, in its last
    channels.
    """

    reach_px = DETAIL_PX // 2

    def __init__(
        self,
        generator: Callable[[int, int], nn.Module],
        low: Sequence[float],
        high: Sequence[float],
        low_extra: Sequence[float] = (),
        high_extra: Sequence[float] = (),
    ) -> None:
        """Build the generator for these bands and silence its last layer."""
        super().__init__()
        n_bands = len(low)
        self.encoder = Encoder(low, high)
        self.extra_encoder = Encoder(low_extra, high_extra)
        self.n_condition_channels = 2 * n_bands + 2 + len(low_extra)
        self.n_drawn_channels = self._n_drawn(n_bands)
        self.generator = generator(self.n_condition_channels, self.n_drawn_channels)
        _silence_last_layer(self.generator)

    @staticmethod
    def _n_drawn(n_bands: int) -> int:
        """How many channels the generator draws: an offset and two matrices."""
        return (2 * n_bands + 1) * n_bands

    def seen_places(self, stands: Sequence[int]) -> list[int]:
        """Return where each channel of the condition goes, where others stand for its bands.

        ``stands`` says for each band which of fewer stands for it.
        """
        n_bands = max(stands) + 1
        both = [*stands, *(n_bands + i for i in stands)]
        return [*both, *range(2 * n_bands, 2 * n_bands + self.n_condition_channels - len(both))]

    def drawn_places(self, stands: Sequence[int], columns: Sequence[int]) -> list[int]:
        """Return where each channel that is drawn goes, -1 where its band is no longer drawn.

        ``columns`` are the bands that are left.
        """
        n_bands = len(columns)
        rows = [columns.index(i) if i in columns else -1 for i in range(len(stands))]
        square = [-1 if row < 0 else n_bands * row + col for row in rows for col in stands]
        starts = n_bands, n_bands + n_bands**2
        return [*rows, *(i if i < 0 else start + i for start in starts for i in square)]

    def condition(
        self,
        pixels: Tensor,
        mask: Tensor,
        fill: Tensor,
        level: Tensor,
        extra: Tensor | None = None,
    ) -> Tensor:
        """Return what the networks see, (B, 2C + 2, H, W), and the channels of the extra."""
        seen = torch.cat([self.encoder(pixels), self.encoder(fill)], 1).clamp(*ENCODED_LIMITS)
        level = level.view(-1, 1, 1, 1).expand(-1, 1, *mask.shape[-2:])
        more = [] if extra is None else [self.extra_encoder.seen(extra)]
        return torch.cat([seen, mask, level, *more], 1)

    def forward(
        self,
        pixels: Tensor,
        mask: Tensor,
        fill: Tensor,
        level: Tensor,
        extra: Tensor | None = None,
    ) -> Tensor:
        """Return reflectance (B, C, H, W).

        Args:
            pixels: (B, C, H, W) reflectance as measured.
            mask: (B, 1, H, W), 1 where an answer is wanted.
            fill: (B, C, H, W) reflectance, clear pixels drawn under the mask.
            level: (B,): 1 top of atmosphere, -1 surface, 0 unknown.
            extra: (B, C', H, W) in its own unit, where the network was built for one.
        """
        drawn = self.generator(self.condition(pixels, mask, fill, level, extra))
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


class Spread(FillCorrection):
    """Answers how far a fill correction may be off: one standard deviation of its error.

    The network sees what the correction sees. Untrained it says ``USUAL_SPREAD`` of each band's
    span; ``factor`` (C, 1, 1) is what calibration on places that were held out multiplies by.
    """

    reach_px = 0
    factor: Tensor

    def __init__(
        self,
        generator: Callable[[int, int], nn.Module],
        low: Sequence[float],
        high: Sequence[float],
        low_extra: Sequence[float] = (),
        high_extra: Sequence[float] = (),
    ) -> None:
        """Build the generator for these bands; it begins with one answer for all pixels."""
        super().__init__(generator, low, high, low_extra, high_extra)
        self.register_buffer("factor", torch.ones(len(low), 1, 1))

    @staticmethod
    def _n_drawn(n_bands: int) -> int:
        """A logarithm for each band."""
        return n_bands

    def log_spread(self, *inputs: Tensor | None) -> Tensor:
        """Return what is trained, (B, C, H, W): the logarithm, in spans, before calibration."""
        drawn = self.generator(self.condition(*inputs))  # type: ignore[arg-type]
        log_spread: Tensor = (drawn + math.log(USUAL_SPREAD)).clamp(*SPREAD_LIMITS)
        return log_spread

    def forward(
        self,
        pixels: Tensor,
        mask: Tensor,
        fill: Tensor,
        level: Tensor,
        extra: Tensor | None = None,
    ) -> Tensor:
        """Return standard deviations (B, C, H, W) in reflectance; see ``FillCorrection``."""
        log_spread = self.log_spread(pixels, mask, fill, level, extra)
        spread: Tensor = torch.exp(log_spread) * self.encoder.span * self.factor
        return spread


class Translation(nn.Module):
    """Answers the generator's drawing of what is seen alone, decoded into the target's unit."""

    reach_px = 0

    def __init__(
        self,
        generator: Callable[[int, int], nn.Module],
        low: Sequence[float],
        high: Sequence[float],
        low_out: Sequence[float] = (),
        high_out: Sequence[float] = (),
        low_extra: Sequence[float] = (),
        high_extra: Sequence[float] = (),
    ) -> None:
        """Build the generator; without limits of their own the target's bands are the source's."""
        super().__init__()
        self.source_encoder = Encoder(low, high)
        self.extra_encoder = Encoder(low_extra, high_extra)
        self.encoder = Encoder(low_out or low, high_out or high)
        self.n_condition_channels = len(low) + len(low_extra)
        self.generator = generator(self.n_condition_channels, len(low_out or low))

    def condition(self, pixels: Tensor, extra: Tensor | None = None) -> Tensor:
        """Return what the networks see, (B, C, H, W), and the channels of the extra."""
        seen = self.source_encoder.seen(pixels)
        return seen if extra is None else torch.cat([seen, self.extra_encoder.seen(extra)], 1)

    def forward(self, pixels: Tensor, extra: Tensor | None = None) -> Tensor:
        """Return (B, C', H, W) in the target's unit.

        Args:
            pixels: (B, C, H, W) in the source's unit.
            extra: (B, C'', H, W) in its own unit, where the network was built for one.
        """
        return self.encoder.decode(torch.tanh(self.generator(self.condition(pixels, extra))))


class Colouring(Translation):
    """Answers brightness in every band, and the colour that the generator draws on it.

    ``answer = decode(encoded brightness + generator)``, each band between limits of its own. The
    generator starts at exactly zero, so that the untrained answer is a line a band: the darkest
    and the brightest of what is seen become those of the band.
    """

    def __init__(
        self, generator: Callable[[int, int], nn.Module], **limits: Sequence[float]
    ) -> None:
        """Build the generator and silence its last layer; see ``Translation``."""
        super().__init__(generator, **limits)
        _silence_last_layer(self.generator)

    def forward(self, pixels: Tensor, extra: Tensor | None = None) -> Tensor:
        """Return (B, C', H, W) in the target's unit of brightness (B, 1, H, W)."""
        drawn: Tensor = self.generator(self.condition(pixels, extra))
        return self.encoder.decode(self.source_encoder(pixels) + drawn)

    def naive(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return what needs no network: brightness in every band, and the untrained answer."""
        n_bands = len(self.encoder.low)
        return {
            "grey": pixels.expand(-1, n_bands, -1, -1),
            "line": self.encoder.decode(self.source_encoder(pixels)),
        }


class Generation(nn.Module):
    """Answers the generator's drawing of random numbers, decoded into the target's unit."""

    reach_px = 0

    def __init__(
        self,
        generator: Callable[[int], nn.Module],
        low: Sequence[float],
        high: Sequence[float],
    ) -> None:
        """Build the generator for these bands."""
        super().__init__()
        self.encoder = Encoder(low, high)
        self.generator = generator(len(low))

    def forward(self, latent: Tensor) -> Tensor:
        """Return (B, C, S, S) in the target's unit of (B, N) normal random numbers."""
        return self.encoder.decode(torch.tanh(self.generator(latent)))


def _silence_last_layer(generator: nn.Module) -> None:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    last = [module for module in generator.modules() if isinstance(module, kinds)][-1]
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
