"""CycleGAN: two domains that were never seen side by side, translated both ways."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from geodecloud.errors import OptionError
from geodecloud.learn.data import ChipData
from geodecloud.learn.directions import new_direction, refuse_uneven
from geodecloud.learn.losses import GAN_LOSSES, l1, patch_weight, verdict
from geodecloud.learn.model import Model
from geodecloud.learn.networks import Generator, build_network, judge_named
from geodecloud.learn.pix2pix import GAN_BETAS, JUDGE_BOUNDS
from geodecloud.learn.plan import Batch, Carried, Losses, Optimiser, Phase

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POOL_SIZE = 50
"""Earlier answers that a discriminator is shown again, so that it does not forget them."""

SIDES = {"AtoB": ("source", "target"), "BtoA": ("target", "source")}


class CycleGAN(Model):
    """Two generators, one for each way between domains A and B, and a discriminator of each.

    There and back again a chip must be what it was, and one that already is of the domain must
    stay as it is. Domain A is the source side of the data, B its target side.

    Args:
        data: what it trains on, of type CycleGAN or Colorize; None with ``pretrained_path``.
        pretrained_path: a package to start from.
        gen_blocks: residual blocks of each generator.
        lsgan: least squares for the adversarial loss; False for the cross entropy.
        generator: a name in ``GENERATORS``, or a class; its own arguments may follow.
        discriminator: a name in ``DISCRIMINATORS``.
        cycle_weight: of the way there and back, for each domain.
        identity_weight: of what is of the domain already, as a part of ``cycle_weight``; left out
            where the domains differ in their bands.
        seed: of the initial weights.

    Source: Zhu et al. 2017, https://arxiv.org/abs/1703.10593
    """

    dataset_types = ("CycleGAN", "Colorize")
    averaged = ("AtoB", "BtoA")
    default_schedule = "linear_decay"
    default_lr = 2e-4

    def __init__(
        self,
        data: ChipData | None = None,
        pretrained_path: str | Path | None = None,
        gen_blocks: int = 9,
        lsgan: bool = True,
        *,
        generator: str | type[nn.Module] = "resnet",
        discriminator: str = "patchgan",
        cycle_weight: float = 10.0,
        identity_weight: float = 0.5,
        seed: int = 0,
        **generator_arguments: Any,
    ) -> None:
        """Build the networks."""
        super().__init__(data)
        if isinstance(generator, nn.Module) or isinstance(discriminator, nn.Module):
            raise OptionError(
                "one network for two directions",
                "a CycleGAN makes two of each",
                "give the class, or a name",
            )
        self._gan_loss, self._discriminator = "lsgan" if lsgan else "bce", discriminator
        self._cycle_weight, self._identity_weight = cycle_weight, identity_weight
        if generator == "resnet":
            generator_arguments = {"n_blocks": gen_blocks, **generator_arguments}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if pretrained_path is not None:
                self.networks = self._start_from(pretrained_path)
            else:
                self.networks = self._new(generator, generator_arguments)
            self._judges()
        self._leave_out_identity()

    def _new(self, generator: Generator, arguments: dict[str, Any]) -> dict[str, nn.Module]:
        self.directions = {
            name: new_direction(self.data, generator, arguments, sides=sides)
            for name, sides in SIDES.items()
        }
        networks = {}
        for name, way in self.directions.items():
            spec = way["network"]
            networks[name] = build_network(
                spec["adapter"], generator, spec["arguments"], spec["limits"]
            )
            refuse_uneven(self.data, networks[name])
        return networks

    def _judges(self) -> None:
        phases = [Phase("generators", ("AtoB", "BtoA"), Optimiser(betas=GAN_BETAS))]
        if self._data is not None:
            for domain, way in (("a", "BtoA"), ("b", "AtoB")):
                n_bands = len(self.directions[way]["bands_out"])
                name = f"judge_{domain}"
                self.networks[name] = judge_named(self._discriminator, n_bands)
                phases.append(Phase(name, (name,), Optimiser(betas=GAN_BETAS)))
            self.bounds = {"D_A_loss": JUDGE_BOUNDS, "D_B_loss": JUDGE_BOUNDS}
        self.phases = tuple(phases)

    def _leave_out_identity(self) -> None:
        way = self.directions["AtoB"]
        if self._identity_weight and way["bands_in"] != way["bands_out"]:
            self._identity_weight = 0.0
            if self._data is not None:
                warnings.warn(
                    f"no identity loss: domain A has bands {', '.join(way['bands_in'])}, "
                    f"domain B {', '.join(way['bands_out'])}",
                    stacklevel=3,
                )

    @property
    def G_A(self) -> nn.Module:
        """The generator from B to A."""
        return self.networks["BtoA"]

    @property
    def G_B(self) -> nn.Module:
        """The generator from A to B."""
        return self.networks["AtoB"]

    def arguments(self) -> dict[str, Any]:
        """Return what a resumed run must share of the model, in JSON's types."""
        spec = self.directions["AtoB"]["network"]
        return {
            "generator": spec["generator"],
            "generator_arguments": dict(spec["arguments"]),
            "discriminator": self._discriminator,
            "gan_loss": self._gan_loss,
            "cycle_weight": self._cycle_weight,
            "identity_weight": self._identity_weight,
        }

    def losses(self, phase: Phase, batch: Batch, carried: Carried) -> tuple[Losses, Carried]:
        """Return the losses of a phase: both generators', then each discriminator's."""
        if phase.name == "generators":
            return self._drawn(batch)
        domain = phase.name.removeprefix("judge_")
        judge, real = self.networks[phase.name], carried[f"real_{domain}"]
        fake = self._pooled(domain, carried[f"fake_{domain}"])
        weights = carried[f"weight_{domain}"], torch.ones_like(fake[:, :1])
        loss = verdict(GAN_LOSSES[self._gan_loss], judge(real), judge(fake), weights)
        return {f"D_{domain.upper()}_loss": loss}, {}

    def _drawn(self, batch: Batch) -> tuple[Losses, Carried]:
        """The generators' losses, and what the discriminators get to see of each domain."""
        a, b = batch["pixels"], batch["target"]
        weight_a = batch["weight"]
        weight_b = batch.get("weight_b", weight_a)
        there: Any = self.networks["AtoB"]
        back: Any = self.networks["BtoA"]
        fake_a, fake_b = back(b), there(a)
        encode_a, encode_b = back.encoder, there.encoder
        real_a, real_b = encode_a(a), encode_b(b)
        shown = {
            "real_a": real_a, "fake_a": encode_a(fake_a), "weight_a": weight_a,
            "real_b": real_b, "fake_b": encode_b(fake_b), "weight_b": weight_b,
        }  # fmt: skip
        fooled = self._fooled("a", shown["fake_a"], weight_b)
        fooled = fooled + self._fooled("b", shown["fake_b"], weight_a)
        cycle = l1(encode_a(back(fake_b)), real_a, weight_a)
        cycle = cycle + l1(encode_b(there(fake_a)), real_b, weight_b)
        losses = {"gen_loss": fooled, "cyc_loss": self._cycle_weight * cycle}
        if self._identity_weight:
            same = l1(encode_a(back(a)), real_a, weight_a)
            same = same + l1(encode_b(there(b)), real_b, weight_b)
            losses = {"id_loss": self._identity_weight * self._cycle_weight * same, **losses}
        return losses, {name: tensor.detach() for name, tensor in shown.items()}

    def _fooled(self, domain: str, fake: Tensor, weight: Tensor) -> Tensor:
        logits = self.networks[f"judge_{domain}"](fake)
        return GAN_LOSSES[self._gan_loss](logits, True, patch_weight(weight, logits))

    def _pooled(self, domain: str, fakes: Tensor) -> Tensor:
        """Answers of now or of earlier, one for each; half of those of now are kept for later.

        Source: Shrivastava et al. 2017, https://arxiv.org/abs/1612.07828
        """
        pool = self.memory.get(f"pool_{domain}", fakes[:0]).to(fakes.device)
        pool, rest = (
            torch.cat([pool, fakes[: POOL_SIZE - len(pool)]]),
            fakes[POOL_SIZE - len(pool) :],
        )
        shown = [fakes[: len(fakes) - len(rest)]]
        for fake in rest:
            place = int(torch.randint(0, 2 * POOL_SIZE, ()))
            if place < POOL_SIZE:
                shown.append(pool[place][None].clone())
                pool[place] = fake
            else:
                shown.append(fake[None])
        self.memory[f"pool_{domain}"] = pool
        return torch.cat(shown)

    def answer(self, batch: Batch, direction: str | None = None) -> Tensor:
        """Return what the model makes of a batch's domain A, or with "BtoA" of its domain B."""
        if direction == "BtoA":
            batch = {**batch, "pixels": batch["target"]}
        return super().answer(batch, direction)

    def compute_metrics(self, accuracy: bool = True, show_progress: bool = True) -> dict[str, Any]:
        """Return figures on the validation part: how far there and back again leads astray.

        ``{"cycle": {"mae_a": ..., "mae_b": ...}}``, in the unit of each domain. Where the two
        sides are of one place (Colorize), also the figures of "AtoB" by region.
        """
        paired = {}
        if self.data.dataset_type != "CycleGAN":
            paired = super().compute_metrics(accuracy, show_progress)
        mae_a, mae_b = self._cycle_errors(encoded=False)
        self.metrics = {**paired, "cycle": {"mae_a": mae_a, "mae_b": mae_b}}
        return self.metrics

    def show_results(self, rows: int = 5, rgb_bands: Sequence[str] | None = None) -> Figure:
        """Return a figure of validation windows: A, what becomes of it, B, what becomes of it."""
        from geodecloud.learn.plots import show_domains

        batches = list(self.data.valid_batches(self._device, rows))
        answers = {way: [self.answer(batch, way) for batch in batches] for way in SIDES}
        bands = {name: side.bands for name, side in self.data.sides.items()}
        return show_domains(batches, answers, bands, rgb_bands)

    def _validate(self) -> dict[str, float]:
        return {"valid_loss": 1000 * sum(self._cycle_errors(encoded=True)) / 2}

    def _cycle_errors(self, *, encoded: bool) -> tuple[float, float]:
        """Mean absolute errors of A and of B, there and back again, in units or as encoded."""
        errors, counts = [0.0, 0.0], [0.0, 0.0]
        for batch in self.data.valid_batches(self._device, 64):
            fake_a, fake_b = self.answer(batch, "BtoA"), self.answer(batch, "AtoB")
            again_a = self.answer({**batch, "target": fake_b}, "BtoA")
            again_b = self.answer({**batch, "pixels": fake_a}, "AtoB")
            weight = batch["weight"]
            pairs = (
                (again_a, batch["pixels"], weight),
                (again_b, batch["target"], batch.get("weight_b", weight)),
            )
            for i, ((again, before, weight), way) in enumerate(
                zip(pairs, ("BtoA", "AtoB"), strict=True)
            ):
                network: Any = self.networks[way]
                error = (again - before) / (network.encoder.span if encoded else 1)
                errors[i] += float((error.abs() * weight).sum())
                counts[i] += float(weight.sum()) * error.shape[1]
        return errors[0] / max(counts[0], 1.0), errors[1] / max(counts[1], 1.0)
