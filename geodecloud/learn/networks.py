"""GENERATORS, DISCRIMINATORS, ADAPTERS: the networks by name, and how one is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from geodecloud.errors import ModelError, OptionError
from geodecloud.learn.adapters import (
    Colouring,
    Encoder,
    FillCorrection,
    Generation,
    Spread,
    Translation,
)
from geodecloud.learn.backbones import BackboneUNet
from geodecloud.learn.classification import Classification
from geodecloud.learn.discriminators import ConvolutionalJudge, LinearJudge, PatchGAN, ResNetJudge
from geodecloud.learn.generators import FoldedUNet, ResNet, StridedUNet, UNet, WNet
from geodecloud.learn.latent import DCGAN, LinearGAN
from geodecloud.learn.reach import halo_of, stride_of

__all__ = [
    "ADAPTERS",
    "DISCRIMINATORS",
    "GENERATORS",
    "LATENT_GENERATORS",
    "Encoder",
    "FillCorrection",
    "PatchGAN",
    "UNet",
    "build_network",
    "fitted_arguments",
    "halo_of",
    "judge_named",
    "stride_of",
]

GROUP = "geodecloud.generators"
"""Entry points by which packages of others bring generators."""

GENERATORS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "unet": UNet,
        "folded_unet": FoldedUNet,
        "unet_pix2pix": StridedUNet,
        "resnet": ResNet,
        "wnet": WNet,
        "backbone": BackboneUNet,
    }
)
"""Networks that draw what they see anew: ``network(in_channels, out_channels, **arguments)``.

One may have a method ``fitted(chip_size, n_extra)``: the arguments that hang on the data.
"""

LATENT_GENERATORS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"dcgan": DCGAN, "mlp": LinearGAN}
)
"""Networks that draw chips of random numbers: ``network(out_channels, **arguments)``."""

DISCRIMINATORS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "patchgan": PatchGAN,
        "small_patchgan": partial(PatchGAN, width=24),
        "resnet": ResNetJudge,
        "dcgan": ConvolutionalJudge,
        "mlp": LinearJudge,
    }
)
"""Networks that judge: ``network(in_channels, **arguments)``, logits (B, 1, H', W')."""

ADAPTERS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "fill-correction": FillCorrection,
        "spread": Spread,
        "translation": Translation,
        "colouring": Colouring,
        "generation": Generation,
        "classification": Classification,
    }
)
"""From a request's arrays to a generator's channels and back: ``adapter(build, **limits)``."""

Generator = str | nn.Module | Callable[..., nn.Module]
"""A name, a network that fits, or what is called as ``generator(in_channels, out_channels)``."""


def build_network(
    adapter: str, generator: Generator, arguments: Mapping[str, Any], limits: Mapping[Any, Any]
) -> nn.Module:
    """Return the whole network that answers requests, freshly initialised.

    Raises:
        ModelError: no adapter or generator has this name, or it does not take these arguments.
    """
    if adapter not in ADAPTERS:
        raise _unknown(adapter, ADAPTERS)
    if isinstance(generator, nn.Module):
        build: Callable[..., nn.Module] = partial(_fitting, generator)
    else:
        make = generator_named(generator) if isinstance(generator, str) else generator
        build = partial(make, **arguments)
    try:
        return ADAPTERS[adapter](build, **limits)
    except TypeError as error:
        raise ModelError(
            f"{adapter} with {generator} does not take its arguments ({error})",
            "the arguments of model.json are those of the network",
            "use the version of geodecloud that made the model",
        ) from error


def generator_named(name: str) -> Callable[..., nn.Module]:
    """Return the generator of this name: one of the house, or of an installed package.

    Raises:
        ModelError: there is none.
    """
    known = {**LATENT_GENERATORS, **GENERATORS}
    if name in known:
        return known[name]
    others = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in others:
        raise _unknown(name, {**GENERATORS, **others})
    make: Callable[..., nn.Module] = others[name].load()
    return make


def fitted_arguments(
    generator: Generator, arguments: Mapping[str, Any], chip_size: int, n_extra: int
) -> dict[str, Any]:
    """Return a generator's arguments with those that hang on the data, where not given."""
    make = generator_named(generator) if isinstance(generator, str) else generator
    fitted = getattr(make, "fitted", None)
    return {**(fitted(chip_size, n_extra) if fitted else {}), **arguments}


def judge_named(judge: str | nn.Module, in_channels: int, **arguments: Any) -> nn.Module:
    """Return the discriminator of this name, or the one that is given.

    Raises:
        OptionError: there is none of this name.
    """
    if isinstance(judge, nn.Module):
        return judge
    if judge not in DISCRIMINATORS:
        raise OptionError(
            f"discriminator {judge!r}",
            f"known are {', '.join(DISCRIMINATORS)}",
            "choose one of them, or give an nn.Module",
        )
    return DISCRIMINATORS[judge](in_channels, **arguments)


def _fitting(generator: nn.Module, in_channels: int, out_channels: int) -> nn.Module:
    side = 4 * stride_of(generator)
    was_training = generator.training
    try:
        with torch.inference_mode():
            found = tuple(generator.eval()(torch.zeros(1, in_channels, side, side)).shape)
    except RuntimeError as error:
        found = (str(error)[:200],)
    generator.train(was_training)
    if found != (1, out_channels, side, side):
        raise ModelError(
            f"{type(generator).__name__} answers {found} to (1, {in_channels}, {side}, {side})",
            f"it is to answer (1, {out_channels}, {side}, {side})",
            f"make it as {type(generator).__name__}({in_channels}, {out_channels}), with a "
            "stride_px if it halves the side",
        )
    return generator


def _unknown(name: str, known: Mapping[str, Any]) -> ModelError:
    return ModelError(
        f"network {name!r} is unknown",
        f"known here are {', '.join(known)}",
        "choose one of them, or install the version of geodecloud that has it",
    )
