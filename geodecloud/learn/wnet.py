"""WNet_cGAN: two inputs, one answer; radar or another date helps to see through clouds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geodecloud.learn.data import ChipData
from geodecloud.learn.directions import new_direction
from geodecloud.learn.guiding import guided
from geodecloud.learn.networks import Generator
from geodecloud.learn.packed import GUIDES
from geodecloud.learn.pix2pix import Pix2Pix

if TYPE_CHECKING:
    from geodecloud.run.package import Package


class WNet_cGAN(Pix2Pix):
    """A Pix2Pix whose generator has two encoders: one for each of two inputs.

    Where the data shows clouds over the bands that are wanted (source and target alike, with a
    mask), it answers a correction of the fill, as Pix2Pix does on CloudRemoval; else it draws
    the target. The discriminator sees both inputs, and judges real pairs.

    On GuidedCloudRemoval it learns that correction from clear chips under synthetic skies.

    Args:
        data: what it trains on, of type WNet_cGAN or GuidedCloudRemoval; None with
            ``pretrained_path``.
        pretrained_path: a package to start from; with data also a Pix2Pix that corrects the fill,
            whose answer it then begins with.
        generator: a name in ``GENERATORS``, or a network; other than "wnet" it sees both inputs
            in one encoder.
        second_widths: of the encoder that sees the guide; None makes it as wide as the first.
        **options: those of ``Pix2Pix``.

    Source: Bittner, Reinartz and Körner 2019, "Late or Earlier Information Fusion from Depth and
    Spectral Data?", CVPR Workshops
    """

    dataset_types = ("WNet_cGAN", "GuidedCloudRemoval")
    judges_real_pairs = True

    def __init__(
        self,
        data: ChipData | None = None,
        pretrained_path: str | Path | None = None,
        *,
        generator: Generator = "wnet",
        second_widths: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        """Build the networks."""
        self._second: dict[str, Any] = {}
        if second_widths is not None:
            self._second["second_widths"] = list(second_widths)
        super().__init__(data, pretrained_path, generator=generator, **self._second, **options)

    def _new_direction(self, generator: Generator, arguments: Mapping[str, Any]) -> dict[str, Any]:
        example = next(iter(self.data.valid_batches(torch.device("cpu"), 1)))
        (guide,) = (side for side in GUIDES if side in example)
        return new_direction(
            self.data, generator, arguments, extra=guide, is_correction="fill" in example
        )

    def _take_bands(self) -> None:
        """Add the guide of the data, where a package has none."""
        super()._take_bands()
        way = self.directions["forward"]
        if self._data is None or way["extras"]:
            return
        fresh = self._new_direction("wnet", self._second)
        network, way = guided(self.networks["forward"], way, fresh)
        self.networks, self.directions = {"forward": network}, {"forward": way}

    def _check_system(self, package: Package) -> None:
        if self._data is None or package.card.system != Pix2Pix.__name__:
            super()._check_system(package)
