"""Tones: reflectance as pictures of 8 bits show it, each with a tone curve of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from geodecloud.geo.sensors import DISPLAY_REFLECTANCE

STEPS = 255
AS_ESA = 0.4
"""The part of pictures that are stretched as ESA's true-colour images are."""

WHITE, BLACK, GAMMA = (0.18, 0.6), (0.0, 0.03), (0.45, 1.0)
"""What other pictures show as 255 and as 0, in reflectance, and how they bend between."""


@dataclass(frozen=True, slots=True)
class Tones:
    """How windows are shown: some as they were measured, some as pictures.

    A picture holds ``255 ((value - black) / (white - black)) ** gamma`` in whole numbers; what is
    brighter than white is cut off. Fields are (B, 1, 1, 1).
    """

    white: Tensor
    black: Tensor
    gamma: Tensor
    is_picture: Tensor

    @classmethod
    def esa(cls, n_windows: int) -> Self:
        """Return what shows all windows as ESA's true-colour images: linear, 255 at 0.3558."""
        one = torch.ones(n_windows, 1, 1, 1)
        return cls(DISPLAY_REFLECTANCE * one, 0 * one, one, one > 0)

    @classmethod
    def drawn(cls, n_windows: int, share: float, random: torch.Generator) -> Self:
        """Return what shows about this share of the windows as pictures of all kinds."""
        lots = torch.rand(5, n_windows, 1, 1, 1, generator=random)
        esa = cls.esa(n_windows)
        is_free = lots[0] >= AS_ESA
        white = torch.exp(_between((math.log(WHITE[0]), math.log(WHITE[1])), lots[1]))
        return cls(
            white=torch.where(is_free, white, esa.white),
            black=torch.where(is_free, _between(BLACK, lots[2]), esa.black),
            gamma=torch.where(is_free, _between(GAMMA, lots[3]), esa.gamma),
            is_picture=lots[4] < share,
        )

    def shown(self, reflectance: Tensor) -> Tensor:
        """Return windows (B, C, H, W), pictures in the reflectance that ESA's would stand for."""
        white, black, gamma, is_picture = (
            field.to(reflectance.device)
            for field in (self.white, self.black, self.gamma, self.is_picture)
        )
        tone = ((reflectance - black) / (white - black)).clamp(0, 1) ** gamma
        picture = (STEPS * tone).round() * (DISPLAY_REFLECTANCE / STEPS)
        return torch.where(is_picture, picture, reflectance)

    def known(self, level: Tensor) -> Tensor:
        """Return product levels (B,): those of pictures are not known."""
        return level * ~self.is_picture.flatten()


def _between(ends: tuple[float, float], lots: Tensor) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * lots
