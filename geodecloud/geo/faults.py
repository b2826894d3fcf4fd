"""Faults: what cannot be used of a set, named all at once."""

from __future__ import annotations

from collections.abc import Iterable

from geodecloud.errors import DataError, GeodecloudError

MOST_SHARE = 0.01
"""Of a set may be bad: a file or two of thousands; more, and something else is wrong with it."""

NAMED = 10


class Faults:
    """Samples that cannot be used, collected while the others are; the first ten are named.

    Example:
        >>> faults = Faults(["a.tif has no partner"])
        >>> faults.settle(200)
        'left out 1 of 201 samples: a.tif has no partner'
    """

    def __init__(self, found: Iterable[str] = ()) -> None:
        """Take what is known from the start."""
        self.count = 0
        self.changes: set[str] = set()
        self._named: list[str] = []
        for what in found:
            self._add(what)
        self._n_unlisted = self.count

    def add(self, name: str, error: GeodecloudError) -> None:
        """Take a sample that an error leaves out."""
        text = error.found if name in error.found else f"{name}: {error.found}"
        self._add(f"{text} ({error.expected})")
        self.changes.add(error.todo)

    def settle(self, n_tried: int) -> str | None:
        """Return a note of what was left out, or None; ``n_tried`` samples were looked at.

        Raises:
            DataError: more than a hundredth is bad, or everything.
        """
        if not self.count:
            return None
        more = f"; and {self.count - NAMED} more" if self.count > NAMED else ""
        n_samples = n_tried + self._n_unlisted
        which = f"{'; '.join(self._named)}{more}"
        if self.count <= MOST_SHARE * n_samples:
            return f"left out {self.count} of {n_samples} samples: {which}"
        raise DataError(
            f"{self.count} of {n_samples} samples cannot be used: {which}",
            f"at most {MOST_SHARE:.0%} of a set may be",
            "; or ".join(sorted(self.changes)[:3]) or "repair them or take them out",
        )

    def _add(self, what: str) -> None:
        self.count += 1
        if len(self._named) < NAMED:
            self._named.append(what)
