"""How good the shipped models are: docs/benchmark.md, written anew by `geodecloud benchmark`.

    python benchmarks/quality.py [DATA] [options of geodecloud benchmark]

DATA is the folder of real scenes that ``benchmarks/splits.json`` names; `--help` lists the options.
"""

from __future__ import annotations

import sys
from pathlib import Path

from geodecloud.cli.main import main

HERE = Path(__file__).parent
BESIDE = HERE.parents[1] / "shared" / "data"
PAGE = HERE.parent / "docs" / "benchmark.md"


def arguments(given: list[str]) -> list[str]:
    """The command's arguments: the table and the page are the repository's own, unless named."""
    if not given or given[0].startswith("-"):
        given = [str(BESIDE), *given]
    said = " ".join(given)
    if "--splits" not in said:
        given += ["--splits", str(HERE / "splits.json")]
    if "--folds" not in said:
        given += ["--folds", str(HERE / "folds")]
    if "--out" not in said and "--json" not in said:
        given += ["--out", str(PAGE), "--overwrite"]
    return ["benchmark", *given]


if __name__ == "__main__":
    if len(sys.argv) == 1 and not BESIDE.is_dir():
        print(f"no real scenes at {BESIDE}: nothing measured")
    else:
        sys.argv[1:] = arguments(sys.argv[1:])
        main()
