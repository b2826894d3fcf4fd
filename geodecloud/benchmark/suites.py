"""SUITES: what is measured, each a list of cases that are made when their turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from geodecloud.benchmark.archive import (
    BANDS,
    Archive,
    Row,
    is_valid,
    part_of,
    windows_of,
)
from geodecloud.benchmark.case import Case, mask_of
from geodecloud.benchmark.colours import GREY, grey_baselines, grey_draft, of_bands
from geodecloud.benchmark.contestants import Contestant, baselines
from geodecloud.benchmark.dates import holes_drafts, known_sky_drafts, real_cloud_drafts
from geodecloud.benchmark.drafts import Draft
from geodecloud.benchmark.known_skies import Ground, KindOfSky, in_turn, under_sky
from geodecloud.benchmark.radar import (
    COLOURS,
    picture_drafts,
    radar_baselines,
    triplet_drafts,
)
from geodecloud.benchmark.real_clouds import harmonised
from geodecloud.geo.scene import ArrayScene, Scene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.learn.cutting import mark_clouds

RGB = ("red", "green", "blue")
VISIBLE = ("B02", "B03", "B04")
WINDOW_PX, LEAST_PX = 256, 128
WINDOWS_A_PLACE, SKIES_A_WINDOW = 4, 3


@dataclass(frozen=True)
class Suite:
    """One kind of question, and the cases that ask it.

    Attributes:
        name: how it is called on the command line.
        about: what it is made of, for the page.
        unit: what a figure is the mean over: "place", "date", "block".
        bands: of its cases.
        drafts: its cases to be.
        offers: what its cases have beside the window: "sar", "reference".
        is_radiometric: pixels under the mask mean something; False for opaque holes.
        source: bands that models draw from, where they are not those of the cases.
        rows: the baselines of such cases.
        waits_for_model: it is run unasked only where a model for it is named or shipped.
    """

    name: str
    about: str
    unit: str
    bands: tuple[str, ...]
    drafts: Callable[[Archive], list[Draft]]
    offers: frozenset[str] = frozenset()
    is_radiometric: bool = True
    source: tuple[str, ...] = ()
    rows: Callable[[list[Draft]], list[Contestant]] | None = None
    waits_for_model: bool = False

    def baselines(self, drafts: list[Draft]) -> list[Contestant]:
        """Return the rows that need no training."""
        if self.rows is not None:
            return self.rows(drafts)
        return baselines(
            with_references="reference" in self.offers, is_radiometric=self.is_radiometric
        )


def synthetic_drafts(archive: Archive, *, with_radar: bool = False) -> list[Draft]:
    """Return clear windows of every place, some a place, each under skies that take turns.

    With radar those that have some, and it beside them.
    """
    rows = [row for row in archive.rows if "sar" in row or not with_radar]
    return [
        Draft(row["place"], partial(_synthetic, archive, row, window, kind, with_radar=with_radar))
        for number, row, window in _clear_windows(archive, rows)
        for kind in in_turn(number, SKIES_A_WINDOW)
    ]


def colorize_drafts(archive: Archive) -> list[Draft]:
    """Return clear windows of every place, some a place, of which the brightness is seen."""
    return [
        grey_draft(archive, row, window) for _, row, window in _clear_windows(archive, archive.rows)
    ]


def _clear_windows(archive: Archive, rows: Iterable[Row]) -> Iterator[tuple[int, Row, Window]]:
    """Some windows of each place, counted within it."""
    by_place: dict[str, list[tuple[Row, Window]]] = {}
    for row in rows:
        with archive.opened(row) as scene:
            shape = shape_of(scene.sides["target"].geobox)
        by_place.setdefault(row["place"], []).extend(
            (row, window) for window in windows_of(shape, WINDOW_PX, LEAST_PX)
        )
    for windows in by_place.values():
        for number, (row, window) in enumerate(_spread(windows, WINDOWS_A_PLACE)):
            yield number, row, window


def _spread(windows: Sequence[tuple[Row, Window]], most: int) -> Iterator[tuple[Row, Window]]:
    """Some of the windows, from all over the list."""
    n = min(most, len(windows))
    return (windows[k * len(windows) // n] for k in range(n))


def _synthetic(
    archive: Archive, row: Row, window: Window, kind: KindOfSky, *, with_radar: bool
) -> Case | None:
    with archive.opened(row) as scene:
        ground = part_of(scene.sides["target"], window)
        extras = {"sar": part_of(scene.sides["sar"], window)} if with_radar else {}
    name = f"{row['clear']} band {row.get('first_band', 1)} {window.row},{window.col}"
    case = under_sky(Ground(name, row["place"], ground, row.get("publishable", True)), kind)
    return None if case is None else replace(case, extras=extras)


def pair_drafts(archive: Archive, *, with_radar: bool) -> list[Draft]:
    """Return the real pairs and triplets; those with radar alone, or all without it."""
    return [
        Draft(row["place"], partial(_pair, archive, row, with_radar))
        for row in archive.rows
        if "cloudy" in row and ("sar" in row or not with_radar)
    ]


def _pair(archive: Archive, row: Row, with_radar: bool) -> Case | None:
    extras: dict[str, Scene] = {}
    with archive.opened(row) as scene:
        sides = {name: _whole(side) for name, side in scene.sides.items()}
    if with_radar:
        extras["sar"] = sides["sar"]
    cloudy, clear = sides["source"], sides["target"]
    whole = Window.whole(shape_of(cloudy.geobox))
    seen, target = (side.sensor.to_reflectance(side.read(whole)[0]) for side in (cloudy, clear))
    classes = mark_clouds(seen, target)
    mask = mask_of(classes, cloudy)
    counted = is_valid(cloudy) & is_valid(clear)
    case = Case(
        name=row["cloudy"],
        place=row["place"],
        kind=row["kind"],
        scene=cloudy,
        target=harmonised(cloudy, target, counted & ~mask),
        classes=classes,
        mask=mask,
        counted=counted,
        extras=extras,
        may_be_shown=row.get("publishable", True),
    )
    return case if case.is_usable else None


def _whole(scene: Scene) -> ArrayScene:
    return part_of(scene, Window.whole(shape_of(scene.geobox)))


SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite(
                "synthetic",
                "Clear windows of every place under known skies: cumulus, cirrus, haze, deck and "
                "fog, three a window in turn. The truth is the clear window itself.",
                "place", BANDS, synthetic_drafts,
            ),
            Suite(
                "real-pairs",
                "Real pairs and triplets of SEN12MS-CR: a cloudy date, and a clear one as the "
                "truth, brought to the light of the cloudy date on what both see clearly.",
                "place", BANDS, partial(pair_drafts, with_radar=False),
            ),
            Suite(
                "triplets",
                "The triplets alone, with the radar image that belongs to each.",
                "place", BANDS, partial(pair_drafts, with_radar=True), frozenset({"sar"}),
            ),
            Suite(
                "triplets-known-skies",
                "The clear dates of the triplets under known skies, each with its radar image.",
                "place", BANDS, partial(synthetic_drafts, with_radar=True), frozenset({"sar"}),
            ),
            Suite(
                "multidate",
                "One place of SEN12MS-CR-TS on its clear dates of 2018, each under a known "
                "sky, with the nearest other clear date as a reference. Models may know other "
                "parts of this tile, not this one.",
                "date", BANDS, known_sky_drafts, frozenset({"reference"}),
            ),
            Suite(
                "multidate-real",
                "The same place on its partly cloudy dates. The truth is the nearest clear date, "
                "harmonised; the reference is the next nearest.",
                "date", BANDS, real_cloud_drafts, frozenset({"reference"}),
            ),
            Suite(
                "temporal-1band",
                "One band of tile 33UUU, of unknown name, on two dates ten days apart: opaque "
                "holes in the shape of cumulus over what the cloudy date sees clearly, with the "
                "clear date as a reference.",
                "block", ("grey",), holes_drafts, frozenset({"reference"}), is_radiometric=False,
            ),
            Suite(
                "sar2rgb",
                "The triplets' radar alone, and the clear date in red, green and blue.",
                "place", COLOURS, triplet_drafts, source=("VV", "VH"), rows=radar_baselines,
                waits_for_model=True,
            ),
            Suite(
                "sar2rgb-pictures",
                "Two pictures of radar beside two of colour, 8-bit, in parts of 512 px.",
                "place", RGB, picture_drafts, source=RGB, rows=radar_baselines,
                waits_for_model=True,
            ),
            Suite(
                "synthetic-rgb",
                "The windows and skies of `synthetic` in blue, green and red alone.",
                "place", VISIBLE, of_bands(synthetic_drafts, VISIBLE), waits_for_model=True,
            ),
            Suite(
                "real-pairs-rgb",
                "The pairs of `real-pairs` in blue, green and red alone.",
                "place", VISIBLE, of_bands(partial(pair_drafts, with_radar=False), VISIBLE),
                waits_for_model=True,
            ),
            Suite(
                "colorize",
                "Clear windows of every place, of which the brightness alone is seen: 0.299 red "
                "+ 0.587 green + 0.114 blue.",
                "place", COLOURS, colorize_drafts, source=(GREY,), rows=grey_baselines,
                waits_for_model=True,
            ),
        )
    }
)  # fmt: skip
"""Suites by name, in the order of the page."""
