"""narrowed: a trained correction of the fill that goes on with some of its bands alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geodecloud.errors import ModelError
from geodecloud.learn.clouding import wavelengths_of
from geodecloud.learn.networks import build_network


def narrowed(
    network: Any, way: dict[str, Any], bands: Sequence[str]
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network for fewer bands, in this order, and its direction's fields.

    What its first layer makes of a band that is no longer there, and what its last layer takes
    from it, it does with the band that is left of the nearest wavelength: clouds look alike in
    both. A start for training, not a model to be used as it is.

    Args:
        network: a fill correction.
        way: the fields of its direction.
        bands: some of its bands.

    Raises:
        ModelError: a band is unknown to it, or its layers do not tell bands apart.
    """
    known = list(way["bands_in"])
    spec = way["network"]
    if spec["adapter"] != "fill-correction" or not set(bands) <= set(known):
        raise ModelError(
            f"a {spec['adapter']} of {', '.join(known)} for bands {', '.join(bands)}",
            "a model goes on with its own bands; a correction of the fill also with some of them",
            "choose these bands of the data, or start without pretrained_path",
        )
    columns = [known.index(band) for band in bands]
    nm = np.array(wavelengths_of(known))
    stands = np.abs(nm[:, None] - nm[columns]).argmin(1).tolist()
    limits = {
        name: tuple(ends[i] for i in columns) if name in ("low", "high") else tuple(ends)
        for name, ends in spec["limits"].items()
    }
    fresh: Any = build_network(spec["adapter"], spec["generator"], spec["arguments"], limits)
    places = {
        network.n_condition_channels: network.seen_places(stands),
        network.n_drawn_channels: network.drawn_places(stands, columns),
    }
    wanted, trained = fresh.state_dict(), network.state_dict()
    fresh.load_state_dict(
        {name: _moved(name, trained[name], like, places) for name, like in wanted.items()}
    )
    return fresh, {
        **way,
        "network": {**spec, "limits": limits},
        "bands_in": tuple(bands),
        "bands_out": tuple(bands),
    }


def _moved(name: str, tensor: Tensor, like: Tensor, places: dict[int, list[int]]) -> Tensor:
    """A tensor of another's shape, with each channel added where it goes."""
    for axis, (before, after) in enumerate(zip(tensor.shape, like.shape, strict=True)):
        if before == after:
            continue
        channels = torch.tensor(places.get(before, [after]))
        if int(channels.max()) + 1 != after:
            raise ModelError(
                f"{name} has {before} channels, and {after} are wanted",
                "the first layer sees a channel a band, the last draws one for each pair of bands",
                "start without pretrained_path",
            )
        shape = list(tensor.shape)
        shape[axis] = after
        (left,) = torch.nonzero(channels >= 0, as_tuple=True)
        part = tensor.index_select(axis, left)
        tensor = torch.zeros(shape).index_add(axis, channels[left], part)
    return tensor
