"""The same run on torch alone, on Lightning Fabric, and on two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geodecloud.errors import MissingExtraError, OptionError
from geodecloud.learn.place import FabricPlace, Place
from geodecloud.learn.training import fit
from tests.learn.conftest import small_model
from tests.learn.line import Line, Numbers, plan, weights
from tests.test_datasets import write_raster

REPOSITORY = Path(__file__).resolve().parents[2]

TWO_RANKS = """
import json, os, sys
from pathlib import Path
from geodecloud.learn.place import Place
from geodecloud.learn.training import fit
from tests.test_datasets import write_raster
from tests.learn.line import Line, Numbers, plan, weights

class Four(Numbers):
    n_chips = 4

system = Line(seed=77 if os.environ.get("LOCAL_RANK") == "1" else 0)  # the first rank's count
system.networks["line"][1].p = 0.0
asked = plan(devices=int(sys.argv[2]), clip_norm=0.5)
out = Path(sys.argv[1])
history = fit(system, Four(), asked, out=out / "states", validate=lambda: {"valid_loss": 1.0})
rank = Place.of(asked).rank
found = {name: tensor.flatten().tolist() for name, tensor in weights(system).items()}
(out / f"rank{rank}.json").write_text(json.dumps({"rows": history.rows, "weights": found}))
"""


def without_fabric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)


def test_a_place_is_on_fabric_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(Place.of(plan()), FabricPlace)
    without_fabric(monkeypatch)
    assert type(Place.of(plan())) is Place


def test_torch_alone_gives_the_same_weights_as_fabric(
    data, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = []
    for _ in range(2):
        models.append(small_model(data))
        fit(models[-1], data.batches, plan(epochs=1))
        without_fabric(monkeypatch)
    for name, tensor in weights(models[0]).items():
        assert torch.equal(tensor, weights(models[1])[name]), name


@pytest.mark.slow
def test_two_processes_share_the_batches_and_agree_with_one(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO_RANKS)
    for n_ranks in (1, 2):
        (tmp_path / str(n_ranks)).mkdir()
        subprocess.run(
            [sys.executable, script, tmp_path / str(n_ranks), str(n_ranks)],
            check=True,
            cwd=REPOSITORY,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        )
    one, first, second = (
        json.loads((tmp_path / name).read_text())
        for name in ("1/rank0.json", "2/rank0.json", "2/rank1.json")
    )
    assert first == second
    for name, values in one["weights"].items():
        assert first["weights"][name] == pytest.approx(values, abs=1e-5), name
    assert [row["loss"] for row in first["rows"]] == pytest.approx(
        [row["loss"] for row in one["rows"]], abs=1e-5
    )


@pytest.mark.slow
def test_a_command_with_two_devices_packs_trains_and_saves_once(tmp_path: Path) -> None:
    for i in range(12):
        write_raster(tmp_path / "scenes" / f"{i}.tif", (32, 32), at=2 * i)
    small = ("--set", "model.widths=[4, 8]", "--set", "training.steps_per_epoch=2")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "geodecloud", "train", tmp_path / "scenes"),
            *("--out", tmp_path / "model", "--devices", "2", "--device", "cpu", *small),
            *("--epochs", "1", "--batch-size", "4", "--chip-size", "32", "--lr", "1e-3"),
            *("--progress", "json"),
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert (events.count("start"), events.count("result")) == (1, 1)
    assert (tmp_path / "model" / "model.json").exists()


def test_each_rank_takes_its_share_and_none_is_left_out() -> None:
    place = Place(plan(), torch.device("cpu"))
    batch = {"x": torch.arange(7)[:, None]}
    place.n_ranks = 3
    shares = []
    for place.rank in range(3):
        shares += place.share(batch)["x"].flatten().tolist()
    assert sorted(shares) == list(range(7))
    with pytest.raises(OptionError, match="a batch of 2 for 3 devices"):
        place.share({"x": torch.zeros(2, 1)})


def test_several_devices_without_fabric_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_fabric(monkeypatch)
    with pytest.raises(MissingExtraError, match=r"lightning-fabric.*geodecloud\[learn\]"):
        Place.of(plan(devices=2))


def test_a_scaled_loss_descends_as_far_as_one_that_is_not() -> None:
    stepped = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=1024.0)):
        place = Place(plan(), torch.device("cpu"))
        place.scaler = scaler
        weight = torch.nn.Parameter(torch.tensor([3.0, -4.0]))
        optimiser = torch.optim.SGD([weight], lr=0.1)
        place.descend((weight**2).sum(), optimiser)
        stepped.append(weight.detach())
    torch.testing.assert_close(stepped[0], stepped[1])


def test_mixed_precision_is_one_of_two_kinds() -> None:
    assert plan(mixed_precision=True).precision == "bf16"
    assert plan(mixed_precision="fp16").precision == "fp16"
    with pytest.raises(OptionError, match="bf16"):
        plan(mixed_precision="fp8")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_losses_fall_in_half_precision(kind: str) -> None:
    history = fit(
        Line(),
        Numbers(),
        plan(device="cuda", mixed_precision=kind, epochs=6, steps_per_epoch=20),
    )
    assert history.rows[-1]["loss"] < history.rows[0]["loss"] / 3
