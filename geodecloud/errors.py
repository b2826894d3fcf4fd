"""Every error raised on purpose: one tree, three parts to each message."""

from __future__ import annotations


class GeodecloudError(Exception):
    """A refusal that a user can act on.

    Args:
        found: what was met, with the file or the number.
        expected: what would have been right.
        todo: what the user can do now.

    Example:
        >>> print(GeodecloudError("scene has 3 bands", "the model wants 4", "pass --bands"))
        scene has 3 bands; the model wants 4: pass --bands
    """

    def __init__(self, found: str, expected: str, todo: str) -> None:
        """Keep the three parts; the sentence is built from them."""
        super().__init__(found, expected, todo)
        self.found = found
        self.expected = expected
        self.todo = todo

    def __str__(self) -> str:
        """Return the message as one sentence: found; expected: what to do."""
        return f"{self.found}; {self.expected}: {self.todo}"


class InputError(GeodecloudError):
    """A file or array cannot be used: missing, damaged, not a raster, of another shape."""


class NetworkError(InputError):
    """A server does not answer, or not with what was asked for; it may later."""


class BandError(InputError):
    """The scene does not have the bands that are asked of it."""


class RadiometryError(InputError):
    """The stored numbers cannot be what the sensor says they are."""


class GridError(InputError):
    """Two rasters, or a raster and a model, do not share a grid or a pixel size."""


class OptionError(GeodecloudError):
    """An option has a value that makes no sense, alone or with another."""


class OutputError(GeodecloudError):
    """The output cannot be written: it exists, the folder is read-only, the disk is full."""


class ModelError(GeodecloudError):
    """A model is unknown, damaged, or made for something else."""


class DataError(GeodecloudError):
    """A training set cannot be used: empty, mixed sizes, pairs that do not match."""


class TrainingError(GeodecloudError):
    """A training run cannot go on: it diverged, ran out of memory, or its state does not fit."""


class MissingExtraError(GeodecloudError):
    """An optional part of the install is needed and absent."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """Name the package, the extra that brings it, and what it is needed for."""
        super().__init__(
            f"{package} is not installed",
            f"{purpose} needs it",
            f"pip install 'geodecloud[{extra}]'",
        )
        self.args = (package, extra, purpose)  # what pickle calls the class with, in a worker
