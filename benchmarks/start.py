"""How long geodecloud takes to start: seconds of whole processes, medians.

python benchmarks/start.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = Path(__file__).parents[1] / "sample" / "zurich_2019.tif"
TURNS = 7


def seconds(command: list[str]) -> float:
    """One run of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        python = sys.executable
        out = str(Path(folder) / "out.tif")
        works = {
            "python, nothing imported": [python, "-c", ""],
            "import geodecloud": [python, "-c", "import geodecloud"],
            "geodecloud --help": [python, "-m", "geodecloud", "--help"],
            "geodecloud decloud, sample scene of 512 px": [
                python, "-m", "geodecloud", "decloud", str(SAMPLE), out, "--overwrite",
            ],
        }  # fmt: skip
        turns: dict[str, list[float]] = {work: [] for work in works}
        for _ in range(TURNS):
            for work, command in works.items():
                turns[work].append(seconds(command))
    print(f"| work | seconds, median of {TURNS} |\n|---|---|")
    for work, figures in turns.items():
        print(f"| {work} | {statistics.median(figures):.2f} |")


if __name__ == "__main__":
    main()
