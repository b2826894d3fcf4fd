"""What the training loop and its batches cost over the pure step, in one run.

    python benchmarks/training.py [--threads 2] [--steps 12] [--rounds 3]

Pure steps take one batch again and again; the loop makes a new one each time: skies, masks,
fills, cuts, reports. Medians of rounds are printed, as ratios: absolute
figures drift, ratios hold. On a CPU it is the process's own seconds that count, so that a busy
machine does not disturb them. Chips are generated; their content costs nothing.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from geodecloud.learn.data import ChipData, split
from geodecloud.learn.models import Pix2Pix
from geodecloud.learn.pack_writer import PackWriter
from geodecloud.learn.packed import PackedChips, Side
from geodecloud.learn.plan import Plan
from geodecloud.learn.training import Place, fit, start, take_step

BANDS = ("B02", "B03", "B04", "B08")
SIZE_PX = 256


def packed_chips(folder: Path) -> PackedChips:
    random = np.random.default_rng(0)
    out = folder / "chips.safetensors"
    with PackWriter(out, SIZE_PX, {"target": Side(BANDS)}) as writer:
        for i in range(24):
            chip = random.uniform(0.02, 0.4, (4, SIZE_PX, SIZE_PX)).astype(np.float32)
            writer.add({"target": (chip, chip > 0)}, place=str(i % 6), level="L2A")
    return PackedChips(out)


def seconds() -> float:
    """Seconds of this process, on however many cores; of the clock where a GPU works for it."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


class Timed:
    """Batches, and the seconds their making took."""

    def __init__(self, batches) -> None:
        """Begin at nothing."""
        self._batches = batches
        self.seconds = 0.0

    def at(self, step, device):
        """Make the batch of a step."""
        began = seconds()
        batch = self._batches.at(step, device)
        self.seconds += seconds() - began
        return batch


def measure(data: ChipData, gan_weight: float, n_steps: int, device: str) -> tuple[float, ...]:
    """Seconds a step: pure, in the loop, and of the loop's batches alone."""
    plan = Plan(1, n_steps, device=device, checkpoint_seconds=1e9)
    model = Pix2Pix(data, gan_weight=gan_weight)
    place = Place.of(plan)
    state = start(model, plan, place)
    batch = data.batches.at(0, place.device)
    take_step(model, state, batch, 1e-4, place)
    began = seconds()
    for _ in range(n_steps):
        losses = take_step(model, state, batch, 1e-4, place)
    float(next(iter(losses.values())))
    pure = (seconds() - began) / n_steps
    timed = Timed(data.batches)
    began = seconds()
    fit(model, timed, plan)
    return pure, (seconds() - began) / n_steps, timed.seconds / n_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    say = sys.stdout.write
    say(f"torch {torch.__version__}, {platform.machine()}, {asked.threads} threads\n")
    say("| chips | adversary | pure step s | 64-px chips/s | loop / pure | batches / pure |\n")
    say("|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        packed = packed_chips(Path(folder))
        train, valid = split(packed)
        for chip_size, batch_size in ((64, 64), (128, 16)):
            data = ChipData(
                packed, "CloudRemoval", train, valid, chip_size=chip_size, batch_size=batch_size
            )
            for gan_weight in (0.0, 1.0):
                rounds = [
                    measure(data, gan_weight, asked.steps, asked.device)
                    for _ in range(asked.rounds)
                ]
                pure = statistics.median(each[0] for each in rounds)
                loop = statistics.median(each[1] / each[0] for each in rounds)
                made = statistics.median(each[2] / each[0] for each in rounds)
                rate = batch_size * (chip_size / 64) ** 2 / pure
                kind = "yes" if gan_weight else "no"
                say(
                    f"| {batch_size} of {chip_size} px | {kind} | {pure:.2f} | {rate:.1f} "
                    f"| {loop:.3f} | {made:.3f} |\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
