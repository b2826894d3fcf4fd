"""The noise: one value a place, the same in every window, batch and array module."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.sky import perlin
from geodecloud.sky.arrays import array_module
from geodecloud.sky.lattice import FACTOR_UNIT, Sides, lattice_under
from geodecloud.sky.perlin import (
    HashGradients,
    Places,
    TableGradients,
    fractal_noise,
    hash_words,
    layered_noise,
    uniform,
)

CELLS = {0: 640.0, 3: 170.0, 4: 40.0, 9: 20.0}
AMPLITUDES = np.asarray([[1.0, 0.7, 1 / 3, 0.01]])
seeds = st.integers(-(2**63), 2**63 - 1)


def places_at(row: float, col: float, shape: tuple[int, int], step: float = 10.0) -> Places:
    return Places(np.asarray([row]), np.asarray([col]), step, shape)


def hashed(seed: int) -> HashGradients:
    return HashGradients(np.asarray([seed], np.int64))


def noise_of(seed: int, places: Places) -> np.ndarray:
    return layered_noise(hashed(seed), places, CELLS, AMPLITUDES)


@given(
    seed=seeds,
    start=st.tuples(*[st.floats(-600_000, 600_000)] * 2),
    step=st.sampled_from((10.0, 60.0, 9.13, 1 / 3)),
    part=st.tuples(*[st.integers(0, 39)] * 2, *[st.integers(1, 40)] * 2),
)
def test_a_window_has_the_noise_of_the_whole_bit_for_bit(seed, start, step, part):
    row, col, height, width = part
    whole = places_at(*start, (80, 80), step)
    inside = (..., slice(row, row + height), slice(col, col + width))
    window = whole.window(row, col, (height, width))
    np.testing.assert_array_equal(noise_of(seed, window), noise_of(seed, whole)[inside])


@given(start=st.floats(-1e6, 1e6), step=st.floats(1e-3, 3.0), phase=st.floats(0, 1))
def test_all_factors_are_multiples_of_units_that_float64_adds_exactly(start, step, phase):
    one = np.ones((1, 1, 1))
    lattice = lattice_under(32, step, ((0, 1.0),), np, "cpu")
    sides = Sides.of(np.asarray([[start]]), step, one * phase, one, lattice)
    weights, slopes = sides.factors(slice(None), lattice)[0, 0]
    gradients = np.concatenate([perlin._DIRECTIONS, perlin._CORNERS], 1)
    units = FACTOR_UNIT, FACTOR_UNIT, perlin._GRADIENT_UNIT
    for numbers, unit in zip((weights, slopes, gradients), units, strict=True):
        np.testing.assert_array_equal(numbers / unit, np.rint(numbers / unit))
    np.testing.assert_array_equal(weights.sum(0), 1)
    # the largest sum there can be of absolute products, across and down, with all octaves
    weight, slope = (abs(numbers).sum(0).max() for numbers in (weights, slopes))
    most = 24 * abs(gradients).sum(0).max() * weight * slope
    assert most / (perlin._GRADIENT_UNIT * FACTOR_UNIT**2) < 2**53


@given(seed=seeds, moved=st.tuples(*[st.floats(-1e5, 1e5)] * 2), by=st.integers(0, 30))
def test_a_window_moves_as_its_whole_does(seed, moved, by):
    south, east = (np.asarray([metres]) for metres in moved)
    whole = places_at(525_749.5, 47_248.5, (64, 64))
    window = whole.window(by, 0, (20, 20)).moved(south, east)
    expected = noise_of(seed, whole.moved(south, east))[..., by : by + 20, :20]
    np.testing.assert_array_equal(noise_of(seed, window), expected)


def test_a_chip_is_the_same_alone_and_in_a_batch():
    starts, many = np.arange(7) * 1e4 + 0.25, np.arange(7)
    places = Places(starts, -starts, 10.0, (33, 20))
    batch = layered_noise(HashGradients(many), places, CELLS, AMPLITUDES)
    for i in range(7):
        alone = noise_of(i, places_at(starts[i], -starts[i], (33, 20)))
        np.testing.assert_array_equal(batch[i : i + 1], alone)


def noise_in_torch(many: np.ndarray, starts: np.ndarray, device: str) -> np.ndarray:
    torch = pytest.importorskip("torch")
    seeds, starts, amplitudes = (
        torch.from_numpy(array).to(device) for array in (many, starts, AMPLITUDES)
    )
    places = Places(starts, starts, 10.0, (64, 48))
    return layered_noise(HashGradients(seeds), places, CELLS, amplitudes).cpu().numpy()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_torch_has_the_noise_of_numpy_bit_for_bit(device):
    many, starts = np.arange(-4, 5) * 2**59, np.linspace(-1e6, 1e6, 9)
    places = Places(starts, starts, 10.0, (64, 48))
    ours = layered_noise(HashGradients(many), places, CELLS, AMPLITUDES)
    np.testing.assert_array_equal(noise_in_torch(many, starts, device), ours)


@given(
    start=st.tuples(*[st.integers(-(2**15), 2**15)] * 2),
    octaves=st.integers(1, 4),
    persistence=st.floats(0.1, 1.0),
    lacunarity=st.sampled_from((1.5, 2.0, 2.7)),
)
def test_perlins_table_gives_pnoise2(start, octaves, persistence, lacunarity):
    noise = pytest.importorskip("noise")
    row0, col0 = (value / 512 for value in start)
    shape, step = (5, 6), 1 / 16
    got = fractal_noise(
        TableGradients(),
        places_at(row0 / step, col0 / step, shape, step),
        1.0,
        octaves,
        persistence,
        lacunarity,
    )
    expected = [
        [
            noise.pnoise2(
                row0 + row * step,
                col0 + col * step,
                octaves=octaves,
                persistence=persistence,
                lacunarity=lacunarity,
            )
            for col in range(shape[1])
        ]
        for row in range(shape[0])
    ]
    # pnoise2 multiplies by lacunarity in float32, which is exact for 2 alone
    np.testing.assert_allclose(got[0], expected, rtol=0, atol=1e-5 if lacunarity == 2 else 1e-4)


@pytest.mark.parametrize("base", [0, 1, 7, 64, 190])
def test_perlins_table_starts_at_base(base):
    noise = pytest.importorskip("noise")
    got = fractal_noise(TableGradients(base), places_at(0, 0, (128, 9), 0.5), 1.0)[0]
    expected = [[noise.pnoise2(r / 2, c / 2, base=base) for c in range(9)] for r in range(128)]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def corners(gradients: HashGradients, octave: np.ndarray, row: int, col: int) -> np.ndarray:
    """The gradients (2, 2, 2) at the corners of a cell, row parts first."""
    two = np.arange(2)[None, None]
    rows, cols = gradients.words(np.repeat(octave, 2), row + two, col + two)
    return gradients.at(rows[0, 0, :, None], cols[0, 0, None, :])


def test_noise_equals_the_formula_of_the_four_corners():
    """Perlin (2002), written out for each pixel, with gradients from our own hash."""
    places = places_at(123.5, -77.25, (21, 17))
    gradients = hashed(99)
    octave = np.asarray([0])
    phase_row, phase_col = gradients.phases(octave)
    at = [
        (start + np.arange(n)) * 10.0 / 85.0 + phase[0, 0]
        for start, n, phase in ((123.5, 21, phase_row), (-77.25, 17, phase_col))
    ]
    got = layered_noise(gradients, places, {0: 85.0}, np.ones((1, 1)))
    for row, y in enumerate(at[0]):
        for col, x in enumerate(at[1]):
            i, j = np.floor([y, x]).astype(np.int64)
            nodes = corners(gradients, octave, i, j)
            value = 0.0
            for a in (0, 1):
                for b in (0, 1):
                    u, v = y - i - a, x - j - b
                    fade = np.prod(
                        [t**3 * (t * (6 * t - 15) + 10) for t in (1 - abs(u), 1 - abs(v))]
                    )
                    value += fade * (nodes[0, a, b] * u + nodes[1, a, b] * v)
            assert abs(got[0, row, col] - value) < 3e-6


@pytest.mark.parametrize("times", [2, 6])
def test_resolutions_sample_one_function(times):
    """The centre of a coarse pixel, looked at from a fine grid that has a centre there."""
    coarse = noise_of(5, places_at(500.5, 1000.5, (30, 30), 10.0 * times))
    fine = noise_of(5, places_at(500.5 * times, 1000.5 * times, (30 * times, 30 * times)))
    np.testing.assert_allclose(coarse, fine[..., ::times, ::times], rtol=0, atol=1e-5)


def test_noise_has_no_period():
    places = places_at(0, 0, (40, 40))
    coarse = {0: 640.0}
    here = layered_noise(hashed(3), places, coarse, np.ones((1, 1)))
    for cells in (256, 1024, 65_536):
        there = places.moved(np.asarray([640.0 * cells]), np.asarray([0.0]))
        noise = layered_noise(hashed(3), there, coarse, np.ones((1, 1)))
        assert abs(here - noise).max() > 0.1


def test_other_seeds_and_other_octaves_have_other_noise():
    places = Places(np.zeros(64), np.zeros(64), 10.0, (32, 32))
    fields = np.concatenate(
        [
            layered_noise(HashGradients(np.arange(64)), places, {octave: 80.0}, np.ones((1, 1)))
            for octave in (0, 1)
        ]
    ).reshape(128, -1)
    likeness = np.corrcoef(fields) - np.eye(128)
    assert abs(likeness).max() < 0.7


def test_noise_is_centred_and_stays_within_one():
    many = np.arange(400)
    places = Places(np.zeros(400), np.zeros(400), 1.0, (32, 32))
    noise = layered_noise(HashGradients(many), places, {0: 8.0}, np.ones((1, 1)))
    assert abs(noise).max() < 1
    assert abs(noise.mean()) < 0.005
    assert noise.std() == pytest.approx(0.2157, abs=0.003)


@given(seeds)
def test_the_hash_is_a_32_bit_word_of_all_64_bits(seed):
    word = hash_words(np.asarray([seed], np.int64), 1)
    assert word.dtype == np.int64
    assert 0 <= word[0] < 2**32
    for bit in (0, 31, 32, 62):
        assert word[0] != hash_words(np.asarray([seed ^ (1 << bit)], np.int64), 1)[0]


def test_each_bit_of_a_key_turns_half_of_the_word():
    words = np.arange(4000)
    for bit in range(32):
        turned = hash_words(words, 5) ^ hash_words(words, 5 ^ (1 << bit))
        assert np.bitwise_count(turned).mean() == pytest.approx(16, abs=0.3)


def test_uniform_numbers_fill_zero_to_one_evenly():
    numbers = uniform(np.arange(20_000), 3)
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(counts - 1000).max() < 150


def test_starts_lie_on_the_grid_of_exact_sums():
    places = places_at(1 / 3, -1e5 - 1 / 7, (4, 4))
    for start in (places.row0, places.col0):
        assert start[0] * 2**16 == round(start[0] * 2**16)


def test_the_module_of_an_array_is_found_without_importing_torch():
    assert array_module(np.zeros(1)) is np
    code = "import sys, geodecloud.sky.clouds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
