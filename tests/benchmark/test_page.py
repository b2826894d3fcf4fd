"""docs/benchmark.md says what the benchmark measures here and now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geodecloud.benchmark.archive import Archive
from geodecloud.benchmark.contest import run_suite, tables_of
from geodecloud.benchmark.models import TrainedModel, shipped_models
from geodecloud.benchmark.suites import SUITES

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs/benchmark.md"
FOLDS = REPOSITORY / "benchmarks/folds"
SUITE = "real-pairs"
TOLERANCE = {"PSNR, dB": ("psnr", 0.03), "SSIM": ("ssim", 0.002), "SAM, degrees": ("sam", 0.03)}


def written(title: str) -> dict[str, dict[str, str]]:
    """The suite's first table of this kind on the page: cells by row and column."""
    section = PAGE.read_text().split(f"## {SUITE}\n")[1].split("\n## ")[0]
    lines = section[section.index(f"| {title} |") :].split("\n\n")[0].splitlines()
    columns, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {name: dict(zip(columns[1:], cells, strict=True)) for name, *cells in rows}


@pytest.mark.slow
def test_the_page_is_reproduced(shared_data: Path) -> None:
    archive = Archive.open(shared_data, REPOSITORY / "benchmarks/splits.json")
    models = [TrainedModel.parse(name, FOLDS) for name in shipped_models()]
    (taking_part, *_) = tables_of(SUITES[SUITE], archive, models)
    result = run_suite(SUITES[SUITE], archive, taking_part)
    n_compared = 0
    for title, (kind, tolerance) in TOLERANCE.items():
        table = written(title)
        for row in result["rows"]:
            for region, text in table.get(row["name"], {}).items():
                figure = row["regions"][region][kind]
                said = float(re.sub(r"[*]", "", text))
                assert figure == pytest.approx(said, abs=tolerance), (title, row["name"], region)
                n_compared += 1
    assert n_compared >= 80
