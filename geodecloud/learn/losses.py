"""GAN_LOSSES and distances: what training descends, each a weighted mean of its elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

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


def least_squares(logits: Tensor, is_real: bool, weight: Tensor) -> Tensor:
    """Return the squared distance of patch logits from 1 (real) or 0.

    Source: Mao et al. 2017, https://arxiv.org/abs/1611.04076
    """
    return weighted_mean((logits - float(is_real)) ** 2, weight)


def patch_weight(weight: Tensor, logits: Tensor) -> Tensor:
    """Return how much of each patch (B, 1, H', W') the pixels' weight (B, 1, H, W) covers."""
    height, width = logits.shape[-2:]
    return F.adaptive_avg_pool2d(weight, (height, width))


GAN_LOSSES: Mapping[str, Callable[[Tensor, bool, Tensor], Tensor]] = MappingProxyType(
    {"bce": bce, "least_squares": least_squares}
)
"""Adversarial losses: ``loss(logits, is_real, weight)``."""
