"""The tutorial's recipe as a baseline: what it asks for, and each of its defects by a flag."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geodecloud.errors import OptionError
from geodecloud.learn.discriminators import ResNetJudge
from geodecloud.learn.losses import GAN_LOSSES
from geodecloud.learn.packed import PackedChips
from geodecloud.learn.plan import Plan
from geodecloud.learn.recipe import Recipe
from geodecloud.learn.splitting import split, split_chips
from geodecloud.learn.training import fit
from tests.learn.line import Line, Numbers

CPU = torch.device("cpu")


def recipe(**data: object) -> Recipe:
    found = Recipe.read("eurosat-perlin-2024")
    found.data.update({"batch_size": 4, "chip_size": 32, **data})
    found.model["widths"] = [4, 8]
    return found


def test_it_is_the_tutorials() -> None:
    asked = Recipe.read("eurosat-perlin-2024")
    assert (asked.data["batch_size"], asked.data["val_split_pct"]) == (64, 0.3)
    assert asked.model["widths"] == [32, 64, 128, 256, 512]
    assert (asked.model["gan_loss"], asked.model["l1_weight"]) == ("bce", 100)
    plan = Plan(steps_per_epoch=10, **asked.training)
    assert (plan.epochs, plan.lr_at(0), plan.schedule) == (15, 1e-4, "step_decay")
    assert plan.lr_at(plan.n_steps - 1) == pytest.approx(1e-5)
    assert plan.lr * asked.model["judge_lr_ratio"] == pytest.approx(1e-5)


def test_it_draws_everywhere_of_the_pixels_alone(chips: PackedChips) -> None:
    asked = recipe()
    model = asked.make(asked.chips(chips))
    way = model.directions["forward"]
    assert (way["inputs"], way["task"]) == (("pixels",), "translation")
    assert isinstance(model.networks["judge"], ResNetJudge)
    batch = model.data.batches.at(0, CPU)
    assert batch["weight"].mean() < batch["valid"].mean()
    losses, _ = model.losses(model.phases[0], batch, {})
    outside = {**batch, "target": batch["target"] + 0.1 * (batch["mask"] == 0)}
    assert model.losses(model.phases[0], outside, {})[0]["l1_loss"] != losses["l1_loss"]


def test_a_third_is_held_out_by_place_unless_the_flag_says_by_chip(chips: PackedChips) -> None:
    by_place = split(chips, val_split_pct=0.3)
    by_chip = split_chips(chips, val_split_pct=0.3)
    places = [set(chips.place[part].tolist()) for part in (*by_place, *by_chip)]
    assert not places[0] & places[1]
    assert places[2] & places[3]
    for parts in (by_place, by_chip):
        assert sorted(np.concatenate(parts)) == list(range(len(chips)))
    assert recipe(split_by="chip").chips(chips).valid.tolist() == by_chip[1].tolist()
    assert recipe().chips(chips).valid.tolist() == by_place[1].tolist()


@pytest.mark.parametrize(("flags", "is_same"), [({}, False), ({"one_sky": True}, True)])
def test_every_chip_has_its_own_sky_unless_the_flag_says_one(chips, flags, is_same) -> None:
    data = recipe(**flags).chips(chips)
    windows = list(data.valid_batches(CPU, 2))
    assert torch.equal(windows[0]["classes"], windows[1]["classes"]) == is_same
    assert ("one_sky" in data.describe()) == is_same


def test_a_sigmoid_before_the_cross_entropy_keeps_the_judge_unsure() -> None:
    sure = torch.full((1, 1, 2, 2), 50.0)
    weight = torch.ones_like(sure)
    assert GAN_LOSSES["bce"](sure, True, weight) < 1e-6
    assert GAN_LOSSES["bce_of_sigmoid"](sure, True, weight).item() == pytest.approx(
        0.3133, abs=1e-3
    )
    assert GAN_LOSSES["bce_of_sigmoid"](-sure, False, weight).item() == pytest.approx(
        0.6931, abs=1e-3
    )


@pytest.mark.parametrize(("keep", "epoch"), [("best", 2), ("last", 3)])
def test_the_best_epoch_is_kept_unless_the_flag_says_the_last(keep: str, epoch: int) -> None:
    system = Line()
    found = iter((3.0, 1.0, 2.0))
    seen: list[dict[str, torch.Tensor]] = []

    def validate() -> dict[str, float]:
        seen.append({k: v.clone() for k, v in system.networks["line"].state_dict().items()})
        return {"valid_loss": next(found)}

    plan = Plan(3, 4, lr=0.05, device="cpu", keep=keep)
    history = fit(system, Numbers(), plan, validate=validate)
    assert history.best["epoch"] == epoch
    ends = system.networks["line"].state_dict()
    assert all(torch.equal(ends[key], tensor) for key, tensor in seen[epoch - 1].items())


def test_what_else_could_be_kept_is_refused() -> None:
    with pytest.raises(OptionError, match="keep 'all'"):
        Plan(1, 1, keep="all")
