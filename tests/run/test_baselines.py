"""Translators without training: what each answers, alone and on the road."""

import numpy as np
import pytest

from geodecloud.errors import ModelError
from geodecloud.geo.fill import Fill
from geodecloud.geo.scene import ArrayMask, ArraySink
from geodecloud.geo.tiling import Window
from geodecloud.pipeline import Aids, Road, translate_scene
from geodecloud.run.baselines import (
    BASELINES,
    FillTranslator,
    FunctionTranslator,
    IdentityTranslator,
)
from geodecloud.translator import Request
from tests.strategies import make_scene

SHAPE = (70, 90)
BANDS = ("B02", "B03", "B04", "B08")
WHOLE = Window.whole(SHAPE)


def hidden():
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (rows - 30) ** 2 + (cols - 50) ** 2 < 18**2


def travelled(scene, translator, size_px=512):
    mask = ArrayMask(hidden())
    aids = Aids(mask, Fill.build(scene.select(translator.bands_in), mask))
    with ArraySink(len(scene.sensor.bands), SHAPE, np.uint16) as sink:
        translate_scene(scene, sink, translator, aids=aids, road=Road(size_px=size_px))
    return sink.dn


def request_of(pixels, fill=None):
    pixels = np.asarray(pixels, np.float32)
    return Request(pixels, np.ones(pixels.shape, bool), fill=fill)


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_is_made_for_the_bands_of_a_scene_and_keeps_its_name(name):
    translator = BASELINES[name](["B04", "B08"])
    assert translator.name == name
    assert translator.bands_in == translator.bands_out == ("B04", "B08")
    assert translator.resolution_m is None
    assert (translator.stride_px, translator.halo_px, translator.device) == (1, 0, "cpu")


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_leaves_clear_pixels_alone_whatever_the_tiles(name):
    scene = make_scene(SHAPE)
    dn, _ = scene.read(WHOLE)
    results = [travelled(scene, BASELINES[name](BANDS), size_px) for size_px in (512, 16)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0][:, ~hidden()], dn[:, ~hidden()])


def test_the_identity_gives_the_scene_back():
    scene = make_scene(SHAPE)
    np.testing.assert_array_equal(travelled(scene, IdentityTranslator(BANDS)), scene.read(WHOLE)[0])


def test_the_fill_is_what_stands_under_the_clouds():
    scene = make_scene(SHAPE)
    fill = Fill.build(scene, ArrayMask(hidden())).read(WHOLE)
    result = travelled(scene, FillTranslator(BANDS))
    np.testing.assert_array_equal(result, scene.sensor.to_dn(fill))


def test_the_fill_needs_one_and_says_so():
    with pytest.raises(ModelError, match=r"no fill.*Fill"):
        FillTranslator(BANDS)(request_of(np.ones((1, 4, 2, 2))))


def test_a_function_with_a_halo_is_answered_alike_in_tiles_and_whole():
    def blurred(pixels):
        padded = np.pad(pixels, [(0, 0), (0, 0), (3, 3), (3, 3)], mode="reflect")
        height, width = pixels.shape[2:]
        return (
            sum(padded[..., r : r + height, c : c + width] for r in (0, 3, 6) for c in (0, 3, 6))
            / 9
        )

    scene = make_scene(SHAPE)
    translator = FunctionTranslator(blurred, BANDS, halo_px=3, name="blur")
    tiles, one = travelled(scene, translator, 16), travelled(scene, translator)
    np.testing.assert_array_equal(tiles, one)
    assert (one != scene.read(WHOLE)[0])[:, hidden()].any()


def test_a_function_may_give_other_bands_than_it_takes():
    translator = FunctionTranslator(
        lambda pixels: pixels[:, :1] / pixels[:, 1:2], ["B08", "B04"], ["B03"], stride_px=2
    )
    assert (translator.bands_in, translator.bands_out) == (("B08", "B04"), ("B03",))
    assert (translator.stride_px, translator.name) == (2, "function")
    answer = translator(request_of(np.stack([np.full((2, 2), 3.0), np.full((2, 2), 2.0)])[None]))
    np.testing.assert_array_equal(answer.pixels, np.full((1, 1, 2, 2), 1.5))
    assert answer.sigma is None
