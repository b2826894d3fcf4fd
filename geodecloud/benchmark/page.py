"""page_of: what was measured, as a page in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

REGIONS = ("whole", "masked", "thin", "thick", "shadow", "ring", "clear")
GROUNDS = ("vegetation", "bare", "water")
KINDS = {
    "psnr": ("PSNR, dB", 2),
    "ssim": ("SSIM", 3),
    "sam": ("SAM, degrees", 2),
    "mae": ("MAE, reflectance", 4),
}

Result = Mapping[str, Any]
Row = Mapping[str, Any]

WHAT_DATA_IS = """DATA is the folder whose files the table of splits names: clear scenes and \
pairs in `train/`, series of dates in `test/`."""

HOW_TO_READ = """\
A figure is the mean over places (or dates, or blocks), each of which pools its windows: PSNR of
the pooled squared error in a range of 1, SSIM and MAE means over pixels, SAM a mean over spectra.
SSIM is one map of windows that see all valid pixels, averaged by region. 99 dB stands for no
difference. Intervals hold 95 % of 2,000 bootstrap draws of places, and within each place of its
windows; an interval of two places says little more than the two figures. All rows of a table see
the same windows, those of places that taught none of its models: where a model is new to fewer
places, there is a table more. Every answer is pasted under the mask.

| region | what |
| --- | --- |
| whole | all valid pixels |
| masked | what is drawn; of it thin cloud, thick cloud, shadow, by the truth |
| ring | 5 px around the mask, where what the mask misses is left |
| clear | the rest |
| vegetation, bare, water | what of masked is such ground, by the NDVI and the NDWI of the truth |

Masks are the truth where a cloud takes 5 % of the light or more, grown by 30 m; under real clouds
they are where the two dates differ, grown likewise. Models and the fill take the road of
`geodecloud decloud`. *Gain and offset* matches mean and spread of thin cloud and of shadow to their
clear surroundings and is told the true classes. *Other date, harmonised* is `decloud --reference`.

The distance of power spectra is that of answers and truth in squares of 32 px under the mask, in
dB: 0 is the truth's texture, whatever its place; a smooth answer is far off. Models are also drawn
on two grids of tiles of 128 px, half a tile apart, in the first suite that they come in: the seam
index says how much steeper one is at its borders than the other is there, 1 is no seam; the
shifted-grid PSNR compares both, 99 dB being one and the same. Seconds are CPU seconds a megapixel,
the fill included where it is used: in ONNX Runtime on one thread, or in torch where a package holds
no graph, as those of `benchmarks/folds`, which takes about twice as many."""


def page_of(
    results: Sequence[Result], *, command: str, models: Mapping[str, str], pictures: Iterable[str]
) -> str:
    """Return the page: how it was made, then each suite with its tables.

    Args:
        results: of ``run_suite``, one a suite.
        command: what makes the page anew.
        models: by name, what is said of each trained model.
        pictures: lines of Markdown that show them, each with its words.
    """
    parts = [
        "# Benchmark",
        f"Written by `{command}`, with fixed seeds, on a CPU. {WHAT_DATA_IS}",
        "## How to read it",
        HOW_TO_READ,
    ]
    if models:
        parts += ["## Models", "\n".join(f"- **{name}**: {text}" for name, text in models.items())]
    for result in results:
        parts += _suite(result)
    shown = list(pictures)
    return "\n\n".join([*parts, *(["## Pictures", *shown] if shown else [])]) + "\n"


def _suite(result: Result) -> list[str]:
    rows, unit = result["rows"], result["unit"]
    n_cases = result["n_cases"]
    counted = ", ".join(f"{place} {n}" for place, n in n_cases.items())
    where_new = ", ".join(result.get("where_new", ()))
    parts = [
        f"### {result['suite']}, beside {where_new}" if where_new else f"## {result['suite']}",
        f"The same at places that are new to {where_new} too." if where_new else result["about"],
        f"{_many(sum(n_cases.values()), 'window')} of {_many(len(n_cases), unit)}: {counted}.",
        *(f"*{note}.*" for note in result["notes"]),
    ]
    regions = [name for name in REGIONS if name in rows[0]["regions"]]
    for kind, (title, digits) in KINDS.items():
        if all(row["regions"]["masked"][kind] is None for row in rows):
            continue
        best = {region: _best(rows, region, kind) for region in regions}

        def cell(
            row: Row, region: str, kind: str = kind, digits: int = digits, best: Any = best
        ) -> str:
            value = row["regions"][region][kind]
            text = _number(value, digits)
            return f"**{text}**" if value is not None and value == best[region] else text

        parts.append(_table(title, rows, regions, cell))
    parts += [_gains(result), _beside(rows)]
    grounds = [name for name in GROUNDS if name in rows[0]["regions"]]
    if grounds:
        parts.append(
            _table(
                "PSNR by ground, dB",
                rows,
                grounds,
                lambda row, ground: _number(row["regions"][ground]["psnr"], 2),
            )
        )
    if unit == "place":
        parts.append(
            _table(
                "PSNR of masked by place, dB",
                rows,
                list(n_cases),
                lambda row, place: _number(row["psnr_masked_by_place"][place], 2),
            )
        )
    return parts


def _gains(result: Result) -> str:
    """What each row that is no baseline gains over the best single-image baseline."""
    rows = [row for row in result["rows"] if row["kind"] != "baseline"]
    if not rows:
        return "No row but the baselines: see the tables above."
    regions = [name for name in REGIONS if "psnr_over" in rows[0]["regions"].get(name, {})]

    def cell(row: Row, region: str) -> str:
        over = row["regions"][region]["psnr_over"]
        low, high = over["interval"]
        if None in (low, high, over["difference"]):
            return "–"
        text = f"{over['difference']:+.2f} ({low:+.2f} to {high:+.2f})"
        return f"**{text}**" if low > 0 else text

    best = ", ".join(
        f"{rows[0]['regions'][region]['psnr_over']['baseline']} ({region})" for region in regions
    )
    table = _table("gain in PSNR, dB", rows, regions, cell)
    return (
        f"Over the best single-image baseline of each column, {best}; bold where the interval "
        f"lies above zero:\n\n{table}"
    )


def _beside(rows: Sequence[Row]) -> str:
    columns = {
        "spectra, dB": ("spectrum_db", 1),
        "seam index": ("seam_index", 3),
        "shifted grid, dB": ("shifted_grid_psnr", 1),
        "CPU s / MPx": ("seconds_per_megapixel", 1),
        "parameters": ("n_parameters", 0),
        "clear untouched, %": ("untouched_share", 1),
    }
    if any("fid" in row for row in rows):
        columns["FID"] = ("fid", 2)

    def cell(row: Row, title: str) -> str:
        key, digits = columns[title]
        value = row[key]
        if key == "untouched_share":
            value *= 100
        return f"{value:,.0f}" if key == "n_parameters" else _number(value, digits)

    return _table("beside the pixels", rows, list(columns), cell)


def _table(
    title: str, rows: Sequence[Row], columns: Sequence[str], cell: Callable[[Row, str], str]
) -> str:
    lines = [f"| {title} | " + " | ".join(columns) + " |", "| --- " * (1 + len(columns)) + "|"]
    lines += [
        f"| {row['name']} | " + " | ".join(cell(row, column) for column in columns) + " |"
        for row in rows
    ]
    return "\n".join(lines)


def _best(rows: Sequence[Row], region: str, kind: str) -> float | None:
    """The best figure of a column; None where all rows are alike."""
    found = {row["regions"][region][kind] for row in rows} - {None}
    if len(found) < 2:
        return None
    return float(max(found) if kind in ("psnr", "ssim") else min(found))


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
