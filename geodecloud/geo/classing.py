"""write_classes: what a source sees in a scene, shaped into a mask, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import floor, prod
from typing import Protocol

import numpy as np
import numpy.typing as npt

from geodecloud.errors import OptionError
from geodecloud.geo.areas import small_parts
from geodecloud.geo.masks import (
    CLEAR,
    CLOUD,
    MARGIN,
    NODATA,
    SHADOW,
    THIN,
    Classes,
    Disk,
    Flags,
    dilate,
    pixel_size_m,
)
from geodecloud.geo.scene import Scene, Sink, shape_of
from geodecloud.geo.tiling import Tiling, Window
from geodecloud.progress import Listener, Progress, silent

DETECTION_TILE_PX = 1536
"""Side of the tiles a detector sees, without its margin: some 300 MB of work arrays."""

STRIP_PX = 512

MOST_PART_ROWS = 1024
"""What spans more rows is neither speck nor hole: it bounds the rows held in memory."""

Strips = Iterator[tuple[int, Classes]]
"""Whole rows of codes, top to bottom, each with the row of the scene that it begins at."""


class ClassSource(Protocol):
    """Says of pixels which class they are.

    Contract: windows begin on multiples of ``stride_px``, which cuts a scene into cells from its
    corner. The class of a pixel depends on what lies within ``margin_px`` of its cell and on
    nothing else; what is not valid is ``NODATA``.

    Attributes:
        bands: names of the bands it wants, in its order.
        margin_px: how far it looks around a cell.
        stride_px: side of a cell; 1 where it sees all pixels alike.
    """

    @property
    def bands(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def margin_px(self) -> int: ...  # noqa: D102

    @property
    def stride_px(self) -> int: ...  # noqa: D102

    def classes(self, reflectance: npt.NDArray[np.float32], valid: Flags) -> Classes:
        """Return (H, W) codes of ``CLASSES`` for (C, H, W) reflectance and (H, W) validity."""
        ...


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """How many pixels a class raster has of each code; shares are of the valid pixels, 0 to 1."""

    pixels: Mapping[int, int]

    @property
    def n_valid(self) -> int:
        """Pixels that are measurements."""
        return sum(self.pixels.values()) - self.pixels.get(NODATA, 0)

    def share(self, *codes: int) -> float:
        """The part of the valid pixels that has one of these codes; 0 where none is valid."""
        n_valid = self.n_valid
        return sum(self.pixels.get(code, 0) for code in codes) / n_valid if n_valid else 0.0

    @property
    def cloud_share(self) -> float:
        """Cloud, thick and thin."""
        return self.share(CLOUD, THIN)

    @property
    def shadow_share(self) -> float:
        """Shadow of clouds."""
        return self.share(SHADOW)

    @property
    def mask_share(self) -> float:
        """What is to be replaced: cloud, shadow and the margin around them."""
        return self.share(CLOUD, THIN, SHADOW, MARGIN)


@dataclass(frozen=True, slots=True)
class Shaping:
    """How what was seen becomes a mask, in this order; ``Shaping()`` leaves it as it is.

    Attributes:
        shadows: shadow is masked too.
        specks_m2: connected cloud and shadow of less than this area are dropped.
        dilate_m: what is left grows by this much; the growth is ``MARGIN``.
        holes_m2: clear ground of less than this area, shut in by the mask, becomes ``MARGIN``.
    """

    shadows: bool = True
    specks_m2: float = 0.0
    dilate_m: float = 0.0
    holes_m2: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name, most in (("dilate_m", 5_000), ("specks_m2", 1e6), ("holes_m2", 1e6)):
            if not 0 <= getattr(self, name) <= most:
                raise OptionError(
                    f"{name} is {getattr(self, name)}",
                    f"it lies between 0 and {most:g}",
                    "choose another value",
                )


def write_classes(
    scene: Scene,
    source: ClassSource,
    sink: Sink,
    shaping: Shaping = Shaping(),
    *,
    on_progress: Listener = silent,
) -> ClassCounts:
    """Write the classes of a scene, shaped, into an open sink; count them.

    The sink takes (1, H, W) uint8 of ``CLASSES``, top to bottom. Memory holds a row of tiles and
    the rows around it that the shaping looks at, whatever the scene.

    Raises:
        BandError: the scene lacks a band of the source.
    """
    strips = _class_strips(scene.select(source.bands), source, on_progress)
    return write_strips(_shaped(strips, scene, shaping), sink)


def write_strips(strips: Strips, sink: Sink) -> ClassCounts:
    """Write whole rows of codes into an open sink, and count them."""
    counts = np.zeros(256, np.int64)
    for top, codes in strips:
        counts += np.bincount(codes.ravel(), minlength=256)
        window = Window(top, 0, *codes.shape)
        sink.write(window, codes[None], codes[None] != NODATA)
    return _counted(counts)


def count_classes(classes: Scene) -> ClassCounts:
    """Count the codes of a class raster; what is not valid is ``NODATA``."""
    counts = np.zeros(256, np.int64)
    height, width = shape_of(classes.geobox)
    for row in range(0, height, STRIP_PX):
        codes, valid = classes.read(Window(row, 0, min(STRIP_PX, height - row), width))
        counts += np.bincount(np.where(valid, codes, NODATA).ravel(), minlength=256)
    return _counted(counts)


def _counted(counts: npt.NDArray[np.int64]) -> ClassCounts:
    return ClassCounts({code: int(n) for code, n in enumerate(counts) if n})


def _class_strips(scene: Scene, source: ClassSource, on_progress: Listener) -> Strips:
    """Detect tile by tile; yield whole rows of tiles."""
    shape = shape_of(scene.geobox)
    stride_px = source.stride_px
    tiling = Tiling.for_prediction(
        shape,
        -(-DETECTION_TILE_PX // stride_px) * stride_px,
        halo_px=source.margin_px,
        stride_px=stride_px,
    )
    for tile in tiling:
        if tile.col == 0:
            strip = np.empty((tile.keep.height, shape[1]), np.uint8)
        read = tile.read & Window.whole(shape)
        dn, valid = scene.read(read)
        is_valid = np.asarray(valid.all(axis=0))
        reflectance = scene.sensor.to_reflectance(dn)
        reflectance[:, ~is_valid] = 0
        codes = source.classes(reflectance, is_valid)
        strip[:, tile.keep.col : tile.keep.col_stop] = codes[tile.keep.relative_to(read).slices]
        on_progress(Progress(len(tiling.cols) * tile.row + tile.col + 1, len(tiling), "clouds"))
        if tile.col == len(tiling.cols) - 1:
            yield tile.keep.row, strip


def _shaped(strips: Strips, scene: Scene, shaping: Shaping) -> Strips:
    """The strips after each step of the shaping that is asked for."""
    height = shape_of(scene.geobox)[0]
    pixel_m2 = prod(pixel_size_m(scene.geobox))
    if not shaping.shadows:
        strips = ((top, np.where(codes == SHADOW, CLEAR, codes)) for top, codes in strips)
    if (n_px := shaping.specks_m2 / pixel_m2) > 1:
        rows = min(floor(n_px), MOST_PART_ROWS)
        without_specks = partial(_without_specks, n_px=n_px, n_rows=rows)
        strips = _in_context(strips, without_specks, rows, height)
    disk = Disk.of_metres(shaping.dilate_m, scene.geobox)
    if disk.reach_px:
        strips = _in_context(strips, partial(_grown, disk=disk), len(disk.half_widths) - 1, height)
    if (n_px := shaping.holes_m2 / pixel_m2) > 1:
        rows = min(floor(n_px), MOST_PART_ROWS)
        without_holes = partial(_without_holes, n_px=n_px, n_rows=rows)
        strips = _in_context(strips, without_holes, rows, height)
    return strips


def is_masked(codes: Classes) -> Flags:
    """Say of each pixel whether it is to be replaced: neither clear nor nodata."""
    return np.asarray((codes != CLEAR) & (codes != NODATA))


def _without_specks(codes: Classes, n_px: float, n_rows: int) -> Classes:
    return np.where(small_parts(is_masked(codes), n_px, n_rows), CLEAR, codes).astype(np.uint8)


def _grown(codes: Classes, disk: Disk) -> Classes:
    grown = dilate(is_masked(codes), disk)
    return np.where(grown & (codes == CLEAR), MARGIN, codes).astype(np.uint8)


def _without_holes(codes: Classes, n_px: float, n_rows: int) -> Classes:
    # nodata is open country: valid pixels in a sea of it are no hole in a cloud
    holes = small_parts(~is_masked(codes), n_px, n_rows, diagonal=False)
    return np.where(holes & (codes == CLEAR), MARGIN, codes).astype(np.uint8)


def _in_context(
    strips: Strips, change: Callable[[Classes], Classes], reach: int, height: int
) -> Strips:
    """Change strips by what looks at most ``reach`` rows away; yield what no later one alters."""
    held, top, done = np.empty((0, 0), np.uint8), 0, 0  # held begins at row top of the scene
    for _, strip in strips:
        held = np.concatenate([held, strip]) if held.size else strip
        stop = top + len(held)
        ready = height if stop == height else stop - reach
        if ready <= done:
            continue
        yield done, change(held)[done - top : ready - top]
        done = ready
        keep = max(top, done - reach)
        held, top = held[keep - top :], keep
