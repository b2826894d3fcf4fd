"""OnnxTranslator: a packaged model in ONNX Runtime, without torch."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np

from geodecloud.errors import ModelError, OptionError
from geodecloud.run.package import Package, feeds
from geodecloud.translator import Answer, Request

EXTERNAL_DATA_KEY = b"\x0a\x08location"
"""The key that every reference of an ONNX file to another file holds (onnx.proto, TensorProto)."""


class OnnxTranslator:
    """A translator that runs a package's graph; all cores of the CPU, or CUDA.

    Args:
        package: the model.
        device: "cpu", "cuda", or "auto" for CUDA where this ONNX Runtime has it.
        direction: which way, for models with two.
        n_threads: None takes every core this process may use.

    Raises:
        ModelError: the package has no graph, or one that cannot be run.
        OptionError: the device is not here.
    """

    def __init__(
        self,
        package: Package,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        *,
        direction: str | None = None,
        n_threads: int | None = None,
    ) -> None:
        """Check the graph and make it ready."""
        import onnxruntime as ort

        self._direction = package.direction(direction)
        card, way = package.card, self._direction
        if way.graph is None:
            raise ModelError(
                f"{package.folder} has no ONNX graph",
                "running without torch needs one",
                "install geodecloud[learn], or save the model again with its graph",
            )
        graph = package.read(way.graph)
        _refuse_external_data(graph, f"{package.folder / way.graph}")
        provider, self.device = _provider(ort, device)
        options = ort.SessionOptions()
        options.intra_op_num_threads = n_threads or n_cores()
        options.log_severity_level = 3  # errors alone; they are raised as well
        # a plan of the whole graph's memory holds a third more than what runs at any time needs
        options.enable_mem_pattern = False
        try:
            self._session = ort.InferenceSession(graph, options, providers=[provider])
        except _errors_of(ort) as error:
            raise ModelError(
                f"{package.folder / way.graph} cannot be run ({error})",
                "it is a graph that this ONNX Runtime knows",
                "upgrade onnxruntime, or save the model again",
            ) from error
        wanted = tuple(node.name for node in self._session.get_inputs())
        if wanted != way.inputs:
            raise ModelError(
                f"{package.folder / way.graph} wants {', '.join(wanted)}",
                f"its card says {', '.join(way.inputs)}",
                "save the model again",
            )
        self.name, self.task = card.name, card.task
        self.sensor_out: str | None = way.sensor_out
        self.bands_in, self.bands_out = way.bands_in, way.bands_out
        self.resolution_m = card.resolution_m
        self.stride_px, self.halo_px = way.stride_px, way.halo_px
        self.inputs = way.inputs

    def __call__(self, request: Request) -> Answer:
        """Answer a request of B tiles, sides multiples of ``stride_px``."""
        fed = feeds(request, self._direction, self.name)
        (pixels,) = self._session.run(None, fed)
        return Answer(np.asarray(pixels, np.float32))


def _provider(ort: Any, device: str) -> tuple[Any, str]:
    has_cuda = "CUDAExecutionProvider" in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise OptionError(
            "device cuda with an ONNX Runtime for CPUs",
            "CUDA needs torch or onnxruntime-gpu",
            "pip install 'geodecloud[learn]', or use device cpu",
        )
    if device != "cpu" and has_cuda:
        # TF32 keeps 10 bits of the mantissa: engines would differ by far more than 1e-4
        return ("CUDAExecutionProvider", {"use_tf32": 0}), "cuda"
    return "CPUExecutionProvider", "cpu"


def _errors_of(ort: Any) -> tuple[type[Exception], ...]:
    # they share no parent but Exception
    state = ort.capi.onnxruntime_pybind11_state
    names = "Fail InvalidArgument InvalidGraph InvalidProtobuf NotImplemented RuntimeException"
    return tuple(getattr(state, name) for name in names.split())


def n_cores() -> int:
    """Return how many cores this process may use; only Linux tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _refuse_external_data(graph: bytes, name: str) -> None:
    if EXTERNAL_DATA_KEY in graph:
        raise ModelError(
            f"{name} refers to another file",
            "a graph holds its own weights",
            "do not use it; ask its author for a graph without external data",
        )
