"""Between the steps: what is kept, what is written for others, and what ends a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from geodecloud.errors import MissingExtraError, OptionError, TrainingError
from geodecloud.learn import keeper
from geodecloud.learn.state import BEST_WEIGHTS, STATE_JSON, load_averages
from geodecloud.learn.training import fit
from geodecloud.progress import Progress
from tests.learn.conftest import small_model
from tests.learn.line import Line, Numbers, plan, weights


def judged(*values: float):
    left = iter(values)
    return lambda: {"valid_loss": next(left)}


def test_the_best_epoch_is_on_disk_not_the_last(tmp_path: Path) -> None:
    system, seen = Line(), []
    values = iter([3.0, 1.0, 2.0])

    def validate() -> dict[str, float]:
        seen.append(weights(system))
        return {"valid_loss": next(values)}

    fit(system, Numbers(), plan(), out=tmp_path, validate=validate)
    best = load_file(tmp_path / BEST_WEIGHTS)
    assert all(tensor.equal(seen[1][name]) for name, tensor in best.items())
    assert not all(tensor.equal(seen[2][name]) for name, tensor in best.items())
    assert json.loads((tmp_path / STATE_JSON).read_text())["best"]["epoch"] == 2


def test_the_best_of_a_model_is_that_of_its_own_validation(data, tmp_path: Path) -> None:
    model = small_model(data)
    found: list[float] = []
    inner = model._validate

    def worse_each_time() -> dict[str, float]:
        found.append(inner()["valid_loss"])
        if len(found) == 1:  # from here on each epoch spoils the weights
            model.networks["judge"].requires_grad_(True)
            model._l1_weight = -1000.0
        return {"valid_loss": found[-1]}

    model._validate = worse_each_time
    model.fit(3, lr=2e-2, steps_per_epoch=3, device="cpu", out=tmp_path, schedule="constant")
    assert min(found) < found[-1]
    assert inner()["valid_loss"] == pytest.approx(min(found))


def test_checkpoint_all_keeps_the_weights_of_each_epoch(tmp_path: Path) -> None:
    system, seen = Line(), []

    def validate() -> dict[str, float]:
        seen.append(weights(system))
        return {"valid_loss": 1.0}

    fit(system, Numbers(), plan(keep_epochs=True), out=tmp_path, validate=validate)
    files = sorted(tmp_path.glob("epoch-*.safetensors"))
    assert [file.name for file in files] == [f"epoch-000{n}.safetensors" for n in (1, 2, 3)]
    for file, expected in zip(files, seen, strict=True):
        load_averages([file], system.networks)
        assert all(tensor.equal(expected[name]) for name, tensor in weights(system).items())


def test_without_checkpoints_nothing_is_written(data, tmp_path: Path) -> None:
    data.working_dir = tmp_path
    small_model(data).fit(1, lr=1e-3, steps_per_epoch=1, device="cpu", checkpoint=False)
    assert list(tmp_path.iterdir()) == []


def test_a_monitor_that_no_row_has_is_refused_by_name() -> None:
    with pytest.raises(OptionError, match=r"monitor 'psnr'.*valid_loss"):
        fit(Line(), Numbers(), plan(monitor="psnr"), validate=lambda: {"valid_loss": 1.0})


def test_the_system_hears_of_each_epoch_and_draws_no_random_number_of_the_run() -> None:
    class Drawing(Line):
        def on_epoch(self, out, epoch):
            super().on_epoch(out, epoch)
            torch.rand(5)

    plain, drawing = Line(), Drawing()
    for system in (plain, drawing):
        fit(system, Numbers(), plan())
    assert drawing.epochs_seen == [1, 2, 3]
    assert all(tensor.equal(weights(drawing)[name]) for name, tensor in weights(plain).items())


def test_a_listener_hears_losses_validation_and_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Progress] = []
    fit(Line(), Numbers(), plan(), listener=heard.append, validate=judged(3.0, 2.0, 1.0))
    assert [progress.metrics["valid_loss"] for progress in heard] == [3.0, 2.0, 1.0]
    for progress in heard:
        chips, steps = (progress.metrics[f"{name}_per_second"] for name in ("chips", "steps"))
        assert chips == pytest.approx(3 * steps)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own imports
def test_tensorboard_finds_its_events_beside_the_states(tmp_path: Path) -> None:
    fit(Line(), Numbers(), plan(tensorboard=True), out=tmp_path, validate=judged(3.0, 2.0, 1.0))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("epoch/valid_loss")] == [3.0, 2.0, 1.0]
    assert [event.step for event in events.Scalars("step/loss")] == [4, 8, 12]


def test_tensorboard_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="tensorboard without a folder"):
        fit(Line(), Numbers(), plan(tensorboard=True))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match="tensorboard is not installed"):
        fit(Line(), Numbers(), plan(tensorboard=True), out=tmp_path)
    assert list(tmp_path.iterdir()) == []


class Duel(Line):
    """A judge whose loss is what the test says, beside a network that learns."""

    def __init__(self, d_losses) -> None:
        super().__init__()
        self.bounds = {"D_loss": (1e-3, 20.0)}
        self._d_losses = d_losses

    def losses(self, phase, batch, carried):
        losses, carried = super().losses(phase, batch, carried)
        return {**losses, "D_loss": torch.tensor(self._d_losses(self.n_steps))}, carried


def test_a_judge_at_a_hundred_for_ever_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "STUCK_STEPS", 3)
    with pytest.raises(TrainingError, match=r"D_loss stays at 100.*lower learning rate"):
        fit(Duel(lambda step: 100.0), Numbers(), plan())


def test_a_judge_that_is_never_wrong_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "STUCK_STEPS", 3)
    with pytest.raises(TrainingError, match=r"D_loss stays at 1e-05.*hardly ever wrong"):
        fit(Duel(lambda step: 1e-5), Numbers(), plan())


def test_a_judge_that_is_right_for_a_moment_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "STUCK_STEPS", 3)
    history = fit(Duel(lambda step: 1e-5 if step % 4 else 0.5), Numbers(), plan())
    assert history.status == "finished"


def test_a_state_saved_while_the_judge_was_stuck_is_not_gone_back_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "STUCK_STEPS", 7)
    monkeypatch.setattr(keeper, "REPORT_STEPS", 1)
    system = Duel(lambda step: 0.5 if step <= 6 else 100.0)  # epochs end at 4, 8 and 12
    with pytest.raises(TrainingError, match=r"near step 14.*back at step 4"):
        fit(system, Numbers(), plan(epochs=5, checkpoint_seconds=60.0), out=tmp_path)
    about = json.loads((tmp_path / STATE_JSON).read_text())
    assert (about["status"], about["step"], len(about["rows"])) == ("diverged", 4, 1)
    assert about["sums"] == {}


def test_weights_that_broke_under_finite_losses_are_noticed(tmp_path: Path) -> None:
    class Breaking(Line):
        def losses(self, phase, batch, carried):
            losses, carried = super().losses(phase, batch, carried)
            if self.n_steps == 8:  # a root has no slope at nothing: the loss is 0, its gradient not
                losses["loss"] = (losses["loss"] * 0).sqrt()
            return losses, carried

    with pytest.raises(TrainingError, match=r"weights are no numbers.*back at step 4"):
        fit(Breaking(), Numbers(), plan(), out=tmp_path)


def test_a_validation_that_is_no_number_ends_the_run() -> None:
    with pytest.raises(TrainingError, match="valid_loss became nan"):
        fit(Line(), Numbers(), plan(), validate=judged(1.0, float("nan")))


def test_the_bound_of_the_judge_means_that_it_is_right_in_99_of_100() -> None:
    """The cheapest wrong verdict costs ln 2 under the cross entropy, 1/4 under least squares."""
    from geodecloud.learn.losses import GAN_LOSSES

    for name, undecided in (("bce", 0.0), ("lsgan", 0.5)):
        logits = torch.full((1, 1, 10, 10), 20.0 if name == "bce" else 1.0)
        logits[..., 0, 0] = undecided  # one of a hundred is wrong, as cheaply as can be
        loss = GAN_LOSSES[name](logits, True, torch.ones_like(logits))
        assert loss > 1e-3


@pytest.mark.parametrize(("epoch", "factor"), [(1, 1), (10, 1), (11, 0.1), (20, 0.1), (21, 0.01)])
def test_step_decay_falls_to_a_tenth_every_ten_epochs(epoch: int, factor: float) -> None:
    asked = plan(epochs=25, steps_per_epoch=7, schedule="step_decay", lr=1.0)
    for step in range((epoch - 1) * 7, epoch * 7):
        assert asked.lr_at(step) == pytest.approx(factor)


def test_a_class_has_a_rate_and_a_schedule_of_its_own(data, monkeypatch) -> None:
    model = small_model(data)
    monkeypatch.setattr(type(model), "default_lr", 2e-4)
    monkeypatch.setattr(type(model), "default_schedule", "linear_decay")
    model.fit(1, steps_per_epoch=1, device="cpu", checkpoint=False)
    of = model.training["plan"]
    assert (of["lr"], of["schedule"], model.search) == (2e-4, "linear_decay", None)
    model.fit(1, steps_per_epoch=1, device="cpu", checkpoint=False, one_cycle=False)
    assert model.training["plan"]["schedule"] == "constant"
