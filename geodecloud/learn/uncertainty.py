"""Uncertainty: trains the network that says how far a cloud-removing model may be off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from geodecloud.errors import DataError, ModelError
from geodecloud.learn.checkpoint import load_network, save_uncertainty
from geodecloud.learn.data import ChipData
from geodecloud.learn.directions import whole_direction
from geodecloud.learn.losses import weighted_mean
from geodecloud.learn.networks import build_network
from geodecloud.learn.plan import Batch, Carried, History, Losses, Phase, Plan
from geodecloud.learn.training import fit
from geodecloud.progress import Listener, silent
from geodecloud.run.package import UNCERTAINTY, ModelCard, Package, open_package

WIDTHS = (8, 16, 32)
"""Of the network: how far off an answer may be hangs on less than the answer."""

SKIES = 4  # over each held-out window
PER_WINDOW = 4000  # values of each band that calibration looks at
N_BINS = 10

Floats = npt.NDArray[np.float64]


class Uncertainty:
    """How far a model's answers are likely to be off, learnt from how far they are.

    The model stands still; a small network beside it sees what it sees and answers one standard
    deviation of its error, by the likelihood of errors under a normal law. Errors on places that
    taught the model are too small: ``calibrate`` makes up for that on those held out.

    Args:
        data: what the model was trained on, the same places held out.
        model: a package, by name or path.
        seed: of the initial weights.

    Raises:
        DataError: the data does not have the model's bands.
        ModelError: the model removes no clouds.

    Source: Nix and Weigend 1994, "Estimating the mean and variance of the target probability
    distribution"
    """

    phases: Sequence[Phase] = (Phase("uncertainty", (UNCERTAINTY,)),)
    averaged: Sequence[str] = (UNCERTAINTY,)
    bounds: Mapping[str, tuple[float, float]] = MappingProxyType({})

    def __init__(self, data: ChipData, model: str | Path | Package, *, seed: int = 0) -> None:
        """Load the model, and build the network beside it."""
        self.data, self.package = data, open_package(model)
        card, way = self.package.card, self.package.direction()
        if card.task != "cloud-removal" or way.network.adapter != "fill-correction":
            raise ModelError(
                f"{card.name} is a {way.network.adapter} ({card.task})",
                "uncertainty is learnt for models that correct the fill under clouds",
                "choose such a model",
            )
        bands = data.sides["target"].bands
        if data.dataset_type != "CloudRemoval" or bands != way.bands_out:
            raise DataError(
                f"{data.dataset_type} data of {', '.join(bands)}",
                f"{card.name} was made from CloudRemoval data of {', '.join(way.bands_out)}",
                "give the data that it was trained on",
            )
        self._inputs = way.inputs
        self._model: Any = load_network(self.package, way).requires_grad_(False)
        limits = way.network.limits
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network("spread", "unet", {"widths": WIDTHS}, limits)
        self.networks: dict[str, nn.Module] = {UNCERTAINTY: network}
        self.memory: dict[str, Tensor] = {}
        self.figures: dict[str, float] = {}
        spec = {
            "adapter": "spread",
            "generator": "unet",
            "arguments": {"widths": WIDTHS},
            "limits": limits,
        }
        self._way = {**way.model_dump(exclude={"name", "graph", "halo_px", "stride_px"})}
        self._way |= {"network": spec}

    def configuration(self) -> dict[str, Any]:
        """Return what a resumed run must share with this one."""
        files = {name: entry.sha256 for name, entry in self.package.card.files.items()}
        return {"system": "Uncertainty", "model": files, "data": self.data.describe()}

    def losses(self, phase: Phase, batch: Batch, carried: Carried) -> tuple[Losses, Carried]:
        """Return the mean negative logarithm of how likely the model's errors are."""
        return {"likelihood_loss": weighted_mean(self._surprise(batch), batch["weight"])}, {}

    def on_epoch(self, out: Path | None, epoch: int) -> None:
        """Do nothing."""

    def fit(self, plan: Plan, *, out: Path | None = None, resume: bool = False,
            listener: Listener = silent) -> History:  # fmt: skip
        """Train and calibrate; see ``training.fit``.

        Raises:
            DataError: fewer than two places are held out, or some of them taught the model.
        """
        packed = self.data.packed
        held_out = {packed.places[place] for place in packed.place[self.data.valid]}
        _check_places(len(held_out))
        self._refuse_taught(held_out)
        history = fit(
            self, self.data.batches, plan, out=out, validate=self._validate, listener=listener,
            resume=resume,
        )  # fmt: skip
        self.figures = self.calibrate()
        return history

    def _refuse_taught(self, places: Set[str]) -> None:
        """Refuse places that taught the model: its errors there are smaller than elsewhere."""
        card = self.package.card
        if known := sorted(places & set(card.training.get("data", {}).get("places", ()))):
            raise DataError(
                f"{card.name} was taught by {', '.join(known[:5])}",
                "how far it may be off shows on places that it has not seen",
                "give the fold that its training held out, or a model that left this one out",
            )

    def calibrate(self) -> dict[str, float]:
        """Set the network's factors by the held-out places, and return figures of calibration.

        Each place is measured with the factors of the others: the share of errors within one and
        two standard deviations (0.683 and 0.954 of a normal law), the root mean square of the
        error over its standard deviation (1), the expected normalised calibration error (0) over
        ten bins, and the root mean square error of the half of the pixels that is surest, over
        that of the other half.

        Source: Levi et al. 2022, "Evaluating and Calibrating Uncertainty Prediction in Regression
        Tasks"

        Raises:
            DataError: fewer than two places are held out.
        """
        network: Any = self.networks[UNCERTAINTY].eval()
        network.factor.fill_(1.0)
        found: dict[str, list[tuple[Floats, Floats]]] = {}
        for place, batch in self._held_out(SKIES):
            found.setdefault(place, []).append(self._sampled(batch))
        places = {name: _joined(parts) for name, parts in found.items() if parts}
        _check_places(len(places))
        measured = []
        for name, (error, spread) in places.items():
            others = [part for other, part in places.items() if other != name]
            measured.append((error, spread * _factors(others)[:, None]))
        factors = _factors(list(places.values()))
        network.factor.copy_(torch.from_numpy(factors)[:, None, None])
        return {"n_places": float(len(places)), **calibration(*_joined(measured))}

    def save(self, folder: Path, *, overwrite: bool = False) -> ModelCard:
        """Write the model's package once more, with its uncertainty."""
        network = self.networks[UNCERTAINTY].cpu()
        fields = whole_direction(dict(self._way), network)
        return save_uncertainty(
            self.package, network, fields, self.figures, folder, overwrite=overwrite
        )

    def _validate(self) -> dict[str, float]:
        total = count = 0.0
        self.networks[UNCERTAINTY].eval()
        with torch.inference_mode():
            for _, batch in self._held_out(1):
                weight = float(batch["weight"].sum())
                total += weight * float(weighted_mean(self._surprise(batch), batch["weight"]))
                count += weight
        return {"valid_loss": total / max(count, 1.0)}

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The model's error in spans of each band, and the logarithm of what is expected."""
        inputs = [batch[name] for name in self._inputs]
        with torch.no_grad():
            answer = self._model.to(batch["target"].device).eval()(*inputs)
        error = (answer - batch["target"]) / self._model.encoder.span
        network: Any = self.networks[UNCERTAINTY]
        return error, network.log_spread(*inputs)

    def _surprise(self, batch: Batch) -> Tensor:
        error, log_spread = self._answers(batch)
        return log_spread + 0.5 * (error * torch.exp(-log_spread)) ** 2

    def _held_out(self, skies: int) -> Iterator[tuple[str, Batch]]:
        """Walk the held-out windows under skies, then the real pairs, with their places."""
        packed, valid = self.data.packed, self.data.valid
        device = next(self.networks[UNCERTAINTY].parameters()).device
        clear = valid[packed.has("target")[valid]]
        names = [packed.places[packed.place[sample]] for sample in clear for _ in range(skies)]
        yield from zip(names, self.data.valid_batches(device, skies=skies), strict=True)
        pairs = valid[packed.has("source")[valid] & packed.has("mask")[valid]]
        names = [packed.places[packed.place[sample]] for sample in pairs]
        yield from zip(names, self.data.valid_pairs(device), strict=True)

    def _sampled(self, batch: Batch) -> tuple[Floats, Floats]:
        """Errors and their standard deviations (C, N) of some pixels that count."""
        with torch.inference_mode():
            error, log_spread = self._answers(batch)
        counts = (batch["weight"] > 0)[:, 0].flatten().nonzero()[:, 0]
        counts = counts[:: max(1, len(counts) // PER_WINDOW)]
        both = (field.movedim(1, 0).flatten(1)[:, counts] for field in (error, log_spread.exp()))
        one, other = (field.double().cpu().numpy() for field in both)
        return one, other


def calibration(error: Floats, spread: Floats) -> dict[str, float]:
    """Return figures of errors (C, N) beside the standard deviations that were expected."""
    off = np.abs(error / spread)
    order = np.argsort(spread, axis=None)
    squares, expected = (error.ravel() ** 2)[order], spread.ravel()[order]
    gaps = []
    for found, said in zip(
        np.array_split(squares, N_BINS), np.array_split(expected**2, N_BINS), strict=True
    ):
        gaps.append(abs(np.sqrt(found.mean()) - np.sqrt(said.mean())) / np.sqrt(said.mean()))
    half = len(squares) // 2
    return {
        "within_1_sigma": round(float((off <= 1).mean()), 4),
        "within_2_sigma": round(float((off <= 2).mean()), 4),
        "rms_of_error_over_sigma": round(float(np.sqrt((off**2).mean())), 4),
        "calibration_error": round(float(np.mean(gaps)), 4),
        "surest_half": round(float(np.sqrt(squares[:half].mean() / squares[half:].mean())), 4),
    }


def _check_places(n_places: int) -> None:
    if n_places < 2:
        raise DataError(
            f"{n_places} held-out places with clouds",
            "each place is calibrated by others",
            "hold out a fold of two places or more",
        )


def _factors(parts: Sequence[tuple[Floats, Floats]]) -> Floats:
    """What standard deviations are multiplied by (C,), so that errors are as large as they say."""
    error, spread = _joined(parts)
    factors: Floats = np.sqrt(((error / spread) ** 2).mean(1))
    return factors


def _joined(parts: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    error, spread = (np.concatenate(side, 1) for side in zip(*parts, strict=True))
    return error, spread
