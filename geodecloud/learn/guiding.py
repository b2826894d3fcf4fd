"""guided: a trained correction of the fill that goes on with radar, or another date, beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geodecloud.errors import ModelError
from geodecloud.learn.networks import build_network


def guided(
    network: nn.Module, way: Mapping[str, Any], fresh: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network with a second encoder, for a guide, and its direction's fields.

    What the second encoder draws weighs nothing yet: the answer is the same, whatever the guide.

    Args:
        network: a fill correction by a U-Net.
        way: the fields of its direction.
        fresh: those of a new direction with the guide; its second encoder is taken.

    Raises:
        ModelError: it is no such network.
    """
    spec = way["network"]
    if (spec["adapter"], spec["generator"]) != ("fill-correction", "unet") or way["extras"]:
        raise ModelError(
            f"a {spec['adapter']} by {spec['generator']}, of {', '.join(way['inputs'])}",
            "a guide is added to a correction of the fill by a unet that has none",
            "start from such a model, or leave pretrained_path out",
        )
    limits = {**fresh["network"]["limits"], **spec["limits"]}
    arguments = {**fresh["network"]["arguments"], **spec["arguments"]}
    wider = build_network(spec["adapter"], "wnet", arguments, limits)
    known = network.state_dict()
    wider.load_state_dict(
        {name: _taken(name, like, known) for name, like in wider.state_dict().items()}
    )
    network_of = {**spec, "generator": "wnet", "arguments": arguments, "limits": limits}
    return wider, {**fresh, "network": network_of}


def _taken(name: str, like: Tensor, known: Mapping[str, Tensor]) -> Tensor:
    """What a tensor of the wider network begins with.

    A layer on the way up sees what the first encoder kept, the second's beside it, and then what
    comes from below: the second's columns lie between. The deepest has nothing below.
    """
    if name.startswith("generator.second."):
        return like
    tensor = known[name.replace("generator.first.", "generator.down.")]
    if tensor.shape == like.shape:
        return tensor
    n_kept = tensor.shape[1] // 2 if name.startswith("generator.up.") else tensor.shape[1]
    silent = tensor.new_zeros(tensor.shape[0], like.shape[1] - tensor.shape[1], *tensor.shape[2:])
    return torch.cat([tensor[:, :n_kept], silent, tensor[:, n_kept:]], 1)
