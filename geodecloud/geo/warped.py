"""WarpedScene: a scene on the grid of another, read by windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.errors import GridError
from geodecloud.geo.crossing import way_between
from geodecloud.geo.masks import pixel_size_m
from geodecloud.geo.profile import Profile, profile_of
from geodecloud.geo.scene import Scene, StackedScene, shape_of
from geodecloud.geo.sensors import CLASS_BANDS, Sensor
from geodecloud.geo.tiling import Window

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
Method = Literal["bilinear", "nearest"]

RESAMPLED_TAG = "GEODECLOUD_RESAMPLED"
"""Band tag that says how a band came onto its grid."""

BLOCK_PX = 512
"""Side of the squares that are worked on, in pixels of the finer of the two grids."""

KNOT_PX = 32
"""Places are transformed from one CRS to another at every such pixel, and are linear between."""

MAX_SAMPLES = 32
"""Samples along a side of a pixel, at most."""

OVERLAP_SAMPLES = 64


class WarpedScene:
    """A scene on the grid of another; a pixel depends on its place alone, not on the window.

    "bilinear" mixes the four pixels around a place; onto larger pixels it is the mean of one such
    sample for each source pixel under them, which on grids that nest is the plain mean. Only valid
    pixels are mixed, and what the source has no valid pixel under is invalid. Decibels are mixed
    as power. "nearest" takes stored numbers as they are: it is for classes.

    Args:
        scene: what is read.
        geobox: the grid that it is read on. Without georeference on either side, both grids have
            one shape and are taken to be one.
        method: how.

    Attributes:
        overlap: share of the grid that the scene covers.

    Raises:
        GridError: the scene lies elsewhere, or nobody knows where.

    Example:
        >>> from geodecloud.geo.scene import ArrayScene
        >>> from geodecloud.geo.sensors import Band
        >>> one = Sensor("one", (Band("B11"),))
        >>> grid = GeoBox((2, 2), Affine(20, 0, 0, 0, -20, 40), "EPSG:32632")
        >>> coarse = ArrayScene(np.array([[[100, 200], [300, 400]]], np.uint16), one, grid)
        >>> fine = GeoBox((4, 4), Affine(10, 0, 0, 0, -10, 40), "EPSG:32632")
        >>> WarpedScene(coarse, fine).read(Window(0, 0, 1, 4))[0]
        array([[[100, 125, 175, 200]]], dtype=uint16)
    """

    def __init__(self, scene: Scene, geobox: GeoBox, method: Method = "bilinear") -> None:
        """Check that the scene covers some of the grid."""
        self.scene, self.geobox, self.method = scene, geobox, method
        self.sensor: Sensor = scene.sensor
        self._ground = _Ground(geobox, _placed(scene, geobox))
        self.overlap = self._overlap()
        if self.overlap == 0:
            raise GridError(
                f"{_name_of(scene)} does not lie on the scene",
                "both show the same ground",
                "choose a file of the same place",
            )
        rows, cols = self._ground.pixels_under()
        n_samples = (1, 1) if method == "nearest" else (_samples(rows), _samples(cols))
        self._n_samples = n_samples
        self._block_px = max(1, BLOCK_PX // math.ceil(max(rows, cols, 1)))

    @property
    def profile(self) -> Profile:
        """How the scene's file stores its pixels, and how they were resampled."""
        profile = profile_of(self.scene)
        size_m = math.sqrt(math.prod(pixel_size_m(self.scene.geobox)))
        said = {RESAMPLED_TAG: f"{self.method} from {size_m:.4g} m"}
        return replace(
            profile,
            band_tags=tuple({**tags, **said} for tags in profile.band_tags),
            is_masked=profile.is_masked or None in profile.nodata,
        )

    def read(self, window: Window) -> tuple[Array, Flags]:
        """Return stored numbers and validity of a window, each (C, H, W)."""
        dtype = np.result_type(*(np.dtype(band.dtype) for band in self.sensor.bands))
        dn: Array = np.zeros((len(self.sensor.bands), *window.shape), dtype)
        valid = np.zeros(dn.shape, bool)
        for block in _blocks(window, self._block_px):
            rows, cols = block.relative_to(window).slices
            dn[:, rows, cols], valid[:, rows, cols] = self._block(block)
        for plane, is_valid, band in zip(dn, valid, self.sensor.bands, strict=True):
            if band.nodata is not None:
                plane[~is_valid] = band.nodata
        return dn, valid

    def select(self, names: Sequence[str]) -> WarpedScene:
        """Return the scene with these bands alone, in the order asked."""
        return WarpedScene(self.scene.select(names), self.geobox, self.method)

    def _block(self, block: Window) -> tuple[Array, Flags]:
        at = self._ground.places(block, self._n_samples)
        inside = at.around(shape_of(self.scene.geobox))
        if inside is None:
            zeros = np.zeros((len(self.sensor.bands), *block.shape))
            return zeros, zeros > 0
        dn, valid = self.scene.read(inside)
        at = at.relative_to(inside)
        if self.method == "nearest":
            return at.nearest(dn), at.nearest(valid) & at.lie_in(inside.shape)
        is_power = self.sensor.unit == "dB"
        values = dn.astype(np.float64)
        if is_power:
            values = 10 ** (self.sensor.to_reflectance(np.where(valid, dn, 0)) / np.float64(10))
        samples, is_valid = at.mixed(values, valid)
        is_valid = np.broadcast_to(is_valid & at.lie_in(inside.shape), samples.shape)
        mean, share = _means(samples, is_valid, self._n_samples)
        return self._stored(mean, is_power), share >= 0.5

    def _stored(self, values: Doubles, is_power: bool) -> Array:
        """Mixed stored numbers as numbers that can be stored; power as decibels."""
        if is_power:
            decibels = 10 * np.log10(np.maximum(values, np.finfo(np.float64).tiny))
            return self.sensor.to_dn(decibels)
        plain = (replace(band, scale=1.0, offset=0.0) for band in self.sensor.bands)
        return replace(self.sensor, bands=tuple(plain)).to_dn(values)

    def _overlap(self) -> float:
        height, width = shape_of(self.geobox)
        rows = np.linspace(0, height, OVERLAP_SAMPLES + 1)[1:] - height / OVERLAP_SAMPLES / 2
        cols = np.linspace(0, width, OVERLAP_SAMPLES + 1)[1:] - width / OVERLAP_SAMPLES / 2
        is_seen = self._ground.at(rows, cols).lie_in(shape_of(self.scene.geobox))
        return float(np.broadcast_to(is_seen, (OVERLAP_SAMPLES, OVERLAP_SAMPLES)).mean())


def on_grid(scene: Scene, geobox: GeoBox) -> Scene:
    """Return a scene on another grid: classes by the nearest pixel, all else bilinearly.

    Raises:
        GridError: the scene lies elsewhere, or nobody knows where.
    """
    names = scene.sensor.band_names
    classes = [name for name in names if name in CLASS_BANDS]
    if classes and len(classes) < len(names):
        return StackedScene([on_grid(scene.select([name]), geobox) for name in names])
    return WarpedScene(scene, geobox, "nearest" if classes else "bilinear")


class _Places(NamedTuple):
    """Places in a grid, in pixels from its corner: the first pixel's middle is at 0.5, 0.5.

    (H, W) each, or (H, 1) and (1, W) where rows and columns are alike.
    """

    rows: Doubles
    cols: Doubles

    def relative_to(self, window: Window) -> _Places:
        return _Places(self.rows - window.row, self.cols - window.col)

    def lie_in(self, shape: tuple[int, int]) -> Flags:
        height, width = shape
        rows = (self.rows >= 0) & (self.rows < height)
        return rows & (self.cols >= 0) & (self.cols < width)

    def around(self, shape: tuple[int, int]) -> Window | None:
        """The window of a scene that must be read for these places; None where none lies in it."""
        spans = []
        for values, length in zip(self, shape, strict=True):
            known = values[np.isfinite(values)]
            if not known.size or known.max() < 0 or known.min() >= length:
                return None
            low = max(0, math.floor(known.min() - 0.5))
            spans.append((low, min(length, math.floor(known.max() - 0.5) + 2)))
        (top, bottom), (left, right) = spans
        return Window(top, left, bottom - top, right - left)

    def nearest(self, array: Array) -> Array:
        """The pixel of an array (C, H, W) that each place lies in."""
        rows, cols = (
            np.clip(_whole(values), 0, length - 1)
            for values, length in zip(self, array.shape[1:], strict=True)
        )
        if rows.shape[1] == cols.shape[0] == 1:  # whole rows, then columns: many times as fast
            return np.asarray(array[:, rows[:, 0]][:, :, cols[0]])
        return np.asarray(array[:, rows, cols])

    def mixed(self, values: Doubles, valid: Flags) -> tuple[Doubles, Flags]:
        """The valid pixels of an array (C, H, W) around each place, mixed; beyond it, its edge."""
        corner = _Places(self.rows - 0.5, self.cols - 0.5)
        parts = [places - np.floor(places) for places in corner]
        is_whole = bool(valid.all())
        known = values if is_whole else np.where(valid, values, 0)
        total: Doubles = np.zeros(1)
        weight: Doubles = np.zeros(1)
        for down in (0, 1):
            for right in (0, 1):
                at = _Places(np.floor(corner.rows) + down, np.floor(corner.cols) + right)
                share = _share(parts[0], down) * _share(parts[1], right)
                total = total + share * at.nearest(known)
                # the same numbers whether or not a window shows an invalid pixel
                weight = weight + (share if is_whole else share * at.nearest(valid))
        mixed = total / np.where(weight > 0, weight, 1)
        return mixed, np.ones(1, bool) if is_whole else self.nearest(valid)


class _Ground:
    """Where the pixels of one grid lie in another."""

    def __init__(self, target: GeoBox, source: GeoBox) -> None:
        self.target, self.source = target, source
        self._transform: Any = None
        self._is_round = source.crs is not None and source.crs.geographic
        if target.crs is not None and source.crs is not None and target.crs != source.crs:
            self._transform = way_between(target.crs, source.crs)

    def at(self, rows: Doubles, cols: Doubles) -> _Places:
        """Places of the source at these rows (H) and columns (W) of the target."""
        if self._transform is not None:
            return self._bent(rows, cols)
        return _moved(~self.source.affine * self.target.affine, rows[:, None], cols[None])

    def places(self, window: Window, n_samples: tuple[int, int]) -> _Places:
        """Places of the source under each pixel of a window: so many a pixel and side."""
        rows, cols = (
            np.arange(start * n, stop * n) / n + 0.5 / n
            for start, stop, n in zip(
                (window.row, window.col), (window.row_stop, window.col_stop), n_samples, strict=True
            )
        )
        return self.at(rows, cols)

    def pixels_under(self) -> tuple[float, float]:
        """Height and width of a pixel of the target in pixels of the source, at its centre."""
        height, width = shape_of(self.target)
        rows, cols = (np.array([side / 2, side / 2 + 1]) for side in (height, width))
        at = [np.broadcast_to(values, (2, 2)) for values in self.at(rows, cols)]
        down = math.hypot(*(float(values[1, 0] - values[0, 0]) for values in at))
        right = math.hypot(*(float(values[0, 1] - values[0, 0]) for values in at))
        return (down, right) if math.isfinite(down * right) else (1.0, 1.0)

    def _bent(self, rows: Doubles, cols: Doubles) -> _Places:
        """The same across coordinate systems: exact on knots, linear between them."""
        knots = [_knots(values) for values in (rows, cols)]
        at = _moved(self.target.affine, *np.meshgrid(*knots, indexing="ij"))
        x, y = self._transform(at.cols, at.rows)
        if self._is_round:  # the same meridian, on this side of the date line
            middle = self.source.affine * (self.source.shape[1] / 2, self.source.shape[0] / 2)
            x = middle[0] + (x - middle[0] + 180) % 360 - 180
        there = _moved(~self.source.affine, y, x)
        steps = [_Step.to(values, axis) for values, axis in zip((rows, cols), knots, strict=True)]
        return _Places(*(_between(np.where(np.isfinite(v), v, np.nan), *steps) for v in there))


class _Step(NamedTuple):
    """The knot before each place along an axis, and how far on towards the next it lies."""

    before: npt.NDArray[np.intp]
    part: Doubles

    @classmethod
    def to(cls, places: Doubles, knots: Doubles) -> _Step:
        before = np.floor(places / KNOT_PX)
        return cls((before - knots[0] / KNOT_PX).astype(np.intp), places / KNOT_PX - before)


def _knots(places: Doubles) -> Doubles:
    """The multiples of ``KNOT_PX`` around places along an axis."""
    return np.arange(np.floor(places[0] / KNOT_PX), np.floor(places[-1] / KNOT_PX) + 2) * KNOT_PX


def _between(values: Doubles, rows: _Step, cols: _Step) -> Doubles:
    """Values on knots (K, L), linear between them, at places (H, W)."""
    part = rows.part[:, None]
    tall = values[rows.before] * (1 - part) + values[rows.before + 1] * part
    return np.asarray(tall[:, cols.before] * (1 - cols.part) + tall[:, cols.before + 1] * cols.part)


def _moved(affine: Affine, rows: Doubles, cols: Doubles) -> _Places:
    """Rows and columns (or y and x) through an affine; alike rows stay (H, 1)."""
    a, b, c, d, e, f = tuple(affine)[:6]
    return _Places(e * rows + f + (d * cols if d else 0), a * cols + c + (b * rows if b else 0))


def _placed(scene: Scene, geobox: GeoBox) -> GeoBox:
    """Where a scene lies; one without georeference and of the same size lies on the grid."""
    own = scene.geobox
    if own.crs is not None and geobox.crs is not None:
        return own
    if shape_of(own) == shape_of(geobox):
        return geobox
    height, width = shape_of(own)
    raise GridError(
        f"{_name_of(scene)} has {height}x{width} px and "
        f"{'no georeference' if own.crs is None else f'lies on {own.crs}'}",
        f"the scene has {shape_of(geobox)[0]}x{shape_of(geobox)[1]} px and "
        f"{'no georeference' if geobox.crs is None else f'lies on {geobox.crs}'}",
        "give both a coordinate system, or cut them to the same size",
    )


def _blocks(window: Window, side_px: int) -> Iterator[Window]:
    """Squares that partition a window."""
    for row in range(window.row, window.row_stop, side_px):
        for col in range(window.col, window.col_stop, side_px):
            yield Window(row, col, side_px, side_px) & window


def _means(samples: Doubles, valid: Flags, n: tuple[int, int]) -> tuple[Doubles, Doubles]:
    """Mean of the valid samples (C, H n, W m) of each pixel (C, H, W), and their share."""
    if n == (1, 1):
        return samples, valid.astype(np.float64)
    height, width = samples.shape[1] // n[0], samples.shape[2] // n[1]
    cells = (len(samples), height, n[0], width, n[1])
    counts = valid.reshape(cells).sum((2, 4))
    sums = np.where(valid, samples, 0).reshape(cells).sum((2, 4))
    return sums / np.maximum(counts, 1), counts / math.prod(n)


def _share(part: Doubles, step: int) -> Doubles:
    part = np.nan_to_num(part)
    return part if step else 1 - part


def _whole(values: Doubles) -> npt.NDArray[np.intp]:
    return np.floor(np.nan_to_num(values, nan=-1.0)).astype(np.intp)


def _samples(n_px: float) -> int:
    # grids that should nest are off by a rounding error
    return min(MAX_SAMPLES, max(1, math.ceil(n_px - 0.01)))


def _name_of(scene: Scene) -> str:
    return str(getattr(scene, "path", "the other scene"))
