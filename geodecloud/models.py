"""From the word --model to a translator: which model is meant, and which engine runs it."""

from __future__ import annotations

import ctypes
import json
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from geodecloud.errors import GridError, ModelError
from geodecloud.geo.masks import pixel_size_m
from geodecloud.geo.publish import publish, refuse_existing
from geodecloud.geo.radiometry import OTHERS
from geodecloud.geo.scene import Scene
from geodecloud.geo.sensors import CLASS_BANDS, Sensor
from geodecloud.run.baselines import BASELINES
from geodecloud.run.card import MASKS, describe
from geodecloud.run.deepness import deepness_graph
from geodecloud.run.exchange import dlpk_bytes
from geodecloud.run.package import (
    CARD,
    SHIPPED,
    UNCERTAINTY,
    Package,
    known_packages,
    open_package,
    read_card,
)
from geodecloud.run.pictures import shown_bands, suited
from geodecloud.run.uncertain import UncertainTranslator, check_uncertainty, without_uncertainty
from geodecloud.translator import Translator

DEFAULT_MODEL = "auto"
"""The first shipped model that suits the scene, else the fill."""

SINGLE_IMAGE = frozenset({"pixels", "mask", "fill", "level"})
"""What a model may want where a scene comes alone."""


def load_translator(
    model: str | Path | Translator,
    scene: Scene,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    *,
    direction: str | None = None,
    with_uncertainty: bool = False,
) -> Translator:
    """Return what does the work: a baseline for this scene's bands, or a trained model.

    A trained model runs in torch where a CUDA device is to be used or its package holds no graph,
    else in ONNX Runtime.
    "auto" is the shipped cloud-removing model whose bands, unit and pixel size are the scene's;
    the fill, where there is none. A model for blue, green and red in reflectance also serves
    pictures. ``direction`` is for models with two; ``with_uncertainty`` for
    those whose answers are to bring a sigma.

    Raises:
        ModelError: no model has this name, its package is damaged, it has no such direction, or
            does not know its uncertainty.
        OptionError: ``device`` is "cuda" and there is none.
    """
    model = resolve_model(model, scene)
    if direction is not None and (not isinstance(model, str | Path) or str(model) in BASELINES):
        raise ModelError(
            f"direction {direction!r} of {model if isinstance(model, str) else 'a translator'}",
            "directions are those of a model package",
            "leave it out",
        )
    if not isinstance(model, str | Path):
        return model
    if str(model) in BASELINES:
        if with_uncertainty:
            raise without_uncertainty(str(model))
        return BASELINES[str(model)](spectral_bands(scene.sensor))
    answers = load_packaged(model, device, direction=direction)
    if with_uncertainty:
        package = open_package(model)
        check_uncertainty(package)
        spreads = load_packaged(package, device, direction=UNCERTAINTY)
        answers = UncertainTranslator(answers, spreads)
    return suited(answers, scene.sensor)


def resolve_model(model: str | Path | Translator, scene: Scene) -> str | Path | Translator:
    """Return which model is meant for a scene: what "auto" stands for, all else as it is."""
    if model == DEFAULT_MODEL:
        return _suiting(scene) or "fill"
    return model


def load_packaged(
    model: str | Path | Package,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    *,
    direction: str | None = None,
    n_threads: int | None = None,
) -> Translator:
    """Return a trained model at work, for any scene; see ``load_translator``.

    Args:
        model: a package, or its name or path.
        device: where it runs.
        direction: for models with two.
        n_threads: of the CPU; None takes every core this process may use.

    Raises:
        As ``load_translator``.
    """
    package = open_package(model)
    if package.card.task == MASKS:
        raise ModelError(
            f"{package.card.name} tells where clouds are, and draws nothing",
            "a model that draws pixels is asked for",
            f"take it as a mask: --mask {package.card.name}, or choose another model",
        )
    wants_cuda = device == "cuda" or (device == "auto" and _has_cuda_driver())
    wants_torch = wants_cuda or package.direction(direction).graph is None
    if wants_torch and find_spec("torch") is not None:
        from geodecloud.learn.translator import TorchTranslator

        return TorchTranslator.of(package, device, direction=direction)
    from geodecloud.run.onnx import OnnxTranslator

    return OnnxTranslator(package, device, direction=direction, n_threads=n_threads)


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


def show_model(name: str | Path, *, as_json: bool = False) -> tuple[str, tuple[str, ...]]:
    """Return a model's card, in Markdown or as ``model.json`` has it, and its unread programs.

    Raises:
        ModelError: there is no such model, or it is damaged.
    """
    if str(name) in BASELINES:
        summary = _first_line(BASELINES[str(name)].__doc__)
        content = {"name": str(name), "summary": summary}
        return json.dumps(content, indent=1) if as_json else f"# {name}\n\n{summary}", ()
    package = open_package(name)
    card = package.card
    return card.model_dump_json(indent=1) if as_json else describe(card), package.unread


def export_model(
    name: str | Path,
    out: Path,
    target: str,
    *,
    direction: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a model for other programs: "dlpk", "deepness" or "mlm".

    Raises:
        ModelError: there is no such model, it is damaged, or the program cannot run it.
        OutputError: the file exists, or cannot be written.
    """
    refuse_existing(out, overwrite)
    package = open_package(name)
    if target == "dlpk":
        content = dlpk_bytes(package)
    elif target == "mlm":
        from geodecloud.run.mlm import mlm_item  # brings pystac

        content = mlm_item(package.card)
    else:
        way = package.direction(direction)
        graph = b"" if way.graph is None else package.read(way.graph)
        content = deepness_graph(graph, way, package.card.resolution_m)
    publish(out, content, overwrite=overwrite)


def spectral_bands(sensor: Sensor) -> tuple[str, ...]:
    """Names of the bands that hold a measurement of the ground, in channel order."""
    return tuple(name for name in sensor.band_names if name not in CLASS_BANDS | OTHERS)


def suits_pixel_size(scene: Scene, resolution_m: float | None) -> bool:
    """Say whether pixels are of half to twice the size that a model was made for."""
    if scene.geobox.crs is None or resolution_m is None:
        return True
    size_m = math.sqrt(math.prod(pixel_size_m(scene.geobox)))
    return 0.5 <= size_m / resolution_m <= 2


def check_pixel_size(scene: Scene, translator: Translator) -> None:
    """Refuse a scene whose pixels are of another size than the translator was made for.

    Raises:
        GridError: they are.
    """
    if not suits_pixel_size(scene, translator.resolution_m):
        size_m = math.sqrt(math.prod(pixel_size_m(scene.geobox)))
        raise GridError(
            f"the scene has pixels of {size_m:.3g} m",
            f"{translator.name} was made for {translator.resolution_m:g} m, and takes half to "
            "twice of that",
            "resample the scene, or choose another model",
        )


def _suiting(scene: Scene) -> Path | None:
    bands = set(shown_bands(scene.sensor, spectral_bands(scene.sensor)))
    for folder in sorted(path.parent for path in SHIPPED.glob(f"*/{CARD}")):
        card = read_card(folder / CARD)
        way = card.directions[0]
        if (
            card.task == "cloud-removal"
            and set(way.inputs) <= SINGLE_IMAGE
            and set(way.bands_in) == bands
            and scene.sensor.unit in ("reflectance", "display")
            and suits_pixel_size(scene, card.resolution_m)
        ):
            return folder
    return None


def _has_cuda_driver() -> bool:
    """Whether it is worth a second or two to import torch and ask it."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""
