"""From the word --model to a translator: which model is meant, and which engine runs it."""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from geodecloud.geo.radiometry import OTHERS
from geodecloud.geo.scene import Scene
from geodecloud.geo.sensors import CLASS_BANDS, Sensor
from geodecloud.run.baselines import BASELINES
from geodecloud.run.package import CARD, known_packages, open_package, read_card
from geodecloud.translator import Translator

DEFAULT_MODEL = "fill"


def load_translator(
    model: str | Path | Translator, scene: Scene, device: Literal["auto", "cpu", "cuda"] = "auto"
) -> Translator:
    """Return what does the work: a baseline for this scene's bands, or a trained model.

    A trained model runs in torch where a CUDA device is to be used, else in ONNX Runtime.

    Raises:
        ModelError: no model has this name, or its package is damaged.
        OptionError: ``device`` is "cuda" and there is none.
    """
    if not isinstance(model, str | Path):
        return model
    if str(model) in BASELINES:
        return BASELINES[str(model)](spectral_bands(scene.sensor))
    package = open_package(model)
    wants_cuda = device == "cuda" or (device == "auto" and _has_cuda_driver())
    if wants_cuda and find_spec("torch") is not None:
        from geodecloud.learn.translator import TorchTranslator

        return TorchTranslator.of(package, device)
    from geodecloud.run.onnx import OnnxTranslator

    return OnnxTranslator(package, device)


def list_models() -> list[dict[str, str]]:
    """Return the models that can be used by name: name, summary and folder of each."""
    found = [
        {"name": name, "summary": _first_line(factory.__doc__), "folder": ""}
        for name, factory in BASELINES.items()
    ]
    for name, folder in known_packages().items():
        card = read_card(folder / CARD)
        found.append({"name": name, "summary": card.summary, "folder": str(folder)})
    return found


def spectral_bands(sensor: Sensor) -> tuple[str, ...]:
    """Names of the bands that hold a measurement of the ground, in channel order."""
    return tuple(name for name in sensor.band_names if name not in CLASS_BANDS | OTHERS)


def _has_cuda_driver() -> bool:
    """Whether it is worth a second or two to import torch and ask it."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""
