"""Where shadows fall is told by how clouds and dark ground lie to each other."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geodecloud.geo.scene import without_georeference
from geodecloud.run.shadows import Throw, Votes, away_from_sun


def blobs(shape, seed, share=0.1):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 6)
    return field > np.quantile(field, 1 - share)


def votes_of(cloud, shadow, noise_seed=1, reach_px=100):
    dark = (shadow | blobs(cloud.shape, noise_seed, 0.05)) & ~cloud
    return Votes.of(cloud, dark, ~cloud, reach_px)


@given(st.floats(0, 2 * np.pi), st.floats(25, 80), st.integers(0, 99))
def test_the_direction_and_distance_of_shadows_are_found_from_masks_alone(angle, far, seed) -> None:
    cloud = blobs((256, 320), seed)
    moved = round(far * np.cos(angle)), round(far * np.sin(angle))
    throw = votes_of(cloud, ndimage.shift(cloud, moved, order=0)).throw()
    assert throw is not None
    row, col = np.array(moved) / np.hypot(*moved)
    assert throw.row * row + throw.col * col > np.cos(np.radians(15))
    assert throw.nearest_px <= np.hypot(*moved) + 4
    assert throw.farthest_px >= np.hypot(*moved) - 4


def test_dark_ground_that_follows_no_cloud_throws_no_shadow() -> None:
    for seed in range(5):
        cloud = blobs((512, 512), seed)
        assert votes_of(cloud, np.zeros_like(cloud), noise_seed=50 + seed).throw() is None


def test_a_scene_without_cloud_or_smaller_than_a_cell_tells_nothing() -> None:
    for shape in ((64, 64), (3, 3), (1, 200)):
        clear = np.zeros(shape, bool)
        assert Votes.of(clear, ~clear, ~clear, 20).throw() is None


def test_a_known_sun_overrules_a_likelier_direction() -> None:
    cloud = blobs((256, 256), 3)
    strong, weak = np.roll(cloud, (-40, 0), (0, 1)), np.roll(cloud, (0, 40), (0, 1))
    weak[::2] = False
    votes = votes_of(cloud, strong | weak)
    assert votes.throw().row < -0.9
    assert votes.throw(toward=(0.0, 1.0)).col > 0.9


def test_votes_of_samples_add_up() -> None:
    clouds = [blobs((256, 256), seed) for seed in range(3)]
    votes = [votes_of(cloud, np.roll(cloud, (-48, -20), (0, 1))) for cloud in clouds]
    throw = (votes[0] + votes[1] + votes[2]).throw()
    assert throw.row == pytest.approx(-48 / 52, abs=0.1)
    assert throw.col == pytest.approx(-20 / 52, abs=0.15)


def test_steps_walk_the_distances_each_pixel_once() -> None:
    throw = Throw(0.0, -1.0, 3, 6)
    assert throw.steps() == [(0, -3), (0, -4), (0, -5), (0, -6)]
    assert throw.stretched(1.5) == Throw(0.0, -1.0, 2, 9)
    diagonal = Throw(0.6, 0.8, 0, 40).steps()
    assert len(diagonal) == len(set(diagonal))


@pytest.mark.parametrize(
    ("azimuth", "row", "col"), [(0, 1, 0), (90, 0, -1), (180, -1, 0), (270, 0, 1)]
)
def test_shadows_fall_away_from_the_sun(azimuth, row, col) -> None:
    north_up = GeoBox((4, 4), Affine(10, 0, 0, 0, -10, 0), "EPSG:32632")
    south_up = GeoBox((4, 4), Affine(10, 0, 0, 0, 10, 0), "EPSG:32632")
    degrees = GeoBox((4, 4), Affine(1e-4, 0, 11, 0, -1e-4, 60), "EPSG:4326")
    for geobox in (north_up, degrees, without_georeference((4, 4))):
        assert away_from_sun(azimuth, geobox) == pytest.approx((row, col), abs=1e-9)
    assert away_from_sun(azimuth, south_up) == pytest.approx((-row, col), abs=1e-9)


def test_shadows_turn_with_a_rotated_grid() -> None:
    turned = GeoBox((4, 4), Affine.rotation(90) @ Affine.scale(10, -10), "EPSG:32632")
    # columns now run north: a sun in the south throws shadows along them
    assert away_from_sun(180, turned) == pytest.approx((0, 1), abs=1e-9)
