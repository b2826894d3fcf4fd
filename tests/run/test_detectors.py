"""Detectors: one contract for all, and which of them a scene gets."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from geodecloud.errors import BandError
from geodecloud.geo.masks import CLASSES, CLOUD, NODATA, SHADOW, THIN
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.geo.tiling import Tiling, Window
from geodecloud.run.detectors import DETECTORS, SclDetector, detector_for
from tests.run.test_spectral import cloudy

SHAPE = 700, 740
S2 = ("B02", "B03", "B04", "B08")


def scene_of(*names, dtype="uint16"):
    sensor = Sensor("s", tuple(Band(name, dtype=dtype) for name in names))
    return ArrayScene(np.ones((len(names), 8, 8), dtype), sensor)


def scene_for(name):
    """A cloudy scene with a hole of nodata, in the bands of a detector."""
    reflectance, valid, _ = cloudy(SHAPE, seed=4)
    valid[20:40, 100:180] = False
    detector = DETECTORS[name]
    if name == "scl":
        codes = np.random.default_rng(0).integers(1, 12, valid.shape)
        dn = np.where(valid, codes, 0).astype(np.uint8)[None]
        return ArrayScene(dn, Sensor("s", (Band("SCL", nodata=0, dtype="uint8"),)))
    dn = np.where(valid, np.rint(reflectance[: len(detector.bands)] * 1e4), 0).astype(np.uint16)
    bands = tuple(Band(band, scale=1e-4, nodata=0) for band in detector.bands)
    return ArrayScene(dn, Sensor("s", bands))


def classes_in(detector, scene, window):
    dn, valid = scene.read(window)
    return detector.classes(scene.sensor.to_reflectance(dn), valid.all(axis=0))


@pytest.mark.parametrize("name", DETECTORS)
def test_after_prepare_windows_agree_with_the_whole(name) -> None:
    scene = scene_for(name)
    detector = DETECTORS[name].prepare(scene)
    whole = Window.whole(SHAPE)
    codes = classes_in(detector, scene, whole)
    assert codes.dtype == np.uint8
    assert set(np.unique(codes)) <= set(CLASSES)
    assert np.array_equal(codes == NODATA, ~scene.read(whole)[1].all(axis=0))
    assert (codes == CLOUD).any()
    tiling = Tiling.for_prediction(SHAPE, 240, halo_px=detector.margin_px)
    assert tiling[0].read & whole != whole
    for tile in tiling:
        read = tile.read & whole
        kept = classes_in(detector, scene, read)[tile.keep.relative_to(read).slices]
        assert np.array_equal(kept, codes[tile.keep.slices])


@pytest.mark.parametrize("name", DETECTORS)
def test_a_prepared_detector_survives_pickling(name) -> None:
    scene = scene_for(name)
    detector = DETECTORS[name].prepare(scene)
    copy = pickle.loads(pickle.dumps(detector))
    assert copy == detector
    window = Window(0, 0, 64, 64)
    assert np.array_equal(classes_in(copy, scene, window), classes_in(detector, scene, window))


@pytest.mark.parametrize("name", DETECTORS)
def test_a_scene_without_the_bands_is_refused_by_name(name) -> None:
    with pytest.raises(BandError, match="B11"):
        DETECTORS[name].prepare(scene_of("B11", "B12"))


def test_each_detector_is_known_by_its_own_name() -> None:
    assert all(detector.name == name for name, detector in DETECTORS.items())


@pytest.mark.parametrize(
    ("bands", "name"),
    [
        ((*S2, "SCL"), "scl"),
        (S2, "spectral"),
        (("B08", "B04", "B03", "B02", "B11"), "spectral"),
        (("red", "green", "blue"), "spectral-rgb"),
        (("B04", "B03", "B02"), "spectral-rgb"),
    ],
)
def test_a_scene_gets_the_most_trusted_detector_that_fits_its_bands(bands, name) -> None:
    detector = detector_for(scene_of(*bands))
    assert detector.name == name
    assert set(detector.bands) <= set(bands)


def test_a_picture_in_red_green_and_blue_gets_a_detector() -> None:
    picture = ArrayScene(np.ones((3, 4, 4), np.uint8), SENSORS["rgb"])
    assert detector_for(picture).bands == ("blue", "green", "red")


def test_a_scene_that_fits_no_detector_is_told_what_is_needed() -> None:
    with pytest.raises(BandError, match=r"B11.*SCL; B02, B03, B04, B08; blue, green, red.*--mask"):
        detector_for(scene_of("B11"))


def test_scl_codes_can_be_chosen() -> None:
    scl = np.array([[[3, 8, 9, 10, 11, 4]]], np.float32)
    valid = np.ones((1, 6), bool)
    assert SclDetector().classes(scl, valid).tolist() == [[SHADOW, CLOUD, CLOUD, THIN, 0, 0]]
    only = SclDetector(meaning={9: CLOUD})
    assert only.classes(scl, valid).tolist() == [[0, 0, CLOUD, 0, 0, 0]]


def test_scl_keeps_nodata_apart_from_clear() -> None:
    scl = np.array([[[0, 8, 4]]], np.float32)
    valid = np.array([[True, False, True]])
    assert SclDetector().classes(scl, valid).tolist() == [[NODATA, NODATA, 0]]
