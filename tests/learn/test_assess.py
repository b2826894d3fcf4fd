"""All figures of a model, as the command line shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from geodecloud.learn.assess import assess
from geodecloud.learn.data import ChipData
from geodecloud.learn.features import FeatureNetwork
from geodecloud.learn.models import CycleGAN
from tests.learn.conftest import data_of, small_model

CPU = torch.device("cpu")


@pytest.fixture
def without_inception(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained eye that sees mean colours."""

    def means(pictures: Tensor) -> Tensor:
        assert pictures.shape[1] == 3
        return pictures.mean((2, 3)).double()

    monkeypatch.setattr(FeatureNetwork, "read", lambda path: means)


def test_without_feature_weights_there_is_no_fid(data: ChipData) -> None:
    found = assess(small_model(data), CPU, limit=1)
    assert "fid" not in found
    assert found["n_windows"] == 1
    assert set(found["seam_index"]) == {"forward"}


@pytest.mark.usefixtures("without_inception")
def test_the_fid_of_answers_that_are_the_truth_is_nothing(
    data: ChipData, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(data)
    monkeypatch.setattr(model, "answer", lambda batch: batch["target"])
    found = assess(model, CPU, limit=2, feature_weights=Path("weights"))
    assert found["fid"]["forward"] == pytest.approx(0, abs=1e-9)


@pytest.mark.usefixtures("without_inception")
def test_fid_of_two_domains_is_measured_both_ways(paired_chips) -> None:
    model = CycleGAN(data_of(paired_chips, "CycleGAN"), gen_blocks=1, width=4)
    found = assess(model, CPU, limit=2, feature_weights=Path("weights"))
    assert set(found["fid"]) == {"AtoB", "BtoA"}
    assert all(distance > 1e-6 for distance in found["fid"].values())
