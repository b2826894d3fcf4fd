"""GAN: chips of random numbers, in the unit of the data, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from geodecloud.errors import OptionError
from geodecloud.learn.gan import GAN, chips_of, sliced_wasserstein
from geodecloud.learn.models import from_model
from geodecloud.run.package import open_package
from tests.learn.conftest import data_of

CPU = torch.device("cpu")
SMALL = {"width": 8, "latent_size": 6}


@pytest.mark.parametrize("architecture", ["dcgan", "mlp"])
def test_chips_come_in_the_unit_of_the_data_and_by_their_seed(guided_chips, architecture) -> None:
    data = data_of(guided_chips, "GAN")
    model = GAN(data, architecture, **SMALL)
    chips = model.generate(3, seed=1)
    assert (chips.shape, chips.dtype) == ((3, 4, 32, 32), np.float32)
    limits = data.normalization["target"]
    low, high = (np.array(of)[:, None, None] for of in (limits.low, limits.high))
    assert ((chips >= low - 1e-6) & (chips <= high + 1e-6)).all()
    assert np.array_equal(chips, model.generate(3, seed=1))
    assert not np.array_equal(chips, model.generate(3, seed=2))


def test_each_epoch_leaves_a_grid_of_samples(guided_chips, tmp_path: Path) -> None:
    model = GAN(data_of(guided_chips, "GAN"), "mlp", **SMALL)
    model.fit(2, steps_per_epoch=1, device="cpu", out=tmp_path)
    grids = sorted(tmp_path.glob("samples-*.png"))
    assert [grid.name for grid in grids] == ["samples-0001.png", "samples-0002.png"]
    assert grids[0].read_bytes() != grids[1].read_bytes()
    plan = model.training["plan"]
    assert (plan["lr"], plan["schedule"]) == (2e-4, "constant")


def test_the_discriminator_takes_as_many_steps_as_asked_each_on_other_answers(guided_chips) -> None:
    model = GAN(data_of(guided_chips, "GAN"), "mlp", judge_steps=3, **SMALL)
    assert [phase.repeats for phase in model.phases] == [1, 3]
    torch.manual_seed(0)
    batch = model.data.batches.at(0, CPU)
    _, carried = model.losses(model.phases[0], batch, {})
    assert len(carried["fake"]) == 3 * len(batch["target"])
    model.networks["judge"].eval()  # no dropout: what differs is what it was shown
    losses = [model.losses(model.phases[1], batch, carried)[0]["D_loss"].item() for _ in range(2)]
    assert losses[0] != losses[1]


def test_a_package_draws_what_the_model_drew_in_both_engines(guided_chips, tmp_path: Path) -> None:
    model = GAN(data_of(guided_chips, "GAN"), **SMALL)
    folder = model.save(tmp_path / "drawing", compute_metrics=False)
    package = open_package(folder)
    again = from_model(folder)
    assert package.card.task == "generation"
    assert package.card.directions[0].inputs == ("latent",)
    assert np.abs(again.generate(2) - model.generate(2)).max() < 0.01  # half-precision weights
    session = onnxruntime.InferenceSession(package.read("model.onnx"))
    latent = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    (drawn,) = session.run(None, {"latent": latent})
    assert np.abs(drawn - again.answer({"latent": torch.from_numpy(latent)}).numpy()).max() < 1e-4


def test_the_distance_is_nothing_between_alike_and_grows_with_what_differs() -> None:
    random = torch.Generator().manual_seed(0)
    one = torch.randn(8, 2, 16, 16, generator=random)
    assert sliced_wasserstein(one, one.flip(0)) == 0
    near, far = (sliced_wasserstein(one, one + by) for by in (0.1, 1.0))
    assert 0 < near < far


def test_windows_are_cut_into_chips_whole() -> None:
    windows = torch.arange(2 * 4 * 5, dtype=torch.float32).reshape(2, 1, 4, 5)
    chips = chips_of(windows, 2)
    assert chips.shape == (8, 1, 2, 2)
    assert torch.equal(chips[1, 0], windows[0, 0, :2, 2:4])
    assert torch.equal(chips[6, 0], windows[1, 0, 2:, :2])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"architecture": "vae"}, "architecture 'vae'"), ({"gan_loss": "wgan"}, "gan_loss 'wgan'")],
)
def test_an_option_that_is_unknown_is_named(guided_chips, options, message) -> None:
    with pytest.raises(OptionError, match=message):
        GAN(data_of(guided_chips, "GAN"), **options)
