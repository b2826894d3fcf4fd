"""Figures of models as lines of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DIGITS = {"psnr": 2, "ssim": 4, "sam": 2, "mae": 5}
UNITS = {"psnr": "PSNR dB", "ssim": "SSIM", "sam": "SAM deg", "mae": "MAE"}
NAIVE = ("fill", "identity", "mean", "telea", "grey", "line")


def table(regions: Mapping[str, Any], kinds: Sequence[str] = ("psnr",)) -> list[str]:
    """Return lines: a block for each kind of figure, a row a region, a column an answer.

    Figures that are no regions of ``learn.evaluate`` stand in lines of their own.
    """
    measured = {
        name: of for name, of in regions.items() if isinstance(of, Mapping) and "psnr" in of
    }
    lines = []
    for kind in kinds:
        if not any(kind in of for of in measured.values()):
            continue
        naive = [n for n in NAIVE if any(f"{kind}_{n}" in of for of in measured.values())]
        head = "".join(f"{name:>10}" for name in ("model", *naive))
        lines.append(f"{UNITS[kind]:15}{head}")
        for region, of in measured.items():
            cells = (of.get(kind), *(of.get(f"{kind}_{name}") for name in naive))
            lines.append(f"{region:15}" + "".join(_cell(value, DIGITS[kind]) for value in cells))
    return lines + [
        f"{name:15} {_other(of)}" for name, of in regions.items() if name not in measured
    ]


def _cell(value: float | None, digits: int) -> str:
    return f"{'-':>10}" if value is None else f"{value:10.{digits}f}"


def _other(of: Any) -> str:
    if not isinstance(of, Mapping):
        return f"{of:.5g}" if isinstance(of, float) else str(of)
    return "  ".join(f"{name} {_other(value)}" for name, value in of.items())
