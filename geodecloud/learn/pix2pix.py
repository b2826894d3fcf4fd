"""Pix2Pix: a generator that answers and a discriminator that tells its answers from the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geodecloud.errors import OptionError
from geodecloud.learn.data import ChipData
from geodecloud.learn.losses import GAN_LOSSES, l1, patch_weight
from geodecloud.learn.model import Model
from geodecloud.learn.networks import DISCRIMINATORS, build_network
from geodecloud.learn.plan import Batch, Carried, Losses, Optimiser, Phase

GAN_BETAS = (0.5, 0.999)  # Radford et al. 2015: with the usual 0.9 a GAN swings


class Pix2Pix(Model):
    """A generator that answers, and a discriminator that tells its answers from the truth.

    On data of type CloudRemoval it corrects the fill under the mask, and learns there alone; on
    pairs it draws the target from the source.

    Args:
        data: what it trains on; None with ``pretrained_path``.
        pretrained_path: a package to start from.
        generator: a name in ``GENERATORS``; further keyword arguments are its own.
        discriminator: a name in ``DISCRIMINATORS``.
        gan_loss: a name in ``GAN_LOSSES``.
        l1_weight, gan_weight: of the distance to the target, and of fooling the discriminator;
            without the latter there is none, and the model is trained on the distance alone.
        seed: of the initial weights.

    Source: Isola et al. 2017, https://arxiv.org/abs/1611.07004
    """

    dataset_types = ("CloudRemoval", "Pix2Pix")
    averaged = ("forward",)

    def __init__(
        self,
        data: ChipData | None = None,
        pretrained_path: str | Path | None = None,
        *,
        generator: str = "unet",
        discriminator: str = "patchgan",
        gan_loss: str = "bce",
        l1_weight: float = 100.0,
        gan_weight: float = 1.0,
        seed: int = 0,
        **generator_arguments: Any,
    ) -> None:
        """Build the networks."""
        super().__init__(data)
        if gan_loss not in GAN_LOSSES or discriminator not in DISCRIMINATORS:
            raise OptionError(
                f"gan_loss {gan_loss!r} with discriminator {discriminator!r}",
                f"known are {', '.join(GAN_LOSSES)} and {', '.join(DISCRIMINATORS)}",
                "choose of these",
            )
        self._gan_loss, self._discriminator = gan_loss, discriminator
        self._l1_weight, self._gan_weight = l1_weight, gan_weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build(data, pretrained_path, generator, generator_arguments)

    def _build(
        self,
        data: ChipData | None,
        pretrained_path: str | Path | None,
        generator: str,
        arguments: Mapping[str, Any],
    ) -> None:
        if pretrained_path is not None:
            network: Any = self._start_from(pretrained_path)
        else:
            way = _direction_of(self.data, generator, arguments)
            spec = way["network"]
            self.directions = {"forward": way}
            network = build_network(
                spec["adapter"], spec["generator"], spec["arguments"], spec["limits"]
            )
        self.networks = {"forward": network}
        phases = [Phase("generator", ("forward",), Optimiser(betas=GAN_BETAS))]
        if self._gan_weight and data is not None:
            n_channels = network.n_condition_channels + len(self.directions["forward"]["bands_out"])
            self.networks["judge"] = DISCRIMINATORS[self._discriminator](n_channels)
            phases.append(Phase("discriminator", ("judge",), Optimiser(betas=GAN_BETAS)))
            # a judge that is never wrong, or always, teaches nothing
            self.bounds = {"D_loss": (1e-3, 20.0)}
        self.phases = tuple(phases)

    def _start_from(self, path: str | Path) -> nn.Module:
        from geodecloud.learn.checkpoint import load_networks
        from geodecloud.run.package import open_package

        package = open_package(path)
        self._check_system(package)
        way = package.direction()
        fields = way.model_dump(exclude={"name", "graph", "stride_px", "halo_px"})
        self.directions = {"forward": {**fields, "task": package.card.task}}
        self.metrics, self.training = dict(package.card.metrics), dict(package.card.training)
        return load_networks(package)[way.name]

    def arguments(self) -> dict[str, Any]:
        """Return what a resumed run must share of the model, in JSON's types."""
        spec = self.directions["forward"]["network"]
        return {
            "generator": spec["generator"],
            "generator_arguments": dict(spec["arguments"]),
            "discriminator": self._discriminator,
            "gan_loss": self._gan_loss,
            "l1_weight": self._l1_weight,
            "gan_weight": self._gan_weight,
        }

    def losses(self, phase: Phase, batch: Batch, carried: Carried) -> tuple[Losses, Carried]:
        """Return the losses of a phase: the generator's, then the discriminator's on its answers.

        Answers are pasted under the mask before they are judged, and patches count by how much
        of them was answered.
        """
        if phase.name == "discriminator":
            return self._judged(carried), {}
        network: Any = self.networks["forward"]
        inputs = [batch[name] for name in self.directions["forward"]["inputs"]]
        answer = network.encoder(network(*inputs))
        target = network.encoder(batch["target"])
        losses = {"l1_loss": self._l1_weight * l1(answer, target, batch["weight"])}
        if "judge" not in self.networks:
            return losses, {}
        condition = network.condition(*inputs)
        mask = batch.get("mask", torch.ones_like(batch["weight"]))
        around = network.encoder(batch["pixels"]) if "mask" in batch else target
        fake = torch.where(mask > 0, answer, around)
        real = torch.where(mask > 0, target, around)
        weight = batch["weight"]
        if "synthetic" in batch:
            # real pairs show two dates: their seam would give the truth away
            weight = weight * batch["synthetic"][:, None, None, None]
        logits = self.networks["judge"](torch.cat([condition, fake], 1))
        verdict = GAN_LOSSES[self._gan_loss](logits, True, patch_weight(weight, logits))
        losses["gen_loss"] = self._gan_weight * verdict
        shown = {"condition": condition, "fake": fake, "real": real, "judged": weight}
        return losses, {name: tensor.detach() for name, tensor in shown.items()}

    def _judged(self, carried: Carried) -> Losses:
        loss = torch.zeros((), device=carried["fake"].device)
        for name, is_real in (("real", True), ("fake", False)):
            logits = self.networks["judge"](torch.cat([carried["condition"], carried[name]], 1))
            weight = patch_weight(carried["judged"], logits)
            loss = loss + GAN_LOSSES[self._gan_loss](logits, is_real, weight) / 2
        return {"D_loss": loss}


def _direction_of(data: ChipData, generator: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The direction of a new model on this data."""
    target = data.packed.sides["target"]
    limits = data.normalization["target"]
    is_cloud = data.dataset_type == "CloudRemoval"
    source = target if is_cloud else data.packed.sides["source"]
    spec: dict[str, Any] = {"low": limits.low, "high": limits.high}
    if not is_cloud:
        seen = data.normalization["source"]
        spec = {
            "low": seen.low, "high": seen.high, "low_out": limits.low, "high_out": limits.high
        }  # fmt: skip
    return {
        "task": "cloud-removal" if is_cloud else "translation",
        "network": {
            "adapter": "fill-correction" if is_cloud else "translation",
            "generator": generator,
            "arguments": dict(arguments),
            "limits": spec,
        },
        "inputs": ("pixels", "mask", "fill", "level") if is_cloud else ("pixels",),
        "sensor_in": source.sensor,
        "bands_in": source.bands,
        "sensor_out": target.sensor,
        "bands_out": target.bands,
    }
