"""A sky over a scene: it meets its coverage, is written down, and refuses what is none."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from geodecloud.errors import GridError, InputError, OptionError
from geodecloud.geo.scene import without_georeference
from geodecloud.sky.adjacency import ground_around, reach_px
from geodecloud.sky.clouds import apply_sky, optical_depth
from geodecloud.sky.ground import SceneGrid
from geodecloud.sky.kinds import TYPES
from geodecloud.sky.perlin import Places
from geodecloud.sky.sky import Sky
from tests.strategies import utm_geobox

NM = (492.4, 559.8, 664.6, 832.8)
MIXTURES = ("cumulus+cirrus", "fog+haze", "deck+cumulus+cirrus")


def covered(sky: Sky, geobox: GeoBox) -> float:
    height, width = (int(n) for n in geobox.shape)
    grid = SceneGrid.of(geobox, sky.crs)
    return float((optical_depth(sky, grid.window(0, 0, (height, width))) > 0).mean())


def degrees_geobox(shape: tuple[int, int], step: float = 1e-4) -> GeoBox:
    return GeoBox(shape, Affine(step, 0, 11.3, 0, -step, 46.5), "EPSG:4326")


@given(
    coverage=st.floats(0.03, 0.97),
    type=st.sampled_from((*TYPES, *MIXTURES)),
    seed=st.integers(-(2**63), 2**63 - 1),
    shape=st.sampled_from(((300, 300), (97, 64), (40, 700))),
)
@settings(max_examples=15)
def test_coverage_is_met_over_the_scene(coverage, type, seed, shape):
    geobox = utm_geobox(shape)
    assert covered(Sky.for_scene(geobox, coverage, type, seed), geobox) == pytest.approx(
        coverage, abs=0.02
    )


@pytest.mark.parametrize(
    "geobox",
    [
        degrees_geobox((300, 260)),
        without_georeference((300, 260)),
        GeoBox((250, 200), utm_geobox((1, 1)).affine * Affine.rotation(33), "EPSG:32632"),
        GeoBox((200, 200), Affine(20, 0, 6e5, 0, 20, 5.1e6), "EPSG:32632"),
        GeoBox((200, 200), Affine(10, 0, 1.2e6, 0, -10, 6e6), "EPSG:3857"),
    ],
    ids=["degrees", "nowhere", "rotated", "south-up", "mercator"],
)
def test_coverage_is_met_on_every_kind_of_grid(geobox):
    for coverage in (0.2, 0.6):
        sky = Sky.for_scene(geobox, coverage, seed=5)
        assert covered(sky, geobox) == pytest.approx(coverage, abs=0.02)


def test_no_cloud_and_all_cloud_are_meant():
    geobox = utm_geobox((90, 80))
    assert covered(Sky.for_scene(geobox, 0.0), geobox) == 0
    assert covered(Sky.for_scene(geobox, 1.0, "cumulus+fog"), geobox) > 0.999


def test_metres_are_those_of_the_utm_zone():
    assert SceneGrid.of(degrees_geobox((10, 10))).crs == "EPSG:32632"
    assert SceneGrid.of(GeoBox((9, 9), Affine(1e-4, 0, 117, 0, -1e-4, -21), "EPSG:4326")).crs == (
        "EPSG:32750"
    )
    assert SceneGrid.of(utm_geobox((10, 10))).crs == "EPSG:32632"
    assert SceneGrid.of(without_georeference((10, 10))).crs is None


@pytest.mark.parametrize("times", [2, 6])
def test_resolutions_see_one_sky(times):
    """Centres of coarse pixels are looked at from a fine grid with a centre there."""
    sky = Sky(5, 0.5, thresholds=(0.0,), crs="EPSG:32632")
    coarse_box = GeoBox((30, 30), Affine(10 * times, 0, 6e5, 0, -10 * times, 5.1e6), "EPSG:32632")
    shift = 5.0 * times - 5.0  # from a corner of a coarse pixel to one whose centre is the same
    fine_box = GeoBox(
        (30 * times, 30 * times), Affine(10, 0, 6e5 + shift, 0, -10, 5.1e6 - shift), "EPSG:32632"
    )
    coarse, fine = (
        optical_depth(sky, SceneGrid.of(box).window(0, 0, tuple(int(n) for n in box.shape)))
        for box in (coarse_box, fine_box)
    )
    np.testing.assert_allclose(coarse, fine[..., ::times, ::times], rtol=1e-5, atol=1e-5)


@given(
    start=st.tuples(*[st.integers(0, 60)] * 2),
    kind=st.sampled_from(("utm", "degrees", "nowhere")),
    type=st.sampled_from(("cumulus", "fog+cirrus")),
)
@settings(max_examples=20)
def test_a_window_of_the_scene_has_the_scenes_sky(start, kind, type):
    make = {"utm": utm_geobox, "degrees": degrees_geobox, "nowhere": without_georeference}[kind]
    whole, (row, col) = make((100, 100)), start
    sky = Sky.for_scene(whole, 0.5, type, 3)
    scene = optical_depth(sky, SceneGrid.of(whole, sky.crs).window(0, 0, (100, 100)))
    part = SceneGrid.of(whole, sky.crs).window(row, col, (40, 40))
    inside = (..., slice(row, row + 40), slice(col, col + 40))
    np.testing.assert_array_equal(optical_depth(sky, part), scene[inside])
    if kind != "nowhere":  # where a window is a file of its own
        window = GeoBox((40, 40), whole.affine * Affine.translation(col, row), whole.crs)
        alone = SceneGrid.of(window, sky.crs).window(0, 0, (40, 40))
        np.testing.assert_allclose(optical_depth(sky, alone), scene[inside], rtol=1e-3, atol=1e-3)


def test_a_file_in_utm_has_the_bits_of_the_scene():
    whole = utm_geobox((100, 100))
    sky = Sky.for_scene(whole, 0.5)
    scene = optical_depth(sky, SceneGrid.of(whole).window(0, 0, (100, 100)))
    window = SceneGrid.of(utm_geobox((40, 30), row=25, col=60)).window(0, 0, (40, 30))
    np.testing.assert_array_equal(optical_depth(sky, window), scene[..., 25:65, 60:90])


def ground_of(shape: tuple[int, int], n_chips: int = 1) -> np.ndarray:
    random = np.random.default_rng(0)
    base = np.asarray([0.05, 0.08, 0.06, 0.3])[None, :, None, None]
    return (base * random.uniform(0.3, 2.0, (n_chips, 4, *shape))).astype(np.float32)


def places_at(shape: tuple[int, int], step: float = 10.0) -> Places:
    return Places(np.full(1, 525_749.5), np.full(1, 47_248.5), step, shape)


@pytest.mark.parametrize("type", MIXTURES)
def test_a_mixture_is_its_layers_one_over_another(type):
    ground, places = ground_of((96, 96)), places_at((96, 96), 40.0)
    cloudy, truth = apply_sky(ground, NM, Sky(2, 0.6, type), places)
    marked = truth.is_thin | truth.is_thick | truth.is_shadow
    clear = np.broadcast_to(~marked, ground.shape)
    np.testing.assert_array_equal(cloudy[clear], ground[clear])
    lower = Sky(2, 1 - (1 - 0.6) ** (1 / len(type.split("+"))), type.split("+")[0])
    assert (truth.optical_depth >= optical_depth(lower, places)).all()
    assert optical_depth(lower, places).any()


def test_sharp_and_soft_edges_are_asked_for():
    places = places_at((128, 128))
    steepest = [
        max(
            float(abs(np.diff(1 - np.exp(-0.3 * optical_depth(sky, places)))).max())
            for sky in (Sky(seed, 0.5, "deck", edge=edge) for seed in range(4))
        )
        for edge in (0.1, 3.0)
    ]
    assert steepest[0] > 4 * steepest[1]


def test_bands_see_high_clouds_in_other_places_where_that_is_asked_for():
    ground, places = np.zeros((1, 4, 96, 96), np.float32), places_at((96, 96))
    sky = Sky(6, 0.5, "cirrus", depth=8.0)
    together, _ = apply_sky(ground, NM, sky, places)
    apart, truth = apply_sky(ground, NM, replace(sky, parallax=1.0), places)
    np.testing.assert_array_equal(apart[:, 0], together[:, 0])  # B02 is seen first
    assert abs(apart[:, 2] - together[:, 2]).max() > 0.02
    marked = truth.is_thin | truth.is_thick | truth.is_shadow
    assert not apart[np.broadcast_to(~marked, apart.shape)].any()
    # red lies where the clouds are that blue sees from 0.0095 rad a second further along
    away = 0.0095 * 1.005 * 8774.0 / 10.0
    likeness = [
        np.corrcoef(
            apart[0, 2, 20:76, 20:76].ravel(),
            together[0, 2, 20 + s : 76 + s, 20:76].ravel(),
        )[0, 1]
        for s in range(-15, 16)
    ]
    assert int(np.argmax(likeness)) - 15 == pytest.approx(away, abs=2)


def test_clouds_blur_the_ground_into_what_lies_around():
    shape, sky = (64, 64), Sky(1, 1.0, "fog", depth=6.0, thresholds=(-4.0,))
    ground = np.zeros((1, 4, *shape), np.float32)
    ground[..., 32:] = 0.4
    around = ground_around(ground, 10.0)
    blurred, _ = apply_sky(ground, NM, sky, places_at(shape), around=around)
    black, _ = apply_sky(ground * 0, NM, sky, places_at(shape), around=around * 0)
    light = (blurred - black)[0, 0, 20]
    assert light[31] > light[10] * 1.02  # beside the bright half
    assert light[33] < light[60]


@given(
    start=st.tuples(*[st.integers(0, 40)] * 2),
    pixel_m=st.sampled_from((10.0, 20.0, 60.0, 3.0)),
)
@settings(max_examples=20)
def test_surroundings_of_a_window_are_those_of_the_whole(start, pixel_m):
    whole, reach = ground_of((90, 90)), reach_px(pixel_m)
    valid = np.random.default_rng(1).random(whole.shape) > 0.3
    expected = ground_around(whole, pixel_m, valid)
    row, col = start
    top, left = max(row - reach, 0), max(col - reach, 0)
    read = (..., slice(top, row + 30 + reach), slice(left, col + 30 + reach))
    got = ground_around(whole[read], pixel_m, valid[read])
    inside = (..., slice(row - top, row - top + 30), slice(col - left, col - left + 30))
    np.testing.assert_array_equal(got[inside], expected[..., row : row + 30, col : col + 30])
    near = expected[expected > 0]  # where something valid is near
    assert whole.min() <= near.min() <= near.max() <= whole.max()


def test_surroundings_are_the_same_in_torch():
    torch = pytest.importorskip("torch")
    ground = ground_of((40, 50))
    theirs = ground_around(torch.from_numpy(ground), 10.0).numpy()
    np.testing.assert_array_equal(theirs, ground_around(ground, 10.0))


def test_the_cirrus_band_sees_high_clouds_alone():
    nm, ground = (1373.5, 492.4), np.full((1, 2, 48, 48), 0.002, np.float32)
    seen = {
        type: apply_sky(ground, nm, Sky(1, 1.0, type, depth=6.0), places_at((48, 48)), is_toa=True)
        for type in ("cirrus", "fog")
    }
    cirrus, fog = (seen[type][0].mean((0, 2, 3)) for type in ("cirrus", "fog"))
    assert cirrus[0] > 0.15
    assert fog[0] < 0.02
    assert fog[1] > 0.15


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param("{", "no JSON", id="cut off"),
        pytest.param("[" * 40_000, "no JSON", id="too deep"),
        pytest.param(" " * 70_000, "characters", id="too long"),
        pytest.param("[1]", "no sky", id="a list"),
        pytest.param('{"seed": 1}', "no sky", id="another file"),
        pytest.param('{"format": "geodecloud-sky", "version": 1}', "seed", id="nothing in it"),
    ],
)
def test_what_is_no_sky_is_one_clear_error(text, word):
    with pytest.raises(InputError, match=word):
        Sky.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"wind": 3}, {"seed": "7"}, {"seed": True}, {"coverage": None},
        {"coverage": float("nan")}, {"type": ["haze"]}, {"type": None}, {"thresholds": [0, 0]},
        {"thresholds": "0"}, {"thresholds": [1e300]}, {"crs": "EPSG:4326"}, {"crs": 32632},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_sky_is_one_clear_error(change):
    said = json.loads(Sky(7, crs="EPSG:32632").to_json())
    with pytest.raises(InputError, match=next(iter(change))):
        Sky.from_json(json.dumps({**said, **change}))


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ({"type": "smoke"}, "known are haze"),
        ({"type": "haze+"}, "known are haze, cirrus"),
        ({"type": "haze+haze+haze+haze+haze"}, "up to 4"),
        ({"coverage": -0.1}, "0 to 1"),
        ({"sun_elevation_deg": -3.0}, "above the horizon"),
        ({"type": "haze+fog", "depth": 3.0}, "mixture"),
        ({"edge": 0.0}, "sharp"),
        ({"parallax": 2.0}, "shift"),
    ],
)
def test_numbers_that_make_no_sky_are_one_clear_error(numbers, word):
    with pytest.raises(OptionError, match=word):
        Sky(**numbers)


def test_a_grid_that_nobody_can_place_is_refused():
    mine = CRS('LOCAL_CS["mine",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]')
    with pytest.raises(GridError, match="no way is known from the coordinate system mine"):
        SceneGrid.of(GeoBox((64, 64), Affine(10, 0, 0, 0, -10, 0), mine))


def test_a_sky_of_a_zone_needs_a_scene_on_earth():
    with pytest.raises(GridError, match="no georeference"):
        SceneGrid.of(without_georeference((9, 9)), "EPSG:32632")
