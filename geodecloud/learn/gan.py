"""GAN: chips drawn of random numbers, like those it was shown."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from geodecloud.errors import OptionError
from geodecloud.learn.batches import generator_of
from geodecloud.learn.data import ChipData
from geodecloud.learn.losses import GAN_LOSSES, patch_weight, verdict
from geodecloud.learn.model import Model
from geodecloud.learn.networks import LATENT_GENERATORS, build_network, judge_named
from geodecloud.learn.pix2pix import GAN_BETAS, JUDGE_BOUNDS
from geodecloud.learn.plan import Batch, Carried, Losses, Optimiser, Phase

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_COMPARED = 64  # chips of each kind in a validation
N_PROJECTIONS = 64
PATCH_PX = 7  # Karras et al. 2018


class GAN(Model):
    """A generator that draws chips of random numbers, and a discriminator of real and drawn ones.

    It translates nothing: ``generate`` is what it does. Each epoch leaves a grid of samples beside
    the saved states, always of the same random numbers.

    Args:
        data: what it trains on, of type GAN; None with ``pretrained_path``.
        architecture: "dcgan", convolutions alone, chips of 8, 16, 32, 64, ... px; or "mlp", four
            linear layers on each side.
        latent_size: random numbers of each chip.
        pretrained_path: a package to start from.
        judge_steps: steps of the discriminator for one of the generator.
        gan_loss: a name in ``GAN_LOSSES``.
        width: of the generator's narrowest layer.
        judge_width: of the discriminator's; None takes ``width``.
        seed: of the initial weights.

    Source: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661; Radford et al. 2016,
    https://arxiv.org/abs/1511.06434
    """

    dataset_types = ("GAN",)
    averaged = ("forward",)
    default_schedule = "constant"
    default_lr = 2e-4

    def __init__(
        self,
        data: ChipData | None = None,
        architecture: str = "dcgan",
        latent_size: int = 128,
        pretrained_path: str | Path | None = None,
        *,
        judge_steps: int = 1,
        gan_loss: str = "bce",
        width: int | None = None,
        judge_width: int | None = None,
        seed: int = 0,
    ) -> None:
        """Build the networks."""
        super().__init__(data)
        for name, value, known in (
            ("architecture", architecture, LATENT_GENERATORS),
            ("gan_loss", gan_loss, GAN_LOSSES),
        ):
            if value not in known:
                raise OptionError(
                    f"{name} {value!r}", f"known are {', '.join(known)}", "choose one"
                )
        self._gan_loss, self._judge_steps = gan_loss, judge_steps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if pretrained_path is not None:
                self.networks = self._start_from(pretrained_path)
            else:
                arguments = {} if width is None else {"width": width}
                self.networks = self._new(architecture, {"latent_size": latent_size, **arguments})
            self._judge(judge_width or width)

    def _new(self, architecture: str, arguments: dict[str, Any]) -> dict[str, nn.Module]:
        side, limits = self.data.sides["target"], self.data.normalization["target"]
        arguments = {**arguments, "chip_size": self.data.chip_size}
        spec = {"adapter": "generation", "generator": architecture, "arguments": arguments}
        self.directions = {
            "forward": {
                "task": "generation",
                "network": {**spec, "limits": {"low": limits.low, "high": limits.high}},
                "inputs": ("latent",),
                "sensor_in": "random",
                "bands_in": ("latent",),
                "sensor_out": side.sensor or "unknown",
                "bands_out": side.bands,
                # of a chip each pixel hangs on all of the random numbers, and on nothing else
                "stride_px": 1,
                "halo_px": 0,
            }
        }
        return {"forward": build_network(**self._spec)}

    def _judge(self, width: int | None) -> None:
        phases = [Phase("generator", ("forward",), Optimiser(betas=GAN_BETAS))]
        if self._data is not None:
            spec, n_bands = self._spec, len(self.directions["forward"]["bands_out"])
            arguments = {} if width is None else {"width": width}
            self.networks["judge"] = judge_named(
                spec["generator"], n_bands, chip_size=spec["arguments"]["chip_size"], **arguments
            )
            optimiser = Optimiser(betas=GAN_BETAS)
            phases.append(Phase("discriminator", ("judge",), optimiser, self._judge_steps))
            self.bounds = {"D_loss": JUDGE_BOUNDS}
        self.phases = tuple(phases)

    @property
    def _spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.directions["forward"]["network"]
        return spec

    def arguments(self) -> dict[str, Any]:
        """Return what a resumed run must share of the model, in JSON's types."""
        return {
            "architecture": self._spec["generator"],
            "generator_arguments": dict(self._spec["arguments"]),
            "judge_steps": self._judge_steps,
            "gan_loss": self._gan_loss,
        }

    def losses(self, phase: Phase, batch: Batch, carried: Carried) -> tuple[Losses, Carried]:
        """Return the losses of a phase: the generator's, then the discriminator's."""
        network: Any = self.networks["forward"]
        judge, loss = self.networks["judge"], GAN_LOSSES[self._gan_loss]
        real, weight = network.encoder(batch["target"]), batch["weight"]
        if phase.name == "generator":
            fake = network.encoder(network(self._latent(len(real) * self._judge_steps)))
            logits = judge(fake)
            weight = torch.ones_like(fake[:, :1])
            gen_loss = loss(logits, True, patch_weight(weight, logits))
            return {"gen_loss": gen_loss}, {"fake": fake.detach()}
        # other answers for each repeat
        lots = torch.randperm(len(carried["fake"]))[: len(real)].to(real.device)
        fake = carried["fake"][lots]
        weights = weight, torch.ones_like(fake[:, :1])
        return {"D_loss": verdict(loss, judge(real), judge(fake), weights)}, {}

    def generate(self, n_chips: int = 1, seed: int = 0) -> npt.NDArray[np.float32]:
        """Return chips (N, C, S, S) in the unit of the data, the same for the same seed."""
        chips: npt.NDArray[np.float32] = self._drawn(n_chips, seed).cpu().numpy()
        return chips

    def _drawn(self, n_chips: int, seed: int) -> Tensor:
        return self.answer({"latent": self._latent(n_chips, generator_of(seed, 0))})

    def _latent(self, n_chips: int, random: torch.Generator | None = None) -> Tensor:
        latent_size = self._spec["arguments"]["latent_size"]
        return torch.randn(n_chips, latent_size, generator=random).to(self._device)

    def answer(self, batch: Batch, direction: str | None = None) -> Tensor:
        """Return chips of a batch's random numbers; without some, as many as it has targets."""
        if "latent" not in batch:
            batch = {"latent": self._latent(len(batch["target"]))}
        return super().answer(batch, direction)

    def on_epoch(self, out: Path | None, epoch: int) -> None:
        """Save a grid of samples beside the states, where figures can be drawn."""
        if out is not None and find_spec("matplotlib") is not None:
            from geodecloud.learn.plots import save_png

            out.mkdir(parents=True, exist_ok=True)
            save_png(self.show_results(), out / f"samples-{epoch:04}.png")

    @property
    def supported_backbones(self) -> list[str]:
        """None: there is no picture that it would encode."""
        return []

    def show_results(self, rows: int = 4, rgb_bands: Any = None) -> Figure:
        """Return a figure of chips that were drawn, eight in a row."""
        from geodecloud.learn.plots import show_chips

        return show_chips(
            self._drawn(8 * rows, 0), self.directions["forward"]["bands_out"], rgb_bands
        )

    def compute_metrics(self, accuracy: bool = True, show_progress: bool = True) -> dict[str, Any]:
        """Return how far drawn chips are from those of the validation part.

        ``{"sliced_wasserstein": ...}`` of patches of 7 px, in the encoded range of -1 to 1.
        """
        del accuracy, show_progress  # of the face that this mirrors
        self.metrics = {"sliced_wasserstein": self._distance()}
        return self.metrics

    def _validate(self) -> dict[str, float]:
        return {"valid_loss": 1000 * self._distance()}

    def _distance(self) -> float:
        network: Any = self.networks["forward"]
        size_px = self._spec["arguments"]["chip_size"]
        windows = self.data.valid_batches(self._device, N_COMPARED)
        real = torch.cat([chips_of(batch["target"], size_px) for batch in windows])[:N_COMPARED]
        fake = self._drawn(len(real), 1)
        return sliced_wasserstein(network.encoder(real), network.encoder(fake))

    def translator(self, direction: str | None = None, device: str = "auto") -> NoReturn:
        """Raise: there is nothing that it translates.

        Raises:
            OptionError: always.
        """
        raise OptionError(
            "a GAN that is to translate a scene",
            "it draws chips of random numbers and looks at no scene",
            "use generate, or train a Pix2Pix or CycleGAN",
        )


def chips_of(windows: Tensor, size_px: int) -> Tensor:
    """Return windows (B, C, H, W) as chips (N, C, S, S), side by side, the rest left out."""
    chips = windows.unfold(2, size_px, size_px).unfold(3, size_px, size_px)
    return chips.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def sliced_wasserstein(one: Tensor, other: Tensor) -> float:
    """Return how far two sets of as many chips (B, C, S, S) lie apart, by their patches.

    Patches are projected on random lines; on a line the distance of two sets is that of their
    sorted values. 0 where they are alike.

    Source: Rabin et al. 2011; Karras et al. 2018, https://arxiv.org/abs/1710.10196
    """
    kernel = torch.randn(
        N_PROJECTIONS, one.shape[1], PATCH_PX, PATCH_PX, generator=generator_of(0, 0)
    ).to(one)
    kernel = kernel / kernel.flatten(1).norm(dim=1)[:, None, None, None]
    lines = [
        nn.functional.conv2d(chips, kernel, stride=PATCH_PX // 2).transpose(0, 1).flatten(1)
        for chips in (one, other)
    ]
    ordered = [line.sort(1).values for line in lines]
    return float((ordered[0] - ordered[1]).abs().mean())
