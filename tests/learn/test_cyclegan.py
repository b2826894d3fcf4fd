"""CycleGAN: both ways, the pool of earlier answers, the identity where it makes sense."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from geodecloud.errors import OptionError
from geodecloud.learn import keeper
from geodecloud.learn.cyclegan import POOL_SIZE, CycleGAN
from geodecloud.learn.generators import ResNet
from geodecloud.progress import Cancelled, Progress
from tests.contracts import weights_of
from tests.learn.conftest import data_of

CPU = torch.device("cpu")
SMALL = {"gen_blocks": 1, "width": 4}


@pytest.fixture
def model(guided_chips) -> CycleGAN:
    return CycleGAN(data_of(guided_chips, "CycleGAN"), **SMALL)


def test_its_table_has_the_columns_of_the_face(model) -> None:
    row = model.fit(1, steps_per_epoch=1, device="cpu", checkpoint=False).rows[0]
    columns = {"id_loss", "gen_loss", "cyc_loss", "D_A_loss", "D_B_loss"}
    assert columns == set(row) - {"epoch", "valid_loss"}
    plan = model.training["plan"]
    assert (plan["lr"], plan["schedule"]) == (2e-4, "linear_decay")
    assert {phase.optimiser.betas for phase in model.phases} == {(0.5, 0.999)}


def test_its_losses_are_those_of_the_paper(model) -> None:
    batch = model.data.batches.at(0, CPU)
    there, back = model.G_B.eval(), model.G_A.eval()
    losses, carried = model.losses(model.phases[0], batch, {})
    a, b, ones = batch["pixels"], batch["target"], batch["weight"]
    assert ones.min() == batch["weight_b"].min() == 1
    seen_a, seen_b = back.encoder, there.encoder
    cycle = (seen_a(back(there(a))) - seen_a(a)).abs().mean()
    cycle = cycle + (seen_b(there(back(b))) - seen_b(b)).abs().mean()
    same = (seen_a(back(a)) - seen_a(a)).abs().mean()
    same = same + (seen_b(there(b)) - seen_b(b)).abs().mean()
    judge_a, judge_b = model.networks["judge_a"], model.networks["judge_b"]
    fooled = ((judge_a(seen_a(back(b))) - 1) ** 2).mean()
    fooled = fooled + ((judge_b(seen_b(there(a))) - 1) ** 2).mean()
    torch.testing.assert_close(losses["cyc_loss"], 10 * cycle)
    torch.testing.assert_close(losses["id_loss"], 5 * same)
    torch.testing.assert_close(losses["gen_loss"], fooled)
    torch.testing.assert_close(carried["fake_a"], seen_a(back(b)).detach())


def test_without_least_squares_it_is_the_cross_entropy(guided_chips) -> None:
    model = CycleGAN(data_of(guided_chips, "CycleGAN"), lsgan=False, **SMALL)
    batch = model.data.batches.at(0, CPU)
    _, carried = model.losses(model.phases[0], batch, {})
    judge = model.networks["judge_a"]
    loss = model.losses(model.phases[1], batch, carried)[0]["D_A_loss"]
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    real, fake = judge(carried["real_a"]), judge(carried["fake_a"])
    expected = entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))
    torch.testing.assert_close(loss, expected / 2)


def test_the_pool_holds_fifty_and_shows_earlier_answers_half_of_the_time(model) -> None:
    torch.manual_seed(0)
    shown = []
    for step in range(100):
        fakes = torch.full((4, 1, 2, 2), float(step))
        shown.append((model._pooled("a", fakes)[:, 0, 0, 0] != step).float().mean().item())
    assert max(shown[: POOL_SIZE // 4]) == 0
    assert 0.35 < sum(shown[20:]) / 80 < 0.65
    pool = model.memory["pool_a"]
    assert pool.shape == (POOL_SIZE, 1, 2, 2)
    assert pool.min() < 60 < pool.max()


def test_it_resumes_bit_for_bit_with_its_pool(guided_chips, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(keeper, "REPORT_STEPS", 1)
    monkeypatch.setattr("geodecloud.learn.cyclegan.POOL_SIZE", 6)
    data = data_of(guided_chips, "CycleGAN")
    plan = {"epochs": 1, "steps_per_epoch": 4, "device": "cpu"}

    def stop(progress: Progress) -> None:
        if progress.done >= 3:
            raise Cancelled

    whole, resumed = CycleGAN(data, **SMALL), CycleGAN(data, seed=5, **SMALL)
    whole.fit(**plan, checkpoint=False)
    with pytest.raises(Cancelled):
        CycleGAN(data, **SMALL).fit(**plan, out=tmp_path, checkpoint_seconds=0.0, listener=stop)
    resumed.fit(**plan, out=tmp_path, resume=True)
    assert all(
        torch.equal(tensor, weights_of(resumed)[k]) for k, tensor in weights_of(whole).items()
    )
    assert len(whole.memory["pool_b"]) == 6
    assert torch.equal(whole.memory["pool_b"], resumed.memory["pool_b"])


def test_it_answers_both_ways(model) -> None:
    batch = model.data.batches.at(0, CPU)
    there, back = model.answer(batch, "AtoB"), model.answer(batch, "BtoA")
    with torch.inference_mode():
        assert torch.equal(there, model.G_B.eval()(batch["pixels"]))
        assert torch.equal(back, model.G_A.eval()(batch["target"]))


def test_domains_of_other_bands_have_no_identity_loss_and_it_says_so(guided_chips) -> None:
    data = data_of(guided_chips, "Colorize")
    with pytest.warns(UserWarning, match="no identity loss: domain A has bands luma"):
        model = CycleGAN(data, **SMALL)
    losses, _ = model.losses(model.phases[0], data.batches.at(0, CPU), {})
    assert set(losses) == {"gen_loss", "cyc_loss"}
    assert model.arguments()["identity_weight"] == 0
    figures = model.compute_metrics()
    assert {"cycle", "whole"} <= set(figures)


def test_one_network_cannot_go_both_ways_but_its_class_can(guided_chips) -> None:
    data = data_of(guided_chips, "CycleGAN")
    with pytest.raises(OptionError, match="a CycleGAN makes two"):
        CycleGAN(data, generator=ResNet(4, 4))
    model = CycleGAN(data, generator=ResNet, n_blocks=1, width=4)
    assert isinstance(model.G_A.generator, ResNet)
    assert model.G_A is not model.G_B
