"""Rows of a table of splits: which files are which place, in which fold, and what they show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

from geodecloud.errors import DataError
from geodecloud.geo.raster import RasterScene, RasterStack, open_scene
from geodecloud.geo.scene import Scene
from geodecloud.learn.cutting import TrainingScene

DEFAULT_BANDS = ("B02", "B03", "B04", "B08")
RADAR_BANDS = ("VV", "VH")


def rows_of_table(
    table: Path, bands: Sequence[str], *, publishable: bool = True
) -> list[dict[str, Any]]:
    """Return the rows of a table of splits that a model of these bands may learn from.

    A clear side that is hazy or cloudy is left out, and a cloudy side that shows another season,
    no cloud, or nothing but cloud. Each row gets its ``attribution``.

    Raises:
        DataError: the table cannot be read, or no row is left.
    """
    try:
        content = json.loads(table.read_text())
        attribution: dict[str, str] = content["about"].get("attribution", {})
        rows = []
        for row in content["rows"]:
            if row.get("state") or not set(bands) <= set(row["bands"]):
                continue
            if publishable and not row.get("publishable", True):
                continue
            if row.get("cloudy_state", "thin") != "thin":
                row.pop("cloudy", None)
            said = (text for folder, text in attribution.items() if row["clear"].startswith(folder))
            rows.append({**row, "attribution": next(said, "")})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{table} cannot be read ({error})", "it is a table of splits", "check the path"
        ) from error
    if not rows:
        raise DataError(
            f"no row of {table} has bands {', '.join(bands)}",
            "rows name their bands",
            "choose other bands",
        )
    return rows


def scenes_of_rows(
    root: Path, rows: Sequence[Mapping[str, Any]], bands: Sequence[str]
) -> Iterator[TrainingScene]:
    """Yield the scenes of each row, opened: clear as the target, cloudy as the source, radar."""
    for row in rows:
        with ExitStack() as stack:
            sides: dict[str, Scene] = {}
            for side, file in (("target", "clear"), ("source", "cloudy")):
                if file in row:
                    scene = _opened(root / row[file], row)
                    stack.callback(scene.close)
                    sides[side] = scene.select(bands)
            if "sar" in row:
                radar = open_scene(root / row["sar"], bands=RADAR_BANDS)
                stack.callback(radar.close)
                sides["sar"] = radar
            yield TrainingScene(
                name=row["clear"],
                sides=sides,
                place=row["place"],
                level=row["level"],
                fold=row["fold"],
                attribution=row["attribution"],
            )


def _opened(path: Path, row: Mapping[str, Any]) -> RasterScene | RasterStack:
    names = list(row["bands"])
    if "first_band" in row:
        with open_scene(path) as scene:
            n_bands = len(scene.sensor.bands)
        first = row["first_band"] - 1
        others = [f"other{i}" for i in range(n_bands)]
        names = [*others[:first], *names, *others[first + len(names) :]]
    scale = float(Fraction(str(row["scale"])))
    return open_scene(path, bands=names, scale=scale, level=row["level"])
