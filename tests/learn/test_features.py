"""The distance between two sets of pictures is that of its definition."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from geodecloud.errors import DataError, ModelError
from geodecloud.learn.features import FeatureNetwork, fid


def means(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.mean((2, 3)).double()


def pictures(level: float, spread: float, seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(4, 500, 3, 1, 1, generator=random) * spread
    return list((level + noise).expand(4, 500, 3, 2, 2))


def test_a_set_is_no_way_from_itself() -> None:
    assert fid(means, pictures(0.5, 0.1), pictures(0.5, 0.1)) == pytest.approx(0, abs=1e-9)


def test_the_distance_of_two_normal_clouds_is_the_one_of_the_formula() -> None:
    """Isotropic in three dimensions: |m1 - m2|^2 + 3 (s1 - s2)^2."""
    found = fid(means, pictures(0.2, 0.1), pictures(0.7, 0.4, seed=1))
    assert found == pytest.approx(3 * 0.5**2 + 3 * 0.3**2, rel=0.05)


def test_one_picture_has_no_spread() -> None:
    with pytest.raises(DataError, match="1 pictures"):
        fid(means, [torch.zeros(1, 3, 2, 2)], pictures(0.5, 0.1))


@pytest.mark.parametrize("content", [b"", b"no safetensors"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(ModelError, match="inception_v3"):
        FeatureNetwork.read(tmp_path / "weights")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match="inception_v3"):
        FeatureNetwork.read(tmp_path / "weights.safetensors")


@pytest.mark.slow
def test_inception_weights_give_2048_features(tmp_path: Path) -> None:
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    weights = inception_v3(weights=None, init_weights=False, aux_logits=True).state_dict()
    save_file(weights, tmp_path / "inception.safetensors")
    network = FeatureNetwork.read(tmp_path / "inception.safetensors")
    features = network(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, 2048)
    assert features.std() > 0
