"""Other dates under clouds: brought to the scene's light, taken where they saw the ground."""

import datetime
import pickle
import re
from itertools import pairwise
from threading import Lock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.geo.fill import Fill
from geodecloud.geo.raster import open_scene
from geodecloud.geo.references import Reference, ReferenceFill, seen_by_reference_fill
from geodecloud.geo.scene import ArrayMask, ArrayScene, shape_of
from geodecloud.geo.tiling import Window
from geodecloud.metrics import psnr
from geodecloud.strips import Outline
from tests.geo.test_fill import blobs, windows
from tests.strategies import make_scene

SHAPE = (96, 80)
WHOLE = Window.whole(SHAPE)
NO_CLOUD = ArrayMask(np.zeros(SHAPE, bool))


def in_other_light(scene, gain=0.6, offset=0.03):
    """The same ground on a darker and hazier day."""
    values = gain * scene.sensor.to_reflectance(scene.read(WHOLE)[0]) + offset
    return ArrayScene(scene.sensor.to_dn(values), scene.sensor, scene.geobox)


def values_of(scene):
    return scene.sensor.to_reflectance(scene.read(WHOLE)[0])


def test_ground_seen_in_another_light_comes_back_as_it_is():
    scene, mask = make_scene(SHAPE), ArrayMask(blobs(SHAPE))
    fill = ReferenceFill.build(scene, mask, [Reference(in_other_light(scene), NO_CLOUD)])
    np.testing.assert_allclose(fill.read(WHOLE), values_of(scene), atol=5e-4)
    drawn = Fill.build(scene, mask).read(WHOLE)
    assert np.abs(drawn - values_of(scene)).max() > 0.01  # which the fill alone does not know


@given(st.data(), st.integers(0, 99))
def test_windows_agree_bit_for_bit(data, seed):
    scene, mask = make_scene(SHAPE, seed=seed), ArrayMask(blobs(SHAPE, 0.5, seed))
    cloudy = ArrayMask(blobs(SHAPE, 0.3, seed + 1))
    fill = ReferenceFill.build(scene, mask, [Reference(in_other_light(scene), cloudy)])
    window = data.draw(windows(SHAPE))
    whole = fill.read(WHOLE)
    np.testing.assert_array_equal(fill.read(window), whole[:, *window.slices])
    clear = ~mask.read(WHOLE)
    np.testing.assert_array_equal(whole[:, clear], values_of(scene)[:, clear])


class Within:
    """A scene, or a mask, of which nothing is at hand but a window."""

    def __init__(self, whole, window):
        self._whole, self._window = whole, window
        for name in ("geobox", "sensor"):
            setattr(self, name, getattr(whole, name, None))
        self.file = Lock()  # as an open file, it cannot travel

    def read(self, window):
        assert window in self._window
        return self._whole.read(window)


@given(st.data(), st.integers(0, 99))
def test_a_fill_that_travelled_is_read_from_a_part_of_the_scene(data, seed):
    scene, mask = make_scene(SHAPE, seed=seed), ArrayMask(blobs(SHAPE, 0.5, seed))
    references = [
        Reference(in_other_light(scene), ArrayMask(blobs(SHAPE, 0.3, seed + 1))),
        Reference(in_other_light(scene), ArrayMask(~mask.read(WHOLE))),
        Reference(in_other_light(scene, 1.2), ArrayMask(blobs(SHAPE, 0.3, seed + 2))),
    ]
    here = [Reference(Within(each.scene, WHOLE), each.mask) for each in references]
    fill = ReferenceFill.build(Within(scene, WHOLE), Within(mask, WHOLE), here)
    assert fill.used == (0, 2)
    window = data.draw(windows(SHAPE))
    seen = seen_by_reference_fill(scene, window)
    outlines = [Reference(Outline.of(references[i].scene), references[i].mask) for i in fill.used]
    again = pickle.loads(pickle.dumps(fill.over(Outline.of(scene), mask, outlines))).over(
        Within(scene, seen),
        Within(mask, seen),
        [Reference(*(Within(whole, seen) for whole in references[i])) for i in fill.used],
    )
    np.testing.assert_array_equal(again.read(window), fill.read(window))
    np.testing.assert_array_equal(again.observed.read(window), fill.observed.read(window))


def test_what_no_date_saw_is_not_called_observed():
    scene, clouds, others = make_scene(SHAPE), blobs(SHAPE, 0.5, 1), blobs(SHAPE, 0.5, 2)
    fill = ReferenceFill.build(
        scene, ArrayMask(clouds), [Reference(in_other_light(scene), ArrayMask(others))]
    )
    np.testing.assert_array_equal(fill.observed.read(WHOLE), clouds & ~others)
    assert np.isfinite(fill.read(WHOLE)).all()


def test_the_next_date_is_asked_where_the_first_saw_cloud():
    scene, clouds = make_scene(SHAPE), blobs(SHAPE, 0.5, 1)
    first, second = (blobs(SHAPE, 0.4, seed) for seed in (2, 3))
    references = [
        Reference(in_other_light(scene), ArrayMask(first)),
        Reference(in_other_light(scene, 1.3, -0.02), ArrayMask(second)),
    ]
    fill = ReferenceFill.build(scene, ArrayMask(clouds), references)
    seen = clouds & ~(first & second)
    np.testing.assert_array_equal(fill.observed.read(WHOLE), seen)
    np.testing.assert_allclose(fill.read(WHOLE)[:, seen], values_of(scene)[:, seen], atol=1e-3)
    assert fill.used == (0, 1)


def test_a_date_that_shares_no_clear_pixel_is_left_out():
    scene, clouds = make_scene(SHAPE), blobs(SHAPE)
    reference = Reference(in_other_light(scene), ArrayMask(~clouds))
    fill = ReferenceFill.build(scene, ArrayMask(clouds), [reference])
    assert fill.used == ()
    assert not fill.observed.read(WHOLE).any()
    np.testing.assert_array_equal(
        fill.read(WHOLE), Fill.build(scene, ArrayMask(clouds)).read(WHOLE)
    )


def test_nodata_of_a_reference_is_not_taken_for_ground():
    scene, clouds = make_scene(SHAPE), blobs(SHAPE)
    dark = in_other_light(scene)
    dn, valid = dark.read(WHOLE)
    dn[:, 40:] = 0
    holed = ArrayScene(dn, scene.sensor, scene.geobox, valid & (dn > 0))
    fill = ReferenceFill.build(scene, ArrayMask(clouds), [Reference(holed, NO_CLOUD)])
    assert not fill.observed.read(WHOLE)[40:].any()
    assert fill.read(WHOLE).min() > 0.05


def test_other_ground_does_not_bend_the_line():
    scene, clouds = make_scene(SHAPE), blobs(SHAPE, 0.3)
    dn, valid = in_other_light(scene).read(WHOLE)
    dn[:, :20] = 4000  # a harvest on a fifth of the scene
    changed = ArrayScene(dn, scene.sensor, scene.geobox, valid)
    fill = ReferenceFill.build(scene, ArrayMask(clouds), [Reference(changed, NO_CLOUD)])
    away = clouds.copy()
    away[:40] = False
    assert psnr(fill.read(WHOLE), values_of(scene), away, data_range=1) > 45


def test_a_scene_without_clear_pixels_has_an_empty_fill():
    scene = make_scene(SHAPE)
    everything = ArrayMask(np.ones(SHAPE, bool))
    fill = ReferenceFill.build(scene, everything, [Reference(scene, NO_CLOUD)])
    assert fill.is_empty
    assert fill.used == ()


def test_another_date_beats_what_is_drawn_from_around(shared_data):
    files = sorted(
        (shared_data / "test/sen12mscrts_ROI146_patch0_30dates").glob("*.tif"),
        key=lambda file: datetime.date.fromisoformat(
            re.search(r"\d{4}-\d\d-\d\d", file.name).group()
        ),
    )
    scenes = []
    for file in files:
        with open_scene(file, bands=("B02", "B03", "B04", "B08"), scale=1e-4, offset=0) as scene:
            window = Window.whole(shape_of(scene.geobox))
            dn, valid = scene.read(window)
            if 900 < np.median(dn[0]) < 1400 and np.percentile(dn[0], 99) < 1600:  # clear dates
                scenes.append(ArrayScene(dn, scene.sensor, scene.geobox, valid))
    clouds = blobs((256, 256), 0.35, 0, 20)
    mask, clear = ArrayMask(clouds), ArrayMask(np.zeros_like(clouds))
    gained = []
    for scene, other in pairwise(scenes):
        truth = scene.sensor.to_reflectance(scene.read(window)[0])
        drawn = Fill.build(scene, mask).read(window)
        taken = ReferenceFill.build(scene, mask, [Reference(other, clear)]).read(window)
        with_date, without = (psnr(found, truth, clouds, data_range=1) for found in (taken, drawn))
        gained.append(with_date - without)
    assert len(gained) > 10
    assert np.mean(gained) > 2.5
