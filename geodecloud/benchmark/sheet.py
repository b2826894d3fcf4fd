"""Sheet: a picture of cases, answer beside answer."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from geodecloud.benchmark.case import Case, Flags, Floats
from geodecloud.errors import MissingExtraError
from geodecloud.picture import Bytes, bands_to_show, limits, stretched

INCHES, DPI, QUALITY = 2.0, 100, 88
CLOUDY = "cloudy"
RIM = (255, 79, 163)
SHOWN_SHARE = (0.2, 0.75)
"""Share of a case that is masked, where it is worth a look."""


class Sheet:
    """Cases side by side with their answers: ``add`` some, then ``encoded``.

    Args:
        columns: which answers are shown, by the name of their contestant; those missing are not.
        most: cases; the first ones of different places.
    """

    def __init__(self, columns: Sequence[str], most: int = 4) -> None:
        """Begin with no case."""
        self.columns, self.most = list(columns), most
        self._rows: dict[str, _Row] = {}

    def __len__(self) -> int:
        """Return how many cases are shown."""
        return len(self._rows)

    def add(self, case: Case, answers: Mapping[str, Floats]) -> None:
        """Take a case where it may be published, is worth a look, and its place is new."""
        share = float(case.mask.mean())
        is_wanted = case.may_be_shown and SHOWN_SHARE[0] <= share <= SHOWN_SHARE[1]
        if not is_wanted or case.place in self._rows or len(self) == self.most:
            return
        drawn = {name: answers[name] for name in self.columns if name in answers}
        pictures = {CLOUDY: case.pixels, **drawn, "truth": case.target}
        index = case.scene.sensor.index(bands_to_show(case.bands))
        bands = {name: values[index] for name, values in pictures.items()}
        self.put(case.place, bands, case.mask, case.kind)

    def put(self, place: str, pictures: Mapping[str, Floats], mask: Flags, kind: str) -> None:
        """Show pictures (1 or 3, H, W) of a place, stretched as the last of them."""
        ends = [limits(band) for band in list(pictures.values())[-1]]
        shown = {name: stretched(values, ends) for name, values in pictures.items()}
        shown[CLOUDY] = _rimmed(shown[CLOUDY], mask)
        self._rows[place] = _Row(f"{place}, {kind}", shown)

    def encoded(self) -> bytes:
        """Return the picture as JPEG: an eighth of what PNG takes of ground.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtraError("matplotlib", "learn", "drawing pictures") from error
        titles = list(next(iter(self._rows.values())).pictures)
        figure = Figure(
            figsize=(INCHES * len(titles), (INCHES + 0.1) * len(self) + 0.3),
            layout="constrained",
        )
        grid = figure.subplots(len(self), len(titles), squeeze=False)
        for axes, row in zip(grid, self._rows.values(), strict=True):
            for panel, (title, picture) in zip(axes, row.pictures.items(), strict=True):
                panel.imshow(picture, interpolation="nearest")
                panel.set(xticks=[], yticks=[])
                if panel in grid[0]:
                    panel.set_title(title, fontsize=9)
            axes[0].set_ylabel(row.name, fontsize=8)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="jpeg", dpi=DPI, pil_kwargs={"quality": QUALITY})
        return drawn.getvalue()


class _Row(NamedTuple):
    name: str
    pictures: dict[str, Bytes]


def _rimmed(picture: Bytes, mask: Flags) -> Bytes:
    """The picture with the rim of the mask drawn on it."""
    wide = np.pad(mask, 1, mode="edge")
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    drawn = picture.copy()
    drawn[mask & ~inner] = RIM
    return drawn
