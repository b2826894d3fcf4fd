"""The ONNX engine, on a graph made by hand: no torch is needed to run or to test it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geodecloud.errors import ModelError, OptionError
from geodecloud.run.onnx import OnnxTranslator
from geodecloud.run.package import CARD, Package, open_package
from geodecloud.translator import Request
from tests.run.test_package import WAY, write_package

onnx = pytest.importorskip("onnx")


def graph_of(inputs: tuple[str, ...] = ("pixels", "mask", "fill", "level")) -> bytes:
    """A graph that answers fill + mask x (pixels - fill) + level."""
    from onnx import TensorProto, helper

    shapes = {"mask": ["b", 1, "h", "w"], "level": ["b"]}
    known = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes.get(name, ["b", 2, "h", "w"]))
        for name in inputs
    ]
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["b", 2, "h", "w"])
    column = helper.make_tensor("column", TensorProto.INT64, [4], [-1, 1, 1, 1])
    nodes = [
        helper.make_node("Sub", ["pixels", "fill"], ["difference"]),
        helper.make_node("Mul", ["mask", "difference"], ["correction"]),
        helper.make_node("Add", ["fill", "correction"], ["pasted"]),
        helper.make_node("Reshape", ["level", "column"], ["levels"]),
        helper.make_node("Add", ["pasted", "levels"], ["answer"]),
    ]
    graph = helper.make_graph(nodes, "by hand", known, [answer], [column])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def package_of(folder: Path, content: bytes, **changed: object) -> Package:
    write_package(folder)
    (folder / "model.onnx").write_bytes(content)
    card = json.loads((folder / CARD).read_text())
    card["files"]["model.onnx"] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "n_bytes": len(content),
    }
    card["directions"] = [{**WAY, **changed}]
    (folder / CARD).write_text(json.dumps(card))
    return open_package(folder)


def test_a_graph_answers_what_it_computes(tmp_path: Path) -> None:
    translator = OnnxTranslator(package_of(tmp_path / "small", graph_of()), "cpu")
    random = np.random.default_rng(0)
    pixels, fill = random.uniform(size=(2, 3, 2, 8, 16)).astype(np.float32)
    mask = random.uniform(size=(3, 1, 8, 16)) > 0.5
    request = Request(pixels, pixels >= 0, mask, fill, level="L1C")
    answer = translator(request).pixels
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, np.where(mask, pixels, fill) + 1, atol=1e-6)
    assert (translator.name, translator.device, translator.stride_px) == ("small", "cpu", 8)


def test_a_graph_needs_no_torch(tmp_path: Path) -> None:
    package_of(tmp_path / "small", graph_of())
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from geodecloud.run.onnx import OnnxTranslator\n"
        "from geodecloud.run.package import open_package\n"
        f"OnnxTranslator(open_package({str(tmp_path / 'small')!r}), 'cpu')\n"
    )
    repository = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=repository)


def test_a_graph_that_refers_to_another_file_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(graph_of())
    weight = model.graph.initializer.add()
    weight.name, weight.data_type = "stolen", onnx.TensorProto.FLOAT
    weight.dims.append(1)
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../secrets"
    package = package_of(tmp_path / "small", model.SerializeToString())
    with pytest.raises(ModelError, match="refers to another file"):
        OnnxTranslator(package, "cpu")


def test_what_is_no_graph_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be run"):
        OnnxTranslator(package_of(tmp_path / "small", b"no graph at all"), "cpu")


def test_a_graph_with_other_inputs_than_its_card_is_refused(tmp_path: Path) -> None:
    package = package_of(tmp_path / "small", graph_of(), inputs=["pixels", "mask", "fill"])
    with pytest.raises(ModelError, match="wants pixels, mask, fill, level; its card says"):
        OnnxTranslator(package, "cpu")


def test_a_package_without_a_graph_says_what_runs_it(tmp_path: Path) -> None:
    package = package_of(tmp_path / "small", graph_of(), graph=None)
    with pytest.raises(ModelError, match=r"geodecloud\[learn\]"):
        OnnxTranslator(package, "cpu")


def test_a_device_that_is_not_here_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = package_of(tmp_path / "small", graph_of())
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(OptionError, match="onnxruntime-gpu"):
        OnnxTranslator(package, "cuda")
