"""Progress and Cancelled: the one way to report how far work is, and to stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PROTOCOL = "geodecloud-progress"
PROTOCOL_VERSION = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of work is: ``done`` of ``total`` steps, with figures worth showing.

    Example:
        >>> Progress(3, 12, "tiles").share
        0.25
    """

    done: int
    total: int
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse counts that cannot be drawn."""
        if not 0 <= self.done <= self.total:
            raise ValueError(f"done={self.done} must be in 0..total={self.total}")

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1; work of no steps is done."""
        return self.done / self.total if self.total else 1.0


class Cancelled(BaseException):
    """The user asked to stop; like KeyboardInterrupt, no ``except Exception`` holds it."""


Listener = Callable[[Progress], None]
"""Who is told; it stops the work by raising ``Cancelled``."""


def silent(_: Progress) -> None:
    """Hear progress and say nothing."""
