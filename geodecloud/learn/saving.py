"""save_model and export_model: a model's networks with all that is known of it, into files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from geodecloud.errors import OptionError
from geodecloud.geo.publish import publish, refuse_existing
from geodecloud.learn.checkpoint import export_onnx, save_package
from geodecloud.learn.origin import origin_of
from geodecloud.run.deepness import deepness_graph
from geodecloud.run.package import Direction, ModelCard

if TYPE_CHECKING:
    from geodecloud.learn.data import ChipData
    from geodecloud.learn.model import Model


def check_asked(framework: str, states: Path | None) -> None:
    """Refuse a framework that is not known, and to save a training whose states are None.

    Raises:
        OptionError: either.
    """
    if framework not in ("PyTorch", "ONNX"):
        raise OptionError(
            f"framework {framework!r}", "a package holds PyTorch and ONNX", "choose one of them"
        )
    if states is None:
        raise OptionError(
            "save_optimizer without a saved state",
            "it is copied from where fit leaves it",
            "train with checkpoint=True first",
        )


def save_model(
    model: Model,
    folder: Path,
    ways: Mapping[str, Mapping[str, Any]],
    card: Mapping[str, Any],
    *,
    data: ChipData | None = None,
    also: Collection[str] = (),
    overwrite: bool = False,
) -> ModelCard:
    """Write a model's package and return its card; see ``save_package``.

    Where it learnt from is written with it, and stays when a loaded model is saved again.

    Args:
        model: what is saved.
        folder: the package; its name is the model's.
        ways: fields of ``Direction`` for each direction.
        card: fields of ``ModelCard`` that overrule what the model says of itself.
        data: what it learnt from, where that is at hand.
        also: further files.
        overwrite: replace a package that is there.
    """
    training = dict(model.training)
    if data is not None:
        bands = next(iter(ways.values()))["bands_in"]
        training |= origin_of(data, bands, model.taught_before)
    fields = {
        "name": name_of(folder),
        "system": type(model).__name__,
        "task": next(iter(model.directions.values()))["task"],
        "metrics": model.metrics,
        "training": training,
        "attribution": tuple(training.get("data", {}).get("attribution", ())),
        **card,
    }
    networks = {name: model.networks[name] for name in ways}
    return save_package(folder, networks, fields, ways, also=also, overwrite=overwrite)


def name_of(folder: Path) -> str:
    """Return a model's name, in letters of every system, after the folder it is saved in.

    Example:
        >>> name_of(Path("My model, été"))
        'my-model-t'
    """
    name = re.sub(r"[^a-z0-9._]+", "-", folder.name.lower()).strip("-._")
    return name[:64] or "model"


def export_model(
    network: tuple[nn.Module, Mapping[str, Any]],
    path: Path,
    target: str,
    resolution_m: float | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a network, given with the fields of its ``Direction``, for another program.

    Raises:
        ModelError: the program cannot run such a model.
        OutputError: the file exists, or cannot be written.
    """
    if target != "deepness":
        raise OptionError(f"target {target!r}", "known is deepness", "choose it")
    refuse_existing(path, overwrite)
    module, fields = network
    way = Direction.model_validate(fields)
    graph = export_onnx(way, module)
    publish(path, deepness_graph(graph, way, resolution_m), overwrite=overwrite)
    return path
