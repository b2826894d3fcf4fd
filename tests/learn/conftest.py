"""Generated chips, small networks, and one package, for all tests of learn/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geodecloud.learn.data import ChipData, split
from geodecloud.learn.models import Pix2Pix
from geodecloud.learn.pack_writer import PackWriter
from geodecloud.learn.packed import PackedChips, Side

BANDS = ("B02", "B03", "B04", "B08")
WIDTHS = (8, 16)


SIZE_PX = 128


def ground(random: np.random.Generator, n_bands: int = 4, size_px: int = SIZE_PX) -> np.ndarray:
    """Fields and forests: smooth patches of reflectance with some texture."""
    coarse = random.uniform(0.03, 0.4, (n_bands, size_px // 16, size_px // 16))
    field = np.kron(coarse, np.ones((16, 16)))
    return (field + random.normal(0, 0.01, field.shape)).clip(0.001, 1).astype(np.float32)


def write_chips(
    path: Path, *, n_samples: int = 12, n_places: int = 4, pairs: int = 0, called: str = "place"
) -> Path:
    random = np.random.default_rng(7)
    sides = {"target": Side(BANDS, "reflectance", "sentinel-2-l2a")}
    if pairs:
        sides |= {"source": sides["target"], "mask": Side(("class",), "class")}
    with PackWriter(path, SIZE_PX, sides) as writer:
        for i in range(n_samples):
            clear = ground(random)
            chip = {"target": (clear, np.ones(clear.shape, bool))}
            if i < pairs:
                cloudy, marks = clear.copy(), np.zeros((1, SIZE_PX, SIZE_PX), np.float32)
                cloudy[:, : SIZE_PX // 2], marks[:, : SIZE_PX // 2] = 0.8, 2
                chip["source"] = cloudy, np.ones(clear.shape, bool)
                chip["mask"] = marks, np.ones(marks.shape, bool)
            place = i % n_places
            writer.add(chip, place=f"{called} {place}", level="L2A", fold=place)
    return path


def write_guided(path: Path, *, n_samples: int = 12, size_px: int = 64) -> Path:
    """Cloudy and clear pairs with radar, which knows the clear side's brightness."""
    random = np.random.default_rng(11)
    optical = Side(BANDS, "reflectance", "sentinel-2-l2a")
    radar = Side(("VV", "VH"), "dB", "sentinel-1-rtc")
    sides = {"source": optical, "target": optical, "mask": Side(("class",), "class"), "sar": radar}
    valid = np.ones((4, size_px, size_px), bool)
    with PackWriter(path, size_px, sides) as writer:
        for i in range(n_samples):
            clear = ground(random, size_px=size_px)
            cloudy, marks = clear.copy(), np.zeros((1, size_px, size_px), np.float32)
            cloudy[:, :, 16:40], marks[:, :, 16:40] = 0.8, 2
            chip = {
                "source": (cloudy, valid),
                "target": (clear, valid),
                "mask": (marks, valid[:1]),
                "sar": (40 * clear[:2] - 25, valid[:2]),
            }
            writer.add(chip, place=f"place {i % 4}", level="L2A", fold=i % 4)
    return path


@pytest.fixture(scope="session")
def guided_chips(tmp_path_factory: pytest.TempPathFactory) -> PackedChips:
    folder = tmp_path_factory.mktemp("guided")
    return PackedChips(write_guided(folder / "chips.safetensors"))


@pytest.fixture(scope="session")
def chips(tmp_path_factory: pytest.TempPathFactory) -> PackedChips:
    return PackedChips(write_chips(tmp_path_factory.mktemp("chips") / "chips.safetensors"))


@pytest.fixture(scope="session")
def paired_chips(tmp_path_factory: pytest.TempPathFactory) -> PackedChips:
    folder = tmp_path_factory.mktemp("pairs")
    return PackedChips(write_chips(folder / "chips.safetensors", pairs=12))


def data_of(packed: PackedChips, dataset_type: str = "CloudRemoval") -> ChipData:
    train, valid = split(packed, val_split_pct=0.25)
    return ChipData(packed, dataset_type, train, valid, chip_size=32, batch_size=4)


@pytest.fixture
def data(chips: PackedChips) -> ChipData:
    return data_of(chips)


@pytest.fixture
def paired_data(paired_chips: PackedChips) -> ChipData:
    return data_of(paired_chips, "Pix2Pix")


def small_model(data: ChipData, **options: object) -> Pix2Pix:
    return Pix2Pix(data, widths=WIDTHS, **options)


def unsettle(model: Pix2Pix) -> None:
    """Give a model weights and statistics as training would: nothing silent, nothing neutral."""
    random = torch.Generator().manual_seed(3)
    for network in model.networks.values():
        for parameter in network.parameters():
            parameter.data.normal_(0, 0.1, generator=random)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=random)
                module.running_var.uniform_(0.5, 2, generator=random)
                module.weight.data.uniform_(0.5, 1.5, generator=random)


@pytest.fixture(scope="session")
def package_folder(chips: PackedChips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model; tests that damage it copy it first."""
    model = small_model(data_of(chips))
    unsettle(model)
    return model.save(tmp_path_factory.mktemp("package") / "small", compute_metrics=False)
