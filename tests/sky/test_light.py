"""What clouds do to light, against what is known of it."""

from __future__ import annotations

import numpy as np
import pytest

from geodecloud.sky.light import Light, seen_from_above, shadow_strength

NM = (492.4, 559.8, 664.6, 832.8)
GROUND = np.asarray([0.04, 0.07, 0.05, 0.35], np.float32)[None, :, None, None]


def light_of(angstrom=0.3, elevation=50.0, is_toa=False, nm=NM, height_m=1500.0) -> Light:
    each = (np.asarray([value]) for value in (angstrom, elevation, height_m))
    return Light.of(nm, *each, is_toa)


def plane(value: float) -> np.ndarray:
    return np.full((1, 1, 1, 1), value, np.float32)


def seen(depth: float, strength: float = 0.0, light: Light | None = None, ground=GROUND):
    light = light_of() if light is None else light
    return seen_from_above(ground, light, plane(depth), plane(strength), plane(0.0)).ravel()


def test_no_cloud_and_no_shadow_change_nothing_to_speak_of():
    np.testing.assert_allclose(seen(0.0), GROUND.ravel(), rtol=1e-6)
    np.testing.assert_allclose(seen(0.0, light=light_of(is_toa=True)), GROUND.ravel(), rtol=1e-5)


def test_thin_cloud_takes_less_of_the_near_infrared():
    light = light_of(angstrom=1.2)
    grey, black = np.full_like(GROUND, 0.3), np.zeros_like(GROUND)
    kept = (seen(1.0, light=light, ground=grey) - seen(1.0, light=light, ground=black)) / 0.3
    assert (np.diff(kept) > 0).all()
    assert kept[-1] > kept[0] + 0.05


def test_thin_cloud_is_bluish_and_thick_cloud_nearly_white():
    black = np.zeros_like(GROUND)
    thin = seen(0.5, light=light_of(angstrom=1.2), ground=black)
    assert thin[0] > thin[1] > thin[2]
    thick = seen(60.0, light=light_of(angstrom=0.05))
    assert thick.max() / thick.min() < 1.1


def test_the_deeper_the_cloud_the_brighter_and_the_less_of_the_ground():
    depths = (0.1, 0.5, 1, 3, 7, 15, 40, 90)
    black, white = np.zeros_like(GROUND), np.ones_like(GROUND) * 0.5
    dark = np.asarray([seen(depth, ground=black) for depth in depths])
    bright = np.asarray([seen(depth, ground=white) for depth in depths])
    assert (np.diff(dark, axis=0) > 0).all()
    assert (np.diff(bright - dark, axis=0) < 0).all()
    assert 0.4 < dark[-2].min() < dark[-1].max() < 1.0


def test_from_thick_on_less_than_a_tenth_of_the_ground_is_seen():
    light = light_of(angstrom=0.05)
    contrast = seen(7.0, light=light) - seen(7.0, light=light, ground=np.zeros_like(GROUND))
    assert (contrast < 0.1 * GROUND.ravel()).all()


def test_full_shade_keeps_the_light_of_the_sky_which_is_blue():
    ratio = seen(0.0, strength=1.0) / GROUND.ravel()
    assert (np.diff(ratio) < 0).all()
    assert 0.1 < ratio[-1] < ratio[0] < 0.5


def test_shade_at_the_top_of_the_atmosphere_leaves_the_light_of_the_air():
    ground = GROUND + np.asarray([0.09, 0.05, 0.03, 0.01], np.float32)[None, :, None, None]
    top = seen(0.0, 1.0, light_of(is_toa=True), ground)
    assert top[0] > 0.08
    assert (top < ground.ravel()).all()


def test_levels_go_chip_by_chip():
    levels = np.asarray([False, True])
    two = (np.full(2, value) for value in (0.1, 50.0, 1500.0))
    light = Light.of(NM, *two, levels)
    assert light.path[0].max() == 0
    assert (light.path[1] > 0).all()
    assert light.white[1, 0] < light.white[0, 0]


def test_a_low_sun_casts_a_stronger_shadow_of_thin_cloud():
    depth = np.ones((2, 1, 1, 1), np.float32)
    high, low = shadow_strength(depth, np.asarray([70.0, 25.0])).ravel()
    assert 0 < high < low < 1
    assert shadow_strength(plane(0.0), np.asarray([40.0])).item() == 0
    assert shadow_strength(plane(60.0), np.asarray([40.0])).item() == pytest.approx(1, abs=1e-6)


def test_all_bands_of_sentinel_2_have_light():
    nm = (
        442.7,
        492.4,
        559.8,
        664.6,
        704.1,
        740.5,
        782.8,
        832.8,
        864.7,
        945.1,
        1373.5,
        1613.7,
        2202.4,
    )
    for is_toa in (False, True):
        light = light_of(is_toa=is_toa, nm=nm)
        for part in (light.depth, light.white, light.land, light.diffuse, light.path):
            assert part.shape == (1, 13, 1, 1)
            assert np.isfinite(part).all()
            assert part.min() >= 0
