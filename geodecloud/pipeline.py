"""translate_scene: a scene through the house, with any translator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Literal, NamedTuple, Protocol, TypeVar

import numpy as np

from geodecloud.errors import ModelError
from geodecloud.geo.covering import covering
from geodecloud.geo.masks import feather
from geodecloud.geo.mosaic import Mosaic
from geodecloud.geo.scene import Array, Mask, Scene, Sink, origin_px, shape_of
from geodecloud.geo.tiling import Tile, Tiling, Window, reflected, tile_around
from geodecloud.paste import PROVENANCE, Behind, Page, Records, Strip
from geodecloud.progress import Listener, Progress, silent
from geodecloud.translator import Answer, Flags, Floats, Request, Translator

__all__ = [
    "PROVENANCE",
    "Aids",
    "Answer",
    "Journey",
    "Records",
    "Request",
    "Road",
    "Translator",
    "translate_scene",
]

Step = TypeVar("Step")


class Filling(Protocol):
    """Values under the mask, drawn from the clear pixels around; ``geo.fill.Fill`` is one."""

    def read(self, window: Window) -> Floats:
        """Return (C, H, W) in the sensor's unit, NaN-free; the scene's own outside the mask."""
        ...


FAST_HALO_PX = 16
BATCH_PX = {"cpu": 1 << 19, "cuda": 1 << 23}  # beyond half a megapixel a CPU gains nothing


@dataclass(frozen=True, slots=True)
class Road:
    """How a scene is taken through the house.

    Attributes:
        halo: "exact" reads the whole of what a pixel depends on, so that the tile grid cannot be
            told from the result; "fast" reads ``FAST_HALO_PX`` and blends neighbours.
        size_px: side of a tile's core; a multiple of the translator's stride.
        batch_size: tiles in one request; None takes what suits the device.
        feather_px: over how many pixels, inside the mask's rim, the generated fades in.
        rows: which rows of tiles are walked, None for all; in exact mode each stands for itself.
    """

    halo: Literal["exact", "fast"] = "exact"
    size_px: int = 512
    batch_size: int | None = None
    feather_px: int = 0
    rows: range | None = None


EXACT = Road()


@dataclass(frozen=True, slots=True)
class Aids:
    """What helps a translator, on the scene's grid.

    Attributes:
        mask: which pixels may change; None means all valid ones.
        fill: what stands under the mask in the requests.
        extra: further inputs by name, such as "sar"; they reach the request in their own unit.
        observed: where the fill holds what another date saw; provenance says so.
        canvas: what generated pixels are pasted over, where the translator gives bands or units
            that the scene does not have, or where less is kept than is seen: what is not valid
            in it stays so. None means the scene itself.
    """

    mask: Mask | None = None
    fill: Filling | None = None
    extra: Mapping[str, Scene] = field(default_factory=dict)
    observed: Mask | None = None
    canvas: Scene | None = None


UNAIDED = Aids()
UNRECORDED = Records()


@dataclass(frozen=True, slots=True)
class Journey:
    """What became of a scene: tiles and pixels, counted.

    ``n_valid`` pixels hold a measurement in any band, ``n_generated`` of them were drawn by the
    translator, ``n_observed`` taken from another date, ``n_feathered`` were mixed;
    ``n_identical`` of ``n_values`` valid band values are the input's own.
    """

    n_tiles: int
    n_translated: int
    n_valid: int
    n_generated: int
    n_observed: int
    n_feathered: int
    n_values: int
    n_identical: int


def translate_scene(
    scene: Scene,
    sink: Sink,
    translator: Translator,
    *,
    aids: Aids = UNAIDED,
    records: Records = UNRECORDED,
    road: Road = EXACT,
    on_progress: Listener = silent,
) -> Journey:
    """Take a scene through a translator into an open sink; return what was done.

    The scene's bands all go to the sink, in their order; those the translator names are
    generated where the mask says so (everywhere without one), the others and all clear pixels
    are pasted as stored numbers: ``out[~mask] == scene[~mask]``, bit for bit. One tile row is in
    memory at a time, whatever the scene.

    Args:
        scene: source; has at least the bands of ``translator.bands_in``, and without a canvas
            ``bands_out``.
        sink: takes stored numbers (C, H, W) in the scene's, or the canvas's, encoding, top to
            bottom.
        translator: answers requests in the sensor's unit.
        aids: mask, fill and further inputs on the scene's grid.
        records: what is written of each pixel beside its values.
        road: tiles, halo, batches, feather.
        on_progress: told after each batch; raises ``Cancelled`` to stop.

    Raises:
        BandError: the scene lacks a band of the translator.
        ModelError: an answer has another shape, or is not finite.
    """
    reader = _Reader(scene, translator, aids, road)
    page = Page((aids.canvas or scene).sensor, translator.bands_out, sink, records)
    spans = [reader.tiling.rows[row] for row in reader.rows]
    shape = spans[-1].keep_stop, reader.shape[1]
    with_sigma = records.uncertainty is not None
    n_bands = len(translator.bands_out) * (2 if with_sigma else 1)
    n_tiles = len(spans) * len(reader.tiling.cols)
    done = n_translated = 0
    with ThreadPoolExecutor(1) as ahead, Behind(page) as behind:
        mosaic = Mosaic(
            behind, shape, n_bands, np.float32, blend_px=2 * reader.blend_px, allow_gaps=True
        )
        mosaic.begin(spans[0].keep_start)
        for step in _one_ahead(reader.steps(), ahead):
            if isinstance(step, Strip):
                mosaic.advance(step.window.row - reader.blend_px)
                page.lay(step)
                done += step.n_clear_tiles
            else:
                answer = _ask(translator, step.request, with_sigma)
                for tile, pixels in zip(step.tiles, answer, strict=True):
                    kept = reader.answered(tile)
                    here = kept.relative_to(tile.read).slices
                    mosaic.add(kept, pixels[:, *here])
                done += step.n_done
                n_translated += step.n_done
            on_progress(Progress(done, n_tiles, "tiles"))
        mosaic.close()
    return Journey(n_tiles, n_translated, **page.counts)


def tile_rows(
    scene: Scene, translator: Translator, road: Road = EXACT
) -> list[tuple[Window, Window]]:
    """Return of each row of tiles what ``translate_scene`` keeps of it, and what it reads."""
    reader = _Reader(scene, translator, UNAIDED, road)
    width = reader.shape[1]
    return [
        (Window(span.keep_start, 0, span.keep_stop - span.keep_start, width), reader.tall(row))
        for row, span in enumerate(reader.tiling.rows)
    ]


class _Batch(NamedTuple):
    """Tiles, or parts of tiles, of one shape; ``n_done`` whole tiles are done with them."""

    tiles: Sequence[Tile]
    request: Request
    n_done: int


class _Reader:
    """Reads a scene strip by strip and cuts the requests; runs in a thread of its own."""

    def __init__(self, scene: Scene, translator: Translator, aids: Aids, road: Road) -> None:
        self.scene, self.aids, self.road = scene, aids, road
        self.shape = shape_of(scene.geobox)
        self.channels = scene.sensor.index(translator.bands_in)
        self.sensor = scene.sensor.select(translator.bands_in)
        is_fast = road.halo == "fast" and translator.halo_px > FAST_HALO_PX
        self.halo_px = FAST_HALO_PX if is_fast else translator.halo_px
        self.stride_px, self.origin_px = translator.stride_px, origin_px(scene.geobox)
        self.blend_px = FAST_HALO_PX if is_fast else 0
        self.tiling = Tiling.for_prediction(
            self.shape,
            road.size_px,
            halo_px=self.halo_px,
            stride_px=self.stride_px,
            origin_px=self.origin_px,
        )
        self.rows = range(len(self.tiling.rows)) if road.rows is None else road.rows
        batch_px = BATCH_PX["cuda" if translator.device.startswith("cuda") else "cpu"]
        self.batch_px = batch_px

    def answered(self, tile: Tile) -> Window:
        """The part of a tile's answer that is used: its core, and in fast mode what is blended."""
        return tile.keep.padded(self.blend_px) & Window.whole(self.shape)

    def tall(self, row: int) -> Window:
        """The pixels of the scene that a row of tiles shows, and the mask's rim around them."""
        span = self.tiling.rows[row]
        rows = reflected(span.start, span.stop, self.shape[0])
        top, bottom = int(rows.min()), int(rows.max()) + 1
        tall = Window(top, 0, bottom - top, self.shape[1]).padded(self.road.feather_px)
        return tall & Window.whole(self.shape)

    def steps(self) -> Iterator[Strip | _Batch]:
        """Walk the scene: each strip, then the batches that lie in it."""
        for row in self.rows:
            tiles = [self.tiling.at(row, col) for col in range(len(self.tiling.cols))]
            tall = self.tall(row)
            dn, valid = self.scene.read(tall)
            is_seen = np.asarray(valid[self.channels].any(0))
            weight = self._weight(tall, is_seen)
            wanted = is_seen & (weight > 0)
            canvas = None if self.aids.canvas is None else self.aids.canvas.read(tall)
            if canvas is not None:
                wanted &= canvas[1].any(0)  # nothing is drawn where nothing can be pasted
            kept = Window(tiles[0].keep.row, 0, tiles[0].keep.height, self.shape[1])
            parts, n_cloudy = self._parts(tiles, wanted, tall)
            here = kept.relative_to(tall).slices
            # views: these rows are pasted over once the reader has gone on to the next
            below = dn[:, *here], valid[:, *here]
            if canvas is not None:
                below = canvas[0][:, *here], canvas[1][:, *here]
            drawn = weight[here] if weight[here].any() else None
            seen = None if self.aids.observed is None else self.aids.observed.read(kept)
            yield Strip(kept, *below, drawn, seen, len(tiles) - n_cloudy)
            n_asked = 0
            for batch in self._batches(parts):
                n_before = n_cloudy * n_asked // len(parts)
                n_asked += len(batch)
                request = self._request(batch, tall, dn, valid, weight > 0)
                yield _Batch(batch, request, n_cloudy * n_asked // len(parts) - n_before)

    def _parts(self, tiles: Sequence[Tile], wanted: Flags, tall: Window) -> tuple[list[Tile], int]:
        """What is asked of the translator, by row, and how many tiles it comes from.

        In exact mode the answer does not hang on where tiles are cut, so only the surroundings
        of what is wanted are read; blending needs whole tiles.
        """
        parts, n_cloudy = [], 0
        for tile in tiles:
            here = self.answered(tile)
            inside = wanted[(here & tall).relative_to(tall).slices]
            if not inside.any():
                continue
            n_cloudy += 1
            if self.blend_px or inside.all():
                parts.append(tile)
                continue
            parts += [
                tile_around(
                    window,
                    halo_px=self.halo_px,
                    stride_px=self.stride_px,
                    origin_px=self.origin_px,
                )
                for window in covering(inside, here, halo_px=self.halo_px, origin_px=self.origin_px)
            ]
        return sorted(parts, key=lambda part: (part.keep.row, part.keep.col)), n_cloudy

    def _weight(self, window: Window, is_seen: Flags) -> Floats:
        """How much of each pixel is generated, (H, W) in 0..1; next to nodata is no rim."""
        if self.aids.mask is None:
            return np.ones(window.shape, np.float32)
        mask = self.aids.mask.read(window)
        weight = feather(mask | ~is_seen, self.road.feather_px)
        weight[~mask] = 0
        return weight

    def _batches(self, tiles: Sequence[Tile]) -> Iterator[list[Tile]]:
        """Tiles of one shape, as many together as the road says or the device likes."""
        for (height, width), alike in groupby(tiles, key=lambda tile: tile.read.shape):
            size = self.road.batch_size or max(1, self.batch_px // (height * width))
            rest = list(alike)
            for start in range(0, len(rest), size):
                yield rest[start : start + size]

    def _request(
        self, tiles: Sequence[Tile], tall: Window, dn: Array, valid: Flags, mask: Flags
    ) -> Request:
        places = [self._place(tile) for tile in tiles]

        def cut(strip: Array) -> Array:
            return np.stack([place.of(strip, tall) for place in places])

        def read(what: Callable[[Window], Floats]) -> Floats:
            return np.stack([place.of(what(place.window), place.window) for place in places])

        is_valid = cut(valid[self.channels])
        pixels = self.sensor.to_reflectance(cut(dn[self.channels]))
        fill = None if self.aids.fill is None else read(self.aids.fill.read)
        if not is_valid.all():
            np.copyto(pixels, np.float32(0) if fill is None else fill, where=~is_valid)
        return Request(
            pixels=pixels,
            valid=is_valid,
            mask=None if self.aids.mask is None else cut(mask[None]),
            fill=fill,
            extra={name: read(partial(_values, scene)) for name, scene in self.aids.extra.items()},
            level=self.scene.sensor.level,
        )

    def _place(self, tile: Tile) -> _Place:
        read = tile.read
        if read in Window.whole(self.shape):
            return _Place(read, None)
        rows = reflected(read.row, read.row_stop, self.shape[0])
        cols = reflected(read.col, read.col_stop, self.shape[1])
        row, col = int(rows.min()), int(cols.min())
        window = Window(row, col, int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1)
        return _Place(window, (rows[:, None] - row, cols - col))


class _Place(NamedTuple):
    """What a tile shows: pixels of a window, folded over where it reaches beyond the scene."""

    window: Window
    folded: tuple[Array, Array] | None

    def of(self, array: Array, outer: Window) -> Array:
        """Cut the tile (..., H, W) out of an array that shows ``outer``."""
        rows, cols = self.window.relative_to(outer).slices
        inside = array[..., rows, cols]
        return inside if self.folded is None else inside[..., *self.folded]


def _one_ahead(steps: Iterator[Step], pool: ThreadPoolExecutor) -> Iterator[Step]:
    """The same steps, each prepared in the pool while the one before is worked on."""
    upcoming = pool.submit(next, steps, None)
    while (step := upcoming.result()) is not None:
        upcoming = pool.submit(next, steps, None)
        yield step


def _values(scene: Scene, window: Window) -> Floats:
    """A scene's values in its unit, (C, H, W) float32, 0 where there is none."""
    dn, valid = scene.read(window)
    return np.where(valid, scene.sensor.to_reflectance(dn), np.float32(0))


def _ask(translator: Translator, request: Request, with_sigma: bool) -> Floats:
    """The checked answer (B, C', H, W), its sigma behind it where that is wanted.

    A batch too large for the device's memory is halved.
    """
    n_tiles, _, height, width = request.pixels.shape
    try:
        answer = translator(request)
    except MemoryError as error:
        if n_tiles == 1:
            raise ModelError(
                f"{translator.device} has no memory for a tile of {height}x{width} px",
                "the device must hold one tile",
                "choose a smaller --tile-size, or --device cpu",
            ) from error
        half = n_tiles // 2
        parts = (request.part(slice(half)), request.part(slice(half, None)))
        return np.concatenate([_ask(translator, part, with_sigma) for part in parts])
    expected = (n_tiles, len(translator.bands_out), height, width)
    said = (answer.pixels, answer.sigma) if with_sigma else (answer.pixels,)
    for values in said:
        if values is None or values.shape != expected or not np.isfinite(values).all():
            found = "no sigma" if values is None else f"{values.shape}, not all of it finite"
            raise ModelError(
                f"{translator.name} answered {found}",
                f"an answer here is {expected} of finite numbers",
                "the model is damaged or made for something else; use another",
            )
    return answer.pixels if len(said) == 1 else np.concatenate(said, 1)  # type: ignore[arg-type]
