"""WNet_cGAN: two inputs, one answer; radar or another date helps to see through clouds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geodecloud.learn.data import ChipData
from geodecloud.learn.directions import new_direction
from geodecloud.learn.networks import Generator
from geodecloud.learn.packed import GUIDES
from geodecloud.learn.pix2pix import Pix2Pix


class WNet_cGAN(Pix2Pix):
    """A Pix2Pix whose generator has two encoders: one for each of two inputs.

    Where the data shows clouds over the bands that are wanted (source and target alike, with a
    mask), it answers a correction of the fill, as Pix2Pix does on CloudRemoval; else it draws
    the target. The discriminator sees both inputs, and judges real pairs.

    Args:
        data: what it trains on, of type WNet_cGAN; None with ``pretrained_path``.
        pretrained_path: a package to start from.
        generator: a name in ``GENERATORS``, or a network; other than "wnet" it sees both inputs
            in one encoder.
        **options: those of ``Pix2Pix``.

    Source: Bittner, Reinartz and Körner 2019, "Late or Earlier Information Fusion from Depth and
    Spectral Data?", CVPR Workshops
    """

    dataset_types = ("WNet_cGAN",)
    judges_real_pairs = True

    def __init__(
        self,
        data: ChipData | None = None,
        pretrained_path: str | Path | None = None,
        *,
        generator: Generator = "wnet",
        **options: Any,
    ) -> None:
        """Build the networks."""
        super().__init__(data, pretrained_path, generator=generator, **options)

    def _new_direction(self, generator: Generator, arguments: Mapping[str, Any]) -> dict[str, Any]:
        example = next(iter(self.data.valid_batches(torch.device("cpu"), 1)))
        (guide,) = (side for side in GUIDES if side in example)
        return new_direction(
            self.data, generator, arguments, extra=guide, is_correction="fill" in example
        )
