"""The figures: against other people's code, against known cases, and outside of the region."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import InputError
from geodecloud.metrics import NEAR_PX, by_region, mae, psnr, rmse, sam, seam_index, ssim

RANGED = {"psnr": psnr, "ssim": ssim}
UNRANGED = {"sam": sam, "mae": mae, "rmse": rmse}


def pair(seed=0, shape=(4, 40, 31)):
    """A target of smooth ground and a prediction that misses it."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[1], : shape[2]] / 9
    target = 0.3 + 0.1 * np.sin(rows) * np.cos(cols) + rng.normal(0, 0.02, shape)
    return (target + rng.normal(0.01, 0.03, shape)).astype(np.float32), target.astype(np.float32)


def every_figure(prediction, target, region=None):
    return by_region(prediction, target, {"it": region}, data_range=1.0)["it"]


@pytest.mark.slow  # the import of torchmetrics alone takes 10 s
@pytest.mark.parametrize("seed", range(3))
def test_psnr_ssim_and_sam_are_those_of_torchmetrics(seed):
    torch = pytest.importorskip("torch")
    image = pytest.importorskip("torchmetrics.functional.image")
    prediction, target = pair(seed)
    one, other = (torch.from_numpy(array[None]).double() for array in (prediction, target))
    ours = every_figure(prediction, target)
    theirs = {
        "psnr": image.peak_signal_noise_ratio(one, other, data_range=1.0),
        "ssim": image.structural_similarity_index_measure(one, other, data_range=1.0),
        "sam": torch.rad2deg(image.spectral_angle_mapper(one, other)),
    }
    for name, figure in theirs.items():
        assert ours[name] == pytest.approx(float(figure), rel=1e-6), name


def test_mae_and_rmse_are_in_the_unit_of_the_arrays():
    target = np.zeros((1, 2, 2))
    prediction = np.array([[[3.0, -1.0], [0.0, 0.0]]])
    assert mae(prediction, target) == 1.0
    assert rmse(prediction, target) == pytest.approx(math.sqrt(2.5))


def test_a_perfect_prediction_has_the_best_figures_exactly():
    _, target = pair()
    assert every_figure(target, target) == {
        "psnr": math.inf, "ssim": 1.0, "sam": 0.0, "mae": 0.0, "rmse": 0.0,
    }  # fmt: skip


def test_stored_numbers_are_compared_with_their_sign():
    low, high = (np.full((2, 12, 12), value, np.uint16) for value in (1, 65535))
    assert mae(low, high) == 65534.0
    assert psnr(low, high, data_range=65534.0) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "angle"),
    [((1, 0), (0, 1), 90.0), ((1, 1), (2, 2), 0.0), ((1, 0), (-1, 0), 180.0)],
)
def test_the_spectral_angle_is_in_degrees_whatever_the_brightness(one, other, angle):
    one, other = (np.array(values, float).reshape(2, 1, 1) for values in (one, other))
    assert sam(one, other) == pytest.approx(angle, abs=1e-12)


def test_a_spectrum_of_zeros_has_no_angle_and_does_not_count():
    target = np.ones((2, 1, 2))
    prediction = target.copy()
    prediction[:, 0, 0] = 0
    assert sam(prediction, target) == 0.0
    assert math.isnan(sam(np.zeros((2, 1, 1)), np.ones((2, 1, 1))))


@given(st.integers(0, 2**32 - 1), st.sampled_from([(4, 40, 31), (40, 31)]))
def test_what_lies_outside_the_region_changes_no_figure(seed, shape):
    rng = np.random.default_rng(seed)
    prediction, target = pair(seed)
    region = rng.random(shape) < rng.choice([0.05, 0.5, 0.95])
    before = every_figure(prediction, target, region)
    outside = ~np.broadcast_to(region, target.shape)
    for array in (prediction, target):
        array[outside] = rng.choice(np.float32([np.nan, np.inf, -3e38, 0]), int(outside.sum()))
    assert every_figure(prediction, target, region) == pytest.approx(before, nan_ok=True)


def test_a_region_of_all_pixels_gives_the_figures_without_one():
    prediction, target = pair()
    region = np.ones(target.shape[1:], bool)
    assert every_figure(prediction, target, region) == every_figure(prediction, target)


def test_a_region_without_a_pixel_gives_nan():
    prediction, target = pair()
    figures = every_figure(prediction, target, np.zeros(target.shape[1:], bool))
    assert all(math.isnan(figure) for figure in figures.values())


def test_ssim_of_a_single_pixel_compares_its_brightness():
    one, other = np.full((1, 1, 1), 0.5), np.full((1, 1, 1), 0.1)
    assert ssim(one, one, data_range=1.0) == 1.0
    assert 0 < ssim(one, other, data_range=1.0) < 0.5


def test_regions_are_told_apart_by_name():
    target = np.full((1, 16, 32), 0.5)
    prediction = target.copy()
    prediction[:, :, 16:] += 0.1
    left = np.zeros((16, 32), bool)
    left[:, :16] = True
    figures = by_region(prediction, target, {"left": left, "right": ~left}, data_range=1.0)
    assert figures["left"]["psnr"] == math.inf
    assert figures["right"]["psnr"] == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("prediction", "region"),
    [((2, 5, 5), None), ((3, 5, 4), None), ((3, 5, 5), (5, 4)), ((3, 5, 5), (1, 5, 5))],
)
def test_arrays_of_another_shape_are_refused_with_both_shapes(prediction, region):
    region = None if region is None else np.ones(region, bool)
    with pytest.raises(InputError, match=r"\(3, 5, 5\)"):
        mae(np.zeros(prediction), np.zeros((3, 5, 5)), region)


def test_a_step_at_the_tile_borders_is_found_at_its_height():
    ramp = np.add.outer(np.arange(48.0), np.arange(64.0))[None]
    assert seam_index(ramp, range(0, 48, 16), range(0, 64, 16)) == 1.0
    ramp[:, 16:] += 1
    ramp[:, 32:] += 1
    assert seam_index(ramp, range(0, 48, 16), []) == 2.0
    assert seam_index(ramp, [], range(0, 64, 16)) == 1.0


def test_noise_without_tiles_has_no_seam():
    noise = np.random.default_rng(0).normal(size=(4, 256, 256))
    assert seam_index(noise, range(0, 256, 32), range(0, 256, 32)) == pytest.approx(1, abs=0.01)


def test_only_steps_near_a_border_are_its_measure():
    flat_far_away = np.zeros((64, 8))
    flat_far_away[32 - NEAR_PX - 1 : 32 + NEAR_PX] = np.arange(2 * NEAR_PX + 1.0)[:, None]
    flat_far_away[32 + NEAR_PX :] = 2 * NEAR_PX + 1
    assert seam_index(flat_far_away, [32], []) == 1.0


def test_seams_outside_the_region_do_not_count():
    ramp = np.tile(np.arange(64.0), (32, 1))
    region = np.zeros(ramp.shape, bool)
    region[:8] = True
    ramp[8:, 32:] += 100
    assert seam_index(ramp, [], [32], region) == 1.0
    assert seam_index(ramp, [], [32]) > 50


def test_the_seam_index_says_what_it_cannot_say():
    assert seam_index(np.zeros((9, 9)), [3], [3]) == 1.0
    assert math.isnan(seam_index(np.ones((9, 9)), [0, 9], []))
    step = np.zeros((20, 4))
    step[10:] = 1
    assert seam_index(step, [10], []) == math.inf
    with pytest.raises(InputError, match="region"):
        seam_index(step, [10], [], np.ones((4, 20), bool))
