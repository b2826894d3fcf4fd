"""Both engines answer alike, and the torch one leaves the process as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from geodecloud.errors import ModelError, OptionError
from geodecloud.learn.translator import TorchTranslator
from geodecloud.models import load_packaged
from geodecloud.run.onnx import OnnxTranslator
from geodecloud.run.package import CARD, open_package
from geodecloud.translator import Request


def request_of(shape: tuple[int, ...], level: str | None = "L1C") -> Request:
    random = np.random.default_rng(sum(shape))
    pixels = random.uniform(0, 1.2, shape).astype(np.float32)
    mask = random.uniform(size=(shape[0], 1, *shape[2:])) > 0.4
    fill = random.uniform(0, 0.4, shape).astype(np.float32)
    return Request(pixels, np.ones(shape, bool), mask, np.where(mask, fill, pixels), level=level)


@pytest.mark.parametrize("shape", [(1, 4, 64, 64), (3, 4, 32, 96), (2, 4, 130, 34)])
@pytest.mark.parametrize("level", ["L1C", "L2A", None])
def test_both_engines_answer_within_1e_4(package_folder: Path, shape, level) -> None:
    package = open_package(package_folder)
    request = request_of(shape, level)
    torch_answer = TorchTranslator.of(package, "cpu")(request).pixels
    onnx_answer = OnnxTranslator(package, "cpu")(request).pixels
    assert torch_answer.shape == onnx_answer.shape == shape
    assert torch_answer.dtype == onnx_answer.dtype == np.float32
    assert np.abs(torch_answer - request.pixels).max() > 0.01
    assert np.abs(torch_answer - onnx_answer).max() < 1e-4


def test_a_package_without_a_graph_is_answered_in_torch(
    package_folder: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(package_folder, bare)
    card = json.loads((bare / CARD).read_text())
    card["directions"][0]["graph"] = None
    del card["files"]["model.onnx"]
    (bare / CARD).write_text(json.dumps(card))
    (bare / "model.onnx").unlink()
    request = request_of((1, 4, 64, 64))
    answers = [load_packaged(folder, "cpu")(request).pixels for folder in (package_folder, bare)]
    np.testing.assert_allclose(*answers, atol=1e-4)
    assert isinstance(load_packaged(bare, "cpu"), TorchTranslator)


def test_both_engines_say_the_same_of_themselves(package_folder: Path) -> None:
    package = open_package(package_folder)
    engines = TorchTranslator.of(package, "cpu"), OnnxTranslator(package, "cpu")
    for name in ("name", "bands_in", "bands_out", "resolution_m", "stride_px", "halo_px", "device"):
        assert getattr(engines[0], name) == getattr(engines[1], name), name


def test_an_answer_does_not_depend_on_where_a_scene_is_cut(package_folder: Path) -> None:
    engine = OnnxTranslator(open_package(package_folder), "cpu")
    halo = -(-engine.halo_px // engine.stride_px) * engine.stride_px
    side = 2 * halo + 16
    scene = request_of((1, 4, side + 8, side + 8))
    whole = engine(scene).pixels

    def part(array: np.ndarray) -> np.ndarray:
        return array[..., 8:, 8:]

    assert scene.mask is not None
    assert scene.fill is not None
    request = Request(
        part(scene.pixels), part(scene.valid), part(scene.mask), part(scene.fill), level="L1C"
    )
    answer = engine(request).pixels
    core = np.s_[..., halo:-halo, halo:-halo]
    assert np.abs(answer[core] - whole[..., 8:, 8:][core]).max() < 1e-6


def test_an_answer_depends_on_the_level(package_folder: Path) -> None:
    engine = TorchTranslator.of(open_package(package_folder), "cpu")
    one, other = (engine(request_of((1, 4, 32, 32), level)).pixels for level in ("L1C", "L2A"))
    assert not np.array_equal(one, other)


def test_the_process_keeps_its_precision(package_folder: Path) -> None:
    before = torch.backends.cudnn.allow_tf32
    TorchTranslator.of(open_package(package_folder), "cpu")(request_of((1, 4, 32, 32)))
    assert torch.backends.cudnn.allow_tf32 == before


def test_a_request_without_a_fill_is_one_clear_error(package_folder: Path) -> None:
    engine = TorchTranslator.of(open_package(package_folder), "cpu")
    pixels = np.zeros((1, 4, 32, 32), np.float32)
    with pytest.raises(ModelError, match="the request has no 'fill'"):
        engine(Request(pixels, pixels == 0))
    with pytest.raises(ModelError, match="tiles of 3 bands"):
        engine(Request(pixels[:, :3], pixels[:, :3] == 0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_a_device_that_is_not_here_is_refused(package_folder: Path) -> None:
    package = open_package(package_folder)
    with pytest.raises(OptionError, match="torch sees no CUDA"):
        TorchTranslator.of(package, "cuda")
    with pytest.raises(OptionError, match="ten times slower"):
        TorchTranslator.of(package, "cpu", bfloat16=True)


@pytest.mark.gpu
def test_a_gpu_answers_within_1e_4_of_the_cpu(package_folder: Path) -> None:
    package = open_package(package_folder)
    request = request_of((4, 4, 256, 256))
    on_gpu = TorchTranslator.of(package, "cuda")(request).pixels
    on_cpu = TorchTranslator.of(package, "cpu")(request).pixels
    assert np.abs(on_gpu - on_cpu).max() < 1e-4
