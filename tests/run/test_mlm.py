"""The STAC item of a model: core by its schema, the extension by its own classes."""

from __future__ import annotations

import json
from pathlib import Path

import pystac
import pytest
from pystac.errors import STACValidationError
from pystac.extensions.mlm import AssetGeneralMLMExtension, MLMExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from geodecloud.run.mlm import mlm_item
from geodecloud.run.package import open_package
from tests.packages import direction, mixing_package
from tests.run.test_package import write_package


def item_of(folder: Path) -> pystac.Item:
    return pystac.Item.from_dict(json.loads(mlm_item(open_package(folder).card)))


def validate(item: dict[str, object]) -> None:
    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")


def test_an_item_fits_the_core_schema(tmp_path: Path) -> None:
    validate(item_of(write_package(tmp_path / "small")).to_dict())


def test_the_check_would_find_an_item_that_does_not_fit(tmp_path: Path) -> None:
    item = item_of(write_package(tmp_path / "small")).to_dict()
    del item["geometry"]
    with pytest.raises(STACValidationError, match="'geometry' is a required property"):
        validate(item)


def test_the_extension_says_what_goes_in_and_what_comes_out(tmp_path: Path) -> None:
    said = MLMExtension.ext(item_of(write_package(tmp_path / "small")))
    assert (said.mlm_name, said.architecture) == ("small", "Pix2Pix, unet")
    shapes = {entry.name: entry.input.shape for entry in said.input}
    assert shapes == {
        "pixels": [-1, 2, -1, -1], "mask": [-1, 1, -1, -1], "fill": [-1, 2, -1, -1], "level": [-1]
    }  # fmt: skip
    assert said.input[0].bands == ["B02", "B03"]
    assert said.output[0].result.shape == [-1, 2, -1, -1]


def test_both_directions_are_described(tmp_path: Path) -> None:
    ways = [
        direction("AtoB", ["B02"], ["VV"], ("sentinel-2-l2a", "sentinel-1-rtc")),
        direction("BtoA", ["VV"], ["B02"], ("sentinel-1-rtc", "sentinel-2-l2a")),
    ]
    item = item_of(mixing_package(tmp_path / "two", ways, {"AtoB": [[1]], "BtoA": [[1]]}))
    validate(item.to_dict())
    said = MLMExtension.ext(item)
    assert [entry.name for entry in said.input] == ["AtoB pixels", "BtoA pixels"]
    assert set(said.hyperparameters.to_dict()) == {"AtoB", "BtoA"}


def test_every_file_is_an_asset_and_the_models_say_what_they_are(tmp_path: Path) -> None:
    assets = item_of(write_package(tmp_path / "small")).assets
    assert set(assets) == {"weights.safetensors", "model.onnx", "model-card"}
    assert "mlm:model" in assets["model.onnx"].roles
    kind = AssetGeneralMLMExtension.ext(assets["model.onnx"]).artifact_type
    assert kind == "torch.onnx.export"


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    card = open_package(write_package(tmp_path / "small")).card
    assert mlm_item(card) == mlm_item(card.model_copy())
