"""What a model's direction says of itself, as a package keeps it: made new, found, completed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from geodecloud.errors import ModelError, OptionError
from geodecloud.learn.data import ChipData
from geodecloud.learn.networks import Generator, fitted_arguments
from geodecloud.learn.reach import halo_of, stride_of

CORRECTION_INPUTS = ("pixels", "mask", "fill", "level")
TOWARDS = {"A": "BtoA", "B": "AtoB"}
"""Directions by the domain that they lead to."""


def new_direction(
    data: ChipData,
    generator: Generator,
    arguments: Mapping[str, Any],
    *,
    sides: tuple[str, str] = ("source", "target"),
    extra: str | None = None,
    is_correction: bool = False,
) -> dict[str, Any]:
    """Return the direction of a new model on this data, its networks not yet built.

    Args:
        data: what it is to train on.
        generator: what draws.
        arguments: of the generator; those that hang on the data are added.
        sides: from which it draws which.
        extra: a third side that it sees too.
        is_correction: the answer is a correction of the fill under a mask.
    """
    source, target = (data.sides[side] for side in sides)
    # what is clouded on the fly has no source of its own
    seen, drawn = (data.normalization.get(side, data.normalization["target"]) for side in sides)
    limits = {"low": drawn.low, "high": drawn.high}
    if not is_correction:
        limits = {"low": seen.low, "high": seen.high, "low_out": drawn.low, "high_out": drawn.high}
    if extra is not None:
        also = data.normalization[extra]
        limits |= {"low_extra": also.low, "high_extra": also.high}
    n_extra = len(limits.get("low_extra", ()))
    return {
        "task": "cloud-removal" if is_correction else "translation",
        "network": {
            "adapter": "fill-correction" if is_correction else "translation",
            "generator": name_of(generator),
            "arguments": fitted_arguments(generator, arguments, data.chip_size, n_extra),
            "limits": limits,
        },
        "inputs": (
            *(CORRECTION_INPUTS if is_correction else ("pixels",)),
            *([extra] if extra is not None else []),
        ),
        "extras": {extra: data.sides[extra].bands} if extra is not None else {},
        "sensor_in": source.sensor or "unknown",
        "bands_in": source.bands,
        "sensor_out": target.sensor or "unknown",
        "bands_out": target.bands,
    }


def find_direction(
    directions: Mapping[str, Any], name: str | None, towards: str | None = None
) -> str:
    """Return the direction of a name, or towards a domain; the first where nothing is asked.

    Raises:
        ModelError: there is no such direction.
    """
    asked = name or TOWARDS.get(towards or "", towards)
    if asked is not None and asked not in directions:
        raise ModelError(
            f"the model has no direction {asked!r}",
            f"it has {', '.join(directions)}",
            "choose one of them",
        )
    return asked or next(iter(directions))


def whole_direction(way: dict[str, Any], network: Any) -> dict[str, Any]:
    """Return the fields of ``run.package.Direction``; stride and reach are counted once."""
    if "halo_px" not in way:
        halo = max(network.reach_px, halo_of(network.generator, network.n_condition_channels))
        way |= {"stride_px": stride_of(network), "halo_px": halo}
    return {key: value for key, value in way.items() if key != "task"}


def name_of(network: Generator) -> str:
    """Return what a network is called in a card: its name in the registry, or its class's."""
    if isinstance(network, str):
        return network
    kind = type(network) if isinstance(network, nn.Module) else network
    return getattr(kind, "__name__", type(network).__name__)


def refuse_uneven(data: ChipData, network: nn.Module) -> None:
    """Raise where chips or windows are no multiples of a network's stride.

    Raises:
        OptionError: they are not.
    """
    stride = stride_of(network)
    for what, size_px in (("chips", data.chip_size), ("windows", data.packed.size_px)):
        if size_px % stride:
            raise OptionError(
                f"{what} of {size_px} px",
                f"the generator halves their side until a pixel stands for {stride} px",
                f"use sizes that are multiples of {stride}, or a generator with fewer levels",
            )
