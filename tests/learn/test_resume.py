"""A run that was killed goes on exactly where it stopped, whenever that was, whoever wrote it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geodecloud.errors import TrainingError
from geodecloud.learn import state
from geodecloud.learn.models import Pix2Pix
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.place import Place
from geodecloud.learn.state import BEST_WEIGHTS, copy_state, saved_lr
from geodecloud.learn.training import fit, start
from tests.learn.conftest import data_of, small_model
from tests.learn.line import Line, Numbers, plan, weights

REPOSITORY = Path(__file__).resolve().parents[2]
FIRST_STATE = Path(__file__).parent / "first_state"

KILLED = """
import os, signal, sys
from pathlib import Path
from geodecloud.learn import keeper
from geodecloud.learn.packed import PackedChips
from tests.learn.conftest import data_of
from tests.learn.test_resume import OPTIONS, gan
keeper.REPORT_STEPS = 1
chips, out, resume, last = sys.argv[1:]
def listener(progress):
    if progress.done >= int(last):
        os.kill(os.getpid(), signal.SIGKILL)
gan(chips).fit(**OPTIONS, out=Path(out), resume=resume == "yes", listener=listener)
"""
N_KILLS = 5
OPTIONS = {
    **{"epochs": 5, "steps_per_epoch": 6, "lr": 1e-3, "device": "cpu"},
    "checkpoint_seconds": 0.0,
}


def gan(chips: str | Path) -> Pix2Pix:
    return small_model(data_of(PackedChips(Path(chips))))


@pytest.mark.slow
def test_a_gan_killed_at_five_random_steps_ends_as_one_that_never_stopped(
    chips: PackedChips, tmp_path: Path
) -> None:
    whole = gan(chips.path)
    history = whole.fit(**OPTIONS, checkpoint=False)
    seed = random.randrange(1 << 30)
    steps = sorted(random.Random(seed).sample(range(1, 30), N_KILLS))
    for turn, step in enumerate(steps):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                KILLED,
                chips.path,
                tmp_path,
                "yes" if turn else "no",
                str(step),
            ],
            check=False,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == -signal.SIGKILL, (seed, step)
    resumed = gan(chips.path)
    assert resumed.fit(**OPTIONS, out=tmp_path, resume=True).rows == history.rows, seed
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), (seed, name)


def test_a_state_of_the_first_version_goes_on(tmp_path: Path) -> None:
    shutil.copytree(FIRST_STATE, tmp_path, dirs_exist_ok=True)
    whole, resumed = Line(), Line(seed=9)
    rows = fit(whole, Numbers(), plan()).rows
    again = fit(resumed, Numbers(), plan(), out=tmp_path, resume=True).rows
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in rows])
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(tensor, weights(resumed)[name])


def test_what_a_state_is_compared_by_is_what_it_was_in_the_first_version(data) -> None:
    model = small_model(data)
    configuration = start(model, plan(), Place.of(plan())).configuration
    assert set(configuration) == {"system", "model", "data", "plan"}
    assert set(configuration["plan"]) == {
        *("epochs", "steps_per_epoch", "lr", "schedule", "average_decay", "clip_norm"),
        *("seed", "patience", "monitor"),
    }
    assert set(configuration["model"]) == {
        *("generator", "generator_arguments", "discriminator", "gan_loss"),
        *("l1_weight", "gan_weight"),
    }
    assert set(configuration["data"]) == {
        *("dataset_type", "chip_size", "batch_size", "seed", "n_samples", "train"),
        "normalization",
    }


def test_a_run_may_go_on_elsewhere_and_leave_more_behind(tmp_path: Path) -> None:
    fit(Line(), Numbers(), plan(), out=tmp_path)
    again = plan(device="auto", checkpoint_seconds=1.0, keep_epochs=True)
    assert fit(Line(), Numbers(), again, out=tmp_path, resume=True).status == "finished"


def test_a_new_run_does_not_inherit_the_best_of_an_old_one(tmp_path: Path) -> None:
    fit(Line(), Numbers(), plan(), out=tmp_path, validate=lambda: {"valid_loss": 1.0})
    assert (tmp_path / BEST_WEIGHTS).exists()
    fit(Line(), Numbers(), plan(), out=tmp_path)
    assert not (tmp_path / BEST_WEIGHTS).exists()


@pytest.mark.slow  # a package is written, graph and all
def test_a_package_with_its_optimiser_is_a_place_to_go_on_from(data, tmp_path: Path) -> None:
    options = {"epochs": 1, "steps_per_epoch": 2, "lr": 1e-3, "device": "cpu"}
    model = small_model(data)
    model.fit(**options, out=tmp_path / "states")
    folder = model.save(tmp_path / "model", compute_metrics=False, save_optimizer=True)
    again = small_model(data, seed=3)
    again.fit(**options, out=folder / "training", resume=True)
    for name, tensor in weights(model).items():
        assert torch.equal(tensor, weights(again)[name]), name


def test_a_resumed_run_without_a_rate_takes_the_one_it_began_with(data, tmp_path: Path) -> None:
    options = {"epochs": 1, "steps_per_epoch": 2, "device": "cpu", "out": tmp_path}
    small_model(data).fit(**options, lr=3e-3)
    model = small_model(data)
    model.fit(**options, resume=True)
    assert saved_lr(tmp_path) == model.training["plan"]["lr"] == 3e-3
    assert model.search is None


def test_no_state_cannot_be_copied(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no training state"):
        copy_state(tmp_path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_the_scale_of_float16_losses_is_part_of_the_state() -> None:
    states = []
    for scale in (512.0, 64.0):
        place = Place(plan(), torch.device("cpu"))
        place.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        place.scaler.scale(torch.ones(()))  # the first loss makes it real
        states.append(start(Line(), plan(), place))
    states[1].load_tensors(states[0].tensors())
    assert states[1].scaler.get_scale() == 512.0
    assert state.SCALER_KEYS[0] in states[0].scaler.state_dict()
