"""FeatureNetwork and fid: how far apart two sets of pictures lie, to a trained eye."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from geodecloud.errors import DataError, MissingExtraError, ModelError

INPUT_PX = 299
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what torchvision's weights expect
LEAST_PICTURES = 2


class FeatureNetwork:
    """Inception v3 as a measure of pictures: (B, 3, H, W) in 0..1 to (B, 2048) features.

    Source: Szegedy et al. 2015, https://arxiv.org/abs/1512.00567
    """

    def __init__(self, network: nn.Module) -> None:
        """Take a network that answers features."""
        self._network = network.eval()

    @classmethod
    def read(cls, path: Path) -> FeatureNetwork:
        """Return the network with the weights of a file: torchvision's state dict as safetensors.

        Raises:
            ModelError: the file cannot be read, or holds weights of another network.
        """
        try:
            models: Any = importlib.import_module("torchvision.models")  # untyped
        except ImportError as error:
            raise MissingExtraError("torchvision", "learn", "FID") from error
        network: nn.Module = models.inception_v3(weights=None, init_weights=False, aux_logits=False)
        try:
            weights = {
                name: tensor
                for name, tensor in load_file(path).items()
                if not name.startswith("AuxLogits.")
            }
            network.load_state_dict(weights)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"{path} cannot be used ({str(error).splitlines()[0][:200]})",
                "feature weights are the state dict of torchvision's inception_v3, as safetensors",
                "convert it with safetensors.torch.save_file",
            ) from error
        network.fc = nn.Identity()
        return cls(network)

    def see(self, pictures: npt.NDArray[np.float32]) -> Tensor:
        """Return features (B, F) of pictures in numpy, on the CPU."""
        return self(torch.from_numpy(pictures))

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return features (B, F) of pictures (B, 3, H, W) in 0..1."""
        mean, std = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (MEAN, STD))
        shown = F.interpolate(
            pictures.clamp(0, 1), (INPUT_PX, INPUT_PX), mode="bilinear", antialias=True
        )
        with torch.inference_mode():
            features: Tensor = self._network((shown - mean) / std)
        return features.cpu().double()


def fid(
    features: Callable[[Tensor], Tensor], real: Iterable[Tensor], drawn: Iterable[Tensor]
) -> float:
    """Return the Frechet distance between two sets of pictures (B, 3, H, W); 0 is the same set.

    It hangs on how many pictures there are: compare figures of equal numbers alone.

    Source: Heusel et al. 2017, https://arxiv.org/abs/1706.08500

    Raises:
        DataError: a set has fewer than two pictures.
    """
    means, spreads = [], []
    for pictures in (real, drawn):
        seen = [features(batch) for batch in pictures]
        found = torch.cat(seen) if seen else torch.zeros(0, 1)
        if len(found) < LEAST_PICTURES:
            raise DataError(
                f"{len(found)} pictures for the FID",
                "a spread needs two at least, and means little below some thousands",
                "give more chips, or leave out --feature-weights",
            )
        means.append(found.mean(0))
        spreads.append(torch.cov(found.T).reshape(found.shape[1], -1))
    root = _root(spreads[0])
    mixed = _root(root @ spreads[1] @ root)
    distance = ((means[0] - means[1]) ** 2).sum()
    spread = (spreads[0] + spreads[1] - 2 * mixed).trace()
    return max(0.0, float(distance + spread)) if math.isfinite(float(spread)) else math.nan


def _root(matrix: Tensor) -> Tensor:
    """The square root of a symmetric matrix without negative eigenvalues, rounding aside."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root
