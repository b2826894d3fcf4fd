"""The .emd and the .dlpk: keys as ArcGIS names them, and the same bytes for the same model."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from geodecloud.errors import ModelError
from geodecloud.run.exchange import definition, dlpk_bytes, package_files
from geodecloud.run.onnx import OnnxTranslator
from geodecloud.run.package import CARD, WEIGHTS, find_package, open_package
from tests.packages import direction, mixing_package
from tests.run.test_package import write_package

KEYS = (
    "Framework ModelConfiguration ModelType ModelName ModelFile ModelFormat ImageHeight ImageWidth "
    "ExtractBands ImageSpaceUsed MinCellSize MaxCellSize SupportsVariableTileSize n_intput_channel "
    "n_channel n_channel_rev NormalizationStats NormalizationStats_b IsMultispectral Bands "
    "ImageryType ModelParameters PSNR SSIM"
)
STATISTICS = (
    "band_min_values band_max_values band_mean_values band_std_values "
    "scaled_min_values scaled_max_values scaled_mean_values scaled_std_values"
)
COLOURS = direction(
    "forward", ["luma"], ["red", "green", "blue"], ("unknown", "rgb"), graph="model.onnx"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return mixing_package(
        tmp_path / "colours",
        [COLOURS],
        {"forward": [[1], [2], [3]]},
        resolution_m=10,
        metrics={"masked": {"psnr": 30.5}},
        training={
            "data": {"chip_size": 96},
            "statistics": {"source": {"mean": [0.25], "std": [0.1]}},
        },
    )


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "colours.dlpk"
    path.write_bytes(dlpk_bytes(open_package(folder)))
    return path


def test_a_definition_has_every_key_of_the_contract(folder: Path) -> None:
    said = definition(open_package(folder).card)
    assert set(KEYS.split()) <= set(said)
    for name in ("NormalizationStats", "NormalizationStats_b"):
        assert set(STATISTICS.split()) == set(said[name])
    assert json.loads(json.dumps(said)) == said


def test_a_definition_says_what_the_card_says(folder: Path) -> None:
    said = definition(open_package(folder).card)
    assert (said["n_intput_channel"], said["n_channel"], said["n_channel_rev"]) == (1, 3, 3)
    assert (said["ImageHeight"], said["ModelFile"], said["PSNR"]) == (96, WEIGHTS, 30.5)
    assert said["MinCellSize"] == said["MaxCellSize"] == {"x": 10, "y": 10}
    assert said["NormalizationStats"]["band_mean_values"] == [0.25]
    # 0 to 1 is seen as -1 to 1
    assert said["NormalizationStats"]["scaled_mean_values"] == [-0.5]
    assert said["NormalizationStats"]["scaled_std_values"] == [0.2]
    assert said["NormalizationStats_b"]["band_max_values"] == [2, 2, 2]
    assert said["NormalizationStats_b"]["band_mean_values"] is None


def test_a_dlpk_is_the_same_bytes_for_the_same_model(folder: Path, archive: Path) -> None:
    assert dlpk_bytes(open_package(folder)) == archive.read_bytes()
    assert dlpk_bytes(open_package(archive)) == archive.read_bytes()


def test_a_dlpk_holds_the_folder(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        names = set(file.namelist())
    assert names == {CARD, WEIGHTS, "model.onnx", "colours.emd", "README.md"}


def test_a_model_is_run_out_of_a_dlpk_and_nothing_is_unpacked(
    folder: Path, archive: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    package = open_package(archive)
    assert package.card == open_package(folder).card
    assert OnnxTranslator(package, "cpu").bands_out == ("red", "green", "blue")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_is_found_by_its_emd(folder: Path) -> None:
    (folder / "colours.emd").write_text("{}")
    assert find_package(folder / "colours.emd") == folder


def repacked(archive: Path, **changed: bytes) -> Path:
    with zipfile.ZipFile(archive) as file:
        contents = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in {**contents, **changed}.items():
            file.writestr(name, content)
    return archive


def test_a_program_in_a_dlpk_stays_unread_and_is_named(archive: Path) -> None:
    package = open_package(repacked(archive, **{"ArcGISImageTranslation.py": b"raise SystemExit"}))
    assert package.unread == ("ArcGISImageTranslation.py",)


def test_a_pickle_in_a_dlpk_is_refused(archive: Path) -> None:
    with pytest.raises(ModelError, match=r"holds colours.pth.*never code"):
        open_package(repacked(archive, **{"colours.pth": b"\x80\x04."}))


def test_another_sha256_in_a_dlpk_is_found(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        graph = bytearray(file.read("model.onnx"))
    graph[-1] ^= 1
    package = open_package(repacked(archive, **{"model.onnx": bytes(graph)}))
    with pytest.raises(ModelError, match=r"damaged .another sha256"):
        package.read("model.onnx")


def test_a_damaged_dlpk_is_one_clear_error(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(ModelError, match="is damaged"):
        open_package(archive)


def test_a_dlpk_of_another_program_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "theirs.dlpk"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("theirs.emd", "{}")
    with pytest.raises(ModelError, match=r"another program made it.*allow_pth"):
        open_package(path)


def test_a_card_with_missing_keys_in_a_dlpk_is_refused(archive: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a model card .name: Field required"):
        open_package(repacked(archive, **{CARD: b"{}"}))


def test_the_files_of_a_package_are_its_card_said_three_ways(tmp_path: Path) -> None:
    card = open_package(write_package(tmp_path / "small")).card
    files = package_files(card, {WEIGHTS: b"weights"})
    assert set(files) == {WEIGHTS, CARD, "small.emd", "README.md"}
    assert json.loads(files["small.emd"])["ModelName"] == "Pix2Pix"
