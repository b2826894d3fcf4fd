"""MODELS: the models by the name that their packages carry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from geodecloud.errors import ModelError
from geodecloud.learn.cloud_mask import CloudMask
from geodecloud.learn.cyclegan import CycleGAN
from geodecloud.learn.data import ChipData
from geodecloud.learn.gan import GAN
from geodecloud.learn.model import Model
from geodecloud.learn.pix2pix import Pix2Pix
from geodecloud.learn.wnet import WNet_cGAN

__all__ = ["GAN", "MODELS", "CloudMask", "CycleGAN", "Model", "Pix2Pix", "WNet_cGAN", "from_model"]

MODELS: Mapping[str, type[Model]] = MappingProxyType(
    {
        "Pix2Pix": Pix2Pix,
        "CycleGAN": CycleGAN,
        "WNet_cGAN": WNet_cGAN,
        "GAN": GAN,
        "CloudMask": CloudMask,
    }
)
"""Models by the name that their packages carry."""


def from_model(path: str | Path, data: ChipData | None = None, *, allow_pth: bool = False) -> Model:
    """Return the model of a package, ready to translate, or with ``data`` to train on.

    Args:
        path: a folder, its ``model.json`` or ``.emd``, a ``.dlpk``, or the name of a model.
        data: what it is to train on.
        allow_pth: also take the ``.pth`` of another program, as plain tensors, for a network
            that is known here.

    Raises:
        ModelError: there is none, it is damaged, or of a system that is not known here.
    """
    from geodecloud.run.package import is_foreign, open_package

    if allow_pth and is_foreign(path):
        from geodecloud.learn.foreign import foreign_package

        package = foreign_package(Path(path))
    else:
        package = open_package(path)
    system = package.card.system
    if system not in MODELS:
        raise ModelError(
            f"{path} is a {system}",
            f"known here are {', '.join(MODELS)}",
            "use the version of geodecloud that made it",
        )
    make: Any = MODELS[system]
    model: Model = make(data, pretrained_path=package)
    return model
