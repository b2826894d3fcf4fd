"""Skies over ground: the same at any window, plausible, and true about themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import InputError
from geodecloud.sky.clouds import (
    THICK_OPTICAL_DEPTH,
    TYPES,
    Sky,
    Truth,
    apply_sky,
    optical_depth,
    random_skies,
)
from geodecloud.sky.perlin import Places

NM = (492.4, 559.8, 664.6, 832.8)
MASKS = ("is_thin", "is_thick", "is_shadow")
FIELDS = ("optical_depth", "shadow_strength", *MASKS)
types = st.sampled_from(sorted(TYPES))


def places_at(shape, row=525_749.5, col=47_248.5, n_chips=1, step=10.0) -> Places:
    return Places(np.full(n_chips, row), np.full(n_chips, col), step, shape)


def ground_of(shape, n_chips=1, seed=0, dtype=np.float32) -> np.ndarray:
    random = np.random.default_rng(seed)
    base = np.asarray([0.05, 0.08, 0.06, 0.3])[None, :, None, None]
    return (base * random.uniform(0.3, 2.0, (n_chips, 4, *shape))).astype(dtype)


def cloud_of(truth: Truth) -> np.ndarray:
    return truth.is_thin | truth.is_thick


@given(
    seed=st.integers(0, 2**63 - 1),
    type=types,
    is_toa=st.booleans(),
    part=st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 40)] * 2),
)
def test_a_window_has_the_sky_of_the_whole_bit_for_bit(seed, type, is_toa, part):
    row, col, height, width = part
    inside = (..., slice(row, row + height), slice(col, col + width))
    sky, whole, ground = Sky(seed, 0.5, type), places_at((80, 80)), ground_of((80, 80))
    cloudy, truth = apply_sky(ground, NM, sky, whole, is_toa=is_toa)
    window = whole.window(row, col, (height, width))
    cloudy_window, truth_window = apply_sky(ground[inside], NM, sky, window, is_toa=is_toa)
    np.testing.assert_array_equal(cloudy_window, cloudy[inside])
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(truth_window, name), getattr(truth, name)[inside])


def test_windows_agree_in_torch_too():
    torch = pytest.importorskip("torch")
    zero = torch.zeros(1, dtype=torch.float64)
    whole = Places(zero, zero, 10.0, (80, 80))
    ground = torch.from_numpy(ground_of((80, 80)))
    for seed in range(6):
        sky = Sky(seed, 0.5)
        cloudy, _ = apply_sky(ground, NM, sky, whole)
        for row, col, height, width in ((0, 0, 33, 7), (11, 40, 64, 40), (79, 3, 1, 70)):
            inside = (..., slice(row, row + height), slice(col, col + width))
            window, _ = apply_sky(ground[inside], NM, sky, whole.window(row, col, (height, width)))
            assert torch.equal(window, cloudy[inside])


@given(seed=st.integers(0, 2**63 - 1), coverage=st.floats(0, 1), type=types, is_toa=st.booleans())
def test_ground_under_clear_sky_is_bit_identical_and_the_masks_say_where(
    seed, coverage, type, is_toa
):
    ground = ground_of((48, 48), seed=seed % 1000)
    ground[0, 0, :2] = np.asarray([-0.0, np.nan], np.float32)[:, None]
    before = ground.copy()
    cloudy, truth = apply_sky(
        ground, NM, Sky(seed, coverage, type), places_at((48, 48)), is_toa=is_toa
    )
    np.testing.assert_array_equal(ground, before)
    marks = sum(getattr(truth, name).astype(int) for name in MASKS)
    assert marks.max() <= 1
    clear = np.broadcast_to(marks == 0, ground.shape)
    np.testing.assert_array_equal(cloudy[clear].view(np.int32), ground[clear].view(np.int32))


def test_what_the_masks_name_has_changed():
    ground = ground_of((64, 64), 40)
    skies = random_skies(np.arange(40))
    cloudy, truth = apply_sky(ground, NM, skies, places_at((64, 64), n_chips=40))
    marked = np.broadcast_to(cloud_of(truth) | truth.is_shadow, ground.shape)
    assert (cloudy != ground)[marked].mean() > 0.999


@given(seed=st.integers(0, 2**63 - 1), type=types, is_toa=st.booleans())
def test_values_are_finite_and_in_range(seed, type, is_toa):
    cloudy, truth = apply_sky(
        ground_of((40, 40)), NM, Sky(seed, 0.7, type), places_at((40, 40)), is_toa=is_toa
    )
    assert np.isfinite(cloudy).all()
    assert cloudy.dtype == np.float32
    assert -0.02 < cloudy.min() <= cloudy.max() < 1.6
    assert truth.optical_depth.min() >= 0
    assert 0 <= truth.shadow_strength.min() <= truth.shadow_strength.max() <= 1
    np.testing.assert_array_equal(truth.is_thick, truth.optical_depth >= THICK_OPTICAL_DEPTH)
    np.testing.assert_array_equal(cloud_of(truth), truth.optical_depth > 0)


@pytest.mark.parametrize("type", sorted(TYPES))
def test_coverage_grows_with_what_is_asked_for_and_is_near_it(type):
    shares, skies = [], 500
    for asked in (0.1, 0.3, 0.5, 0.7, 0.9):
        drawn = random_skies(np.arange(skies), (type,), coverage=(asked, asked))
        depth = optical_depth(drawn, places_at((16, 16), n_chips=skies, step=40.0))
        shares.append((depth > 0).mean())
        assert shares[-1] == pytest.approx(asked, abs=0.06)
    assert (np.diff(shares) > 0.1).all()


def test_coverage_none_and_all_are_meant():
    places = places_at((64, 64), step=100.0)
    for type in TYPES:
        assert not optical_depth(Sky(1, 0.0, type), places).any()
        assert (optical_depth(Sky(1, 1.0, type), places) > 0).mean() > 0.999


def test_seeds_make_other_skies_and_the_same_seed_the_same():
    places = places_at((32, 32), step=50.0)
    first, other, again = (optical_depth(Sky(seed, 0.5), places) for seed in (1, 2, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def displacement_m(truth: Truth, step: float) -> tuple[float, float]:
    """How far south and east the shadow of the clouds lies, where they overlap best."""
    cloud = (truth.optical_depth[0, 0] > 3).astype(float)
    shade = (truth.shadow_strength[0, 0] > 0.6).astype(float)
    likeness = np.fft.irfft2(np.fft.rfft2(shade) * np.conj(np.fft.rfft2(cloud)), cloud.shape)
    row, col = np.unravel_index(likeness.argmax(), cloud.shape)
    rows, cols = cloud.shape
    return (
        ((row + rows // 2) % rows - rows // 2) * step,
        ((col + cols // 2) % cols - cols // 2) * step,
    )


@pytest.mark.parametrize("azimuth", [20, 90, 135, 170, 250, 330])
@pytest.mark.parametrize(("height_m", "elevation"), [(1200, 45), (2000, 60)])
def test_a_shadow_lies_away_from_the_sun_by_the_height_of_the_cloud(azimuth, height_m, elevation):
    """Azimuths run clockwise from north: the sun in the south-east casts it to the north-west."""
    shape, step = (256, 256), 40.0
    sky = Sky(4, 0.15, "cumulus", azimuth, elevation, height_m)
    _, truth = apply_sky(ground_of(shape), NM, sky, places_at(shape, step=step))
    south, east = displacement_m(truth, step)
    away = height_m / math.tan(math.radians(elevation))
    assert south == pytest.approx(away * math.cos(math.radians(azimuth)), abs=step)
    assert east == pytest.approx(-away * math.sin(math.radians(azimuth)), abs=step)
    if azimuth == 135:
        assert south < 0
        assert east < 0


def test_shadows_darken_and_clouds_brighten():
    shape = (128, 128)
    ground = ground_of(shape)
    cloudy, truth = apply_sky(ground, NM, Sky(4, 0.4), places_at(shape, step=30.0))
    change = cloudy - ground
    deep = np.broadcast_to(truth.is_shadow & (truth.shadow_strength > 0.5), change.shape)
    assert deep.any()
    assert (change[deep] < 0).all()
    blue = change[:, :1]
    assert (blue[truth.is_thick] > 0.2).all()


def test_shadows_are_softer_than_their_clouds():
    shape = (200, 200)
    _, truth = apply_sky(ground_of(shape), NM, Sky(4, 0.4), places_at(shape))
    high = Sky(4, 0.4, cloud_height_m=9000)
    _, from_high = apply_sky(ground_of(shape), NM, high, places_at(shape))
    edges = [abs(np.diff(t.shadow_strength, axis=-1)).max() for t in (truth, from_high)]
    assert edges[1] < edges[0] < 1


def test_cumulus_has_sharper_edges_than_haze():
    places = places_at((128, 128))
    steepest = {
        type: max(
            float(abs(np.diff(1 - np.exp(-optical_depth(Sky(seed, 0.5, type), places)))).max())
            for seed in range(8)
        )
        for type in ("cumulus", "haze")
    }
    assert steepest["cumulus"] > 5 * steepest["haze"]


def test_haze_casts_no_shadow():
    _, truth = apply_sky(
        ground_of((64, 64)), NM, Sky(2, 0.5, "haze"), places_at((64, 64), step=90.0)
    )
    assert truth.is_thin.any()
    assert not truth.shadow_strength.any()


def test_torch_agrees_with_numpy():
    torch = pytest.importorskip("torch")
    seeds, ground = np.arange(24) * 2**40, ground_of((64, 64), 24)
    places = places_at((64, 64), n_chips=24)
    ours, truth = apply_sky(ground, NM, random_skies(seeds), places)
    there = Places(torch.from_numpy(places.row0), torch.from_numpy(places.col0), 10.0, (64, 64))
    skies = random_skies(torch.from_numpy(seeds))
    theirs, their_truth = apply_sky(torch.from_numpy(ground), NM, skies, there)
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=0, atol=1e-6)
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(their_truth, name).numpy(), getattr(truth, name), rtol=1e-5, atol=1e-6
        )


@pytest.mark.gpu
def test_a_gpu_agrees_with_numpy():
    torch = pytest.importorskip("torch")
    seeds, ground = np.arange(24) * 2**40, ground_of((64, 64), 24)
    ours, _ = apply_sky(ground, NM, random_skies(seeds), places_at((64, 64), n_chips=24))
    start = torch.full((24,), 525_749.5, dtype=torch.float64, device="cuda")
    there = Places(start, torch.full_like(start, 47_248.5), 10.0, (64, 64))
    skies = random_skies(torch.from_numpy(seeds).cuda())
    theirs, _ = apply_sky(torch.from_numpy(ground).cuda(), NM, skies, there)
    np.testing.assert_allclose(theirs.cpu().numpy(), ours, rtol=0, atol=1e-5)


def test_a_chip_has_the_same_sky_alone_and_in_a_batch():
    seeds, ground = np.arange(6), ground_of((32, 32), 6)
    cloudy, _ = apply_sky(ground, NM, random_skies(seeds), places_at((32, 32), n_chips=6))
    for i in range(6):
        chip = slice(i, i + 1)
        alone, _ = apply_sky(ground[chip], NM, random_skies(seeds[chip]), places_at((32, 32)))
        np.testing.assert_array_equal(alone, cloudy[chip])


def test_one_sky_over_many_chips_is_one_sky():
    whole, ground = places_at((64, 64)), ground_of((64, 64))
    cloudy, _ = apply_sky(ground, NM, Sky(8, 0.5), whole)
    corners = [(0, 0), (0, 32), (32, 0), (32, 32)]
    chips = np.concatenate([ground[..., r : r + 32, c : c + 32] for r, c in corners])
    row0, col0 = (whole.row0 + [r for r, _ in corners], whole.col0 + [c for _, c in corners])
    parts, _ = apply_sky(chips, NM, Sky(8, 0.5), Places(row0, col0, 10.0, (32, 32)))
    for part, (r, c) in zip(parts, corners, strict=True):
        np.testing.assert_array_equal(part, cloudy[0, :, r : r + 32, c : c + 32])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reflectance_keeps_its_dtype(dtype):
    cloudy, _ = apply_sky(ground_of((16, 16), dtype=dtype), NM, Sky(1, 0.5), places_at((16, 16)))
    assert cloudy.dtype == dtype


@pytest.mark.parametrize(
    ("shape", "bands", "n_chips"), [((16, 16), NM[:3], 1), ((16, 17), NM, 1), ((16, 16), NM, 2)]
)
def test_shapes_that_do_not_belong_together_are_refused(shape, bands, n_chips):
    with pytest.raises(InputError, match="wavelength"):
        apply_sky(ground_of((16, 16)), bands, Sky(1), places_at(shape, n_chips=n_chips))
