"""origin_of: what a model learnt from, as its card keeps it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from geodecloud.learn.data import ChipData
from geodecloud.learn.dataset_types import CLOUDED
from geodecloud.learn.packed import PackedChips

MOST_PLACES = 50  # named in a card; a set of chips may have thousands
MOST_SAMPLES = 256  # whose mean and deviation stand for all


def origin_of(data: ChipData, bands: Sequence[str], before: Collection[str] = ()) -> dict[str, Any]:
    """Return the data of a training in a few words, and the statistics of its bands, for JSON.

    ``bands`` are those that the model looks at; statistics of what is clouded are theirs alone.
    ``before`` are places that taught the weights it began with: it knows them too.

    ``{"data": {"n_samples", "n_places", "places", "dataset_type", "chip_size", "attribution"},
    "statistics": {side: {"mean", "std"}}}``, one number a band, of the training part.
    """
    packed = data.packed
    places = sorted({packed.places[place] for place in packed.place[data.train]}.union(before))
    statistics = {
        side: _statistics(packed, side, data.train)
        for side in ("source", "target")
        # Colorize makes its source of the target
        if side in packed.sides and packed.sides[side] == data.sides.get(side)
        if packed.has(side)[data.train].any()
    }
    if data.dataset_type in CLOUDED:
        seen = [packed.sides["target"].bands.index(band) for band in bands]
        statistics["target"] = {
            name: [values[i] for i in seen] for name, values in statistics["target"].items()
        }
        statistics["source"] = statistics["target"]  # what is clouded on the fly
    return {
        "data": {
            "dataset_type": data.dataset_type,
            "chip_size": data.chip_size,
            "n_samples": len(data.train),
            "n_places": len(places),
            "places": places[:MOST_PLACES],
            "attribution": list(packed.attribution),
        },
        "statistics": statistics,
    }


def _statistics(packed: PackedChips, side: str, samples: Any) -> dict[str, list[float]]:
    having = samples[packed.has(side)[samples]]
    step = -(-len(having) // MOST_SAMPLES)
    count = np.zeros(len(packed.sides[side].bands))
    total, squares = np.zeros_like(count), np.zeros_like(count)
    for sample in having[::step]:
        values, valid = packed.sides[side].to_values(packed.stored(side, int(sample)))
        flat = values.astype(np.float64)  # 0 where not valid
        count += valid.sum((1, 2))
        total += flat.sum((1, 2))
        squares += (flat**2).sum((1, 2))
    mean = total / np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
    return {"mean": mean.round(6).tolist(), "std": deviation.round(6).tolist()}
