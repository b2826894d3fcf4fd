"""Manifests: written, read back, and forged."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import InputError
from geodecloud.geo.chips import ChipStore
from geodecloud.geo.manifest import MANIFEST, Manifest, file_names, slug
from geodecloud.geo.scene import ArrayScene
from tests.strategies import chip_tilings, make_scene, make_sensor


@pytest.fixture
def store(tmp_path):
    """A store of six chips."""
    return ChipStore.cut(make_scene((40, 24)), tmp_path / "chips", size_px=16)


@given(st.text(max_size=200))
def test_any_name_of_a_scene_makes_a_safe_file_name(name):
    safe = slug(name)
    assert safe
    assert Path(safe).name == safe
    assert safe.isascii()
    assert not set(safe) & set(r' /\:*?"<>|')
    assert safe[0] not in ".-"
    assert len(safe) < 100
    assert (safe == name) or safe[-7] == "-"


@given(chip_tilings())
def test_file_names_sort_in_the_order_of_the_tiling(tiling):
    names = file_names("scene", tiling)
    assert len(set(names)) == len(tiling)
    assert sorted(names) == names


def rewritten(store, **changes):
    content = json.loads((store.folder / MANIFEST).read_text())
    (store.folder / MANIFEST).write_text(json.dumps(content | changes))


def test_a_manifest_reads_back_what_was_written(store):
    assert Manifest.read_from(store.folder) == store.manifest


def test_nodata_of_nan_survives_the_manifest(tmp_path):
    sensor = make_sensor(2, "float32", np.nan)
    scene = ArrayScene(np.full((2, 9, 9), np.nan, np.float32), sensor)
    ChipStore.cut(scene, tmp_path / "chips", size_px=8)
    back = ChipStore.open(tmp_path / "chips")
    assert np.isnan(back.profile.nodata).all()
    assert not any(chip.valid.any() for chip in back)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "something else"},
        {"version": 2},
        {"shape": [2_000_000_000, 2_000_000_000]},
        {"shape": [0, 4]},
        {"shape": [41, 24]},
        {"size_px": 0},
        {"overlap_px": 16},
        {"transform": [1, 2, 3]},
        {"chips": []},
        {"chips": None},
        {"sensor": {"name": "x", "bands": []}},
        {"profile": {}},
        {"scene": 7},
    ],
    ids=str,
)
def test_a_forged_manifest_is_one_clear_error(store, changes):
    rewritten(store, **changes)
    with pytest.raises(InputError, match=r"manifest\.json cannot be used") as error:
        ChipStore.open(store.folder)
    assert "--overwrite" in error.value.todo


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file", "../outside.tif"),
        ("file", "/etc/passwd"),
        ("file", "a/b.tif"),
        ("file", "a\\b.tif"),
        ("file", "x.vrt"),
        ("sha256", "0"),
        ("row", 9),
        ("window", [0, 0, 9, 9]),
        ("window", [-1, 0, 16, 16]),
    ],
)
def test_a_forged_record_of_a_chip_is_refused(store, key, value):
    chips = json.loads((store.folder / MANIFEST).read_text())["chips"]
    chips[0][key] = value
    rewritten(store, chips=chips)
    with pytest.raises(InputError, match="cannot be used"):
        ChipStore.open(store.folder)


def test_one_chip_twice_is_refused(store):
    chips = json.loads((store.folder / MANIFEST).read_text())["chips"]
    rewritten(store, chips=[*chips[1:], chips[1]])
    with pytest.raises(InputError, match="cannot be used"):
        ChipStore.open(store.folder)


@given(st.binary(max_size=200) | st.text().map(str.encode), st.integers(0), st.integers(0))
def test_no_manifest_raises_anything_but_an_input_error(tmp_path_factory, noise, start, length):
    folder = tmp_path_factory.getbasetemp() / "noise"
    if not folder.exists():
        ChipStore.cut(make_scene((20, 20)), folder, size_px=16)
        (folder / MANIFEST).rename(folder / "sound.json")
    content = (folder / "sound.json").read_bytes()
    start %= len(content)
    length %= 50
    (folder / MANIFEST).write_bytes(content[:start] + noise + content[start + length :])
    with suppress(InputError):
        ChipStore.open(folder)
    (folder / MANIFEST).unlink()
