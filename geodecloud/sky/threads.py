"""The parts of a batch, shared out among threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")


def share_out(work: Callable[[Part], None], parts: Sequence[Part], threads: int) -> None:
    """Do the work for every part, by so many threads: numpy lets others run while it counts."""
    if min(threads, len(parts)) <= 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(min(threads, len(parts))) as pool:
        for _ in pool.map(work, parts):
            pass  # an error of a thread is raised here
