"""Page: generated pixels pasted over stored rows, and where each pixel comes from."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np

from geodecloud.geo.scene import Array, Sink
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.translator import Flags, Floats

NODATA, ORIGINAL, GENERATED, FEATHERED, OTHER_DATE = range(5)
PROVENANCE = MappingProxyType(
    {
        NODATA: "nodata",
        ORIGINAL: "original",
        GENERATED: "generated",
        FEATHERED: "feathered",
        OTHER_DATE: "observed on another date",
    }
)
"""Where a pixel comes from."""

COUNTED = MappingProxyType(
    {"n_generated": GENERATED, "n_feathered": FEATHERED, "n_observed": OTHER_DATE}
)

PROVENANCE_COLOURS = MappingProxyType(
    {
        NODATA: (0, 0, 0, 0),
        ORIGINAL: (120, 160, 120, 255),
        GENERATED: (255, 79, 163, 255),
        FEATHERED: (255, 210, 74, 255),
        OTHER_DATE: (79, 216, 255, 255),
    }
)
"""Red, green, blue, opacity: apart for those who see red and green alike, rare on the ground."""


SPREAD_NODATA = 65535
"""Stands where there is no measurement, and hence nothing to be uncertain of."""


@dataclass(frozen=True, slots=True)
class Records:
    """What is written of each pixel beside its values.

    Attributes:
        provenance: takes (1, H, W) uint8 of ``PROVENANCE``.
        uncertainty: takes (C', H, W) stored numbers of ``uncertainty_sensor``: one standard
            deviation of the error of what was generated, 0 where a pixel is the input's own.
    """

    provenance: Sink | None = None
    uncertainty: Sink | None = None


def uncertainty_sensor(names: Sequence[str], unit: str) -> Sensor:
    """Return what stored uncertainties of these bands mean: steps of 1e-4 in their unit."""
    bands = (Band(name, scale=1e-4, nodata=SPREAD_NODATA, dtype="uint16") for name in names)
    return Sensor("uncertainty", tuple(bands), unit=unit)


class Strip(NamedTuple):
    """One tile row of the scene as it is stored; ``weight`` is how much of a pixel is generated.

    ``observed`` is (H, W) bool, where another date saw the ground; None where none was asked.
    """

    window: Window
    dn: Array
    valid: Flags
    weight: Floats | None  # (H, W), 0 = clear; None where nothing is masked
    observed: Flags | None
    n_clear_tiles: int


class Page:
    """Stored rows on which generated pixels are pasted; finished rows go on to the sinks."""

    def __init__(
        self, sensor: Sensor, bands_out: Sequence[str], sink: Sink, records: Records
    ) -> None:
        """Begin with no rows; the counts are those of ``Journey``."""
        self.sensor, self.sink, self.records = sensor, sink, records
        self.channels = sensor.index(bands_out)
        self.spreads = uncertainty_sensor(bands_out, sensor.unit)
        self.strips: deque[Strip] = deque()
        self.counts = dict.fromkeys(
            ("n_valid", "n_generated", "n_observed", "n_feathered", "n_values", "n_identical"), 0
        )

    def lay(self, strip: Strip) -> None:
        """Take the next stored rows."""
        self.strips.append(strip)

    def take(self, window: Window) -> list[Strip]:
        """Give back the stored rows of a window, as the strips (or parts of them) that hold it."""
        taken = []
        while self.strips and self.strips[0].window.row < window.row_stop:
            strip = self.strips.popleft()
            if strip.window.row_stop > window.row_stop:
                n_rows = window.row_stop - strip.window.row
                self.strips.appendleft(_rows(strip, n_rows, strip.window.height))
                strip = _rows(strip, 0, n_rows)
            taken.append(strip)
        return taken

    def write(self, strip: Strip, generated: Floats, covered: Flags) -> None:
        """Paste generated values where ``covered`` and masked; hand the rows on.

        ``generated`` is (C', H, W), and behind them their standard deviations where those are
        recorded.
        """
        dn, valid, weight = strip.dn, strip.valid, strip.weight
        drawn = np.zeros(covered.shape, bool)
        origin: Array = np.asarray(valid.any(0), np.uint8)  # NODATA, ORIGINAL
        self.counts["n_valid"] += int(np.count_nonzero(origin))
        n_changed = 0
        if weight is not None:
            drawn = covered & (weight > 0) & valid[self.channels].any(0)
            origin[drawn] = np.where(weight[drawn] < 1, FEATHERED, GENERATED)
            if strip.observed is not None:
                origin[(origin == GENERATED) & strip.observed] = OTHER_DATE
            for channel, values in zip(self.channels, generated, strict=False):
                n_changed += self._paste(channel, dn, valid, drawn, weight, values)
            for name, kind in COUNTED.items():
                self.counts[name] += int(np.count_nonzero(origin == kind))
        n_values = int(np.count_nonzero(valid))
        self.counts["n_values"] += n_values
        self.counts["n_identical"] += n_values - n_changed
        self.sink.write(strip.window, dn, valid)
        if self.records.provenance is not None:
            whole = np.ones((1, *origin.shape), bool)
            self.records.provenance.write(strip.window, origin[None], whole)
        if self.records.uncertainty is not None:
            spread = generated[len(self.channels) :] * (0 if weight is None else weight)
            stored = self.spreads.to_dn(np.where(drawn, spread, np.float32(0)))
            known = valid[self.channels]
            stored[~known] = SPREAD_NODATA
            self.records.uncertainty.write(strip.window, stored, known)

    def _paste(
        self, channel: int, dn: Array, valid: Flags, drawn: Flags, weight: Floats, values: Floats
    ) -> int:
        """Write one band's generated values into its stored rows; return how many changed."""
        band = self.sensor.bands[channel]
        where = drawn & valid[channel]
        here = ... if where.all() else where  # a whole strip needs no gathering
        stored = dn[channel]
        before, share, wanted = stored[here].copy(), weight[here], values[here]
        if (share < 1).any():
            mixed = share * wanted + (1 - share) * band.to_reflectance(before)
            wanted = np.where(share < 1, mixed, wanted)
        stored[here] = band.to_dn(wanted)
        return int(np.count_nonzero(before != stored[here]))


class Behind:
    """The sink of the mosaic: pastes and writes in a thread, one strip behind the network."""

    def __init__(self, page: Page) -> None:
        """Start the thread."""
        self.page = page
        self.pool = ThreadPoolExecutor(1)
        self.pending: list[Future[None]] = []

    def __enter__(self) -> Self:
        """Return the sink."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the last rows; after an error, drop what is queued."""
        self.pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self._wait()

    def write(self, window: Window, pixels: Floats, valid: Flags) -> None:
        """Queue finished rows; waits for those before, so that one strip at most is in flight."""
        self._wait()
        covered: Flags = np.asarray(valid.all(0))
        for strip in self.page.take(window):
            rows, cols = strip.window.relative_to(window).slices
            self.pending.append(
                self.pool.submit(self.page.write, strip, pixels[:, rows, cols], covered[rows, cols])
            )

    def _wait(self) -> None:
        pending, self.pending = self.pending, []
        for future in pending:
            future.result()


def _rows(strip: Strip, start: int, stop: int) -> Strip:
    """Part of a strip, in rows of its own."""
    window = strip.window
    return strip._replace(
        window=Window(window.row + start, window.col, stop - start, window.width),
        dn=strip.dn[:, start:stop],
        valid=strip.valid[:, start:stop],
        weight=None if strip.weight is None else strip.weight[start:stop],
        observed=None if strip.observed is None else strip.observed[start:stop],
    )
