"""Packages: found, checked, and refused with one clear error when anything is wrong."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from geodecloud.errors import ModelError
from geodecloud.run.package import (
    CARD,
    WEIGHTS,
    FileEntry,
    ModelCard,
    feeds,
    find_package,
    known_packages,
    open_package,
    read_card,
)
from geodecloud.translator import Request

BANDS = ("B02", "B03")
WAY = {
    "network": {
        "adapter": "fill-correction",
        "generator": "unet",
        "limits": {"low": [0], "high": [1]},
    },
    "graph": "model.onnx",
    "inputs": ["pixels", "mask", "fill", "level"],
    "sensor_in": "sentinel-2-l2a",
    "bands_in": BANDS,
    "sensor_out": "sentinel-2-l2a",
    "bands_out": BANDS,
    "stride_px": 8,
    "halo_px": 58,
}


def write_package(folder: Path, **changed: object) -> Path:
    """A package whose files are letters: enough for all that does not run it."""
    folder.mkdir(parents=True)
    files = {WEIGHTS: b"weights", "model.onnx": b"graph"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    card = {
        "name": folder.name,
        "system": "Pix2Pix",
        "task": "cloud-removal",
        "directions": [WAY],
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "n_bytes": len(content)}
            for name, content in files.items()
        },
        **changed,
    }
    (folder / CARD).write_text(json.dumps({"format": "geodecloud-model", "version": 1, **card}))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_package(tmp_path / "small")


def test_a_package_is_found_by_its_folder_and_by_its_card(folder: Path) -> None:
    assert open_package(folder).folder == folder
    assert open_package(folder / CARD).folder == folder


def test_a_package_is_found_by_name_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_package(tmp_path / "geodecloud" / "models" / "mine")
    assert "mine" in known_packages()
    assert open_package("mine").card.name == "mine"


def test_an_unknown_model_names_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_package(tmp_path / "geodecloud" / "models" / "mine")
    with pytest.raises(ModelError, match=r"no model 'yours'; known by name are .*mine"):
        find_package("yours")


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model"):
        open_package(tmp_path)


def test_files_are_read_as_they_were_written(folder: Path) -> None:
    assert open_package(folder).read(WEIGHTS) == b"weights"


@pytest.mark.parametrize("name", [WEIGHTS, "model.onnx"])
def test_a_flipped_bit_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[0] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} is damaged .another sha256"):
        open_package(folder).read(name)


def test_a_truncated_or_missing_file_is_found_when_the_package_is_opened(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"weig")
    with pytest.raises(ModelError, match=r"has 4 bytes; model.json says 7"):
        open_package(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="is missing"):
        open_package(folder)


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pt", "old.pth", "model.py", "sub/x.PTH"])
def test_a_package_with_code_or_a_pickle_is_refused_by_name(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match=f"holds {name}.*never code"):
        open_package(folder)
    assert not Trap.sprung


class Trap:
    sprung = False

    def __reduce__(self):
        return (_spring, ())


def _spring() -> None:
    Trap.sprung = True


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"format": "other"},
        {"name": "../../etc"},
        {"surprise": 1},
        {"directions": []},
        {"directions": [{**WAY, "halo_px": 10**9}]},
        {"directions": [{**WAY, "stride_px": 0}]},
        {"directions": [{**WAY, "graph": "other.onnx"}]},
        {"resolution_m": -1},
        {"resolution_m": float("nan")},
        {"files": {"../weights": {"sha256": "0" * 64, "n_bytes": 1}}},
        {"files": {WEIGHTS: {"sha256": "short", "n_bytes": 1}}},
        {"metrics": {"masked": {"psnr": "thirty"}}},
    ],
)
def test_a_card_that_does_not_fit_the_schema_is_refused(tmp_path: Path, changed) -> None:
    folder = write_package(tmp_path / "bad", **changed)
    with pytest.raises(ModelError, match="is not a model card"):
        open_package(folder)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b" " * 2_000_000]
)
def test_what_is_no_card_is_one_clear_error(folder: Path, content: bytes) -> None:
    (folder / CARD).write_bytes(content)
    with pytest.raises(ModelError, match="is not a model card"):
        open_package(folder)


def test_a_card_survives_the_way_to_json_and_back(folder: Path) -> None:
    card = read_card(folder / CARD)
    assert ModelCard.model_validate_json(card.model_dump_json()) == card
    assert isinstance(card.files[WEIGHTS], FileEntry)


def test_a_direction_that_is_not_there_is_refused(folder: Path) -> None:
    package = open_package(folder)
    assert package.direction().name == "forward"
    with pytest.raises(ModelError, match="has no direction 'BtoA'"):
        package.direction("BtoA")


def test_networks_are_fed_floats_in_the_order_they_want(folder: Path) -> None:
    way = open_package(folder).direction()
    pixels = np.zeros((2, 2, 4, 4), np.float32)
    fed = feeds(Request(pixels, pixels == 0, fill=pixels, level="L2A"), way, "small")
    assert list(fed) == ["pixels", "mask", "fill", "level"]
    assert all(array.dtype == np.float32 for array in fed.values())
    assert fed["level"].tolist() == [-1, -1]
    assert (fed["mask"] == 1).all()  # no mask means all of it


def test_an_extra_input_comes_from_the_request(folder: Path) -> None:
    way = open_package(folder).direction().model_copy(update={"inputs": ("pixels", "sar")})
    pixels = np.zeros((1, 2, 4, 4), np.float32)
    request = Request(pixels, pixels == 0, extra={"sar": np.ones((1, 2, 4, 4))})
    assert list(feeds(request, way, "small")) == ["pixels", "sar"]
    with pytest.raises(ModelError, match="the request has no 'sar'"):
        feeds(Request(pixels, pixels == 0), way, "small")
