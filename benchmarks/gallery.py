"""The figures of docs/gallery.md: what show_batch, lr_find, fit and show_results look like.

    python benchmarks/gallery.py DATA docs/figures/gallery
    python benchmarks/gallery.py DATA docs/figures/gallery --only colour

DATA is the folder of real scenes that ``benchmarks/splits.json`` names. Trainings are short, a
minute each on a CPU: the figures show what one looks at, not how good a model becomes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from geodecloud import GAN, CycleGAN, Pix2Pix, WNet_cGAN, from_model, prepare_data
from geodecloud.learn.data import ChipData
from geodecloud.learn.pack_writer import PackWriter
from geodecloud.learn.packed import LEVELS
from geodecloud.learn.plots import plot_losses, plot_lr, save_png

SPLITS = Path(__file__).with_name("splits.json")
BANDS = ("B02", "B03", "B04", "B08")
NARROW = (16, 32, 64)
TRIPLETS = "train/sen12mscr_s1s2"


def clouds(data: Path, work: Path, out: Path) -> None:
    """The shipped model on places that it has not seen."""
    chips = held_out(data, work, "CloudRemoval", batch_size=8)
    save_png(chips.show_batch(rows=3), out / "batch-clouds.png")
    shipped = from_model("decloud-s2-4band", chips)
    save_png(shipped.show_results(rows=4), out / "results-clouds.png")
    model = Pix2Pix(chips, widths=NARROW)
    model.lr_find(allow_plot=False, start_lr=1e-5, end_lr=0.1)
    save_png(plot_lr(model.search), out / "lr.png")
    history = model.fit(8, 2e-3, steps_per_epoch=8, checkpoint=False)
    save_png(plot_losses(history.rows), out / "losses.png")


def radar(data: Path, work: Path, out: Path) -> None:
    """Cloudy chips with radar beside them."""
    places = {"cloudy": "train_A_C/images", "clear": "train_A_C/images2", "dB": "train_B/images"}
    guided = prepare_data(
        linked(data, work / "radar", places), batch_size=8, working_dir=work / "c"
    )
    save_png(guided.show_batch(rows=3), out / "batch-radar.png")
    model = WNet_cGAN(guided, widths=NARROW)
    model.fit(3, 2e-3, steps_per_epoch=15, checkpoint=False)
    save_png(model.show_results(rows=2), out / "results-radar.png")


def domains(data: Path, work: Path, out: Path) -> None:
    """Top of the atmosphere and the ground: two domains of the same bands, of other places."""
    clear = held_out(data, work, "GAN").packed
    path = work / "domains.safetensors"
    sides = dict.fromkeys(("source", "target"), clear.sides["target"])
    with PackWriter(path, clear.size_px, sides) as writer:
        for sample in np.flatnonzero(clear.has("target")):
            level, place = LEVELS[clear.level[sample]], clear.places[clear.place[sample]]
            side = "source" if level == "L1C" else "target"
            (values,), (valid,) = clear.read("target", np.array([sample]))
            writer.add({side: (values, valid)}, place=place, level=level)
    chips = prepare_data(path, dataset_type="CycleGAN", val_split_pct=0.2, batch_size=4)
    model = CycleGAN(chips, gen_blocks=3, width=16)
    model.fit(2, 1e-3, steps_per_epoch=50, checkpoint=False)
    save_png(model.show_results(rows=4), out / "results-domains.png")


def colour(data: Path, work: Path, out: Path) -> None:
    """Colour out of grey."""
    model = Pix2Pix(held_out(data, work, "Colorize", batch_size=8), widths=NARROW)
    model.fit(2, 2e-3, steps_per_epoch=60, checkpoint=False)
    save_png(model.show_results(rows=4), out / "results-colour.png")


def drawn(data: Path, work: Path, out: Path) -> None:
    """Chips of random numbers, by both architectures."""
    chips = held_out(data, work, "GAN", batch_size=16)
    for architecture, width in (("dcgan", 16), ("mlp", None)):
        model = GAN(chips, architecture, width=width)
        model.fit(2, steps_per_epoch=60, checkpoint=False)
        save_png(model.show_results(rows=3), out / f"samples-{architecture}.png")


def held_out(data: Path, work: Path, dataset_type: str, **options: int) -> ChipData:
    """The clear scenes, packed once, with the shipped model's fold for validation."""
    path = work / "clouds" / "chips.safetensors"
    where = {"splits": SPLITS, "bands": BANDS, "working_dir": path.parent}
    if path.exists():
        data, where = path, {}
    return prepare_data(data, dataset_type=dataset_type, fold=2, **where, **options)


def linked(data: Path, folder: Path, places: dict[str, str]) -> Path:
    """The triplets of DATA in a layout of training folders: by the end of their names."""
    for kind, place in places.items():
        (folder / place).mkdir(parents=True)
        for file in sorted((data / TRIPLETS).glob(f"*_{kind}.tif")):
            number = file.name.partition("_")[0]
            (folder / place / f"{number}.tif").symlink_to(file.resolve())
    return folder


def main() -> None:
    """Write all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=PARTS, help="these figures alone")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        for name, part in PARTS.items():
            if asked.only in (None, name):
                part(asked.data, Path(work), asked.out)


PARTS = {part.__name__: part for part in (clouds, radar, domains, colour, drawn)}


if __name__ == "__main__":
    main()
