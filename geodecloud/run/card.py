"""describe: a model card in Markdown, for those who decide whether to use the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from geodecloud.run.package import UNCERTAINTY, Direction, ModelCard

FIGURES = {"psnr": "PSNR, dB", "ssim": "SSIM", "mae": "MAE", "sam": "SAM, degrees"}
"""Figures with a table of their own; ``<figure>_<method>`` is that of a naive answer."""

METHODS = {
    "": "this model",
    "identity": "the input as it is",
    "fill": "the fill",
    "grey": "the brightness in every band",
    "line": "a gain and an offset a band",
}

MASKS = "cloud-mask"
"""The task of models that draw nothing."""

TASKS = {
    "cloud-removal": "It draws what lies under clouds and their shadows. Pixels outside the mask "
    "leave bit-identical.",
    "translation": "It draws the image of one sensor from that of another, every pixel anew.",
    "cloud-mask": "It says of each pixel what it is, and draws none.",
}

LIMITS = {
    "cloud-removal": (
        "Under thick cloud nothing of the ground is seen: what is drawn there is plausible, and "
        "may be wrong. Small, new or moving things are not recovered.",
        "It is as good as the mask: a cloud that is not found stays.",
    ),
    "translation": (
        "It draws what was usual in its training data. What was rare or absent there is drawn as "
        "something usual.",
        "Values are estimates: do not take physical quantities from them unchecked.",
    ),
    "cloud-mask": (
        "What is white and large may be taken for cloud: snow, salt, sand, large roofs. What is "
        "dark beside clouds may be taken for their shadow.",
        "Veils that are hardly seen are missed: grow the mask, or draw what is missing.",
    ),
}

DRAWN = "**Generated, not observed:** pixels that this model draws were never measured."
NEVER_PROOF = (
    "What it draws is generated, not observed: mark it wherever it is shown, and do not count, "
    "measure or prove anything by it."
)


def describe(card: ModelCard) -> str:
    """Return what the model does, on what it learnt, how good it is, and where it ends."""
    sections: dict[str, Iterable[str]] = {
        f"# {card.name}": (card.summary, *_task(card)),
        "## Bands and pixels": _ways(card),
        "## Figures": _figures(card),
        "## Uncertainty": _uncertainty(card.metrics.get(UNCERTAINTY)),
        "## Data": _data(card.training, card.attribution),
        "## Limits": _limits(card),
        "## How to use": _use(card),
        "## Licence": (card.licence,),
    }
    parts: list[str] = []
    for title, paragraphs in sections.items():
        if said := [text for text in paragraphs if text]:
            parts += [title, *said]
    return "\n\n".join(parts) + "\n"


def _task(card: ModelCard) -> Iterator[str]:
    if card.task != MASKS:
        yield DRAWN
    yield TASKS.get(card.task, "")
    yield f"System: {card.system}. Task: {card.task}."


def _ways(card: ModelCard) -> Iterator[str]:
    head = ("direction", "wants", "from", "to", "looks, px", "stride, px")
    yield _table(head, [_way(way) for way in card.directions])
    if card.resolution_m is not None:
        most = "3.5 times" if card.task == MASKS else "twice"
        yield f"Made for pixels of {card.resolution_m:g} m; half to {most} of that is taken."


def _way(way: Direction) -> tuple[str, ...]:
    return (
        way.name,
        ", ".join(way.inputs),
        f"{way.sensor_in}: {', '.join(way.bands_in)}",
        f"{way.sensor_out}: {', '.join(way.bands_out)}",
        str(way.halo_px),
        str(way.stride_px),
    )


def _figures(card: ModelCard) -> Iterator[str]:
    measured = {name: found for name, found in card.metrics.items() if name != UNCERTAINTY}
    rows = dict(_rows(measured))
    if not rows:
        yield "None were computed when the model was saved."
        return
    beside = "" if card.task == MASKS else ", beside what needs no training"
    yield str(card.training.get("figures", ""))
    yield f"On places that were held out{beside}:"
    shown = {"values", "data_range"}
    for figure, title in FIGURES.items():
        keys = [key for key in _keys(rows) if key.split("_")[0] == figure]
        if keys:
            methods = (key[len(figure) + 1 :] for key in keys)
            yield _grid(rows, (title, *(METHODS.get(name, name) for name in methods)), keys)
            shown |= set(keys)
    if rest := [key for key in _keys(rows) if key not in shown]:
        yield _grid(rows, ("figure", *(key.replace("_", " ") for key in rest)), rest)


def _uncertainty(figures: object) -> Iterator[str]:
    if not isinstance(figures, Mapping):
        return
    yield (
        "`--uncertainty` writes one standard deviation of the error that is to be expected. On "
        f"{figures['n_places']:.0f} held-out places, each calibrated by the others, "
        f"{figures['within_1_sigma']:.1%} of errors lie within one and "
        f"{figures['within_2_sigma']:.1%} within two of them (68.3 % and 95.4 % of a normal law). "
        f"Errors are {figures['rms_of_error_over_sigma']:.2f} times as large as expected in the "
        f"mean; by how sure it is, {figures['calibration_error']:.0%} off in the mean over ten "
        "bins. In the surest half of the pixels they are "
        f"{figures['surest_half']:.2f} times as large as in the other."
    )


def _rows(metrics: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, float]]]:
    """Figures by region, regions of a direction under both names; those of none come first."""
    alone = {key: value for key, value in metrics.items() if not isinstance(value, Mapping)}
    if alone:
        yield above.strip() or "whole", alone
    for name, inner in metrics.items():
        if isinstance(inner, Mapping):
            yield from _rows(inner, f"{above} {name}")


def _keys(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows.values() for key in row))


def _grid(rows: Mapping[str, Mapping[str, float]], head: Sequence[str], keys: Sequence[str]) -> str:
    """The rows that have any of these figures."""
    return _table(
        head,
        [
            (name, *(_number(row.get(key)) for key in keys))
            for name, row in rows.items()
            if not set(keys).isdisjoint(row)
        ],
    )


def _data(training: Mapping[str, Any], attribution: Sequence[str]) -> Iterator[str]:
    about = training.get("data")
    if isinstance(about, Mapping):
        shown = [str(place) for place in about.get("places", ())]
        more = about.get("n_places", 0) - len(shown)
        yield (
            f"{about.get('n_samples')} samples ({about.get('dataset_type')}) of "
            f"{about.get('n_places')} places, chips of {about.get('chip_size')} px: "
            f"{', '.join(shown)}" + (f" and {more} more." if more > 0 else ".")
        )
    if attribution:
        yield "To be said where the model or its pictures are published:"
        yield "\n".join(f"- {text}" for text in attribution)


def _limits(card: ModelCard) -> Iterator[str]:
    always = (
        *([] if card.task == MASKS else [NEVER_PROOF]),
        "It knows the bands, units and pixel sizes above, and the kind of land it was trained on.",
    )
    yield "\n".join(f"- {text}" for text in (*always, *LIMITS.get(card.task, ())))


def _use(card: ModelCard) -> Iterator[str]:
    if card.task == MASKS:
        yield f"    geodecloud mask scene.tif mask.tif --mask {card.name}"
        yield "or in Python"
        yield f'    geodecloud.mask("scene.tif", "mask.tif", mask="{card.name}")'
        return
    verb = "decloud" if card.task == "cloud-removal" else "translate"
    names = [way.name for way in card.directions]
    option = f" --direction {names[0]}" if len(names) > 1 else ""
    extra = ""
    if "sar" in card.directions[0].inputs:
        option, extra = f"{option} --sar radar.tif", ', extra={"sar": "radar.tif"}'
    yield f"    geodecloud {verb} scene.tif out.tif --model {card.name}{option}"
    yield "or in Python"
    yield f'    geodecloud.from_model("{card.name}").predict("scene.tif", output="out.tif"{extra})'


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
