"""MODELS: the models by the name that their packages carry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from geodecloud.errors import ModelError
from geodecloud.learn.data import ChipData
from geodecloud.learn.model import Model
from geodecloud.learn.pix2pix import Pix2Pix

__all__ = ["MODELS", "Model", "Pix2Pix", "from_model"]

MODELS: Mapping[str, type[Model]] = MappingProxyType({"Pix2Pix": Pix2Pix})
"""Models by the name that their packages carry."""


def from_model(path: str | Path, data: ChipData | None = None) -> Model:
    """Return the model of a package, ready to translate, or with ``data`` to train on.

    Raises:
        ModelError: there is none, it is damaged, or of a system that is not known here.
    """
    from geodecloud.run.package import open_package

    system = open_package(path).card.system
    if system not in MODELS:
        raise ModelError(
            f"{path} is a {system}",
            f"known here are {', '.join(MODELS)}",
            "use the version of geodecloud that made it",
        )
    make: Any = MODELS[system]
    model: Model = make(data, pretrained_path=path)
    return model
