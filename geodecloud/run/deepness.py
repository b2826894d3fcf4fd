"""deepness_graph: a model's graph as Deepness, a plugin of QGIS, runs it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from geodecloud.errors import MissingExtraError, ModelError
from geodecloud.geo.sensors import SENSORS
from geodecloud.run.package import Direction

SIZE_PX = 256
RGB = SENSORS["rgb"].band_names


def deepness_graph(graph: bytes, way: Direction, resolution_m: float | None) -> bytes:
    """Return a graph with one input and one output of 1 x 3 x 256 x 256, 0 to 1, and its labels.

    Deepness divides the 8-bit pixels of a map by 255, which is what a model of the sensor "rgb"
    takes. Its kind "Superresolution" is the one that draws colours; here the size stays.

    Args:
        graph: in ONNX, of any size.
        way: what the graph wants and gives.
        resolution_m: size of a pixel; None where it does not matter.

    Raises:
        ModelError: the model is not one of 8-bit colour pictures, or wants more than pixels.
        MissingExtraError: onnx is not installed.

    Source: https://qgis-plugin-deepness.readthedocs.io
    """
    _refuse_others(way)
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "learn", "writing a graph") from error
    model = onnx.load_from_string(graph)
    del model.graph.value_info[:]  # sizes of what lies between, which are now others
    for value in (*model.graph.input, *model.graph.output):
        for dim, length in zip(
            value.type.tensor_type.shape.dim, (1, len(RGB), SIZE_PX, SIZE_PX), strict=True
        ):
            dim.Clear()
            dim.dim_value = length
    labels: dict[str, Any] = {
        "model_type": "Superresolution",
        "tile_size": SIZE_PX,
        "tiles_overlap": 0,  # percent; this kind cannot do with any
    }
    if resolution_m is not None:
        labels["resolution"] = 100 * resolution_m  # in centimetres
    for key, value in labels.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    content: bytes = model.SerializeToString()
    _check(content)
    return content


def _refuse_others(way: Direction) -> None:
    is_picture = way.sensor_in == way.sensor_out == "rgb" and way.bands_in == way.bands_out == RGB
    if way.inputs != ("pixels",) or not is_picture or SIZE_PX % way.stride_px:
        raise ModelError(
            f"a model of {way.sensor_in} ({', '.join(way.bands_in)}) to {way.sensor_out} "
            f"({', '.join(way.bands_out)}) that wants {', '.join(way.inputs)}",
            "Deepness feeds the colours red, green, blue of an 8-bit picture, and nothing else",
            "use the QGIS plugin of geodecloud, or a model trained on 8-bit pictures",
        )


def _check(content: bytes) -> None:
    """Run the graph once, as Deepness would.

    Raises:
        ModelError: it answers something else than a finite picture.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (seen,) = session.get_inputs()
    (answer,) = session.run(None, {seen.name: np.full(seen.shape, 0.5, np.float32)})
    if list(answer.shape) != seen.shape or not np.isfinite(answer).all():
        raise ModelError(
            f"the graph answers {answer.shape} to {seen.shape}",
            "a picture of the same size",
            "save the model again",
        )
