"""Draft: a case to be, whose place is known before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from geodecloud.benchmark.case import Case


@dataclass(frozen=True, slots=True)
class Draft:
    """A case that is made when its turn comes; None where it turns out to ask nothing."""

    place: str
    make: Callable[[], Case | None]
