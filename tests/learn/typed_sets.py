"""A generated set for every dataset type, and the fields that its batches have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geodecloud.learn.pack_writer import PackWriter
from geodecloud.learn.packed import PackedChips, Side
from tests.learn.conftest import BANDS

# What each type deals: fields and their channels; None where they are (B,).
FIELDS = {
    "CloudRemoval": {
        "pixels": 4, "target": 4, "fill": 4, "mask": 1, "weight": 1, "classes": 1,
        "level": None, "synthetic": None,
    },
    "CloudMask": {
        "pixels": 4, "target": 4, "weight": 1, "classes": 1, "level": None, "synthetic": None,
    },
    "Pix2Pix": {"pixels": 4, "target": 4, "weight": 1},
    "WNet_cGAN": {
        "pixels": 4, "sar": 2, "target": 4, "fill": 4, "mask": 1, "weight": 1, "classes": 1,
        "level": None, "synthetic": None,
    },
    "GuidedCloudRemoval": {
        "pixels": 4, "sar": 2, "target": 4, "fill": 4, "mask": 1, "weight": 1, "classes": 1,
        "level": None, "synthetic": None,
    },
    "CycleGAN": {"pixels": 2, "target": 4, "weight": 1, "weight_b": 1},
    "Colorize": {"pixels": 1, "target": 4, "weight": 1},
    "GAN": {"target": 4, "weight": 1},
}  # fmt: skip


def write_sets(folder: Path) -> dict[str, PackedChips]:
    """A set for each type: 10 samples of 64 px; of domain A there are 4, of two bands."""
    random = np.random.default_rng(0)
    sides = {
        "target": Side(BANDS),
        "source": Side(BANDS),
        "mask": Side(("class",), "class"),
        "sar": Side(("VV", "VH"), "dB"),
    }

    def chip(name: str, n_bands: int) -> tuple[np.ndarray, np.ndarray]:
        low, high = {"sar": (-20, -5), "mask": (0, 0)}.get(name, (0.05, 0.4))
        values = random.uniform(low, high, (n_bands, 64, 64)).astype(np.float32)
        if name == "mask":
            values[:, :20] = 2
        return values, np.ones(values.shape, bool)

    made = {}
    for name in FIELDS:
        path = folder / f"{name}.safetensors"
        with PackWriter(path, 64) as writer:
            for i in range(10):
                wanted = list(sides) if name == "WNet_cGAN" else ["target"]
                if name == "GuidedCloudRemoval" and i % 2:
                    wanted = ["target", "sar"] if i % 4 == 1 else list(sides)
                if name == "Pix2Pix":
                    wanted = ["source", "target"]
                if name == "CycleGAN":
                    wanted = ["source" if i < 4 else "target"]
                sample = {}
                for side in wanted:
                    kind = Side(("HH", "HV"), "dB") if wanted == ["source"] else sides[side]
                    writer.declare(side, kind)
                    sample[side] = chip(side if kind.unit != "dB" else "sar", len(kind.bands))
                writer.add(sample, place=f"place {i}", level="L2A")
        made[name] = PackedChips(path)
    return made
