"""BackboneUNet: a U-Net whose encoder is one of segmentation_models_pytorch."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from geodecloud.errors import MissingExtraError, OptionError

WEIGHTS_FILE = "model.safetensors"

POOLING = (
    "se_",
    "senet",
    "efficientnet",
    "timm-efficientnet",
    "timm-skres",
    "mit_",
    "mobileone_s4",
)
"""How names of encoders begin that look at the whole image: by squeeze and excite, by selective
kernels, or by attention. What they answer hangs on the tile, so that none can be used here."""


class BackboneUNet(nn.Module):
    """Maps (B, C, H, W) to (B, C', H, W) by a well-known encoder and a U-Net's way up.

    An encoder looks far: resnet34 some 500 px at its full depth. The halo is counted as for every
    generator; ``depth`` cuts it.

    Args:
        in_channels, out_channels: of what is seen and drawn.
        backbone: a name that segmentation_models_pytorch knows.
        depth: how often the side is halved, 3 to 5.

    Raises:
        MissingExtraError: segmentation_models_pytorch is not installed.
        OptionError: it knows no such encoder, or the encoder pools over the whole image.

    Source: https://github.com/qubvel-org/segmentation_models.pytorch
    """

    def __init__(
        self, in_channels: int, out_channels: int, backbone: str = "resnet34", depth: int = 5
    ) -> None:
        """Build the network, freshly initialised: nothing is downloaded."""
        super().__init__()
        self.backbone, self.depth = backbone, depth
        self.stride_px = 2**depth
        self._in_channels = in_channels
        library = _library()
        if backbone.startswith(POOLING):
            raise _pools(backbone)
        try:
            whole = library.Unet(
                backbone,
                encoder_depth=depth,
                encoder_weights=None,
                decoder_channels=(256, 128, 64, 32, 16)[5 - depth :],
                in_channels=in_channels,
                classes=out_channels,
            )
        except (KeyError, RuntimeError, ValueError) as error:
            raise OptionError(
                f"backbone {backbone!r} with depth {depth} ({str(error)[:80]})",
                f"known are {', '.join(supported_backbones())}, or tu- and a name of timm; "
                "depth 3 to 5",
                "choose one of them",
            ) from error
        self.encoder = _without_idle_parts(whole.encoder, in_channels, backbone)
        self.decoder, self.head = whole.decoder, whole.segmentation_head

    def forward(self, encoded: Tensor) -> Tensor:
        """Return (B, C', H, W) of encoded (B, C, H, W)."""
        answer: Tensor = self.head(self.decoder(self.encoder(encoded)))
        return answer

    def take_pretrained(self) -> None:
        """Give the encoder its ImageNet weights, where this machine has them.

        They are held as they are until ``requires_grad_``, all but the first convolution, which is
        spread over the channels that are seen here.

        Raises:
            OptionError: they are not here, or there are none for this encoder.
        """
        from huggingface_hub import try_to_load_from_cache
        from safetensors.torch import load_file

        library = _library().encoders
        about = library.encoders.get(self.backbone, {"pretrained_settings": {}})
        settings = about["pretrained_settings"].get("imagenet")
        if settings is None:
            raise OptionError(
                f"there are no ImageNet weights for {self.backbone}",
                "most of the encoders of torchvision have some",
                "choose another backbone, or pass pretrained=False",
            )
        repo, revision = settings["repo_id"], settings["revision"]
        path = try_to_load_from_cache(repo, WEIGHTS_FILE, revision=revision)
        if not isinstance(path, str):
            raise OptionError(
                f"the ImageNet weights of {self.backbone} are not on this machine",
                f"nothing is downloaded: they are looked for as {repo} in the cache of "
                "huggingface_hub",
                f"fetch them once with: hf download {repo} --revision {revision}, "
                "or pass pretrained=False",
            )
        encoder = library.get_encoder(self.backbone, depth=self.depth, weights=None)
        encoder.load_state_dict(load_file(path))
        encoder.set_in_channels(self._in_channels, pretrained=True)
        encoder.requires_grad_(False)
        first = next(part for part in encoder.modules() if isinstance(part, nn.Conv2d))
        self.encoder = _without_idle_parts(encoder, self._in_channels, self.backbone)
        first.requires_grad_(True)


def supported_backbones() -> list[str]:
    """Return the names of the encoders that can be used."""
    return sorted(name for name in _library().encoders.encoders if not name.startswith(POOLING))


def _pools(backbone: str) -> OptionError:
    return OptionError(
        f"backbone {backbone!r} pools over the whole image",
        "a scene is answered in tiles, which must not show: each pixel sees its neighbourhood",
        f"choose one of {', '.join(supported_backbones())}",
    )


def _without_idle_parts(encoder: nn.Module, in_channels: int, backbone: str) -> nn.Module:
    """The encoder without the stages that its depth leaves idle, most of its weights.

    Raises:
        OptionError: one of its layers sees the whole image as one pixel.
    """
    busy: set[nn.Module] = set()
    pooled: set[nn.Module] = set()

    def see(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        busy.add(module)
        if isinstance(module, nn.Conv2d | nn.Linear) and inputs[0].shape[2:].numel() == 1:
            pooled.add(module)  # the deepest stage of 64 px has 2 x 2

    hooks = [module.register_forward_hook(see) for module in encoder.modules()]
    with torch.inference_mode():
        encoder.eval()(torch.zeros(1, in_channels, 64, 64))
    for hook in hooks:
        hook.remove()
    if pooled:
        raise _pools(backbone)
    for name, part in list(encoder.named_children()):
        if busy.isdisjoint(part.modules()):
            setattr(encoder, name, nn.Identity())
    return encoder.train()


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages it imports, about one another
            import segmentation_models_pytorch
    except ImportError as error:
        raise MissingExtraError(
            "segmentation-models-pytorch", "learn", "a generator with a backbone"
        ) from error
    return segmentation_models_pytorch
