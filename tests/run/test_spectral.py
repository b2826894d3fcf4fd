"""The spectral detector: clouds and shadows by rules, calibrated to the scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from geodecloud.geo.classing import write_classes
from geodecloud.geo.masks import CLOUD, NODATA, SHADOW, THIN, Disk, dilate
from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import ArrayScene, ArraySink, shape_of
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.run.samples import sample_windows
from geodecloud.run.spectral import SpectralDetector, box_sum, opened

BANDS = ("B02", "B03", "B04", "B08")
HAZE = np.array([0.085, 0.05, 0.025, 0.01])[:, None, None]
CLEAR_SKY = Sensor("s", tuple(Band(name, dtype="float32") for name in BANDS))


def smooth(shape, seed, sigma):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return field / field.std()


def cloudy(shape=(300, 300), seed=0, thrown=(-40, -25), hazy=False, share=0.12):
    """Fields and woods under cumulus: (4, H, W) reflectance, validity, true classes."""
    wood = smooth(shape, seed, 9)[None] > 0
    grain = 1 + 0.1 * smooth(shape, seed + 1, 1)[None]
    field, trees = ([0.06, 0.09, 0.1, 0.35], [0.02, 0.035, 0.02, 0.3])
    ground = np.where(wood, np.array(trees)[:, None, None], np.array(field)[:, None, None]) * grain
    sky = smooth((shape[0] + 200, shape[1] + 200), seed + 2, 8)
    depth = np.maximum(0, sky - np.quantile(sky, 1 - share)) * 8
    depth = ndimage.gaussian_filter(depth, 1)
    cover = 1 - np.exp(-depth)
    shade = np.roll(cover, thrown, (0, 1))[100:-100, 100:-100]
    cover = cover[100:-100, 100:-100]
    light = np.array([0.35, 0.25, 0.2, 0.14])[:, None, None]
    ground = ground * (1 - shade * (1 - light))
    reflectance = ground * (1 - cover) + 0.6 * cover
    if hazy:
        reflectance = HAZE + reflectance * (1 - HAZE)
    truth = np.zeros(shape, np.uint8)
    truth[shade > 0.35] = SHADOW
    truth[cover > 0.06] = CLOUD
    unsure = ((cover > 0.02) & (cover <= 0.06)) | ((shade > 0.1) & (shade <= 0.35))
    truth[unsure & (truth == 0)] = NODATA
    return reflectance.astype(np.float32), np.ones(shape, bool), truth


def scene_of(reflectance, sensor=CLEAR_SKY):
    return ArrayScene(reflectance, sensor)


def detected(reflectance, valid, **options):
    detector = SpectralDetector(**options)
    reflectance = reflectance[: len(detector.bands)]
    everywhere = np.broadcast_to(valid, reflectance.shape)
    sensor = CLEAR_SKY.select(detector.bands)
    prepared = detector.prepare(ArrayScene(reflectance, sensor, valid=everywhere))
    return prepared.classes(np.where(valid, reflectance, 0).astype(np.float32), valid), prepared


def f1(found, true, where):
    both = 2 * (found & true & where).sum()
    return both / max(1, (found & where).sum() + (true & where).sum())


@pytest.mark.parametrize("hazy", [False, True], ids=["L2A", "L1C"])
@pytest.mark.parametrize("bands", [BANDS, BANDS[:3]], ids=["four", "rgb"])
@pytest.mark.parametrize("thrown", [(-40, -25), (35, 40)])
def test_clouds_and_their_shadows_are_found(hazy, bands, thrown) -> None:
    reflectance, valid, truth = cloudy(thrown=thrown, hazy=hazy)
    codes, prepared = detected(reflectance, valid, bands=bands)
    sure = truth != NODATA
    assert f1((codes == CLOUD) | (codes == THIN), truth == CLOUD, sure) > 0.9
    assert f1(codes == SHADOW, truth == SHADOW, sure) > (0.75 if bands == BANDS else 0.6)
    along = np.array(thrown) / np.hypot(*thrown)
    assert prepared.throw.row * along[0] + prepared.throw.col * along[1] > 0.95


def test_haze_tells_l1c_from_l2a() -> None:
    _, clear = detected(*cloudy()[:2])
    _, hazy = detected(*cloudy(hazy=True)[:2])
    assert clear.haze[0] < 0.02
    assert hazy.haze[0] == pytest.approx(0.085, abs=0.015)


def test_a_veil_over_all_of_a_scene_is_cloud_where_the_product_is_freed_of_haze() -> None:
    reflectance, valid, _ = cloudy(share=0.0)
    veiled = 0.12 + 0.85 * reflectance
    corrected = replace(CLEAR_SKY, level="L2A")
    unknown = SpectralDetector().prepare(scene_of(veiled))
    told = SpectralDetector().prepare(scene_of(veiled, sensor=corrected))
    assert not unknown.classes(veiled, valid).any()
    assert (told.classes(veiled, valid) == THIN).mean() > 0.9


def test_a_clear_scene_has_neither_clouds_nor_shadows() -> None:
    reflectance, valid, _ = cloudy(share=0.0)
    codes, prepared = detected(reflectance, valid)
    assert not codes.any()
    assert prepared.throw is None


def test_an_overcast_scene_is_all_cloud() -> None:
    reflectance = np.full((4, 128, 128), 0.5, np.float32)
    reflectance += 0.02 * smooth((128, 128), 0, 5).astype(np.float32)
    codes, _ = detected(reflectance, np.ones((128, 128), bool))
    assert (codes == CLOUD).all()


def test_nodata_is_never_cloud_and_cloud_reaches_up_to_it() -> None:
    reflectance, valid, truth = cloudy()
    row, col = np.argwhere(ndimage.binary_erosion(truth == CLOUD, iterations=6))[0]
    valid[:, col] = False
    codes, _ = detected(reflectance, valid)
    assert (codes[:, col] == NODATA).all()
    assert codes[row, col - 1] == CLOUD
    assert codes[row, col + 1] == CLOUD


def test_what_is_white_must_outshine_the_ground_around_to_be_cloud() -> None:
    reflectance, valid, _ = cloudy(share=0.0)
    town = np.zeros((300, 300), bool)
    town[60:240, 60:240] = True
    reflectance[:, town] = np.array([0.11, 0.12, 0.12, 0.2])[:, None]
    row, col = np.mgrid[:300, :300]
    reflectance[:, town & ((row % 10 == 0) | (col % 10 == 0))] = 0.04  # streets in the shade
    reflectance[:, town & (row % 10 > 4) & (col % 10 > 4)] = 0.25  # roofs
    codes, _ = detected(reflectance, valid)
    centre = codes[100:200, 100:200]
    assert centre.mean() == 0
    reflectance[:, ~town] = np.array([0.02, 0.035, 0.02, 0.3])[:, None]
    reflectance[:, 20:25, 20:25] = 0.25  # the same roof among woods, where nothing else is white
    codes, _ = detected(reflectance, valid)
    assert codes[22, 22] != 0


def test_a_lake_is_not_taken_for_a_shadow() -> None:
    reflectance, valid, truth = cloudy()
    lake = np.zeros_like(valid)
    lake[100:200, 100:200] = True
    lake &= truth != CLOUD
    reflectance[:, lake] = np.array([0.05, 0.04, 0.03, 0.01])[:, None]
    codes, prepared = detected(reflectance, valid)
    assert prepared.throw is not None
    inside = ndimage.binary_erosion(lake, iterations=3)
    assert (codes[inside] == SHADOW).mean() < 0.02


def test_a_shadow_at_the_edge_is_found_though_its_cloud_is_outside() -> None:
    reflectance, valid, truth = cloudy((400, 400), seed=7, thrown=(-50, 0))
    found = detected(reflectance[:, :360], valid[:360])[0]
    near_edge = np.zeros((360, 400), bool)
    near_edge[315:] = True
    lost = (truth[:360] == SHADOW) & near_edge
    assert lost.sum() > 500
    assert (found[lost] == SHADOW).mean() > 0.6


def test_the_sun_may_be_given() -> None:
    reflectance, valid, _ = cloudy(thrown=(-40, -25))
    azimuth = np.degrees(
        np.arctan2(25, -40)
    )  # away from (-40 rows, -25 columns): to the south-east
    _, told = detected(reflectance, valid, sun_azimuth_deg=float(azimuth))
    _, found = detected(reflectance, valid)
    assert told.throw == found.throw
    _, wrong = detected(reflectance, valid, sun_azimuth_deg=float(azimuth) + 120)
    assert wrong.throw != found.throw


def test_lengths_follow_the_pixel_size() -> None:
    assert SpectralDetector(pixel_m=20).margin_px < SpectralDetector(pixel_m=10).margin_px
    assert SpectralDetector(pixel_m=0.5).margin_px == SpectralDetector(pixel_m=5).margin_px


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 7), (17, 33)])
def test_scenes_of_a_few_pixels_are_taken(shape) -> None:
    reflectance = np.full((4, *shape), 0.1, np.float32)
    codes, _ = detected(reflectance, np.ones(shape, bool))
    assert codes.shape == shape
    assert not codes.any()


def test_a_scene_without_a_valid_pixel_is_all_nodata() -> None:
    codes, _ = detected(np.zeros((4, 40, 40), np.float32), np.zeros((40, 40), bool))
    assert (codes == NODATA).all()


def test_calibration_reads_a_bounded_part_of_a_large_scene() -> None:
    for shape in ((10_980, 10_980), (200, 40_000), (1_300, 2_100), (1_025, 5)):
        windows = sample_windows(shape)
        assert sum(window.height * window.width for window in windows) <= 9 * 1_280**2
        assert all(window in Window.whole(shape) for window in windows)
        seen = [window & other for window in windows for other in windows if window != other]
        assert not any(window.height and window.width for window in seen)


def picture_of(reflectance, white):
    """An 8-bit picture in which this reflectance is white."""
    dn = np.clip(np.rint(reflectance[:3] / white * 255), 0, 255).astype(np.uint8)
    return ArrayScene(dn[::-1], SENSORS["rgb"])


def test_a_picture_is_read_as_a_true_colour_image_however_it_was_brightened() -> None:
    reflectance, valid, truth = cloudy()
    for white in (0.3558, 0.15):
        scene = picture_of(reflectance, white)
        detector = SpectralDetector(bands=("blue", "green", "red")).prepare(scene)
        seen = scene.select(detector.bands)
        values = seen.sensor.to_reflectance(seen.read(Window(0, 0, 300, 300))[0])
        codes = detector.classes(values, valid)
        assert f1((codes == CLOUD) | (codes == THIN), truth == CLOUD, truth != NODATA) > 0.85
    clear = picture_of(cloudy(share=0.0)[0], 0.12).select(("blue", "green", "red"))
    detector = SpectralDetector(bands=("blue", "green", "red")).prepare(clear)
    values = clear.sensor.to_reflectance(clear.read(Window(0, 0, 300, 300))[0])
    assert not detector.classes(values, valid).any()


def test_nan_is_nodata_like_any_other() -> None:
    reflectance, valid, _ = cloudy()
    valid[40:60, 40:60] = False
    holes = np.where(valid, reflectance, np.nan).astype(np.float32)
    assert SpectralDetector().prepare(scene_of(holes)) == detected(reflectance, valid)[1]


def test_progress_reaches_its_total() -> None:
    heard = []
    reflectance, *_ = cloudy((64, 64))
    SpectralDetector().prepare(scene_of(reflectance), heard.append)
    assert heard[-1].done == heard[-1].total


@given(
    npst.arrays(np.int16, npst.array_shapes(min_dims=2, max_dims=2, max_side=30)),
    st.integers(0, 20),
)
def test_box_sums_are_exact_whatever_their_size(values, radius) -> None:
    padded = np.pad(values.astype(np.int64), radius)
    wanted = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2).sum((2, 3))
    assert np.array_equal(box_sum(values, radius, 32_768), wanted)


@given(
    npst.arrays(np.int16, st.tuples(st.integers(1, 25), st.integers(1, 25))),
    st.integers(1, 16),
)
def test_opening_is_that_of_mathematical_morphology(values, radius) -> None:
    darkest = ndimage.minimum_filter(values, 2 * radius + 1, mode="constant", cval=32_767)
    wanted = ndimage.maximum_filter(darkest, 2 * radius + 1, mode="constant", cval=-32_768)
    everywhere = np.ones(values.shape, bool)
    assert np.array_equal(opened(values, everywhere, radius), wanted)


def test_opening_is_not_darkened_by_nodata() -> None:
    valid = np.ones((20, 20), bool)
    valid[:, 10] = False
    values = np.where(valid, 500, 0).astype(np.int16)
    assert (opened(values, valid, 4)[valid] == 500).all()


def test_real_clouds_and_shadows_are_found_as_well_as_a_trained_network_finds_them(
    shared_data,
) -> None:
    with np.load(shared_data / "test" / "ukis_cloudmask_512" / "sentinel2.npz") as stored:
        reflectance = np.ascontiguousarray(stored["img"][..., :4].transpose(2, 0, 1))
        truth = stored["msk"][..., 0]
    codes, _ = detected(reflectance, np.ones(truth.shape, bool))
    known = truth != 1
    assert f1((codes == CLOUD) | (codes == THIN), truth == 4, known) > 0.88
    assert f1(codes == SHADOW, truth == 0, known) > 0.82
    masked = dilate(codes != 0, Disk.of_px(6))
    assert masked[truth == 4].mean() > 0.99
    assert masked[truth == 0].mean() > 0.92


@pytest.mark.parametrize(
    ("name", "scale", "most"),
    [
        ("bolzano_S2_L2A_B02B03B04B08SCL", 1e-4, 0.05),  # a town with white industrial halls
        ("aquileia_20190416_L2A_16bitscaled", 1 / 65_535, 0.005),
        ("sundarbans_20200127_L2A_16bitscaled", 1 / 65_535, 0.02),  # grey fields under thin haze
        ("pilbara_20181201_L2A_16bitscaled", 1 / 65_535, 0.005),
    ],
)
def test_clear_scenes_raise_few_false_alarms(shared_data, name, scale, most) -> None:
    path = shared_data / "train" / "scenes_clear" / f"{name}.tif"
    with open_scene(path, bands=[*BANDS, "SCL"][: 5 if "SCL" in name else 4], scale=scale) as scene:
        scene = scene.select(BANDS)
        detector = SpectralDetector().prepare(scene)
        with ArraySink(1, shape_of(scene.geobox), np.uint8) as sink:
            counts = write_classes(scene, detector, sink)
    assert counts.n_valid > 100_000
    assert counts.mask_share < most


def test_over_zurich_clouds_throw_their_shadows_to_the_north_west(shared_data) -> None:
    name = "20190530_T32TMT_MSIL2A_S2A_pixel_division_10m.tiff"
    with open_scene(shared_data / "test" / "scenes_cloudy" / name) as scene:
        scene = scene.select(BANDS)
        detector = SpectralDetector().prepare(scene)
        with ArraySink(1, shape_of(scene.geobox), np.uint8) as sink:
            counts = write_classes(scene, detector, sink)
    # the sun stands in the south-east in the morning; some 17 % of the scene is thick cloud
    assert detector.throw.row < -0.7
    assert detector.throw.col < -0.3
    assert 0.14 < counts.share(CLOUD) < 0.20
    assert 0.10 < counts.shadow_share < 0.20
