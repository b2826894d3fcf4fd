"""mlm_item: a model as a STAC item, with the Machine Learning Model extension."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pystac
from pystac.extensions.mlm import (
    AssetGeneralMLMExtension,
    Hyperparameters,
    InputStructure,
    MLMExtension,
    ModelInput,
    ModelOutput,
    ResultStructure,
    TaskType,
)
from pystac.extensions.raster import DataType

from geodecloud.run.exchange import README
from geodecloud.run.package import WEIGHTS, Direction, ModelCard

ITEM = "stac-item.json"
EARTH = [-180.0, -90.0, 180.0, 90.0]
ALWAYS = {"start_datetime": "1900-01-01T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"}
"""A model lies nowhere and at no time: the whole Earth and all dates, as the extension advises."""

DIMENSIONS = ["batch", "bands", "height", "width"]
MEDIA_TYPES = {
    WEIGHTS: "application/octet-stream; framework=pytorch; profile=safetensors",
    "onnx": "application/octet-stream; framework=onnx; profile=onnx",
    README: "text/markdown",
}


def mlm_item(card: ModelCard) -> bytes:
    """Return the item as JSON; its assets lie beside it. The same model gives the same bytes.

    Source: https://github.com/stac-extensions/mlm
    """
    west, south, east, north = EARTH
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = pystac.Item(
        id=card.name,
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=EARTH,
        datetime=None,
        properties={
            **ALWAYS,
            "title": card.name,
            "description": card.summary or f"{card.task} by {card.system}",
            **({"license": card.licence} if card.licence else {}),
        },
    )
    names = sorted({way.network.generator for way in card.directions})
    MLMExtension.ext(item, add_if_missing=True).apply(
        name=card.name,
        architecture=f"{card.system}, {', '.join(names)}",
        tasks=[TaskType.GENERATIVE],
        input=[entry for way in card.directions for entry in _inputs(card, way)],
        output=[_output(card, way) for way in card.directions],
        framework="PyTorch",
        framework_version=card.versions.get("torch"),
        memory_size=sum(entry.n_bytes for entry in card.files.values()),
        pretrained=True,
        hyperparameters=Hyperparameters.create(
            **{way.name: way.network.model_dump(mode="json") for way in card.directions}
        ),
    )
    for name in (*card.files, README):
        asset = pystac.Asset(
            href=f"./{name}",
            media_type=MEDIA_TYPES.get(name) or MEDIA_TYPES["onnx"],
            roles=["metadata"] if name == README else ["mlm:model", "data"],
        )
        item.add_asset("model-card" if name == README else name, asset)
        if name != README:
            artifact = "safetensors.torch.save" if name == WEIGHTS else "torch.onnx.export"
            AssetGeneralMLMExtension.ext(asset).apply(artifact_type=artifact)
    content = item.to_dict(include_self_link=False, transform_hrefs=False)
    return (json.dumps(content, indent=1) + "\n").encode()


def _inputs(card: ModelCard, way: Direction) -> Iterator[ModelInput]:
    for name in way.inputs:
        usual = way.bands_in if name in ("pixels", "fill") else ()
        bands = list(way.extras.get(name, usual))
        n_channels = len(bands) or 1
        shape = [-1] if name == "level" else [-1, n_channels, -1, -1]
        yield ModelInput.create(
            name=_named(card, way, name),
            bands=bands,
            input=InputStructure.create(shape, DIMENSIONS[: len(shape)], DataType.FLOAT32),
            description=f"as {way.sensor_in} measures it" if name == "pixels" else name,
        )


def _output(card: ModelCard, way: Direction) -> ModelOutput:
    shape = [-1, len(way.bands_out), -1, -1]
    return ModelOutput.create(
        name=_named(card, way, "answer"),
        tasks=[TaskType.GENERATIVE],
        result=ResultStructure.create(shape, DIMENSIONS, DataType.FLOAT32),
        description=f"{', '.join(way.bands_out)} as {way.sensor_out} would have measured them",
    )


def _named(card: ModelCard, way: Direction, name: str) -> str:
    return name if len(card.directions) == 1 else f"{way.name} {name}"
