"""Networks: shapes, gradients, reach, and answers that do not depend on where a scene is cut."""

from __future__ import annotations

import pytest
import torch

from geodecloud.errors import ModelError, OptionError
from geodecloud.learn.networks import (
    DISCRIMINATORS,
    GENERATORS,
    Encoder,
    FillCorrection,
    UNet,
    build_network,
    halo_of,
    stride_of,
)

LIMITS = {"low": (0.0, 0.1), "high": (0.3, 0.5)}
SMALL = {"unet": {"widths": (4, 8, 8)}}


def generator(name: str, in_channels: int = 3, out_channels: int = 2) -> torch.nn.Module:
    torch.manual_seed(0)
    return GENERATORS[name](in_channels, out_channels, **SMALL.get(name, {}))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("shape", [(64, 64), (96, 128), (32, 200)])
def test_a_generator_keeps_the_shape(name: str, shape: tuple[int, int]) -> None:
    assert generator(name)(torch.zeros(2, 3, *shape)).shape == (2, 2, *shape)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_gradient_reaches_every_weight_of_a_generator(name: str) -> None:
    network = generator(name)
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_answers_the_same_wherever_a_scene_is_cut(name: str) -> None:
    network = generator(name)
    for module in network.modules():  # statistics as training leaves them
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    network = network.double().eval()
    stride, halo = stride_of(network), halo_of(network, 3)
    halo = -(-halo // stride) * stride
    scene = torch.randn(1, 3, 4 * halo, 4 * halo, dtype=torch.float64)
    whole = network(scene)
    start, size = stride * 3, 2 * halo + 2 * stride
    part = network(scene[..., start : start + size, start : start + size])
    core = slice(halo, size - halo)
    there = slice(start + halo, start + size - halo)
    torch.testing.assert_close(part[..., core, core], whole[..., there, there], rtol=0, atol=1e-12)


def test_one_pixel_less_than_the_counted_halo_is_too_little() -> None:
    network = UNet(1, 1, widths=(2, 2)).double().eval()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    halo = halo_of(network, 1)
    scene = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    changed = set()
    for phase in range(stride_of(network)):
        row = 32 + phase
        moved = scene.clone()
        moved[..., row - halo, 32] += 10
        moved[..., row + halo, 32] += 10
        changed.add(bool((network(moved) - network(scene))[..., row, :].abs().max() > 0))
        moved = scene.clone()
        moved[..., : row - halo, :] += 10
        moved[..., row + halo + 1 :, :] += 10
        assert torch.equal(network(moved)[..., row, :], network(scene)[..., row, :])
    assert True in changed


def test_the_default_network_is_small_and_looks_58_px_far() -> None:
    network = UNet(10, 8)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(1.8e6, rel=0.05)
    assert (stride_of(network), halo_of(network, 10)) == (8, 58)


def test_a_network_that_looks_everywhere_is_refused() -> None:
    class Everywhere(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.mean((2, 3), keepdim=True)

    with pytest.raises(OptionError, match="tracked statistics"):
        halo_of(Everywhere(), 1, limit_px=256)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_discriminator_judges_fields_of_34_px(name: str) -> None:
    judge = DISCRIMINATORS[name](3)
    encoded = torch.randn(1, 3, 64, 64, requires_grad=True)
    for module in judge.modules():  # instance norms look everywhere: here their field alone counts
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = lambda x: x
    logits = judge(encoded)
    assert logits.shape == (1, 1, 14, 14)
    logits[..., 7, 7].sum().backward()
    rows = encoded.grad.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 34


def test_an_untrained_correction_answers_the_fill_exactly() -> None:
    network = build_network("fill-correction", "unet", SMALL["unet"], LIMITS).eval()
    pixels, fill = torch.rand(2, 2, 32, 32), torch.rand(2, 2, 32, 32)
    answer = network(pixels, torch.ones(2, 1, 32, 32), fill, torch.tensor([1.0, -1.0]))
    assert torch.equal(answer, fill)


def test_a_correction_learns_from_its_first_step() -> None:
    network = build_network("fill-correction", "unet", SMALL["unet"], LIMITS)
    pixels, fill = torch.rand(2, 2, 32, 32), torch.rand(2, 2, 32, 32)
    network(pixels, torch.ones(2, 1, 32, 32), fill, torch.zeros(2)).sum().backward()
    assert network.generator.head.weight.grad.abs().sum() > 0


def test_a_correction_sees_pixels_mask_fill_and_level() -> None:
    network = FillCorrection(lambda i, o: torch.nn.Conv2d(i, o, 1), (0.0,), (1.0,))
    condition = network.condition(
        torch.full((1, 1, 2, 2), 0.75),
        torch.ones(1, 1, 2, 2),
        torch.full((1, 1, 2, 2), 0.25),
        torch.tensor([-1.0]),
    )
    assert condition[0, :, 0, 0].tolist() == [0.5, -0.5, 1.0, -1.0]


def test_encoding_and_decoding_undo_each_other() -> None:
    encoder = Encoder((0.0, 0.1), (0.3, 0.5))
    pixels = torch.rand(2, 2, 4, 4)
    torch.testing.assert_close(encoder.decode(encoder(pixels)), pixels)


@pytest.mark.parametrize(
    ("adapter", "name", "arguments", "message"),
    [
        ("fill-correction", "vnet", {}, "network 'vnet' is unknown.*unet"),
        ("guess", "unet", {}, "network 'guess' is unknown"),
        ("fill-correction", "unet", {"depth": 3}, "does not take its arguments"),
    ],
)
def test_a_network_that_cannot_be_built_is_named(adapter, name, arguments, message) -> None:
    with pytest.raises(ModelError, match=message):
        build_network(adapter, name, arguments, LIMITS)
