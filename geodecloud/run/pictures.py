"""PictureTranslator: a model for blue, green and red in reflectance, at work on a picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geodecloud.geo.sensors import DISPLAY_REFLECTANCE, Sensor
from geodecloud.run.network import COLOURS
from geodecloud.translator import Answer, Floats, Request, Translator

GAIN = np.float32(DISPLAY_REFLECTANCE)


class PictureTranslator:
    """A translator whose bands are those of a picture, and whose values are 0 to 1.

    A picture is taken for one of ESA's, in which 255 stands for a reflectance of 0.3558; what is
    shown otherwise, brighter or with other contrasts, the model has to know from its training.

    Args:
        model: wants and gives some of B02, B03, B04 in reflectance.
    """

    sensor_out: str | None = None

    def __init__(self, model: Translator) -> None:
        """Name its bands as pictures do."""
        self._model = model
        self.name, self.device, self.task = model.name, model.device, model.task
        self.bands_in = tuple(COLOURS[name] for name in model.bands_in)
        self.bands_out = tuple(COLOURS[name] for name in model.bands_out)
        self.resolution_m = model.resolution_m
        self.stride_px, self.halo_px = model.stride_px, model.halo_px
        self.inputs: tuple[str, ...] = getattr(model, "inputs", ())

    def __call__(self, request: Request) -> Answer:
        """Answer a request of B tiles in the unit of pictures; they know no product level."""
        fill = None if request.fill is None else GAIN * request.fill
        answer = self._model(replace(request, pixels=GAIN * request.pixels, fill=fill, level=None))
        sigma: Floats | None = None if answer.sigma is None else answer.sigma / GAIN
        return Answer(answer.pixels / GAIN, sigma)


def suited(model: Translator, sensor: Sensor) -> Translator:
    """Return a model for a scene of this sensor: on pictures one for blue, green and red."""
    is_colour = {*model.bands_in, *model.bands_out} <= set(COLOURS)
    return PictureTranslator(model) if is_colour and sensor.unit == "display" else model


def shown_bands(sensor: Sensor, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return these bands of a sensor as a model in reflectance calls them."""
    called = {colour: name for name, colour in COLOURS.items()}
    return tuple(called.get(name, name) for name in names) if sensor.unit == "display" else names
