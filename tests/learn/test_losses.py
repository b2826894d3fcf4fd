"""Losses: what weighs nothing changes nothing."""

from __future__ import annotations

import pytest
import torch

from geodecloud.learn.losses import GAN_LOSSES, bce, l1, lsgan, patch_weight


def test_l1_counts_weighted_pixels_alone() -> None:
    answer, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    weight = torch.zeros(1, 1, 4, 4)
    answer[..., :2, :] = 3.0
    answer[..., 2:, :] = 100.0
    weight[..., :2, :] = 1.0
    assert l1(answer, target, weight).item() == pytest.approx(3.0)


def test_l1_of_no_pixel_is_zero_and_has_a_gradient() -> None:
    answer = torch.ones(1, 1, 2, 2, requires_grad=True)
    loss = l1(answer, torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(answer.grad, torch.zeros(1, 1, 2, 2))


def test_bce_is_torchs_own_with_logits() -> None:
    logits = torch.linspace(-5, 5, 8).reshape(1, 1, 2, 4)
    for is_real in (True, False):
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.full_like(logits, float(is_real))
        )
        torch.testing.assert_close(bce(logits, is_real, torch.ones_like(logits)), expected)


def test_lsgan_is_zero_at_its_verdict() -> None:
    ones = torch.ones(1, 1, 2, 2)
    assert lsgan(ones, True, ones) == 0
    assert lsgan(ones, False, ones) == 1


@pytest.mark.parametrize("name", GAN_LOSSES)
def test_an_adversarial_loss_falls_towards_its_verdict(name: str) -> None:
    weight = torch.ones(1, 1, 1, 1)
    low, high = (torch.full((1, 1, 1, 1), value) for value in (0.1, 0.9))
    loss = GAN_LOSSES[name]
    assert loss(high, True, weight) < loss(low, True, weight)
    assert loss(low, False, weight) < loss(high, False, weight)


def test_a_patch_weighs_what_its_pixels_do() -> None:
    weight = torch.zeros(1, 1, 8, 8)
    weight[..., :4, :] = 1
    assert patch_weight(weight, torch.zeros(1, 1, 2, 2)).flatten().tolist() == [1, 1, 0, 0]
