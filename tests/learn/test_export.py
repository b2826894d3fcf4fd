"""Every network of the house as a graph: any batch, any size, the answers of torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch

from geodecloud.learn.checkpoint import export_onnx, rounded
from geodecloud.learn.networks import GENERATORS, build_network
from geodecloud.learn.reach import stride_of
from geodecloud.run.package import Direction
from tests.contracts import SMALL_GENERATORS, train_statistics

LIMITS = {"low": [0.0, 0.1], "high": [0.5, 0.6]}
OUT = {"low_out": [0.0, 0.0, 0.0], "high_out": [1.0, 1.0, 1.0]}
EXTRA = {"low_extra": [-25.0], "high_extra": [0.0]}
FULL = ("pixels", "mask", "fill", "level")


def direction_of(
    generator: str, adapter: str, limits: dict, inputs: tuple[str, ...], **changed: object
) -> Direction:
    arguments = {**SMALL_GENERATORS[generator], **changed}
    if generator == "wnet":
        arguments["n_second"] = len(limits.get("low_extra", ())) or 1
    spec = {"adapter": adapter, "generator": generator, "arguments": arguments, "limits": limits}
    torch.manual_seed(0)
    network = build_network(adapter, generator, arguments, limits)
    return Direction.model_validate(
        {
            "network": spec,
            "inputs": inputs,
            "extras": {"sar": ["VV"]} if "sar" in inputs else {},
            "sensor_in": "sentinel-2-l2a",
            "bands_in": ["B02", "B03"],
            "sensor_out": "sentinel-2-l2a",
            "bands_out": ["red", "green", "blue"] if "low_out" in limits else ["B02", "B03"],
            "stride_px": stride_of(network),
            "halo_px": 0,
        }
    )


def check_graph(way: Direction, atol: float = 1e-4) -> None:
    """The graph answers within 1e-4 of torch, for other batches and sides than it was made with."""
    spec = way.network
    torch.manual_seed(1)
    network = build_network(spec.adapter, spec.generator, spec.arguments, spec.limits)
    for parameter in network.parameters():
        if not parameter.any():  # what begins silent
            parameter.data.normal_(0, 0.1)
    train_statistics(network)
    graph = export_onnx(way, network)
    network.load_state_dict({key: tensor.float() for key, tensor in rounded(network).items()})
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_inputs()] == list(way.inputs)
    random = np.random.default_rng(0)
    channels = {"pixels": 2, "fill": 2, "mask": 1, "sar": 1}
    for batch, rows, cols in ((1, 2, 5), (3, 4, 2)):
        shape = rows * way.stride_px * 4, cols * way.stride_px * 4
        fed = {
            name: random.random((batch, channels[name], *shape), np.float32)
            if name in channels
            else random.random(batch, np.float32)
            for name in way.inputs
        }
        with torch.inference_mode():
            mine = network.eval()(*(torch.from_numpy(fed[name]) for name in way.inputs)).numpy()
        (answer,) = session.run(None, fed)
        assert answer.shape == mine.shape == (batch, len(way.bands_out), *shape)
        assert np.ptp(mine) > 1e-3
        assert np.abs(answer - mine).max() < atol


def _slow_unless(is_quick: Callable[[str], bool]) -> list[object]:
    """The generators; a graph takes seconds, so each is tried once among the quick tests."""
    return [
        name if is_quick(name) else pytest.param(name, marks=pytest.mark.slow)
        for name in GENERATORS
    ]


@pytest.mark.parametrize("name", _slow_unless(lambda name: name != "wnet"))
def test_every_generator_translates_alike_in_both_engines(name: str) -> None:
    extra, inputs = (EXTRA, ("pixels", "sar")) if name == "wnet" else ({}, ("pixels",))
    check_graph(direction_of(name, "translation", LIMITS | OUT | extra, inputs))


@pytest.mark.parametrize("name", _slow_unless(lambda name: name == "wnet"))
def test_every_generator_corrects_a_fill_alike_in_both_engines(name: str) -> None:
    extra, inputs = (EXTRA, (*FULL, "sar")) if name == "wnet" else ({}, FULL)
    check_graph(direction_of(name, "fill-correction", LIMITS | extra, inputs))


def test_the_same_weights_give_the_same_graph() -> None:
    way = direction_of("unet", "translation", LIMITS | OUT, ("pixels",), widths=(4,))
    spec = way.network
    torch.manual_seed(1)
    network = build_network(spec.adapter, spec.generator, spec.arguments, spec.limits)
    assert export_onnx(way, network) == export_onnx(way, network)
