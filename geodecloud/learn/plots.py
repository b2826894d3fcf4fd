"""Figures of training: batches, results, losses, the search for a learning rate."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geodecloud.errors import MissingExtraError
from geodecloud.learn.classification import CLASS_NAMES
from geodecloud.learn.evaluate import pasted
from geodecloud.learn.plan import Batch, LrSearch
from geodecloud.learn.state import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUE_COLOUR = (("B04", "B03", "B02"), ("red", "green", "blue"))
TILE_INCHES = 2.2
DPI = 120
MOST_TICKS = 20


def show_batch(
    batch: Batch,
    bands: Mapping[str, Sequence[str]],
    rows: int,
    rgb_bands: Sequence[str] | None = None,
) -> Figure:
    """Return a figure of a batch's first chips, their bands named by side.

    Input, guide, Target, and what a mask adds; of two domains A and B; of one its chips.
    """
    if "weight_b" in batch:
        fields = {"A": "pixels", "B": "target"}
    elif "pixels" not in batch:
        fields = {"Chip": "target"}
    else:
        guides = {"SAR": "sar", "Reference": "reference"}
        of_mask = {"Fill": "fill", "Mask": "mask"} if "mask" in batch else {"Classes": "classes"}
        fields = {"Input": "pixels", **guides, "Target": "target", **of_mask}
    columns = {title: batch[name] for title, name in fields.items() if name in batch}
    sides = {"pixels": "source", "fill": "target"}
    named = {title: bands.get(sides.get(name, name), ()) for title, name in fields.items()}
    n_rows = min(rows, len(batch["target"]))
    return _grid(
        [{title: t[i] for title, t in columns.items()} for i in range(n_rows)], named, rgb_bands
    )


def show_results(
    batches: Sequence[Batch],
    answers: Sequence[Tensor],
    bands: Sequence[str],
    rgb_bands: Sequence[str] | None = None,
) -> Figure:
    """Return a figure with a row for each batch: Input, Target, Generated.

    Under a mask what is generated stands in masked pixels alone; elsewhere it is the input.
    """
    rows = [
        {
            "Input": batch["pixels"][0],
            "Target": batch["target"][0],
            "Generated": pasted(answer, batch)[0],
        }
        for batch, answer in zip(batches, answers, strict=True)
    ]
    return _grid(rows, dict.fromkeys(("Input", "Target", "Generated"), bands), rgb_bands)


def show_classes(
    batches: Sequence[Batch],
    found: Sequence[Tensor],
    bands: Sequence[str],
    rgb_bands: Sequence[str] | None = None,
) -> Figure:
    """Return a figure with a row for each batch: Input, Truth, Found, a grey for each class."""
    rows = [
        {
            "Input": batch["pixels"][0],
            "Truth": batch["classes"][0],
            "Found": classes[0],
        }
        for batch, classes in zip(batches, found, strict=True)
    ]
    return _grid(rows, {"Input": bands}, rgb_bands, grey=(0, len(CLASS_NAMES) - 1))


def show_domains(
    batches: Sequence[Batch],
    answers: Mapping[str, Sequence[Tensor]],
    bands: Mapping[str, Sequence[str]],
    rgb_bands: Sequence[str] | None = None,
) -> Figure:
    """Return a figure with a row for each batch of two domains: A, A as B, B, B as A.

    Args:
        batches: with "pixels" of A and "target" of B.
        answers: to each batch, of the directions "AtoB" and "BtoA".
        bands: of the sides "source" (A) and "target" (B).
        rgb_bands: what is shown as red, green and blue.
    """
    rows = [
        {
            "A": batch["pixels"][0],
            "A as B": as_b[0],
            "B": batch["target"][0],
            "B as A": as_a[0],
        }
        for batch, as_b, as_a in zip(batches, answers["AtoB"], answers["BtoA"], strict=True)
    ]
    a, b = bands["source"], bands["target"]
    return _grid(rows, {"A": a, "A as B": b, "B": b, "B as A": a}, rgb_bands)


def show_chips(
    chips: Tensor, bands: Sequence[str], rgb_bands: Sequence[str] | None = None, *, n_cols: int = 8
) -> Figure:
    """Return a figure of chips (B, C, S, S), so many in a row; B is a multiple of that."""
    titles = [str(col + 1) for col in range(n_cols)]
    starts = range(0, len(chips), n_cols)
    rows = [dict(zip(titles, chips[at : at + n_cols], strict=True)) for at in starts]
    return _grid(rows, dict.fromkeys(titles, bands), rgb_bands)


def show_prediction(
    pixels: npt.NDArray[np.float32],
    answer: npt.NDArray[np.float32],
    bands_in: Sequence[str],
    bands_out: Sequence[str],
) -> Figure:
    """Return a figure of what went in, (C, H, W), beside what came out."""
    row = {"Input": torch.from_numpy(pixels), "Prediction": torch.from_numpy(answer)}
    return _grid([row], {"Input": bands_in, "Prediction": bands_out}, None)


def plot_losses(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Return a figure of each loss by epoch, its lowest and highest points marked."""
    figure = _figure(9, 5)
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in rows]
    for name in sorted({name for row in rows for name in row} - {"epoch"}):
        values = np.array([row.get(name, np.nan) for row in rows])
        (line,) = axes.plot(epochs, values, label=name)
        # the lowest is said below the line, the highest above it: they rarely meet
        for place, marker, away in (
            (np.nanargmin(values), "v", -11),
            (np.nanargmax(values), "^", 5),
        ):
            at, colour = (epochs[place], values[place]), line.get_color()
            axes.plot(*at, marker, color=colour)
            axes.annotate(
                f"{values[place]:.3g}",
                at,
                (0, away),
                textcoords="offset points",
                fontsize=8,
                color=colour,
                ha="center",
            )
    axes.set_xlabel("epoch")
    axes.set_xticks(epochs[:: -(-len(epochs) // MOST_TICKS)])
    if all(value > 0 for row in rows for value in row.values()):
        axes.set_yscale("log")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def plot_lr(search: LrSearch) -> Figure:
    """Return a figure of the loss over the learning rate, the pick marked."""
    figure = _figure(6, 4)
    axes = figure.add_subplot()
    axes.plot(search.lrs, search.losses)
    axes.axvline(search.best, linestyle="--", color="0.4", label=f"lr {search.best:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.legend()
    return figure


def save_png(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all, and return where it is."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    write_atomically(path, drawn.getvalue())
    return path


def show(figure: Figure) -> None:
    """Show a figure in the notebook that runs this; elsewhere nothing happens."""
    shell = sys.modules.get("IPython")
    if shell is not None and shell.get_ipython() is not None:
        shell.display.display(figure)


def _grid(
    rows: Sequence[Mapping[str, Tensor]],
    bands: Mapping[str, Sequence[str]],
    rgb_bands: Sequence[str] | None,
    grey: tuple[float, float] | None = None,
) -> Figure:
    black, white = grey or (None, None)
    titles = list(rows[0])
    figure = _figure(TILE_INCHES * len(titles), TILE_INCHES * len(rows) + 0.4)
    for i, row in enumerate(rows):
        target = row.get("Target")
        for j, title in enumerate(titles):
            axes = figure.add_subplot(len(rows), len(titles), i * len(titles) + j + 1)
            axes.set_axis_off()
            if i == 0:
                axes.set_title(title)
            field = _numpy(row[title])
            if len(field) < 3:  # two bands of radar are no colour: the first alone
                axes.imshow(field[0], cmap="gray", vmin=black, vmax=white)
            else:
                # one stretch for what is alike, so that differences are those of the pixels
                is_alike = target is not None and len(target) == len(field)
                low, high = np.percentile(_numpy(target) if is_alike else field, (1, 99))
                shown = field[colours(bands.get(title, ()), len(field), rgb_bands)]
                span = max(float(high - low), 1e-6)
                axes.imshow(np.clip((shown - low) / span, 0, 1).transpose(1, 2, 0))
    return figure


def colours(
    bands: Sequence[str], n_bands: int, rgb_bands: Sequence[str] | None = None
) -> list[int]:
    """Return the channels to show as red, green and blue; the first ones where none is known."""
    for names in (rgb_bands, *TRUE_COLOUR):
        if names and len(bands) == n_bands and set(names) <= set(bands):
            return [list(bands).index(name) for name in names]
    return [0, min(1, n_bands - 1), min(2, n_bands - 1)]


def _numpy(tensor: Any) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return array


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "learn", "drawing figures") from error
    return Figure(figsize=(width, height), layout="constrained")
