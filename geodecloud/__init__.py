"""Clouds out of Sentinel-2 scenes: clear pixels leave bit-identical, the rest is marked.

    import geodecloud

    geodecloud.decloud("cloudy.tif", "clear.tif", provenance="origin.tif")

    scene = geodecloud.open_scene("cloudy.tif")          # geobox, sensor, read(window)
    for chip in geodecloud.cut_scene(scene, size_px=64): # whole-pixel tiles
        ...

    import geodecloud.accessor                           # over xarray: docs/xarray.md

    clear = cloudy.geodecloud.decloud()                  # lazy where the array is lazy

Names are imported when they are first used: ``import geodecloud`` brings no array package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "decloud": "geodecloud.tasks",
    "DecloudOptions": "geodecloud.options",
    "mask": "geodecloud.masking",
    "MaskOptions": "geodecloud.masking",
    "clouds": "geodecloud.clouding",
    "CloudsOptions": "geodecloud.clouding",
    "Sky": "geodecloud.sky.sky",
    "open_scene": "geodecloud.geo.raster",
    "compare": "geodecloud.compare",
    "cut_scene": "geodecloud.geo.chips",
    "ChipStore": "geodecloud.geo.chips",
    "mosaic_chips": "geodecloud.geo.chips",
    "translate": "geodecloud.translating",
    "TranslateOptions": "geodecloud.translating",
    "translate_scene": "geodecloud.pipeline",
    "prepare_data": "geodecloud.datasets",
    "Pix2Pix": "geodecloud.learn.models",
    "CycleGAN": "geodecloud.learn.models",
    "WNet_cGAN": "geodecloud.learn.models",
    "GAN": "geodecloud.learn.models",
    "CloudMask": "geodecloud.learn.models",
    "from_model": "geodecloud.learn.models",
    "Request": "geodecloud.pipeline",
    "Answer": "geodecloud.pipeline",
    "SENSORS": "geodecloud.geo.sensors",
    "GeodecloudError": "geodecloud.errors",
}

__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from geodecloud.clouding import CloudsOptions as CloudsOptions
    from geodecloud.clouding import clouds as clouds
    from geodecloud.compare import compare as compare
    from geodecloud.errors import GeodecloudError as GeodecloudError
    from geodecloud.geo.chips import ChipStore as ChipStore
    from geodecloud.geo.chips import cut_scene as cut_scene
    from geodecloud.geo.chips import mosaic_chips as mosaic_chips
    from geodecloud.geo.raster import open_scene as open_scene
    from geodecloud.geo.sensors import SENSORS as SENSORS
    from geodecloud.learn.models import GAN as GAN
    from geodecloud.learn.models import CloudMask as CloudMask
    from geodecloud.learn.models import CycleGAN as CycleGAN
    from geodecloud.learn.models import Pix2Pix as Pix2Pix
    from geodecloud.learn.models import WNet_cGAN as WNet_cGAN
    from geodecloud.learn.models import from_model as from_model
    from geodecloud.masking import MaskOptions as MaskOptions
    from geodecloud.masking import mask as mask
    from geodecloud.options import DecloudOptions as DecloudOptions
    from geodecloud.pipeline import Answer as Answer
    from geodecloud.pipeline import Request as Request
    from geodecloud.pipeline import translate_scene as translate_scene
    from geodecloud.sky.sky import Sky as Sky
    from geodecloud.tasks import decloud as decloud
    from geodecloud.translating import TranslateOptions as TranslateOptions
    from geodecloud.translating import translate as translate


def __getattr__(name: str) -> Any:
    """Import what is asked for from where it lives."""
    if name not in _HOMES:
        raise AttributeError(f"module 'geodecloud' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names that can be asked for."""
    return sorted(__all__)
