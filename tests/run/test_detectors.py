"""Detectors: one contract for all, and which of them a scene gets."""

from __future__ import annotations

import pickle
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError, MissingExtraError, OptionError
from geodecloud.geo.masks import CLASSES, CLOUD, NODATA, SHADOW, THIN
from geodecloud.geo.scene import ArrayScene, shape_of
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.geo.tiling import Tiling, Window
from geodecloud.run.detectors import DETECTORS, SclDetector, detector_for, detector_named
from geodecloud.run.network import bands_in
from tests.run.test_spectral import cloudy

SHAPE, SMALL = (700, 740), (210, 220)
COARSE = GeoBox(SHAPE, Affine(30, 0, 600_000, 0, -30, 5_000_000), "EPSG:32632")
S2 = ("B02", "B03", "B04", "B08")


def scene_of(*names, dtype="uint16"):
    sensor = Sensor("s", tuple(Band(name, dtype=dtype) for name in names))
    return ArrayScene(np.ones((len(names), 8, 8), dtype), sensor)


def scene_for(name):
    """A cloudy scene with a hole of nodata, in the bands of a detector."""
    reflectance, valid, _ = cloudy(SHAPE, seed=4)
    valid[20:40, 100:180] = False
    detector = DETECTORS[name]
    if name in ("scl", "qa60"):
        known = np.arange(1, 12) if name == "scl" else np.array([0, 1024, 2048])
        codes = np.random.default_rng(0).choice(known, valid.shape)
        nodata = 0 if name == "scl" else 1
        dn = np.where(valid, codes, nodata).astype(np.uint16)[None]
        return ArrayScene(dn, Sensor("s", (Band(name.upper(), nodata=nodata),)))
    channels = [{"B08": 3, "B04": 2, "B02": 0}.get(band, 1) for band in detector.bands]
    if len(channels) < 10:
        channels = range(len(channels))
    if name == "s2cloudless":  # which is slow
        reflectance, valid = reflectance[:, : SMALL[0], : SMALL[1]], valid[: SMALL[0], : SMALL[1]]
    dn = np.where(valid, np.rint(reflectance[channels] * 1e4), 0).astype(np.uint16)
    bands = tuple(Band(band, scale=1e-4, nodata=0) for band in detector.bands)
    return ArrayScene(dn, Sensor("s", bands), COARSE if name == "ukis-csmask" else None)


def classes_in(detector, scene, window):
    dn, valid = scene.read(window)
    return detector.classes(scene.sensor.to_reflectance(dn), valid.all(axis=0))


EXTRAS = {"ukis-csmask": "ukis_csmask", "s2cloudless": "s2cloudless"}
INSTALLED = [
    pytest.param(name, marks=[pytest.mark.slow] if name in EXTRAS else [])
    for name in DETECTORS
    if name not in EXTRAS or find_spec(EXTRAS[name])
]


@pytest.mark.parametrize("name", INSTALLED)
def test_after_prepare_windows_agree_with_the_whole(name) -> None:
    scene = scene_for(name)
    detector = DETECTORS[name].prepare(scene)
    whole = Window.whole(shape_of(scene.geobox))
    codes = classes_in(detector, scene, whole)
    assert codes.dtype == np.uint8
    assert set(np.unique(codes)) <= set(CLASSES)
    assert np.array_equal(codes == NODATA, ~scene.read(whole)[1].all(axis=0))
    assert (codes == CLOUD).any()
    stride_px = detector.stride_px
    size_px = -(-whole.height // 3 // stride_px) * stride_px
    tiling = Tiling.for_prediction(
        whole.shape, size_px, halo_px=detector.margin_px, stride_px=stride_px
    )
    assert tiling[0].read & whole != whole
    for tile in tiling if stride_px == 1 else (tiling[0], tiling[-1]):  # networks are slow
        read = tile.read & whole
        kept = classes_in(detector, scene, read)[tile.keep.relative_to(read).slices]
        assert np.array_equal(kept, codes[tile.keep.slices])


@pytest.mark.parametrize("name", INSTALLED)
def test_a_prepared_detector_survives_pickling(name) -> None:
    scene = scene_for(name)
    detector = DETECTORS[name].prepare(scene)
    copy = pickle.loads(pickle.dumps(detector))
    assert copy == detector
    window = Window(0, 0, 64, 64)
    assert np.array_equal(classes_in(copy, scene, window), classes_in(detector, scene, window))


@pytest.mark.parametrize("name", DETECTORS)
def test_a_scene_without_the_bands_is_refused_by_name(name) -> None:
    with pytest.raises(BandError, match="B13"):
        DETECTORS[name].prepare(scene_of("B13"))


def test_each_detector_is_known_by_its_own_name() -> None:
    assert all(detector.name == name for name, detector in DETECTORS.items())


@pytest.mark.parametrize(
    ("bands", "name"),
    [
        ((*S2, "SCL"), "scl"),
        (S2, "joint"),
        (("B08", "B04", "B03", "B02", "B11"), "joint"),
        (("red", "green", "blue"), "joint-rgb"),
        (("B04", "B03", "B02"), "joint-rgb"),
    ],
)
def test_a_scene_gets_the_most_trusted_detector_that_fits_its_bands(bands, name) -> None:
    scene = scene_of(*bands)
    detector = detector_for(scene)
    assert detector.name == name
    assert set(bands_in(scene, detector.bands)) <= set(bands)


def test_a_picture_in_red_green_and_blue_gets_a_detector() -> None:
    picture = ArrayScene(np.ones((3, 4, 4), np.uint8), SENSORS["rgb"])
    assert detector_for(picture).prepare(picture).bands == ("blue", "green", "red")


@pytest.mark.parametrize(("n_bands", "name"), [(4, "spectral"), (3, "spectral-rgb")])
def test_pixels_too_large_for_a_network_leave_the_rules_alone(n_bands, name) -> None:
    coarse = GeoBox((8, 8), Affine(60, 0, 600_000, 0, -60, 5_000_000), "EPSG:32632")
    dn, sensor = np.ones((n_bands, 8, 8), np.uint16), scene_of(*S2[:n_bands]).sensor
    assert detector_for(ArrayScene(dn, sensor, coarse)).name == name


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


def test_qa60_reads_its_two_bits_and_0_is_clear_sky() -> None:
    flags = np.array([[[0, 1024, 2048, 3072, 1]]], np.float32)
    valid = np.array([[True, True, True, True, False]])
    assert DETECTORS["qa60"].classes(flags, valid).tolist() == [[0, CLOUD, THIN, CLOUD, NODATA]]


@pytest.mark.parametrize(("name", "package"), EXTRAS.items())
def test_a_detector_that_is_not_installed_says_how_to_get_it(monkeypatch, name, package) -> None:
    monkeypatch.setattr(f"geodecloud.run.{MODULES[name]}.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'geodecloud\[masks\]'"):
        DETECTORS[name].prepare(scene_for(name))


MODULES = {"ukis-csmask": "csmask", "s2cloudless": "cloudless"}


def test_s2cloudless_refuses_what_is_freed_of_the_atmosphere() -> None:
    scene = scene_for("s2cloudless")
    scene.sensor = replace(scene.sensor, level="L2A")
    with pytest.raises(BandError, match="Level-1C"):
        DETECTORS["s2cloudless"].prepare(scene)


def test_csmask_takes_the_network_for_the_bands_the_level_and_the_pixels() -> None:
    pytest.importorskip("ukis_csmask")
    four, six = scene_of(*S2), scene_of(*S2, "B11", "B12")
    six.sensor = replace(six.sensor, level="L2A")
    prepared = DETECTORS["ukis-csmask"].prepare(four), DETECTORS["ukis-csmask"].prepare(six)
    assert [len(detector.bands) for detector in prepared] == [4, 6]
    assert [detector.level for detector in prepared] == ["L1C", "L2A"]
    assert {detector.step_px for detector in prepared} == {3}  # 10 m pixels to 30 m


def test_a_detector_is_known_by_name_or_refused_naming_the_others() -> None:
    assert detector_named("spectral") is DETECTORS["spectral"]
    with pytest.raises(OptionError, match=r"'spectrral'.*scl, joint, joint-rgb, spectral"):
        detector_named("spectrral")
