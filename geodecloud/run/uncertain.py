"""UncertainTranslator: a model that also says how far its answers may be off."""

from __future__ import annotations

import math

from geodecloud.errors import ModelError
from geodecloud.run.package import UNCERTAINTY, Package
from geodecloud.translator import Answer, Request, Translator


class UncertainTranslator:
    """Answers of one translator, with standard deviations that another one answers.

    Args:
        answers: says what is there.
        spreads: says of each value how far off it may be, in the same unit.
    """

    def __init__(self, answers: Translator, spreads: Translator) -> None:
        """See as far as both look, at places that suit both."""
        self._answers, self._spreads = answers, spreads
        self.name, self.device, self.task = answers.name, answers.device, answers.task
        self.bands_in, self.bands_out = answers.bands_in, answers.bands_out
        self.sensor_out, self.resolution_m = answers.sensor_out, answers.resolution_m
        self.stride_px = math.lcm(answers.stride_px, spreads.stride_px)
        self.halo_px = max(answers.halo_px, spreads.halo_px)
        self.inputs: tuple[str, ...] = getattr(answers, "inputs", ())

    def __call__(self, request: Request) -> Answer:
        """Answer a request of B tiles, sides multiples of ``stride_px``."""
        return Answer(self._answers(request).pixels, self._spreads(request).pixels)


def check_uncertainty(package: Package) -> None:
    """Refuse a model that does not know how far it may be off.

    Raises:
        ModelError: it does not.
    """
    if package.card.uncertainty is None:
        raise without_uncertainty(package.card.name)


def without_uncertainty(name: str) -> ModelError:
    """The error to raise where a model of this name is asked for what it does not know."""
    return ModelError(
        f"{name} does not say how uncertain it is",
        f"a model with {UNCERTAINTY} was calibrated on places that were held out",
        "leave --uncertainty out, choose another model, or see `geodecloud calibrate`",
    )
