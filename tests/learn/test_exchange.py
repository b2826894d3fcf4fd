"""Models handed on and taken in: whole, damaged, and those of others."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from geodecloud.errors import ModelError
from geodecloud.learn.models import CycleGAN, Pix2Pix, from_model
from geodecloud.run.package import CARD, open_package
from tests.learn.conftest import data_of, small_model, unsettle


@pytest.fixture(scope="module")
def saved(chips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = small_model(data_of(chips))
    unsettle(model)
    folder = tmp_path_factory.mktemp("saved") / "small"
    return model.save(folder, compute_metrics=False, dlpk=True, mlm=True, summary="Clears.")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "small"))


def weights_of(path: Path | str, **options: object) -> dict[str, torch.Tensor]:
    return from_model(path, **options).networks["forward"].state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_a_saved_model_holds_what_others_read(saved: Path) -> None:
    names = {path.name for path in saved.iterdir()}
    assert names == {
        CARD, "weights.safetensors", "model.onnx", "small.emd", "README.md", "small.dlpk",
        "stac-item.json",
    }  # fmt: skip
    said = json.loads((saved / "small.emd").read_text())
    assert said["NormalizationStats"]["band_mean_values"][0] == pytest.approx(0.21, abs=0.05)
    assert said["ImageHeight"] == 32
    text = (saved / "README.md").read_text()
    assert "place 0, place 1, place 2" in text
    assert "Clears." in text


def test_folder_card_emd_and_dlpk_give_the_same_model(saved: Path) -> None:
    first = weights_of(saved)
    for path in (saved / CARD, saved / "small.emd", saved / "small.dlpk"):
        assert same(weights_of(path), first)


def test_the_same_model_is_saved_as_the_same_bytes(saved: Path, chips, tmp_path: Path) -> None:
    model = small_model(data_of(chips))
    unsettle(model)
    again = model.save(
        tmp_path / "small", compute_metrics=False, dlpk=True, mlm=True, summary="Clears."
    )
    for path in saved.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_what_a_model_learnt_from_stays_when_it_is_saved_again(saved: Path, tmp_path: Path) -> None:
    again = from_model(saved).save(tmp_path / "again")
    before, after = (open_package(path).card.training for path in (saved, again))
    assert after["data"] == before["data"]
    assert after["statistics"] == before["statistics"]


def test_a_class_makes_its_own_model_of_a_package_and_no_other(saved: Path) -> None:
    emd = saved / "small.emd"
    assert same(Pix2Pix.from_model(emd).networks["forward"].state_dict(), weights_of(saved))
    with pytest.raises(ModelError, match="is a Pix2Pix; a CycleGAN is needed"):
        CycleGAN.from_model(emd)


def test_load_takes_the_weights_of_a_dlpk(saved: Path, chips) -> None:
    model = small_model(data_of(chips))
    model.load(saved / "small.dlpk")
    assert same(model.networks["forward"].state_dict(), weights_of(saved))


def test_a_program_in_a_dlpk_is_never_run_and_said(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "small.dlpk", "a") as file:
        file.writestr("inference.py", f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.warns(UserWarning, match=r"never run, left unread: inference.py"):
        from_model(folder / "small.dlpk")
    assert not (tmp_path / "ran").exists()


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def foreign(folder: Path, content: object = None, **changed: object) -> Path:
    """The model as another program would have saved it: an .emd and a .pth, no card."""
    weights = {key: value.clone() for key, value in weights_of(folder).items()}
    said = json.loads((folder / "small.emd").read_text())
    for path in folder.iterdir():
        path.unlink()
    said |= {"ModelFile": ".\\theirs.pth", **changed}
    (folder / "theirs.emd").write_text(json.dumps(said))
    torch.save(weights if content is None else content, folder / "theirs.pth")
    return folder / "theirs.emd"


def test_weights_of_others_load_only_when_they_are_allowed_to(folder: Path) -> None:
    expected = weights_of(folder)
    path = foreign(folder)
    with pytest.raises(ModelError, match="another program made it"):
        from_model(path)
    assert same(weights_of(path, allow_pth=True), expected)
    assert same(weights_of(folder, allow_pth=True), expected)


def test_weights_of_others_load_out_of_a_dlpk_beside_a_program(
    folder: Path, tmp_path: Path
) -> None:
    expected = weights_of(folder)
    path = foreign(folder)
    with zipfile.ZipFile(tmp_path / "theirs.dlpk", "w") as file:
        for each in path.parent.iterdir():
            file.write(each, each.name)
        file.writestr("inference.py", "raise SystemExit")
    with pytest.warns(UserWarning, match="left unread: inference.py"):
        assert same(weights_of(tmp_path / "theirs.dlpk", allow_pth=True), expected)


def test_weights_nested_as_training_programs_do_are_found(folder: Path) -> None:
    expected = weights_of(folder)
    path = foreign(folder, {"model": dict(expected), "opt": {"lr": 1e-3}})
    assert same(weights_of(path, allow_pth=True), expected)


def test_a_loaded_model_of_others_is_saved_as_one_of_ours(folder: Path, tmp_path: Path) -> None:
    path = foreign(folder)
    ours = from_model(path, allow_pth=True).save(tmp_path / "ours")
    assert open_package(ours).card.directions[0].graph == "model.onnx"


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(
    folder: Path, tmp_path: Path
) -> None:
    path = foreign(folder)
    trap = {"weights": Trap(tmp_path / "sprung")}
    (path.parent / "theirs.pth").write_bytes(pickle.dumps(trap))
    with pytest.raises(ModelError, match="cannot be read as weights"):
        from_model(path, allow_pth=True)
    torch.save(trap, path.parent / "theirs.pth")
    with pytest.raises(ModelError, match="cannot be read as weights"):
        from_model(path, allow_pth=True)
    assert not (tmp_path / "sprung").exists()


PARAMETERS = "ModelParameters"


def _altered(folder: Path, *, adapter: str | None = None, generator: str | None = None) -> dict:
    said = json.loads((folder / "small.emd").read_text())[PARAMETERS]
    named = {"adapter": adapter, "generator": generator}
    said["directions"][0]["network"] |= {key: name for key, name in named.items() if name}
    return said


@pytest.mark.parametrize("named", [{"generator": "vnet"}, {"adapter": "guess"}])
def test_a_network_that_is_not_known_here_is_named(folder: Path, named: dict[str, str]) -> None:
    path = foreign(folder, **{PARAMETERS: _altered(folder, **named)})
    with pytest.raises(ModelError, match=f"names the network .*{next(iter(named.values()))}"):
        from_model(path, allow_pth=True)


@pytest.mark.parametrize("parameters", [{}, {"directions": []}, {"directions": [{"name": "x"}]}])
def test_a_definition_that_describes_no_network_of_ours_is_refused(
    folder: Path, parameters: dict[str, object]
) -> None:
    path = foreign(folder, **{PARAMETERS: parameters})
    with pytest.raises(ModelError, match="names the network Pix2Pix"):
        from_model(path, allow_pth=True)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    path = foreign(folder, {"layer.weight": torch.zeros(3)})
    with pytest.raises(ModelError, match="do not fit its network"):
        from_model(path, allow_pth=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [([1, 2], "holds a list"), ({"a": 1}, "holds a dict"), (torch.zeros(2), "holds a Tensor")],
)
def test_what_is_no_table_of_tensors_is_refused(folder: Path, content, message: str) -> None:
    path = foreign(folder, content)
    with pytest.raises(ModelError, match=message):
        from_model(path, allow_pth=True)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02}q\x00.", b"\x00" * 100])
def test_damaged_weights_are_one_clear_error(folder: Path, content: bytes) -> None:
    path = foreign(folder)
    (path.parent / "theirs.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"theirs.pth"):
        from_model(path, allow_pth=True)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"ModelParameters": 3}'])
def test_what_is_no_definition_is_one_clear_error(folder: Path, content: bytes) -> None:
    path = foreign(folder)
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is no model definition"):
        from_model(path, allow_pth=True)


@pytest.mark.parametrize("file", ["", "gone.pth", "../theirs.pkl", "theirs.emd"])
def test_a_definition_without_its_weights_is_refused(folder: Path, file: str) -> None:
    path = foreign(folder, ModelFile=file)
    with pytest.raises(ModelError, match="names the weights"):
        from_model(path, allow_pth=True)


def test_two_definitions_in_a_folder_are_one_too_many(folder: Path) -> None:
    path = foreign(folder)
    shutil.copy(path, path.with_name("other.emd"))
    with pytest.raises(ModelError, match=r"other.emd, theirs.emd"):
        from_model(path.parent, allow_pth=True)
