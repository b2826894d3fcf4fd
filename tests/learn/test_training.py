"""The loop: what moves, what stands still, what comes back after a kill."""

from __future__ import annotations

import copy
import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from geodecloud.errors import OptionError, TrainingError
from geodecloud.learn import keeper
from geodecloud.learn.plan import SCHEDULES, Phase
from geodecloud.learn.state import STATE_JSON
from geodecloud.learn.training import find_lr, fit
from geodecloud.progress import Cancelled, Progress
from tests.learn.conftest import small_model
from tests.learn.line import Line, Numbers, plan, stop_after, weights


def test_the_losses_fall() -> None:
    history = fit(Line(), Numbers(), plan(epochs=6, steps_per_epoch=20))
    assert history.rows[-1]["loss"] < history.rows[0]["loss"] / 3
    assert history.status == "finished"


def test_a_run_hears_its_progress_and_ends_at_its_total() -> None:
    heard: list[Progress] = []
    fit(Line(), Numbers(), plan(), listener=heard.append)
    assert heard[-1].share == 1
    assert {"loss", "epoch", "steps_per_second"} <= set(heard[-1].metrics)


@pytest.mark.parametrize("killed_at", [1, 5, 8, 11])
def test_a_run_that_was_killed_and_resumed_equals_one_that_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr(keeper, "REPORT_STEPS", 1)
    whole = Line()
    rows = fit(whole, Numbers(), plan(), out=tmp_path / "whole").rows
    with pytest.raises(Cancelled):
        fit(
            Line(),
            Numbers(),
            plan(checkpoint_seconds=0.0),
            out=tmp_path / "part",
            listener=stop_after(killed_at),
        )
    resumed = Line(seed=99)  # other weights: all of it must come from the state
    again = fit(resumed, Numbers(), plan(), out=tmp_path / "part", resume=True)
    assert again.rows == rows
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name
    assert torch.equal(whole.memory["pool"], resumed.memory["pool"])


def test_a_gan_resumes_bit_for_bit(data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "REPORT_STEPS", 1)
    options = {"epochs": 1, "steps_per_epoch": 4, "lr": 1e-3, "device": "cpu"}
    whole = small_model(data)
    whole.fit(**options, checkpoint=False)
    with pytest.raises(Cancelled):
        small_model(data).fit(
            **options, out=tmp_path, checkpoint_seconds=0.0, listener=stop_after(3)
        )
    resumed = small_model(data, seed=5)
    resumed.fit(**options, out=tmp_path, resume=True)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name


def test_a_state_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "REPORT_STEPS", 1)
    fit(Line(), Numbers(), plan(epochs=1), out=tmp_path)
    before = (tmp_path / STATE_JSON).read_bytes()
    # a kill between the tensors and the JSON that turns to them
    monkeypatch.setattr("geodecloud.learn.state.json.dumps", _killed)
    with pytest.raises(Cancelled):
        fit(Line(), Numbers(), plan(epochs=1), out=tmp_path, resume=True)
    monkeypatch.undo()
    assert (tmp_path / STATE_JSON).read_bytes() == before
    assert (tmp_path / json.loads(before)["file"]).exists()


def _killed(*_: object, **__: object) -> str:
    raise Cancelled


def test_a_state_of_another_configuration_is_refused_by_name(tmp_path: Path) -> None:
    fit(Line(), Numbers(), plan(), out=tmp_path)
    other = Line()
    other.networks["line"][0].out_channels = 8
    with pytest.raises(TrainingError, match=r"channels 4 where this one has 8.*another folder"):
        fit(other, Numbers(), plan(), out=tmp_path, resume=True)
    with pytest.raises(TrainingError, match="plan"):
        fit(Line(), Numbers(), plan(lr=0.01), out=tmp_path, resume=True)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    fit(Line(), Numbers(), plan(), out=tmp_path)
    (file,) = tmp_path.glob("state-*.safetensors")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(TrainingError, match="sha256"):
        fit(Line(), Numbers(), plan(), out=tmp_path, resume=True)


def test_an_empty_folder_is_no_state(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no training state"):
        fit(Line(), Numbers(), plan(), out=tmp_path, resume=True)


def test_a_loss_that_is_no_number_stops_the_run_at_its_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "REPORT_STEPS", 1)
    system = Line()
    system.explode_at = 5  # steps 1 to 4 are the first epoch, which is saved
    reference = Line()
    fit(reference, Numbers(), plan(epochs=1, schedule="constant"))
    with pytest.raises(TrainingError, match=r"diverged near step 6.*back at step 4.*learning rate"):
        fit(system, Numbers(), plan(schedule="constant"), out=tmp_path)
    assert json.loads((tmp_path / STATE_JSON).read_text())["status"] == "diverged"
    assert all(torch.isfinite(tensor).all() for tensor in weights(system).values())


def test_a_loss_that_stays_out_of_its_bounds_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "STUCK_STEPS", 3)
    system = Line()
    system.bounds = {"loss": (50.0, 100.0)}
    with pytest.raises(TrainingError, match="loss stays at"):
        fit(system, Numbers(), plan())


def test_ctrl_c_ends_after_a_whole_step_and_can_be_resumed(tmp_path: Path) -> None:
    class Interrupting(Numbers):
        def at(self, step, device):
            if step == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return super().at(step, device)

    with pytest.raises(KeyboardInterrupt):
        fit(Line(), Interrupting(), plan(), out=tmp_path)
    about = json.loads((tmp_path / STATE_JSON).read_text())
    assert (about["status"], about["step"]) == ("stopped", 6)
    whole, resumed = Line(), Line()
    fit(whole, Numbers(), plan())
    fit(resumed, Numbers(), plan(), out=tmp_path, resume=True)
    assert all(torch.equal(t, weights(resumed)[n]) for n, t in weights(whole).items())


def test_fit_runs_in_a_thread_where_signals_cannot_be_held() -> None:
    histories = []
    thread = threading.Thread(target=lambda: histories.append(fit(Line(), Numbers(), plan())))
    thread.start()
    thread.join()
    assert histories[0].status == "finished"


def test_discriminator_losses_never_touch_the_generator_and_the_reverse(data) -> None:
    model = small_model(data)
    generator, discriminator = model.phases
    batch = data.batches.at(0, torch.device("cpu"))
    _, carried = model.losses(generator, batch, {})
    assert not any(tensor.requires_grad for tensor in carried.values())
    verdict, _ = model.losses(discriminator, batch, carried)
    verdict["D_loss"].backward()
    assert all(p.grad is None for p in model.networks["forward"].parameters())
    assert all(p.grad is not None for p in model.networks["judge"].parameters())


@pytest.mark.parametrize("moving", ["forward", "judge"])
def test_a_phase_moves_its_own_networks_and_no_other(data, moving: str) -> None:
    model = small_model(data)
    model.phases = tuple(phase for phase in model.phases if moving in phase.networks)
    before = weights(model)
    if moving == "judge":
        batch = data.batches.at(0, torch.device("cpu"))
        batch["weight"].fill_(1.0)  # a small chip may lie wholly in the clear
        _, carried = model.losses(Phase("generator", ()), batch, {})
        judged = model.losses
        model.losses = lambda phase, batch, _: judged(phase, batch, carried)
        before = weights(model)
    fit(model, data.batches, plan(epochs=1, steps_per_epoch=1))
    changed = {
        name.split(".")[0] for name, t in weights(model).items() if not t.equal(before[name])
    }
    assert changed == {moving}


def test_phases_repeat_as_often_as_they_say(data) -> None:
    model = small_model(data)
    generator, discriminator = model.phases
    model.phases = (
        generator,
        Phase("discriminator", ("judge",), discriminator.optimiser, repeats=3),
    )
    called: list[str] = []
    inner = model.losses
    model.losses = lambda phase, *rest: (called.append(phase.name), inner(phase, *rest))[1]
    fit(model, data.batches, plan(epochs=1, steps_per_epoch=2))
    assert called == ["generator", *["discriminator"] * 3] * 2


def test_a_caller_keeps_its_random_numbers() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    fit(Line(seed=1), Numbers(), plan())
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), expected)


def test_the_best_epoch_stays_not_the_last() -> None:
    system = Line()
    seen: list[dict[str, torch.Tensor]] = []
    values = iter([3.0, 1.0, 2.0])

    def validate() -> dict[str, float]:
        seen.append(weights(system))
        return {"valid_loss": next(values)}

    history = fit(system, Numbers(), plan(), validate=validate)
    assert history.best["epoch"] == 2
    assert all(tensor.equal(seen[1][name]) for name, tensor in weights(system).items())


def test_patience_ends_a_run_early() -> None:
    values = iter([1.0, 2.0, 3.0, 4.0, 5.0])
    history = fit(
        Line(), Numbers(), plan(epochs=5, patience=2), validate=lambda: {"valid_loss": next(values)}
    )
    assert len(history.rows) == 3


def test_find_lr_leaves_the_system_as_it_was_and_finds_a_rate_that_works() -> None:
    system = Line()
    before = weights(system)
    search = find_lr(system, Numbers(), plan(), n_steps=60)
    assert all(tensor.equal(before[name]) for name, tensor in weights(system).items())
    assert 1e-5 < search.best < 1
    history = fit(Line(), Numbers(), plan(lr=search.best, epochs=6, steps_per_epoch=20))
    assert history.rows[-1]["loss"] < history.rows[0]["loss"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_stays_between_nothing_and_its_highest_rate(name: str) -> None:
    shares = [SCHEDULES[name](i / 100, 20) for i in range(101)]
    assert all(0 <= share <= 1 for share in shares)
    assert max(shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"schedule": "zigzag"}, "schedules are"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"epochs": 0}, "epochs is 0"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(changed, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        plan(**changed)


def test_mixed_precision_on_a_cpu_is_refused() -> None:
    with pytest.raises(OptionError, match="ten times slower"):
        fit(Line(), Numbers(), plan(mixed_precision=True))


def test_a_batch_too_large_names_one_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Line()
    monkeypatch.setattr(system, "losses", _out_of_memory)
    with pytest.raises(TrainingError, match="use a batch of 1"):
        fit(system, Numbers(), plan())


def test_a_batch_that_cannot_even_be_made_says_so() -> None:
    class Large(Numbers):
        at = _out_of_memory

    for run in (fit, find_lr):
        with pytest.raises(TrainingError, match="use a smaller batch"):
            run(Line(), Large(), plan())


def _out_of_memory(*_: object):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_averages_follow_the_networks() -> None:
    system = Line()
    start = copy.deepcopy(system.networks["line"])
    fit(system, Numbers(), plan(average_decay=0.5))
    assert not torch.equal(start[0].weight, system.networks["line"][0].weight)
