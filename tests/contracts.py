"""What every entry of a registry must do, whatever it is: small forms of each, and the checks."""

from __future__ import annotations

import torch
from torch import nn

from geodecloud.learn.model import Model
from geodecloud.learn.networks import GENERATORS
from geodecloud.learn.plan import Batch, Carried, Phase
from geodecloud.learn.reach import halo_of, stride_of
from geodecloud.learn.training import only_moving

SMALL_GENERATORS = {
    "unet": {"widths": (4, 8, 8)},
    "folded_unet": {"widths": (4, 8, 8)},
    "unet_pix2pix": {"depth": 3, "width": 4},
    "resnet": {"n_blocks": 2, "width": 4},
    "wnet": {"widths": (4, 8, 8)},
    "backbone": {"backbone": "resnet18", "depth": 3},
}
"""Arguments that make each of ``GENERATORS`` quick."""

SMALL_DISCRIMINATORS = {
    "patchgan": {"width": 8},
    "small_patchgan": {"width": 4},
    "resnet": {"width": 8},
    "dcgan": {"width": 8},
    "mlp": {"width": 16},
}
"""Arguments that make each of ``DISCRIMINATORS`` quick, for chips of 64 px."""


def small_generator(
    name: str, in_channels: int = 3, out_channels: int = 2, **changed: object
) -> nn.Module:
    torch.manual_seed(0)
    return GENERATORS[name](in_channels, out_channels, **{**SMALL_GENERATORS[name], **changed})


def train_statistics(network: nn.Module, seed: int = 0) -> None:
    """Give norms statistics and weights as training leaves them: nothing is neutral."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1, generator=random)
            module.running_var.uniform_(0.5, 2, generator=random)
            module.weight.data.uniform_(0.5, 1.5, generator=random)


def check_cuts(network: nn.Module, in_channels: int = 3, atol: float = 1e-4) -> None:
    """A window with a full halo, moved by the stride, is answered as the whole scene is."""
    train_statistics(network)
    network = network.eval()
    stride, halo = stride_of(network), halo_of(network, in_channels)
    halo = -(-halo // stride) * stride
    random = torch.Generator().manual_seed(1)
    size, start = 2 * halo + 2 * stride, stride * 3
    scene = torch.randn(1, in_channels, size + 2 * start, 2 * start + size, generator=random)
    with torch.inference_mode():
        whole = network(scene)
        part = network(scene[..., start : start + size, start : start + size])
    core, there = slice(halo, size - halo), slice(start + halo, start + size - halo)
    assert whole[..., there, there].std() > 1e-3
    torch.testing.assert_close(part[..., core, core], whole[..., there, there], rtol=0, atol=atol)


SMALL_MODELS = {
    "Pix2Pix": ("Pix2Pix", {"widths": (4, 8), "gan_weight": 0.1}),
    "CycleGAN": ("CycleGAN", {"gen_blocks": 1, "width": 4}),
    "WNet_cGAN": ("WNet_cGAN", {"widths": (4, 8), "gan_weight": 0.1}),
    "GAN": ("GAN", {"width": 8, "latent_size": 16}),
    "CloudMask": ("CloudMask", {"widths": (4, 8)}),
}
"""For each of ``MODELS``, the data it is tried on, and arguments that make it quick."""


def weights_of(model: Model) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": tensor.clone()
        for name, network in model.networks.items()
        for key, tensor in network.state_dict().items()
    }


def moved_by(
    model: Model, phase: Phase, batch: Batch, carried: Carried
) -> tuple[set[str], Carried]:
    """Take one step of a phase alone; return which networks moved, and what it carries on."""
    before = weights_of(model)
    names = [key for name in phase.networks for key in before if key.startswith(f"{name}.")]
    weights = [p for name in phase.networks for p in model.networks[name].parameters()]
    optimiser = torch.optim.SGD(weights, lr=1e-2)
    with only_moving(model.networks, phase.networks):
        losses, more = model.losses(phase, batch, carried)
        sum(losses.values()).backward()
    assert not any(tensor.requires_grad for tensor in more.values())
    optimiser.step()
    moved = {
        key for key, tensor in weights_of(model).items() if not torch.equal(tensor, before[key])
    }
    assert moved & set(names)
    return {key.split(".")[0] for key in moved}, {**carried, **more}
