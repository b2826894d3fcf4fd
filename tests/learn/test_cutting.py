"""Scenes cut into packed samples: every valid pixel once, and clouds of real pairs marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import DataError
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.learn.cutting import CLEAR, SHADOW, THICK, Cut, TrainingScene, mark_clouds, pack
from geodecloud.learn.packed import PackedChips

SENSOR = SENSORS["sentinel-2-l2a"].select(["B02", "B03", "B04", "B08"])


def scene_of(dn: np.ndarray, sensor: Sensor = SENSOR) -> ArrayScene:
    return ArrayScene(dn, sensor)


def numbers(height: int, width: int) -> np.ndarray:
    count = 4 * height * width
    return (np.arange(count) % 9000 + 1).reshape(4, height, width).astype(np.uint16)


@given(st.integers(1, 40), st.integers(1, 40))
def test_every_pixel_of_a_scene_is_packed_once(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int
) -> None:
    out = tmp_path_factory.mktemp("pack") / "chips.safetensors"
    dn = numbers(height, width)
    pack([TrainingScene("a", {"target": scene_of(dn)})], out, Cut(16, min_valid=0.0))
    packed = PackedChips(out)
    values, valid = packed.read("target", np.arange(len(packed)))
    stored = np.rint(values[valid] * 1e4).astype(int)
    assert sorted(stored) == sorted(dn.astype(int).ravel())


def test_windows_with_too_little_to_see_are_left_out(tmp_path: Path) -> None:
    dn = numbers(64, 64)
    dn[:, :, 33:] = 0
    out = tmp_path / "chips.safetensors"
    assert pack([TrainingScene("a", {"target": scene_of(dn)})], out, Cut(32)) == 2


def test_windows_without_a_place_are_places_of_their_own(tmp_path: Path) -> None:
    out = tmp_path / "chips.safetensors"
    scene = scene_of(numbers(64, 64))
    pack([TrainingScene("a", {"target": scene})], out, Cut(32))
    assert len(PackedChips(out).places) == 4
    pack([TrainingScene("a", {"target": scene}, place="one")], out, Cut(32))
    assert PackedChips(out).places == ["one"]


def test_a_pair_gets_a_mask_of_its_clouds(tmp_path: Path) -> None:
    clear = np.full((4, 32, 32), 1000, np.uint16)
    cloudy = clear.copy()
    cloudy[:, :12] = 7000
    out = tmp_path / "chips.safetensors"
    pack(
        [TrainingScene("a", {"target": scene_of(clear), "source": scene_of(cloudy)}, level="L1C")],
        out,
        Cut(32),
    )
    classes, _ = PackedChips(out).read("mask", np.array([0]))
    assert (classes[0, 0, :10] == THICK).all()
    assert (classes[0, 0, 18:] == CLEAR).all()


def test_a_change_of_season_is_no_cloud() -> None:
    random = np.random.default_rng(0)
    clear = random.uniform(0.05, 0.15, (4, 64, 64)).astype(np.float32)
    autumn = clear.copy()
    autumn[2] += 0.08  # redder
    autumn[3] *= 0.8  # and less of the near infrared
    assert (mark_clouds(autumn, clear) == CLEAR).mean() > 0.99


def test_a_shadow_is_dark_in_the_near_infrared() -> None:
    clear = np.full((4, 64, 64), 0.3, np.float32)
    shaded = clear.copy()
    shaded[:, 20:40, 20:40] *= 0.4
    classes = mark_clouds(shaded, clear)
    assert (classes[24:36, 24:36] == SHADOW).all()
    assert (classes[:10] == CLEAR).all()


def test_of_more_bands_those_tell_that_clouds_change(tmp_path: Path) -> None:
    sensor = SENSORS["sentinel-2-l1c"]
    cloudy, clear = np.full((2, len(sensor.bands), 32, 32), 1000, np.uint16)
    seen = sensor.index([name for name in sensor.band_names if name not in {"B09", "B10"}])
    cloudy[seen, :12] = 7000  # water vapour hides a low cloud from the two
    sides = {"target": scene_of(clear, sensor), "source": scene_of(cloudy, sensor)}
    pack([TrainingScene("a", sides, level="L1C")], tmp_path / "chips.safetensors", Cut(32))
    classes, _ = PackedChips(tmp_path / "chips.safetensors").read("mask", np.array([0]))
    assert (classes[0, 0, :10] == THICK).all()
    assert (classes[0, 0, 18:] == CLEAR).all()


def test_nan_in_chips_is_one_clear_error(tmp_path: Path) -> None:
    dn = np.ones((1, 32, 32), np.float32)
    dn[0, 3, 3] = np.nan
    scene = scene_of(dn, Sensor("s", (Band("B02", dtype="float32"),)))
    with pytest.raises(DataError, match="spring holds NaN in its target bands"):
        pack([TrainingScene("spring", {"target": scene})], tmp_path / "c.safetensors", Cut(32))


def test_nan_that_is_declared_is_nodata(tmp_path: Path) -> None:
    dn = np.ones((1, 32, 32), np.float32)
    dn[0, 3, 3] = np.nan
    scene = scene_of(dn, Sensor("s", (Band("B02", dtype="float32", nodata=np.nan),)))
    out = tmp_path / "c.safetensors"
    pack([TrainingScene("spring", {"target": scene})], out, Cut(32))
    _, valid = PackedChips(out).read("target", np.array([0]))
    assert (~valid).sum() == 1


def test_sides_of_different_shape_are_one_clear_error(tmp_path: Path) -> None:
    sides = {"target": scene_of(numbers(32, 32)), "source": scene_of(numbers(32, 16))}
    with pytest.raises(DataError, match="target is 32x32 px, source is 32x16 px"):
        pack([TrainingScene("a", sides)], tmp_path / "c.safetensors", Cut(16))


def test_scenes_of_different_bands_are_one_clear_error(tmp_path: Path) -> None:
    two = scene_of(numbers(32, 32)[:2], SENSOR.select(["B02", "B03"]))
    scenes = [
        TrainingScene("a", {"target": scene_of(numbers(32, 32))}),
        TrainingScene("b", {"target": two}),
    ]
    with pytest.raises(DataError, match="bands B02, B03 in reflectance"):
        pack(scenes, tmp_path / "c.safetensors", Cut(32))


def test_no_scene_and_no_window_are_clear_errors(tmp_path: Path) -> None:
    out = tmp_path / "c.safetensors"
    with pytest.raises(DataError, match="no scene"):
        pack([], out)
    empty = scene_of(np.zeros((4, 32, 32), np.uint16))
    with pytest.raises(DataError, match="30% of valid pixels"):
        pack([TrainingScene("a", {"target": empty})], out, Cut(32))
    assert not out.exists()
