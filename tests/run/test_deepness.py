"""The graph for Deepness answers as the model does, at its one size, and says what it is."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from geodecloud.errors import ModelError
from geodecloud.run.deepness import RGB, SIZE_PX, deepness_graph
from geodecloud.run.package import Direction
from tests.packages import direction, mixing_graph

SWAP = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
PICTURE = direction("forward", RGB, RGB, ("rgb", "rgb"))


def run(content: bytes, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (seen,) = session.get_inputs()
    return session.run(None, {seen.name: pixels})[0]


def test_the_exported_graph_answers_as_the_model_does() -> None:
    graph = mixing_graph(SWAP)
    pixels = np.random.default_rng(0).random((1, 3, SIZE_PX, SIZE_PX), np.float32)
    exported = deepness_graph(graph, Direction.model_validate(PICTURE), 10)
    assert np.abs(run(exported, pixels) - run(graph, pixels)).max() < 1e-4
    assert np.abs(run(exported, pixels) - pixels[:, ::-1]).max() < 1e-4


def test_it_has_one_input_and_one_output_of_a_fixed_size() -> None:
    exported = deepness_graph(mixing_graph(SWAP), Direction.model_validate(PICTURE), None)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    assert [node.shape for node in session.get_inputs()] == [[1, 3, SIZE_PX, SIZE_PX]]
    assert [node.shape for node in session.get_outputs()] == [[1, 3, SIZE_PX, SIZE_PX]]
    onnx.checker.check_model(exported)


def test_its_labels_are_json_as_the_plugin_reads_them() -> None:
    exported = deepness_graph(mixing_graph(SWAP), Direction.model_validate(PICTURE), 0.5)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    labels = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(value) for key, value in labels.items()} == {
        "model_type": "Superresolution",
        "tile_size": SIZE_PX,
        "tiles_overlap": 0,
        "resolution": 50.0,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"sensor_in": "sentinel-2-l2a"},
        {"sensor_out": "sentinel-2-l2a"},
        {"bands_in": ["red", "green"]},
        {"bands_in": ["blue", "green", "red"]},
        {"inputs": ["pixels", "mask"]},
        {"stride_px": 96},
    ],
)
def test_any_other_model_is_refused(changed) -> None:
    way = Direction.model_validate({**PICTURE, **changed})
    with pytest.raises(ModelError, match="Deepness feeds the colours red, green, blue"):
        deepness_graph(mixing_graph(SWAP), way, None)


def test_a_graph_that_answers_no_picture_is_refused() -> None:
    graph = mixing_graph([[np.nan] * 3] * 3)
    with pytest.raises(ModelError, match="the graph answers"):
        deepness_graph(graph, Direction.model_validate(PICTURE), None)
