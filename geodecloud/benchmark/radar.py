"""Cases drawn from radar alone: the colours of the ground, where nothing optical is seen."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geodecloud.benchmark.archive import Archive, Row, part_of, windows_of
from geodecloud.benchmark.case import Case, Floats
from geodecloud.benchmark.contestants import SINGLE_IMAGE, Contestant
from geodecloud.benchmark.drafts import Draft
from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import ArrayScene, Scene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.learn.cutting import CLEAR

COLOURS = ("B04", "B03", "B02")
PICTURES = "train/sih1733"
PICTURE_PX = 512

SIDES_PX = (1, 5, 15, 41)
"""Squares that the line of other places takes means of radar over: speckle hides in small ones."""

Doubles = npt.NDArray[np.float64]

STRETCH = (2, 98)
"""Percentiles of radar that are shown as the darkest and the brightest ground."""


def triplet_drafts(archive: Archive) -> list[Draft]:
    """Return the triplets: radar in dB, and the clear date in red, green and blue."""
    return [
        Draft(row["place"], partial(_triplet, archive, row))
        for row in archive.rows
        if row["kind"] == "triplet"
    ]


def _triplet(archive: Archive, row: Row) -> Case:
    with open_scene(archive.root / row["sar"], bands=("VV", "VH")) as radar:
        source = part_of(radar, Window.whole(shape_of(radar.geobox)))
    with archive.opened(row) as scene:
        clear = part_of(scene.sides["target"], Window.whole(shape_of(source.geobox)))
    return _drawn_anew(row["sar"], row["place"], source, clear.select(COLOURS), may_be_shown=True)


def picture_drafts(archive: Archive) -> list[Draft]:
    """Return parts of two co-registered pictures of radar and colour, 8-bit both."""
    drafts = []
    for number, optical in enumerate(archive.files(PICTURES, "Optical-Image-*.jpg"), start=1):
        with open_scene(optical) as scene:
            windows = windows_of(shape_of(scene.geobox), PICTURE_PX, PICTURE_PX)
        sar = optical.with_name(optical.name.replace("Optical", "SAR"))
        place = f"sih1733-{number}"
        drafts += [Draft(place, partial(_picture, sar, optical, place, w)) for w in windows[::4]]
    return drafts


def _picture(sar: Path, optical: Path, place: str, window: Window) -> Case:
    with open_scene(sar) as radar, open_scene(optical) as scene:
        source, colours = part_of(radar, window), part_of(scene, window)
    return _drawn_anew(f"{sar.name} {window}", place, source, colours, may_be_shown=False)


def _drawn_anew(
    name: str, place: str, source: ArrayScene, colours: ArrayScene, *, may_be_shown: bool
) -> Case:
    """A case whose every pixel is drawn, from a source of another kind."""
    whole = Window.whole(shape_of(colours.geobox))
    dn, valid = colours.read(whole)
    is_known = np.asarray(valid.all(0) & source.read(whole)[1].all(0))
    return Case(
        name=name,
        place=place,
        kind="radar",
        scene=ArrayScene(np.ones_like(dn), colours.sensor, colours.geobox, valid),
        target=colours.sensor.to_reflectance(dn),
        classes=np.full(whole.shape, CLEAR, np.uint8),
        mask=np.ones(whole.shape, bool),
        counted=is_known,
        source=source,
        may_be_shown=may_be_shown,
    )


def radar_baselines(drafts: list[Draft]) -> list[Contestant]:
    """Return what needs no training where radar alone is seen.

    "mean of other places" is one colour: that of the ground elsewhere in the suite. "radar as
    grey" stretches the first band of the radar over the brightness of the ground elsewhere. "line
    of other places" is the least squares of colours over means of radar around a pixel.
    """
    colours: dict[str, list[Floats]] = {}
    lines: dict[str, list[_Sums]] = {}
    for draft in drafts:
        case = draft.make()
        if case is not None:
            colours.setdefault(draft.place, []).append(_quantiles(case))
            lines.setdefault(draft.place, []).append(_Sums.of(case))

    def elsewhere(case: Case) -> Floats:
        """Low, mean and high of each band, (3, C), of all places but the case's."""
        known = [each for place, found in colours.items() if place != case.place for each in found]
        return np.asarray(np.mean(known or colours[case.place], axis=0), np.float32)

    def one_colour(case: Case) -> Floats:
        return np.broadcast_to(elsewhere(case)[1][:, None, None], case.target.shape)

    def grey(case: Case) -> Floats:
        low, _, high = (level[:, None, None] for level in elsewhere(case))
        return np.asarray(low + (high - low) * _stretched(case.source), np.float32)

    def line(case: Case) -> Floats:
        known = [each for place, found in lines.items() if place != case.place for each in found]
        squares, products = (
            np.sum(of, axis=0) for of in zip(*(known or lines[case.place]), strict=True)
        )
        weights = np.linalg.lstsq(squares, products)[0]
        return np.asarray(np.tensordot(weights.T, _means(case), 1), np.float32)

    return [
        Contestant("mean of other places", SINGLE_IMAGE, one_colour),
        Contestant("radar as grey", SINGLE_IMAGE, grey),
        Contestant("line of other places", SINGLE_IMAGE, line),
    ]


class _Sums(NamedTuple):
    """What is kept of a window for least squares: of means of radar, and of them with colours."""

    squares: Doubles
    products: Doubles

    @classmethod
    def of(cls, case: Case) -> _Sums:
        seen = _means(case)[:, case.counted]
        return cls(seen @ seen.T, seen @ case.target[:, case.counted].T.astype(np.float64))


def _means(case: Case) -> Doubles:
    """Means of each band of radar in squares around each pixel, and 1: (N, H, W)."""
    assert case.source is not None  # each case here has one
    bands = case.source.sensor.to_reflectance(case.source.read(case.whole)[0])
    around = [_box_means(bands, side_px) for side_px in SIDES_PX]
    return np.concatenate([*around, np.ones((1, *bands.shape[1:]))])


def _box_means(bands: Floats, side_px: int) -> Doubles:
    """Means (C, H, W) over squares of an odd side; beyond the rim stands what is at it."""
    half = side_px // 2
    rim = (half + 1, half)
    sums = np.pad(bands.astype(np.float64), ((0, 0), rim, rim), mode="edge").cumsum(1).cumsum(2)
    lower, upper = slice(side_px, None), slice(None, -side_px)
    total = sums[:, lower, lower] - sums[:, upper, lower] - sums[:, lower, upper]
    mean: Doubles = (total + sums[:, upper, upper]) / side_px**2
    return mean


def _quantiles(case: Case) -> Floats:
    known = case.target[:, case.counted]
    low, high = np.percentile(known, STRETCH, axis=1)
    return np.stack([low, known.mean(1), high])


def _stretched(source: Scene | None) -> Floats:
    """The first band of radar (H, W), 0 to 1."""
    assert source is not None  # each case here has one
    dn, valid = source.read(Window.whole(shape_of(source.geobox)))
    values = source.sensor.to_reflectance(dn)[0]
    low, high = np.percentile(values[valid[0]], STRETCH) if valid[0].any() else (0, 1)
    return np.asarray(np.clip((values - low) / max(high - low, 1e-6), 0, 1), np.float32)
