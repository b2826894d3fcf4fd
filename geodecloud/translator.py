"""Request, Answer, Translator: what crosses the hall between the two wings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Request:
    """What a translator is asked: tiles of one shape, in the source sensor's unit.

    Attributes:
        pixels: (B, C, H, W) float32, NaN-free; where ``valid`` is False it holds the fill, or 0.
        valid: (B, C, H, W) bool: a measurement (cloudy or not).
        mask: (B, 1, H, W) bool: these pixels are to be generated; None means all of them.
        fill: (B, C, H, W) float32: the clear pixels around, drawn under the mask; ``pixels``
            itself where the mask is False. None where the task has no fill.
        extra: further inputs by name ("sar", "reference"), (B, C', H, W) float32.
        level: product level of the scene ("L1C", "L2A") where it is known.
    """

    pixels: Floats
    valid: Flags
    mask: Flags | None = None
    fill: Floats | None = None
    extra: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    level: str | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not lie on one another."""
        batch, _, height, width = self.pixels.shape
        for name, array in (("valid", self.valid), ("fill", self.fill)):
            if array is not None and array.shape != self.pixels.shape:
                raise ValueError(f"{name} {array.shape} beside pixels {self.pixels.shape}")
        if self.mask is not None and self.mask.shape != (batch, 1, height, width):
            raise ValueError(f"mask {self.mask.shape} beside pixels {self.pixels.shape}")

    def part(self, tiles: slice) -> Request:
        """Return the request for some of the tiles alone."""
        return replace(
            self,
            pixels=self.pixels[tiles],
            valid=self.valid[tiles],
            mask=None if self.mask is None else self.mask[tiles],
            fill=None if self.fill is None else self.fill[tiles],
            extra={name: array[tiles] for name, array in self.extra.items()},
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a translator says: (B, C', H, W) float32 in the target sensor's unit.

    ``sigma`` is one standard deviation of the error it expects, same shape, or None.
    """

    pixels: Floats
    sigma: Floats | None = None


class Translator(Protocol):
    """Anything that turns requests into answers: a trained model, a baseline, a function.

    Contract: an answer's pixel depends on the request within ``halo_px`` of it, and on its
    place only modulo ``stride_px``.

    Attributes:
        name: how it is named in logs, provenance and progress.
        device: where it computes, in words ("cpu", "cuda:0 NVIDIA H200").
        bands_in: names of the bands it wants, in its order.
        bands_out: names of the bands it gives, in its order.
        task: "cloud-removal" where it answers under a mask, with a fill; else "translation".
        sensor_out: name of the sensor whose bands it gives; None means the scene's own.
        resolution_m: pixel size it was made for; None takes any.
        stride_px: its answers repeat when the input moves by a multiple of this.
        halo_px: how far it looks around a pixel.
    """

    name: str
    device: str
    bands_in: tuple[str, ...]
    bands_out: tuple[str, ...]
    task: str
    sensor_out: str | None
    resolution_m: float | None
    stride_px: int
    halo_px: int

    def __call__(self, request: Request) -> Answer:
        """Answer a request of B tiles of one shape, sides multiples of ``stride_px``."""
        ...


def wants(translator: Translator, name: str) -> bool:
    """Say whether a translator looks at an input of this name, such as "sar"."""
    return name in getattr(translator, "inputs", ())
