"""Dask: pixels that are computed when they are read, and strips as the chunks of a result."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import dask.array
import dask.core
import numpy as np
from dask.delayed import delayed

from geodecloud.accessor.scene import InMemory
from geodecloud.geo.scene import Array
from geodecloud.geo.tiling import Window

da: Any = dask.array  # their functions carry no types
core: Any = dask.core


class _Rows(NamedTuple):
    """Some rows of some bands, (C, H, W)."""

    channels: list[int]
    top: int
    array: Array

    @property
    def stop(self) -> int:
        return self.top + len(self.array[0])


class Chunks:
    """Pixels of a dask array, computed when they are read.

    A graph cannot say "and then read all of it again": what it holds twice it keeps. So the
    array stays outside of the result's graph, and each task computes what it needs of it.
    Reads that walk down a scene compute each chunk once: whole rows of chunks are kept, as many
    as the last read met, for each thread that reads.

    Args:
        array: (C, H, W) dask array.
    """

    is_lazy = True

    def __init__(self, array: Any) -> None:
        """Take the array; nothing is computed."""
        self._array, self.dtype = array, array.dtype
        self._edges = np.concatenate([[0], np.cumsum(array.chunks[1])])
        self._none = _Rows([], 0, np.empty((0, 0, array.shape[2]), array.dtype))
        self._mine = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without what is kept, and without what other scenes of the array are made of."""
        self._array = _alone(self._array)
        return Chunks, (self._array,)

    def forget(self) -> None:
        """Let go of what this thread kept."""
        self._mine.kept = self._none

    def held(self, window: Window) -> InMemory:
        """Return the pixels of a window, in memory."""
        rows, cols = window.slices
        return InMemory(_computed(self._array[:, rows, cols]), window)

    def read(self, channels: Sequence[int], window: Window) -> Array:
        """Return these bands of a window, (C, H, W)."""
        kept = self._mine.kept = self._reaching(channels, window)
        index = [kept.channels.index(channel) for channel in channels]
        rows, cols = Window(window.row - kept.top, window.col, *window.shape).slices
        return kept.array[index, rows, cols]

    def _reaching(self, channels: Sequence[int], window: Window) -> _Rows:
        """The rows of chunks that a window meets; those that are kept are not computed again."""
        before, after = np.searchsorted(self._edges, [window.row, window.row_stop])
        is_edge = self._edges[before] == window.row
        top = int(self._edges[before if is_edge else before - 1])
        stop = int(self._edges[after])
        kept: _Rows = getattr(self._mine, "kept", self._none)
        wanted = sorted({*kept.channels, *channels})
        if wanted != kept.channels:
            return _Rows(wanted, top, _computed(self._array[wanted, top:stop]))
        if kept.top <= top and stop <= kept.stop:
            return kept
        if not kept.top <= top < kept.stop:
            return _Rows(wanted, top, _computed(self._array[wanted, top:stop]))
        parts = [kept.array[:, top - kept.top :], _computed(self._array[wanted, kept.stop : stop])]
        return _Rows(wanted, top, np.concatenate(parts, axis=1))


def strips(
    prepare: Callable[..., Any],
    make: Callable[..., Any],
    mask: Any,
    shapes: Sequence[Sequence[tuple[tuple[int, ...], np.dtype[Any]]]],
) -> list[Any]:
    """Return lazy arrays, each of the strips that ``make`` makes, one below the other.

    Args:
        prepare: called once, with the mask; its answer goes to every strip.
        make: called with the number of a strip and that answer; gives one array for each result.
        mask: an array, lazy or not, or None.
        shapes: of each strip, the shape (..., H, W) and dtype of each array that it gives.
    """
    prepared = delayed(prepare, pure=False)(mask)
    n_results = len(shapes[0])
    made = [
        delayed(make, nout=n_results, pure=False)(number, prepared) for number in range(len(shapes))
    ]
    return [
        da.concatenate(
            [
                da.from_delayed(made[number][result], *shapes[number][result])
                for number in range(len(shapes))
            ],
            axis=-2,
        )
        for result in range(n_results)
    ]


def whole(make: Callable[..., Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return a lazy array of one chunk."""
    return da.from_delayed(delayed(make, pure=False)(), shape, dtype)


def _alone(array: Any) -> Any:
    """The same array, whose graph holds nothing that it does not need."""
    graph = array.dask.cull(list(core.flatten(array.__dask_keys__())))
    return da.Array(graph.to_dict(), array.name, array.chunks, meta=array._meta)


def _computed(array: Any) -> Array:
    """The array, computed by threads of this process.

    On a cluster a task that waited for other tasks would make room for the next strip, and all
    strips would wait in memory. Chunks that lie in a cluster's memory are fetched from there.
    """
    distributed = sys.modules.get("distributed")
    is_remote = distributed is not None and distributed.futures_of(array)
    return np.asarray(array.compute(scheduler=None if is_remote else "threads"))
