"""CloudMask: a network that tells clouds, thin clouds and shadows from clear ground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from geodecloud.errors import OptionError
from geodecloud.geo.sensors import DISPLAY_REFLECTANCE
from geodecloud.learn.classification import CLASS_NAMES
from geodecloud.learn.cutting import SHADOW, THICK, THIN
from geodecloud.learn.data import ChipData
from geodecloud.learn.directions import name_of, refuse_uneven
from geodecloud.learn.losses import weighted_mean
from geodecloud.learn.model import METRIC_SKIES, Model
from geodecloud.learn.networks import Generator, build_network, fitted_arguments
from geodecloud.learn.plan import Batch, Carried, Losses, Optimiser, Phase

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TASK = "cloud-mask"
KINDS = {"cloud": (THIN, THICK), "shadow": (SHADOW,)}
"""What figures are told of, and the classes that count as it."""


class CloudMask(Model):
    """A detector: of each pixel it says whether it is clear, thin cloud, thick cloud or shadow.

    Saved as a package it is a term of every mask: ``geodecloud mask scene.tif out.tif --mask
    FOLDER``.

    Args:
        data: what it trains on; None with ``pretrained_path``.
        pretrained_path: a package to start from.
        generator: a name in ``GENERATORS``, whose own arguments may follow; or a network, or its
            class.
        bands: which bands of the data it looks at; None takes all.
        class_weights: how much a pixel of each class counts: clear, thin, thick, shadow.
        pictures: the share of training chips that are shown as pictures of 8 bits, in which
            bright clouds are cut off.
        seed: of the initial weights.
    """

    dataset_types: ClassVar[tuple[str, ...]] = ("CloudMask",)
    default_lr: ClassVar[float | None] = 2e-3
    averaged = ("forward",)

    def __init__(
        self,
        data: ChipData | None = None,
        pretrained_path: str | Path | None = None,
        *,
        generator: Generator = "folded_unet",
        bands: Sequence[str] | None = None,
        class_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        pictures: float = 0.0,
        seed: int = 0,
        **generator_arguments: Any,
    ) -> None:
        """Build the network."""
        super().__init__(data)
        if len(class_weights) != len(CLASS_NAMES) or min(class_weights) < 0:
            raise OptionError(
                f"class_weights {list(class_weights)}",
                f"one number, 0 or more, for each of {', '.join(CLASS_NAMES)}",
                "leave it out, or give four",
            )
        self._class_weights, self._pictures = tuple(class_weights), pictures
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if pretrained_path is not None:
                self.networks = self._start_from(pretrained_path)
            else:
                way = self._new_direction(generator, bands, generator_arguments)
                self.directions = {"forward": way}
                spec = way["network"]
                network = build_network(
                    spec["adapter"], generator, spec["arguments"], spec["limits"]
                )
                refuse_uneven(self.data, network)
                self.networks = {"forward": network}
        self.phases = (Phase("network", ("forward",), Optimiser(weight_decay=1e-4)),)

    def _new_direction(
        self, generator: Generator, bands: Sequence[str] | None, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        side, limits = self.data.sides["target"], self.data.normalization["target"]
        names = tuple(bands or side.bands)
        columns = columns_of(names, side.bands)
        return {
            "task": TASK,
            "network": {
                "adapter": "classification",
                "generator": name_of(generator),
                "arguments": fitted_arguments(generator, arguments, self.data.chip_size, 0),
                "limits": {
                    "low": tuple(limits.low[i] for i in columns),
                    "high": tuple(limits.high[i] for i in columns),
                },
            },
            "inputs": ("pixels", "level"),
            "extras": {},
            "sensor_in": side.sensor or "unknown",
            "bands_in": names,
            "sensor_out": "classes",
            "bands_out": CLASS_NAMES,
        }

    def arguments(self) -> dict[str, Any]:
        """Return what a resumed run must share of the model, in JSON's types."""
        way = self.directions["forward"]
        return {
            "generator": way["network"]["generator"],
            "generator_arguments": dict(way["network"]["arguments"]),
            "bands": list(way["bands_in"]),
            "class_weights": list(self._class_weights),
            **({"pictures": self._pictures} if self._pictures else {}),
        }

    def losses(self, phase: Phase, batch: Batch, carried: Carried) -> tuple[Losses, Carried]:
        """Return the cross entropy where classes are sure, pixels weighted by their class."""
        network: Any = self.networks["forward"]
        seen = as_pictures(self._seen(batch), batch["level"], self._pictures)
        entropy = self._entropy(network.logits(*seen), batch)
        counts = torch.tensor(self._class_weights, device=entropy.device)[batch["classes"]]
        return {"class_loss": weighted_mean(entropy, batch["weight"] * counts)}, {}

    def _entropy(self, logits: Tensor, batch: Batch) -> Tensor:
        entropy = F.cross_entropy(logits, batch["classes"][:, 0], reduction="none")
        return entropy[:, None]

    def _seen(self, batch: Batch) -> Tensor:
        """The bands of a batch that the network looks at."""
        columns = columns_of(
            self.directions["forward"]["bands_in"], self.data.packed.sides["target"].bands
        )
        return batch["pixels"][:, columns]

    def answer(self, batch: Batch, direction: str | None = None) -> Tensor:
        """Return the scores (B, 4, H, W) of a batch's pixels, of which the highest decides."""
        return super().answer({**batch, "pixels": self._seen(batch)}, direction)

    def _held_out(self, skies: int) -> Iterator[tuple[str, Batch]]:
        device = self._device
        yield from (("skies", batch) for batch in self.data.valid_batches(device, skies=skies))
        yield from (("pairs", batch) for batch in self.data.valid_pairs(device))

    def _validate(self) -> dict[str, float]:
        total = count = 0.0
        for _, batch in self._held_out(1):
            # the likelier kind of cloud has the votes of both: scores are no logits any more
            right = self.answer(batch).log_softmax(1).gather(1, batch["classes"])
            total -= float((right * batch["weight"]).sum())
            count += float(batch["weight"].sum())
        return {"valid_loss": total / max(count, 1.0)}

    def compute_metrics(self, accuracy: bool = True, show_progress: bool = True) -> dict[str, Any]:
        """Return precision, recall and F1 of cloud and of shadow on the validation part.

        ``{"skies": {"cloud_f1", "cloud_precision", "cloud_recall", "shadow_f1", ...},
        "pairs": {...}}``: under synthetic skies, whose truth is known, and on real pairs beside
        what their differences tell.
        """
        del accuracy, show_progress  # of the face that this mirrors: there is one way here
        counts: dict[str, dict[str, Tensor]] = {}
        for region, batch in self._held_out(METRIC_SKIES):
            said, is_sure = self.answer(batch).argmax(1, keepdim=True), batch["weight"] > 0
            for kind, classes in KINDS.items():
                wanted = torch.tensor(classes, device=said.device)
                is_said = torch.isin(said, wanted) & is_sure
                is_true = torch.isin(batch["classes"], wanted) & is_sure
                found = torch.stack([(is_said & is_true).sum(), is_said.sum(), is_true.sum()])
                of = counts.setdefault(region, {})
                of[kind] = of.get(kind, torch.zeros_like(found)) + found
        self.metrics = {
            region: {name: value for kind, found in of.items() for name, value in _f1(kind, found)}
            for region, of in counts.items()
        }
        return self.metrics

    def show_results(self, rows: int = 5, rgb_bands: Sequence[str] | None = None) -> Figure:
        """Return a figure of validation windows: input, the true classes, those that are found."""
        from geodecloud.learn.plots import show_classes

        batches = list(self.data.valid_batches(self._device, rows))
        found = [self.answer(batch).argmax(1, keepdim=True) for batch in batches]
        return show_classes(batches, found, self.data.packed.sides["target"].bands, rgb_bands)


def as_pictures(pixels: Tensor, level: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return reflectance (B, C, H, W) and levels (B,), a share of them as pictures show them.

    A picture has 255 steps up to a reflectance of 0.2 to 0.36, and does not know its level.
    """
    if not share:
        return pixels, level
    lots = torch.rand(2, len(pixels), 1, 1, 1).to(pixels.device)
    step = DISPLAY_REFLECTANCE * (0.6 + 0.4 * lots[0]) / 255
    shown = step * (pixels / step).round().clamp(0, 255)
    is_picture = lots[1] < share
    return torch.where(is_picture, shown, pixels), level * ~is_picture.flatten()


def columns_of(names: Sequence[str], bands: Sequence[str]) -> list[int]:
    """Return where bands of these names stand among others.

    Raises:
        OptionError: there is no such band.
    """
    if missing := [name for name in names if name not in bands]:
        raise OptionError(
            f"no band {', '.join(missing)}", f"the data has {', '.join(bands)}", "choose of these"
        )
    return [list(bands).index(name) for name in names]


def _f1(kind: str, found: Tensor) -> list[tuple[str, float]]:
    both, said, true = (float(count) for count in found)
    return [
        (f"{kind}_f1", 2 * both / max(said + true, 1.0)),
        (f"{kind}_precision", both / max(said, 1.0)),
        (f"{kind}_recall", both / max(true, 1.0)),
    ]
