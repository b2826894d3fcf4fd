"""Batches shared out among threads: every part is done once, errors come out, bits stay."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from geodecloud.sky.clouds import apply_sky, random_skies
from geodecloud.sky.perlin import HashGradients, Places, layered_noise
from geodecloud.sky.threads import share_out

N_CHIPS = 40  # more than are drawn at once


def places_of(px: int) -> Places:
    start = np.arange(N_CHIPS) * 777.25
    return Places(start, -start, 10.0, (px, px))


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_every_part_is_worked_on_once(threads):
    done: list[int] = []
    share_out(done.append, range(9), threads)
    assert sorted(done) == list(range(9))


def test_parts_are_worked_on_at_once():
    meeting = threading.Barrier(2, timeout=5)
    share_out(lambda part: meeting.wait(), range(2), 2)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_of_a_thread_is_raised(threads):
    def divide(part: int) -> None:
        1 / part

    with pytest.raises(ZeroDivisionError):
        share_out(divide, [1, 0, 1], threads)


def test_noise_has_the_same_bits_by_any_number_of_threads():
    gradients, cells = HashGradients(np.arange(N_CHIPS)), {0: 640.0, 1: 40.0, 2: 20.0}
    one, three = (
        layered_noise(gradients, places_of(64), cells, np.ones((1, 3)), threads=threads)
        for threads in (1, 3)
    )
    np.testing.assert_array_equal(one, three)


def test_skies_have_the_same_bits_by_any_number_of_threads():
    ground = np.full((N_CHIPS, 2, 32, 32), 0.1, np.float32)
    (one, truth), (three, truth_of_three) = (
        apply_sky(ground, (560, 842), random_skies(np.arange(N_CHIPS)), places_of(32), threads=n)
        for n in (1, 3)
    )
    np.testing.assert_array_equal(one, three)
    np.testing.assert_array_equal(truth.optical_depth, truth_of_three.optical_depth)
    np.testing.assert_array_equal(truth.is_shadow, truth_of_three.is_shadow)
