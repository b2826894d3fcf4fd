"""Model packages whose graphs are made by hand: what they answer is known to the last digit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from geodecloud.run.package import CARD, WEIGHTS

Matrix = Sequence[Sequence[float]]


def mixing_graph(matrix: Matrix, inputs: Sequence[str] = ("pixels",)) -> bytes:
    """A graph that answers, pixel by pixel, a matrix times the bands of its inputs."""
    weights = np.array(matrix, np.float32)[:, :, None, None]
    n_each = weights.shape[1] // len(inputs)
    known = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", n_each, "h", "w"])
        for name in inputs
    ]
    answer = helper.make_tensor_value_info(
        "answer", TensorProto.FLOAT, ["b", len(weights), "h", "w"]
    )
    nodes = [
        helper.make_node("Concat", list(inputs), ["seen"], axis=1),
        helper.make_node("Conv", ["seen", "weights"], ["answer"], kernel_shape=[1, 1]),
    ]
    graph = helper.make_graph(
        nodes, "mixing", known, [answer], [numpy_helper.from_array(weights, "weights")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def direction(
    name: str,
    bands_in: Sequence[str],
    bands_out: Sequence[str],
    sensors: tuple[str, str],
    **changed: Any,
) -> dict[str, Any]:
    """The fields of a direction; its network is only named, never built."""
    limits = {"low": [0.0] * len(bands_in), "high": [1.0] * len(bands_in)}
    limits |= {"low_out": [0.0] * len(bands_out), "high_out": [2.0] * len(bands_out)}
    return {
        "name": name,
        "network": {"adapter": "translation", "generator": "unet", "limits": limits},
        "graph": f"model-{name}.onnx",
        "inputs": ["pixels"],
        "sensor_in": sensors[0],
        "bands_in": list(bands_in),
        "sensor_out": sensors[1],
        "bands_out": list(bands_out),
        "stride_px": 8,
        "halo_px": 3,
        **changed,
    }


def mixing_package(
    folder: Path,
    ways: Sequence[Mapping[str, Any]],
    matrices: Mapping[str, Matrix],
    *,
    weights: bytes = b"weights",
    **card: Any,
) -> Path:
    """A package whose directions multiply bands by matrices."""
    folder.mkdir(parents=True)
    files = {WEIGHTS: weights}
    for way in ways:
        files[way["graph"]] = mixing_graph(matrices[way["name"]], way["inputs"])
    for name, content in files.items():
        (folder / name).write_bytes(content)
    said = {
        "name": folder.name,
        "system": "Pix2Pix" if len(ways) == 1 else "CycleGAN",
        "task": "translation",
        "directions": list(ways),
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "n_bytes": len(content)}
            for name, content in files.items()
        },
        **card,
    }
    (folder / CARD).write_text(json.dumps(said))
    return folder
