"""Pix2Pix: a generator that answers and a discriminator that tells its answers from the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from geodecloud.errors import OptionError
from geodecloud.learn.adapters import Colouring
from geodecloud.learn.backbones import BackboneUNet
from geodecloud.learn.data import ChipData
from geodecloud.learn.directions import name_of, new_direction, refuse_uneven
from geodecloud.learn.discriminators import features_of
from geodecloud.learn.losses import GAN_LOSSES, l1, patch_weight, perceptual, verdict
from geodecloud.learn.model import Model
from geodecloud.learn.narrowing import narrowed
from geodecloud.learn.networks import Generator, build_network, judge_named
from geodecloud.learn.plan import Batch, Carried, Losses, Optimiser, Phase

GAN_BETAS = (0.5, 0.999)  # Radford et al. 2015: with the usual 0.9 a GAN swings
JUDGE_BOUNDS = (1e-3, 20.0)  # a judge that is never wrong, or always, teaches nothing
PERCEPTUAL_WEIGHT = 10.0  # Wang et al. 2018


class Pix2Pix(Model):
    """A generator that answers, and a discriminator that tells its answers from the truth.

    On data of type CloudRemoval it corrects the fill under the mask, and learns there alone; on
    pairs it draws the target from the source, on Colorize the colours from their grey.

    Args:
        data: what it trains on; None with ``pretrained_path``.
        pretrained_path: a package to start from; a correction of the fill may have more bands
            than the data.
        backbone: an encoder of segmentation_models_pytorch ("resnet34"), in the place of the
            generator.
        perceptual_loss: also let the answers look to the discriminator's stages as the truth does.
        generator: a name in ``GENERATORS``, whose own arguments may follow; or a network, or its
            class.
        discriminator: a name in ``DISCRIMINATORS``, or a network.
        gan_loss: a name in ``GAN_LOSSES``.
        l1_weight, gan_weight: of the distance to the target, and of fooling the discriminator;
            without the latter there is none, and the model is trained on the distance alone.
        judge_lr_ratio: learning rate of the discriminator, as a part of the generator's.
        from_fill: on CloudRemoval, correct the fill; False draws the target of the pixels alone.
        pretrained: give the backbone its ImageNet weights, which must be on this machine, and hold
            them until ``unfreeze``.
        seed: of the initial weights.

    Source: Isola et al. 2017, https://arxiv.org/abs/1611.07004
    """

    dataset_types: ClassVar[tuple[str, ...]] = ("CloudRemoval", "Pix2Pix", "Colorize")
    averaged = ("forward",)
    judges_real_pairs: ClassVar[bool] = False  # they show two dates: the seam gives the truth away

    def __init__(
        self,
        data: ChipData | None = None,
        pretrained_path: str | Path | None = None,
        backbone: str | None = None,
        perceptual_loss: bool = False,
        *,
        generator: Generator = "unet",
        discriminator: str | nn.Module = "patchgan",
        gan_loss: str = "bce",
        l1_weight: float = 100.0,
        gan_weight: float = 1.0,
        judge_lr_ratio: float = 1.0,
        from_fill: bool = True,
        pretrained: bool = False,
        seed: int = 0,
        **generator_arguments: Any,
    ) -> None:
        """Build the networks."""
        super().__init__(data)
        if gan_loss not in GAN_LOSSES:
            raise OptionError(
                f"gan_loss {gan_loss!r}", f"known are {', '.join(GAN_LOSSES)}", "choose of these"
            )
        if backbone is not None:
            generator, generator_arguments = (
                "backbone",
                {**generator_arguments, "backbone": backbone},
            )
        self._gan_loss, self._discriminator = gan_loss, name_of(discriminator)
        self._l1_weight, self._gan_weight = l1_weight, gan_weight
        self._perceptual_weight = PERCEPTUAL_WEIGHT if perceptual_loss and gan_weight else 0.0
        self._judge_lr_ratio, self._from_fill = judge_lr_ratio, from_fill
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if pretrained_path is not None:
                self.networks = self._start_from(pretrained_path)
                self._take_bands()
            else:
                self.networks = {"forward": self._new(generator, generator_arguments, pretrained)}
            self._judge(discriminator)

    def _new(
        self, generator: Generator, arguments: Mapping[str, Any], pretrained: bool
    ) -> nn.Module:
        way = self._new_direction(generator, arguments)
        self.directions = {"forward": way}
        spec = way["network"]
        if isinstance(generator, str):
            generator = spec["generator"]
        network = build_network(spec["adapter"], generator, spec["arguments"], spec["limits"])
        refuse_uneven(self.data, network)
        if pretrained:
            if not isinstance(network.generator, BackboneUNet):
                raise OptionError(
                    f"pretrained weights for generator {spec['generator']}",
                    "backbones have some",
                    "pass backbone=, or pretrained=False",
                )
            network.generator.take_pretrained()
        return network

    def _take_bands(self) -> None:
        """Go on with the bands of the data, where a package has others."""
        way = self.directions["forward"]
        if self._data is None or tuple(way["bands_in"]) == self.data.sides["source"].bands:
            return
        bands = self.data.sides["source"].bands
        network, way = narrowed(self.networks["forward"], way, bands)
        self.networks, self.directions = {"forward": network}, {"forward": way}

    def _new_direction(self, generator: Generator, arguments: Mapping[str, Any]) -> dict[str, Any]:
        is_cloud = self.data.dataset_type == "CloudRemoval" and self._from_fill
        way = new_direction(self.data, generator, arguments, is_correction=is_cloud)
        if self.data.dataset_type == "Colorize":
            way["network"]["adapter"] = "colouring"
        return way

    def _judge(self, discriminator: str | nn.Module) -> None:
        phases = [Phase("generator", ("forward",), Optimiser(betas=GAN_BETAS))]
        if self._gan_weight and self._data is not None:
            network: Any = self.networks["forward"]
            n_channels = network.n_condition_channels + len(self.directions["forward"]["bands_out"])
            self.networks["judge"] = judge_named(discriminator, n_channels)
            optimiser = Optimiser(self._judge_lr_ratio, GAN_BETAS)
            phases.append(Phase("discriminator", ("judge",), optimiser))
            self.bounds = {"D_loss": JUDGE_BOUNDS}
        self.phases = tuple(phases)

    def arguments(self) -> dict[str, Any]:
        """Return what a resumed run must share of the model, in JSON's types."""
        spec = self.directions["forward"]["network"]
        further = {
            "perceptual_weight": (self._perceptual_weight, 0.0),
            "judge_lr_ratio": (self._judge_lr_ratio, 1.0),
            "from_fill": (self._from_fill, True),
        }
        return {
            "generator": spec["generator"],
            "generator_arguments": dict(spec["arguments"]),
            "discriminator": self._discriminator,
            "gan_loss": self._gan_loss,
            "l1_weight": self._l1_weight,
            "gan_weight": self._gan_weight,
            # a state that is older than an option fits where the option is left alone
            **{name: value for name, (value, usual) in further.items() if value != usual},
        }

    def naive(self, batch: Batch, *, thorough: bool = False) -> dict[str, Tensor]:
        """Return what the model has to beat; of colours also their grey and a line a band."""
        found, network = super().naive(batch, thorough=thorough), self.networks["forward"]
        return found | (network.naive(batch["pixels"]) if isinstance(network, Colouring) else {})

    def losses(self, phase: Phase, batch: Batch, carried: Carried) -> tuple[Losses, Carried]:
        """Return the losses of a phase: the generator's, then the discriminator's on its answers.

        Answers are pasted under the mask before they are judged, and patches count by how much
        of them was answered.
        """
        if phase.name == "discriminator":
            return {"D_loss": self._judged(carried)}, {}
        network: Any = self.networks["forward"]
        inputs = [batch[name] for name in self.directions["forward"]["inputs"]]
        answer = network.encoder(network(*inputs))
        target = network.encoder(batch["target"])
        if "mask" not in self.directions["forward"]["inputs"]:
            # what sees no mask learns everywhere
            batch = {**batch, "weight": batch.get("valid", batch["weight"])}
        losses = {"l1_loss": self._l1_weight * l1(answer, target, batch["weight"])}
        if "judge" not in self.networks:
            return losses, {}
        shown = self._shown(batch, answer, target)
        shown["condition"] = network.condition(*inputs)
        judge, weight = self.networks["judge"], shown["judged"]
        drawn = torch.cat([shown["condition"], shown["fake"]], 1)
        logits = judge(drawn)
        says_real = GAN_LOSSES[self._gan_loss](logits, True, patch_weight(weight, logits))
        losses["gen_loss"] = self._gan_weight * says_real
        if self._perceptual_weight:
            truth = features_of(judge, torch.cat([shown["condition"], shown["real"]], 1))
            distance = perceptual(features_of(judge, drawn), truth, weight)
            losses["perceptual_loss"] = self._perceptual_weight * distance
        return losses, {name: tensor.detach() for name, tensor in shown.items()}

    def _shown(self, batch: Batch, answer: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What the discriminator gets to see: answers and targets, both as they would be pasted."""
        if "mask" not in self.directions["forward"]["inputs"]:
            return {"fake": answer, "real": target, "judged": batch["weight"]}
        network: Any = self.networks["forward"]
        is_masked, weight = batch["mask"] > 0, batch["weight"]
        if self.judges_real_pairs:
            fake = torch.where(is_masked, answer, target)
            return {"fake": fake, "real": target, "judged": weight}
        around = network.encoder(batch["pixels"])
        return {
            "fake": torch.where(is_masked, answer, around),
            "real": torch.where(is_masked, target, around),
            "judged": weight * batch["synthetic"][:, None, None, None],
        }

    def _judged(self, carried: Carried) -> Tensor:
        real, fake = (
            self.networks["judge"](torch.cat([carried["condition"], carried[name]], 1))
            for name in ("real", "fake")
        )
        return verdict(GAN_LOSSES[self._gan_loss], real, fake, (carried["judged"],) * 2)
