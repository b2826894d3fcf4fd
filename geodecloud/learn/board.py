"""Board: the losses of a run as TensorBoard's events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from geodecloud.errors import MissingExtraError, OptionError

FOLDER = "tensorboard"


class Board:
    """Events beside the states of a run: ``open``, ``add`` figures, ``close``."""

    def __init__(self, writer: Any) -> None:
        """Keep the writer."""
        self._writer = writer

    @classmethod
    def open(cls, out: Path | None, step: int) -> Self:
        """Return a board in ``out``/tensorboard; events from beyond ``step`` are hidden.

        Raises:
            MissingExtraError: TensorBoard is not installed.
            OptionError: there is no folder to write into.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("tensorboard", "learn", "writing its events") from error
        if out is None:
            raise OptionError(
                "tensorboard without a folder",
                "events are written beside the saved states",
                "pass out=, and leave checkpoint on",
            )
        make: Any = SummaryWriter  # untyped
        return cls(make(str(out / FOLDER), purge_step=step))

    def add(self, kind: str, number: int, figures: Mapping[str, float]) -> None:
        """Write figures under "step/..." or "epoch/..."."""
        for name, value in figures.items():
            self._writer.add_scalar(f"{kind}/{name}", value, number)

    def close(self) -> None:
        """Write what is waiting."""
        self._writer.close()
