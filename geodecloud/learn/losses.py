"""GAN_LOSSES and distances: what training descends, each a weighted mean of its elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of (B, C, H, W) values under weights (B, 1, H, W); 0 where none weighs."""
    weight = weight.expand_as(values)
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def l1(answer: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the mean absolute difference where ``weight`` (B, 1, H, W) is not 0."""
    return weighted_mean((answer - target).abs(), weight)


def bce(logits: Tensor, is_real: bool, weight: Tensor) -> Tensor:
    """Return the cross entropy of patch logits (no sigmoid before it) against one verdict."""
    return weighted_mean(F.softplus(-logits if is_real else logits), weight)


def bce_of_sigmoid(logits: Tensor, is_real: bool, weight: Tensor) -> Tensor:
    """Return the cross entropy of logits that went through a sigmoid before: a known mistake.

    The sigmoid inside the cross entropy then never leaves 0.5 to 0.73: the judge cannot be sure,
    and its loss cannot fall below 0.31 for what is real, 0.69 for what is not. Kept so that
    trainings which made it can be repeated.
    """
    return bce(torch.sigmoid(logits), is_real, weight)


def lsgan(logits: Tensor, is_real: bool, weight: Tensor) -> Tensor:
    """Return the squared distance of patch logits from 1 (real) or 0.

    Source: Mao et al. 2017, https://arxiv.org/abs/1611.04076
    """
    return weighted_mean((logits - float(is_real)) ** 2, weight)


def perceptual(answer: Sequence[Tensor], target: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Return the mean absolute difference of what a judge's stages see, (B, C_i, H_i, W_i) each.

    Source: Wang et al. 2018 (feature matching), https://arxiv.org/abs/1711.11585
    """
    distances = [
        l1(one, other, patch_weight(weight, one)) for one, other in zip(answer, target, strict=True)
    ]
    return torch.stack(distances).mean()


def patch_weight(weight: Tensor, logits: Tensor) -> Tensor:
    """Return how much of each patch (B, 1, H', W') the pixels' weight (B, 1, H, W) covers."""
    height, width = logits.shape[-2:]
    return F.adaptive_avg_pool2d(weight, (height, width))


GanLoss = Callable[[Tensor, bool, Tensor], Tensor]

GAN_LOSSES: Mapping[str, GanLoss] = MappingProxyType(
    {"bce": bce, "lsgan": lsgan, "bce_of_sigmoid": bce_of_sigmoid}
)
"""Adversarial losses: ``loss(logits, is_real, weight)``."""


def verdict(loss: GanLoss, real: Tensor, fake: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    """Return a judge's loss: half for what it says of the real, half for what of the fake.

    Args:
        loss: of ``GAN_LOSSES``.
        real: logits (B, 1, H', W').
        fake: logits of the same shape.
        weights: of the pixels that were judged (B, 1, H, W), of the real and of the fake.
    """
    on_real = loss(real, True, patch_weight(weights[0], real))
    return (on_real + loss(fake, False, patch_weight(weights[1], fake))) / 2
