"""Skies as values, and skies drawn from seeds."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import OptionError
from geodecloud.sky.kinds import TYPES
from geodecloud.sky.skies import Skies, random_skies
from geodecloud.sky.sky import Sky


def numbers_of(skies: Skies) -> dict[str, np.ndarray]:
    return {field.name: np.asarray(getattr(skies, field.name)) for field in fields(Skies)}


@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    coverage=st.floats(0, 1),
    type=st.sampled_from(sorted(TYPES)),
    threshold=st.none() | st.floats(-3, 3),
)
def test_a_sky_survives_json(seed, coverage, type, threshold):
    thresholds = None if threshold is None else (threshold,)
    sky = Sky(seed, coverage, type, thresholds=thresholds)
    assert Sky.from_json(sky.to_json()) == sky


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"type": "sharknado"}, "cumulus"),
        ({"coverage": 1.2}, "share"),
        ({"coverage": float("nan")}, "share"),
        ({"sun_elevation_deg": 0.0}, "elevation"),
        ({"sun_elevation_deg": 91.0}, "elevation"),
        ({"seed": 2**63}, "seed"),
    ],
)
def test_what_is_no_sky_is_refused_with_what_to_do(change, word):
    with pytest.raises(OptionError, match=word):
        replace(Sky(1), **change)


@pytest.mark.parametrize("types", [(), ("cumulus", "smoke")])
def test_types_that_are_not_known_are_refused(types):
    with pytest.raises(OptionError, match="known are"):
        random_skies(np.arange(2), types)


def test_what_a_sky_says_goes_before_what_its_type_says():
    sky = Sky(3, type="fog", cloud_height_m=321, cell_m=1234, depth=9, thresholds=(0.5,))
    skies = numbers_of(sky.layers(2, np.zeros(1))[0])
    for name, value in (("height_m", 321), ("cell_m", 1234), ("depth", 9), ("threshold", 0.5)):
        assert skies[name].tolist() == [value, value]
    usual = numbers_of(Sky(3, type="fog").layers(1, np.zeros(1))[0])
    for name in ("cell_m", "depth", "height_m", "edge"):
        low, high = getattr(TYPES["fog"], name)
        assert low < usual[name][0] < high


def test_the_same_seeds_draw_the_same_skies_alone_or_together():
    seeds = np.arange(20) * 12_345
    together = numbers_of(random_skies(seeds))
    for i in range(20):
        alone = numbers_of(random_skies(seeds[i : i + 1]))
        for name, values in together.items():
            assert values[i] == alone[name][0], name


def test_other_seeds_draw_other_skies_in_the_ranges_asked_for():
    skies = numbers_of(
        random_skies(np.arange(500), sun_azimuth_deg=(90, 180), sun_elevation_deg=(30, 60))
    )
    for name in ("cell_m", "depth", "height_m", "threshold", "sun_azimuth_deg"):
        assert len(np.unique(skies[name])) > 490
    assert 90 <= skies["sun_azimuth_deg"].min() < 95
    assert 175 < skies["sun_azimuth_deg"].max() < 180
    assert 30 <= skies["sun_elevation_deg"].min() < skies["sun_elevation_deg"].max() < 60


def test_every_type_is_drawn_and_none_but_those_named():
    names = {(kind.roughness, kind.angstrom): name for name, kind in TYPES.items()}
    assert len(names) == len(TYPES)

    def drawn(skies: Skies) -> set[str]:
        return {names[key] for key in zip(skies.roughness, skies.angstrom, strict=True)}

    assert drawn(random_skies(np.arange(300))) == set(TYPES)
    assert drawn(random_skies(np.arange(50), ("haze",))) == {"haze"}


def test_a_type_draws_from_its_own_ranges():
    for name, kind in TYPES.items():
        skies = random_skies(np.arange(200), (name,))
        for number in ("cell_m", "depth", "height_m", "edge"):
            low, high = getattr(kind, number)
            values = getattr(skies, number)
            assert low <= values.min() * (1 + 1e-12)
            assert values.max() <= high * (1 + 1e-12)


def test_torch_draws_what_numpy_draws():
    torch = pytest.importorskip("torch")
    seeds = np.arange(100) * 2**50
    ours = numbers_of(random_skies(seeds))
    theirs = numbers_of(random_skies(torch.from_numpy(seeds)))
    for name, values in ours.items():
        np.testing.assert_allclose(theirs[name], values, rtol=1e-12, err_msg=name)
