"""Networks: shapes, gradients, reach, and answers that do not depend on where a scene is cut."""

from __future__ import annotations

import hashlib
from importlib.metadata import EntryPoint

import pytest
import torch
from safetensors.torch import save_file

from geodecloud.errors import ModelError, OptionError
from geodecloud.learn.adapters import Encoder, FillCorrection
from geodecloud.learn.discriminators import PatchGAN, ResNetJudge, features_of
from geodecloud.learn.generators import StridedUNet, UNet
from geodecloud.learn.networks import (
    DISCRIMINATORS,
    GENERATORS,
    LATENT_GENERATORS,
    build_network,
)
from geodecloud.learn.reach import halo_of, stride_of
from tests.contracts import (
    SMALL_DISCRIMINATORS,
    SMALL_GENERATORS,
    check_cuts,
    small_generator,
    train_statistics,
)

LIMITS = {"low": (0.0, 0.1), "high": (0.3, 0.5)}


def test_the_contract_knows_every_network_of_the_house() -> None:
    assert set(SMALL_GENERATORS) == set(GENERATORS)
    assert set(SMALL_DISCRIMINATORS) == set(DISCRIMINATORS)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("shape", [(64, 64), (96, 96), (128, 128), (32, 200)])
def test_a_generator_keeps_the_shape(name: str, shape: tuple[int, int]) -> None:
    assert small_generator(name)(torch.zeros(2, 3, *shape)).shape == (2, 2, *shape)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_gradient_reaches_every_weight_of_a_generator(name: str) -> None:
    network = small_generator(name)
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_answers_the_same_wherever_a_scene_is_cut(name: str) -> None:
    check_cuts(small_generator(name))


def test_a_residual_net_with_tracked_instance_norm_does_too() -> None:
    check_cuts(small_generator("resnet", norm="instance"))


def test_a_norm_that_looks_at_the_tile_would_be_caught() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.InstanceNorm2d(4))
    with pytest.raises(OptionError, match="tracked statistics"):
        halo_of(network, 3, limit_px=128)


@pytest.mark.parametrize("name", GENERATORS)
def test_weights_saved_are_weights_loaded(name: str) -> None:
    network, again = small_generator(name), small_generator(name)
    train_statistics(network)
    again.load_state_dict(network.state_dict())
    encoded = torch.randn(1, 3, 64, 64)
    assert torch.equal(network.eval()(encoded), again.eval()(encoded))


@pytest.mark.parametrize(("size_px", "depth"), [(64, 5), (96, 5), (128, 6), (256, 7), (40, 3)])
def test_the_strided_unet_is_fitted_to_the_chip(size_px: int, depth: int) -> None:
    assert StridedUNet.fitted(size_px, 0) == {"depth": depth}
    assert size_px // 2**depth >= 2


@pytest.mark.parametrize(
    ("name", "arguments", "stride", "halo"),
    [("unet_pix2pix", {}, 32, 93), ("resnet", {}, 4, 84), ("wnet", {}, 8, 58)],
)
def test_the_default_networks_have_a_halo_that_can_be_read(name, arguments, stride, halo) -> None:
    network = GENERATORS[name](3, 2, **arguments)
    assert (stride_of(network), halo_of(network, 3)) == (stride, halo)


def test_statistics_of_a_training_do_not_shorten_the_halo() -> None:
    network = UNet(3, 2, widths=(4, 8, 8))
    halo = halo_of(network, 3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.fill_(100.0)  # what is less than its mean passes no ReLU
    assert halo_of(network, 3) == halo


def test_the_frozen_networks_keep_their_weights_and_their_arithmetic() -> None:
    """Models that are shipped, or being trained, have these keys and answer these numbers."""
    torch.manual_seed(11)
    network = build_network("fill-correction", "unet", {"widths": (4, 8, 8)}, LIMITS).eval()
    judge = PatchGAN(3, width=8).eval()
    random = torch.Generator().manual_seed(5)
    for each in (network, judge):
        for parameter in each.parameters():
            parameter.data.normal_(0, 0.1, generator=random)
    pixels = torch.rand(1, 2, 32, 32, generator=random)
    fill = torch.rand(1, 2, 32, 32, generator=random)
    mask = (torch.rand(1, 1, 32, 32, generator=random) > 0.5).float()
    answer = network(pixels, mask, fill, torch.tensor([1.0]))
    logits = judge(torch.rand(1, 3, 32, 32, generator=random))
    found = [answer.mean(), answer.std(), *answer[0, :, 7, 9], logits.mean(), logits.std()]
    expected = [0.4879229, 0.2729498, 0.5692578, 0.1935298, 0.0699829, 0.1735995]
    assert [value.item() for value in found] == pytest.approx(expected, abs=2e-6)
    assert [digest(each) for each in (network, judge)] == ["06057f1b1a968c36", "40f6cdf7a5dab437"]


def digest(network: torch.nn.Module) -> str:
    keys = (f"{key} {tuple(tensor.shape)}" for key, tensor in network.state_dict().items())
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]


def test_a_frozen_network_starts_from_its_seed_as_it_did() -> None:
    torch.manual_seed(11)
    drawn = UNet(3, 2, widths=(4, 8))(torch.rand(1, 3, 16, 16))
    assert drawn.std().item() == pytest.approx(0.4792739, abs=2e-6)
    torch.manual_seed(11)
    assert PatchGAN(3)(torch.rand(1, 3, 32, 32)).std().item() == pytest.approx(0.3918768, abs=2e-6)


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


def test_layers_that_overwrite_what_they_are_given_are_counted_too() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(inplace=True), torch.nn.Conv2d(4, 1, 1)
    )
    assert halo_of(network, 1) == 1
    assert network[1].inplace


def test_a_network_that_looks_everywhere_is_refused() -> None:
    class Everywhere(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.mean((2, 3), keepdim=True)

    with pytest.raises(OptionError, match="tracked statistics"):
        halo_of(Everywhere(), 1, limit_px=256)


def test_the_patch_discriminator_judges_fields_of_34_px() -> None:
    judge = PatchGAN(3)
    encoded = torch.randn(1, 3, 64, 64, requires_grad=True)
    for module in judge.modules():  # instance norms look everywhere: here their field alone counts
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = lambda x: x
    logits = judge(encoded)
    assert logits.shape == (1, 1, 14, 14)
    logits[..., 7, 7].sum().backward()
    rows = encoded.grad.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 34


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_discriminator_says_logits_and_shows_its_stages(name: str) -> None:
    judge = DISCRIMINATORS[name](3, **SMALL_DISCRIMINATORS[name])
    encoded = torch.randn(2, 3, 64, 64)
    logits = judge(encoded)
    assert logits.shape[:2] == (2, 1)
    assert (logits.shape[2:] == (1, 1)) == ("patchgan" not in name)
    stages = features_of(judge, encoded)
    assert len(stages) >= 3
    assert all(stage.ndim == 4 and len(stage) == 2 for stage in stages)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_gradient_reaches_every_weight_of_a_discriminator(name: str) -> None:
    judge = DISCRIMINATORS[name](3, **SMALL_DISCRIMINATORS[name])
    judge(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_judging_leaves_no_trace(name: str) -> None:
    judge = DISCRIMINATORS[name](3, **SMALL_DISCRIMINATORS[name]).train()
    before = {key: tensor.clone() for key, tensor in judge.state_dict().items()}
    judge(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(tensor, before[key]) for key, tensor in judge.state_dict().items())


def test_the_residual_discriminator_has_3_4_6_3_blocks() -> None:
    blocks = [type(layer).__name__ for layer in ResNetJudge(3).layers].count("_Block")
    assert blocks == 3 + 4 + 6 + 3


def test_a_judge_without_stages_cannot_compare_them() -> None:
    with pytest.raises(OptionError, match="perceptual_loss with a Conv2d"):
        features_of(torch.nn.Conv2d(3, 1, 1), torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("name", LATENT_GENERATORS)
@pytest.mark.parametrize("size_px", [32, 64])
def test_chips_are_drawn_of_random_numbers(name: str, size_px: int) -> None:
    network = LATENT_GENERATORS[name](3, latent_size=5, chip_size=size_px, width=4)
    chips = network(torch.randn(4, 5))
    assert chips.shape == (4, 3, size_px, size_px)
    chips.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_dcgan_has_neither_pooling_nor_linear_layers_and_mlp_has_four() -> None:
    kinds = [
        {type(module).__name__ for module in network.modules()}
        for network in (LATENT_GENERATORS["dcgan"](3), DISCRIMINATORS["dcgan"](3))
    ]
    assert not any("Pool" in kind or kind == "Linear" for kind in kinds[0] | kinds[1])
    assert "ConvTranspose2d" in kinds[0]
    for network in (LATENT_GENERATORS["mlp"](3), DISCRIMINATORS["mlp"](3)):
        assert [type(module).__name__ for module in network.modules()].count("Linear") == 4


def test_dcgan_says_which_chips_it_draws() -> None:
    with pytest.raises(OptionError, match="chips of 48 px"):
        LATENT_GENERATORS["dcgan"](3, chip_size=48)


@pytest.mark.parametrize("name", GENERATORS)
def test_an_untrained_correction_answers_the_fill_with_every_generator(name: str) -> None:
    network = build_network("fill-correction", name, SMALL_GENERATORS[name], LIMITS).eval()
    pixels, fill = torch.rand(1, 2, 32, 32), torch.rand(1, 2, 32, 32)
    answer = network(pixels, torch.ones(1, 1, 32, 32), fill, torch.tensor([0.0]))
    assert torch.equal(answer, fill)


def test_a_correction_sees_a_guide_in_its_last_channels() -> None:
    limits = {**LIMITS, "low_extra": (-30.0,), "high_extra": (0.0,)}
    network = build_network("fill-correction", "wnet", SMALL_GENERATORS["wnet"], limits).eval()
    pixels, mask, level = torch.rand(1, 2, 16, 16), torch.ones(1, 1, 16, 16), torch.zeros(1)
    radar = torch.full((1, 1, 16, 16), -15.0)
    condition = network.condition(pixels, mask, pixels, level, radar)
    assert condition.shape[1] == network.n_condition_channels == 2 * 2 + 2 + 1
    assert condition[:, -1].abs().max() == 0
    assert torch.equal(network(pixels, mask, pixels, level, radar), pixels)


def test_an_untrained_correction_answers_the_fill_exactly() -> None:
    network = build_network("fill-correction", "unet", SMALL_GENERATORS["unet"], LIMITS).eval()
    pixels, fill = torch.rand(2, 2, 32, 32), torch.rand(2, 2, 32, 32)
    answer = network(pixels, torch.ones(2, 1, 32, 32), fill, torch.tensor([1.0, -1.0]))
    assert torch.equal(answer, fill)


def test_a_correction_learns_from_its_first_step() -> None:
    network = build_network("fill-correction", "unet", SMALL_GENERATORS["unet"], LIMITS)
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


class Thrice(torch.nn.Module):
    """A network of somebody else."""

    def __init__(self, in_channels: int, out_channels: int, width: int = 4) -> None:
        super().__init__()
        self.layers = torch.nn.Conv2d(in_channels, out_channels, width - 1, padding=1)

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        return self.layers(encoded)


def test_a_network_of_others_may_be_an_object_a_class_or_an_entry_point(monkeypatch) -> None:
    entry = EntryPoint("thrice", "tests.learn.test_networks:Thrice", "geodecloud.generators")
    monkeypatch.setattr(EntryPoint, "load", lambda entry: Thrice)
    monkeypatch.setattr("geodecloud.learn.networks.entry_points", lambda group: [entry])
    for generator, arguments in ((Thrice(2, 2), {}), (Thrice, {"width": 4}), ("thrice", {})):
        network = build_network("translation", generator, arguments, LIMITS)
        assert network(torch.rand(1, 2, 8, 8)).shape == (1, 2, 8, 8)
        assert isinstance(network.generator, Thrice)


@pytest.mark.parametrize("channels", [(3, 2), (2, 3)])
def test_an_object_that_does_not_fit_is_told_how_to(channels: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match=r"make it as Thrice\(2, 2\)"):
        build_network("translation", Thrice(*channels), {}, LIMITS)


def test_a_backbone_that_is_unknown_is_named() -> None:
    with pytest.raises(OptionError, match=r"backbone 'resnet35' with depth 5.*resnet34"):
        GENERATORS["backbone"](3, 2, backbone="resnet35")


@pytest.mark.parametrize("backbone", ["se_resnet50", "efficientnet-b0", "mit_b0", "tu-regnety_002"])
def test_a_backbone_that_looks_at_the_whole_image_is_refused_before_it_is_trained(backbone) -> None:
    with pytest.raises(OptionError, match=rf"'{backbone}' pools.*choose one of densenet121"):
        GENERATORS["backbone"](3, 1, backbone)


def test_pretrained_weights_are_taken_from_this_machine_alone(tmp_path, monkeypatch) -> None:
    network = small_generator("backbone", in_channels=4)
    with pytest.raises(OptionError, match="nothing is downloaded"):
        network.take_pretrained()
    pretrained = small_generator("backbone", depth=5).encoder
    weights = {key: tensor + 0.01 for key, tensor in pretrained.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda *_, **__: str(tmp_path / _[1])
    )
    network.take_pretrained()
    taken = network.encoder.state_dict()["layer1.0.conv1.weight"]
    assert torch.equal(taken, weights["layer1.0.conv1.weight"])
    assert network(torch.zeros(1, 4, 32, 32)).shape == (1, 2, 32, 32)


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
