"""Packages written and read with torch: model.json, weights.safetensors, model.onnx."""

from __future__ import annotations

import copy
import hashlib
import shutil
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from geodecloud import __version__
from geodecloud.errors import ModelError, OutputError
from geodecloud.learn.networks import build_network
from geodecloud.learn.state import write_atomically
from geodecloud.run.exchange import package_files
from geodecloud.run.files import archive_bytes
from geodecloud.run.package import (
    ARCHIVE_SUFFIX,
    CARD,
    UNCERTAINTY,
    WEIGHTS,
    Direction,
    FileEntry,
    ModelCard,
    Package,
    weights_of,
)

OPSET = 18
"""Of the graphs: the oldest that the exporter writes without converting, so the widest read."""


def save_package(
    folder: Path,
    networks: Mapping[str, nn.Module],
    card: Mapping[str, Any],
    directions: Mapping[str, Mapping[str, Any]],
    *,
    also: Collection[str] = (),
    overwrite: bool = False,
) -> ModelCard:
    """Write a model package, whole or not at all, and return its card.

    Convolution weights are rounded to half precision, in ``weights.safetensors`` and in the
    graphs alike, so that every engine computes with the same numbers; norms stay whole. Beside
    them lie the definition as ArcGIS has it (``<name>.emd``) and a model card in Markdown. The same
    model gives the same bytes.

    Args:
        folder: the package; its name is the model's.
        networks: the network of each direction.
        card: fields of ``ModelCard`` besides directions, files and versions.
        directions: fields of ``Direction`` besides name and graph, for each network.
        also: "dlpk" for all of it in one file, ``<name>.dlpk``; "mlm" for a STAC item.
        overwrite: replace a package that is there.

    Raises:
        OutputError: the folder exists.
    """
    refuse_existing(folder, overwrite)
    graphs = {
        name: "model.onnx" if len(networks) == 1 else f"model-{name}.onnx" for name in networks
    }
    ways = {
        name: Direction.model_validate({**fields, "name": name, "graph": graphs[name]})
        for name, fields in directions.items()
    }
    tensors: dict[str, Tensor] = {}
    files: dict[str, bytes] = {}
    for name, network in networks.items():
        tensors |= {f"{name}.{key}": tensor for key, tensor in rounded(network).items()}
        files[graphs[name]] = export_onnx(ways[name], network)
    files[WEIGHTS] = save_tensors(tensors)
    whole = ModelCard(
        **card,
        directions=tuple(ways.values()),
        files=_entries(files),
        versions={"geodecloud": __version__, "torch": str(torch.__version__)},
    )
    contents = package_files(whole, files)
    if "mlm" in also:
        from geodecloud.run.mlm import ITEM, mlm_item

        contents[ITEM] = mlm_item(whole)
    if "dlpk" in also:
        contents[f"{whole.name}{ARCHIVE_SUFFIX}"] = archive_bytes(contents)
    _publish(folder, contents)
    return whole


def save_uncertainty(
    package: Package,
    network: nn.Module,
    fields: Mapping[str, Any],
    metrics: Mapping[str, float],
    folder: Path,
    *,
    overwrite: bool = False,
) -> ModelCard:
    """Write a package once more, with the network that says how far its answers may be off.

    All other files of it stay as they are, byte for byte, but those that tell of it.

    Args:
        package: the model.
        network: one standard deviation of its error, from the same inputs.
        fields: of its ``Direction``.
        metrics: figures of its calibration.
        folder: the new package; its name is the model's.
        overwrite: replace a package that is there.

    Raises:
        OutputError: the folder exists.
    """
    refuse_existing(folder, overwrite)
    graph = f"{UNCERTAINTY}.onnx"
    way = Direction.model_validate({**fields, "name": UNCERTAINTY, "graph": graph})
    weights = {f"{way.name}.{key}": tensor for key, tensor in rounded(network).items()}
    files = {name: package.read(name) for name in package.card.files}
    files |= {weights_of(way): save_tensors(weights), graph: export_onnx(way, network)}
    card = package.card.model_copy(
        update={
            "name": folder.name.lower(),
            "uncertainty": way,
            "files": _entries(files),
            "metrics": {**package.card.metrics, UNCERTAINTY: dict(metrics)},
        }
    )
    _publish(folder, package_files(card, files))
    return card


def load_networks(package: Package) -> dict[str, nn.Module]:
    """Return the networks of a package by direction, in evaluation mode, float32.

    Raises:
        ModelError: the weights are damaged or are not those of the networks it names.
    """
    return _networks(package, package.card.directions)


def load_network(package: Package, way: Direction) -> nn.Module:
    """Return the network of one direction, or the one that says how uncertain it is.

    Raises:
        ModelError: as ``load_networks``.
    """
    return _networks(package, (way,))[way.name]


def _networks(package: Package, ways: Sequence[Direction]) -> dict[str, nn.Module]:
    file = weights_of(ways[0])
    content = package.read(file)
    try:
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise ModelError(
            f"{package.folder / file} is damaged ({error})",
            "it is a safetensors file",
            "copy or download the model again",
        ) from error
    networks = {}
    for way in ways:
        spec = way.network
        network = build_network(spec.adapter, spec.generator, spec.arguments, spec.limits)
        prefix = f"{way.name}."
        mine = {
            key.removeprefix(prefix): tensor.float() if tensor.is_floating_point() else tensor
            for key, tensor in tensors.items()
            if key.startswith(prefix)
        }
        try:
            network.load_state_dict(mine)
        except RuntimeError as error:
            raise ModelError(
                f"the weights of {package.folder} do not fit its network ({error})"[:600],
                f"{CARD} names the network the weights belong to",
                "copy the model again, or use the version of geodecloud that made it",
            ) from error
        networks[way.name] = network.eval()
    return networks


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Refuse to save a model over another one unasked, and over anything else at all.

    Raises:
        OutputError: the folder exists.
    """
    if folder.exists() and not overwrite:
        raise OutputError(
            f"{folder} exists", "a model is saved into a new folder", "pass --overwrite, or rename"
        )
    if folder.exists() and not (folder / CARD).is_file():
        raise OutputError(
            f"{folder} exists and is no model",
            "what overwrite replaces is another model",
            "choose a new folder",
        )


def _entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    return {
        name: FileEntry(sha256=hashlib.sha256(content).hexdigest(), n_bytes=len(content))
        for name, content in files.items()
    }


def rounded(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights, those of convolutions in half precision, ready to be stored."""
    return {
        key: (tensor.half() if tensor.ndim > 1 else tensor).detach().cpu().contiguous()
        for key, tensor in network.state_dict().items()
    }


def export_onnx(direction: Direction, network: nn.Module) -> bytes:
    """Return the graph of a direction's network, its weights rounded, in ONNX, as one file.

    It takes any batch and any sides that are multiples of its stride; its constants are stored
    in half precision.
    """
    from onnxscript.optimizer import fold_constants

    copied = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format).eval()
    copied.load_state_dict({key: tensor.float() for key, tensor in rounded(network).items()})
    arguments, shapes = _examples(direction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own future
        program = torch.onnx.export(
            copied,
            arguments,
            input_names=list(direction.inputs),
            output_names=["answer"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            optimize=False,  # folding norms into weights would take them out of half precision
            verbose=False,
        )
    if program is None:
        raise ModelError("no ONNX graph", "the exporter returns one", "upgrade torch")
    fold_constants(program.model)
    model = program.model_proto
    _halve_constants(model)
    _forget_origins(model)
    content: bytes = model.SerializeToString()
    return content


def _examples(direction: Direction) -> tuple[tuple[Tensor, ...], tuple[dict[int, Any], ...]]:
    """A small array for each input, and which of its sides may be of any length."""
    batch, rows, cols = (torch.export.Dim(name) for name in ("batch", "rows", "cols"))
    stride = direction.stride_px
    n_extra = len(direction.network.limits.get("low_extra", ()))
    n_bands = {"pixels": len(direction.bands_in), "fill": len(direction.bands_out), "mask": 1}
    arguments, shapes = [], []
    for name in direction.inputs:
        if name == "level":
            arguments.append(torch.zeros(2))
            shapes.append({0: batch})
        elif name == "latent":
            arguments.append(torch.zeros(2, int(str(direction.network.arguments["latent_size"]))))
            shapes.append({0: batch})
        else:
            side = 6 * stride, 8 * stride
            arguments.append(torch.zeros(2, n_bands.get(name, n_extra), *side))
            shapes.append({0: batch, 2: stride * rows, 3: stride * cols})
    return tuple(arguments), tuple(shapes)


def _halve_constants(model: Any) -> None:
    """Store large constants in half precision; a Cast makes them whole when they are loaded."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = numpy_helper.to_array(tensor)
        if not (values == values.astype("float16")).all():
            continue  # folded by the exporter: no longer the numbers that were rounded
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _forget_origins(model: Any) -> None:
    """Drop what the exporter says of where each node came from: a twentieth of a small file."""
    for node in model.graph.node:
        del node.metadata_props[:]
    del model.graph.value_info[:]


def _publish(folder: Path, files: Mapping[str, bytes]) -> None:
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        for name, content in files.items():
            write_atomically(part / name, content)
        old = folder.with_name(f"{folder.name}.old.part")
        if folder.exists():
            folder.replace(old)
        part.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise OutputError(
            f"{folder} cannot be written ({error})",
            "a folder with room for the model",
            "choose another place, or make room",
        ) from error
