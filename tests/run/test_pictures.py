"""A model for blue, green and red in reflectance serves pictures as well."""

from __future__ import annotations

import numpy as np
import pytest

from geodecloud.geo.sensors import DISPLAY_REFLECTANCE, SENSORS
from geodecloud.run.baselines import FunctionTranslator
from geodecloud.run.pictures import PictureTranslator, suited
from geodecloud.translator import Answer, Request, Translator


class Recorder:
    """Answers the fill and half of what is above it, and keeps what it was asked."""

    name, device, task, sensor_out, resolution_m = "half", "cpu", "cloud-removal", "x", 10.0
    bands_in = bands_out = ("B02", "B03", "B04")
    stride_px, halo_px, inputs = 8, 9, ("pixels", "mask", "fill", "level")

    def __call__(self, request: Request) -> Answer:
        self.asked = request
        assert request.fill is not None
        answer = request.fill + (request.pixels - request.fill) / 2
        return Answer(answer, np.full_like(answer, DISPLAY_REFLECTANCE))


def picture_request() -> Request:
    random = np.random.default_rng(0)
    pixels, fill = random.random((2, 1, 3, 8, 8)).astype(np.float32)
    return Request(pixels, np.ones(pixels.shape, bool), fill=fill, level="L2A")


def test_a_picture_is_shown_in_reflectance_and_answered_in_its_own_unit() -> None:
    model, request = Recorder(), picture_request()
    answer = PictureTranslator(model)(request)
    np.testing.assert_allclose(model.asked.pixels, DISPLAY_REFLECTANCE * request.pixels, rtol=1e-6)
    np.testing.assert_allclose(model.asked.fill, DISPLAY_REFLECTANCE * request.fill, rtol=1e-6)
    assert model.asked.level is None
    np.testing.assert_allclose(answer.pixels, (request.pixels + request.fill) / 2, rtol=1e-5)
    np.testing.assert_allclose(answer.sigma, 1.0, rtol=1e-6)


def test_its_bands_are_named_as_those_of_the_picture() -> None:
    served = suited(Recorder(), SENSORS["rgb"])
    assert served.bands_in == served.bands_out == ("blue", "green", "red")
    assert (served.stride_px, served.halo_px, served.resolution_m) == (8, 9, 10.0)
    assert SENSORS["rgb"].index(served.bands_in) == [2, 1, 0]


@pytest.mark.parametrize(
    ("model", "sensor"),
    [
        (Recorder(), "sentinel-2-l2a"),
        (FunctionTranslator(lambda pixels: pixels, ["red", "green"]), "rgb"),
        (FunctionTranslator(lambda pixels: pixels, ["VV"], ["B02"]), "rgb"),
    ],
    ids=["reflectance", "already of pictures", "from radar"],
)
def test_all_other_models_stay_as_they_are(model: Translator, sensor: str) -> None:
    assert suited(model, SENSORS[sensor]) is model
