"""assess: all figures of a model on a set of chips, as the command line shows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geodecloud.learn.evaluate import evaluate
from geodecloud.learn.features import FeatureNetwork, fid
from geodecloud.learn.model import Model
from geodecloud.learn.normalization import Normalization
from geodecloud.learn.plan import Batch
from geodecloud.learn.plots import colours
from geodecloud.learn.seams import seam_index_of

UNIT_RANGES = {"reflectance": 1.0, "display": 1.0}
"""From the lowest value to the highest that there can be; of other units what there is."""

OWN_FIGURES = ("CycleGAN", "GAN", "CloudMask")
"""Types where nothing that is drawn has a truth: models tell their own figures."""

UNTILED = ("GAN", "CloudMask")
"""Out of nothing comes no tile of a scene, and classes have no seams."""


def assess(
    model: Model,
    device: torch.device,
    *,
    skies: int = 1,
    limit: int | None = None,
    feature_weights: Path | None = None,
) -> dict[str, Any]:
    """Return figures of a model on the validation part of its data, in JSON's types.

    ``regions``: those of ``evaluate``, real pairs under "pairs_..."; where nothing is paired, what
    the model's own ``compute_metrics`` says. ``seam_index`` and, with feature weights, ``fid``: by
    direction; None where there is nothing to measure, as in windows of a single tile.

    Args:
        model: with data.
        device: where it answers.
        skies: synthetic ones over each window.
        limit: windows; None takes all.
        feature_weights: of an Inception v3, see ``FeatureNetwork``.
    """
    features = None if feature_weights is None else FeatureNetwork.read(feature_weights)
    for network in model.networks.values():
        network.to(device)
    data = model.data
    windows = partial(data.valid_batches, device, limit, skies=skies)
    data_range = _data_range(model)
    result: dict[str, Any] = {
        "dataset_type": data.dataset_type,
        "n_windows": len(data.valid if limit is None else data.valid[:limit]),
        "unit": data.packed.sides["target"].unit,
        "data_range": data_range,
    }
    if data.dataset_type in OWN_FIGURES:
        result["regions"] = model.compute_metrics()
    else:
        measure = partial(
            evaluate, model.answer, data_range=data_range, thorough=True, naive=model.naive
        )
        pairs = measure(data.valid_pairs(device))
        result["regions"] = measure(windows())
        result["regions"] |= {f"pairs_{name}": found for name, found in pairs.items()}
    ways = {name: _answerer(model, name) for name in model.directions}
    if data.dataset_type not in UNTILED:
        result["seam_index"] = {
            name: _known(seam_index_of(answer, windows(), **_reach(model, name)))
            for name, answer in ways.items()
        }
    if features is not None:
        result["fid"] = {
            name: _known(_fid(features, model, name, answer, windows))
            for name, answer in ways.items()
        }
    return result


def _fid(
    features: FeatureNetwork,
    model: Model,
    direction: str,
    answer: Callable[[Batch], Tensor],
    windows: Callable[[], Iterator[Batch]],
) -> float:
    """The distance of a direction's answers from the pictures of its target."""
    real, side = ("pixels", "source") if direction == "BtoA" else ("target", "target")
    limits = model.data.normalization[side]
    show = partial(_picture, bands=model.directions[direction]["bands_out"], limits=limits)
    return fid(
        features,
        (show(batch[real]) for batch in windows()),
        (show(answer(batch)) for batch in windows()),
    )


def _known(figure: float) -> float | None:
    """None for what could not be measured: JSON knows no NaN."""
    return figure if math.isfinite(figure) else None


def _picture(values: Tensor, bands: Sequence[str], limits: Normalization) -> Tensor:
    """Values (B, C, H, W) as red, green and blue, 0 to 1 between the limits."""
    shown: Tensor = (limits.encode(values.cpu()) + 1) / 2
    return shown[:, colours(bands, shown.shape[1])].to(values.device)


def _answerer(model: Model, direction: str) -> Callable[[Batch], Tensor]:
    if len(model.directions) == 1:
        return model.answer
    return partial(model.answer, direction=direction)


def _reach(model: Model, direction: str) -> dict[str, int]:
    way = model._way(direction)
    return {name: int(way[name]) for name in ("halo_px", "stride_px")}


def _data_range(model: Model) -> float:
    unit = model.data.packed.sides["target"].unit
    limits = model.data.normalization["target"]
    return UNIT_RANGES.get(unit, max(limits.high) - min(limits.low))
