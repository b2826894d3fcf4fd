"""A network and rules vote together: what one is sure of stands, and either turns a close vote."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest

from geodecloud.errors import BandError, ModelError
from geodecloud.geo.masks import CLEAR, CLOUD, NODATA, SHADOW, THIN
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.sensors import SENSORS
from geodecloud.run import network
from geodecloud.run.detectors import DETECTORS, detector_for
from geodecloud.run.joint import JointDetector
from tests.run.test_network import BANDS, package, scene_of


@dataclass(frozen=True)
class Rules:
    """Says the same of every pixel, and so of one that is not valid."""

    code: int
    bands: tuple[str, ...] = BANDS
    margin_px: int = 7
    stride_px: int = 1

    def prepare(self, scene, on_progress=None):
        scene.sensor.index(self.bands)
        return self

    def classes(self, values, valid):
        return np.full(valid.shape, self.code, np.uint8)


@pytest.fixture
def folder(tmp_path):
    return package(tmp_path / "sky")


def said(folder, code: int, blue: float, nir: float = 0.3, votes=(1.0, 1.0, 1.0)) -> int:
    scene = scene_of(np.full((4, 4), blue), np.full((4, 4), nir))
    detector = JointDetector("joint", str(folder), Rules(code), votes).prepare(scene)
    values, valid = np.empty((2, 4, 4), np.float32), np.ones((4, 4), bool)
    values[0], values[1] = blue, nir
    valid[0, 0] = False
    codes = detector.classes(values, valid)
    assert codes[0, 0] == NODATA
    (one,) = set(codes[valid].tolist())
    return one


# of these pixels the network's scores are: clear 0.1, thick 10 blue - 3, shadow 0.5 - 10 nir
@pytest.mark.parametrize(
    ("blue", "nir", "rules", "joint"),
    [
        (0.35, 0.3, CLOUD, CLOUD),
        (0.35, 0.3, CLEAR, CLEAR),  # 0.5 against 0.1 + 1
        (0.9, 0.5, CLEAR, CLOUD),  # 6 against 1.1
        (0.9, 0.5, SHADOW, CLOUD),
        (0.05, 0.03, CLEAR, CLEAR),  # 0.2 against 1.1
        (0.05, 0.03, SHADOW, SHADOW),
        (0.05, 0.1, SHADOW, SHADOW),  # -0.5 + 1 against 0.1
        (0.05, 0.3, SHADOW, CLEAR),  # -2.5 + 1
        (0.35, 0.3, THIN, THIN),  # of two kinds of cloud the network's: thin 0.85, thick 0.5
    ],
)
def test_rules_turn_a_close_vote_and_no_other(folder, blue, nir, rules, joint) -> None:
    expected = THIN if joint == CLOUD and blue == 0.35 else joint
    assert said(folder, rules, blue, nir) == expected


def test_without_votes_the_network_stands_alone(folder) -> None:
    assert said(folder, SHADOW, 0.9, votes=(0.0, 0.0, 0.0)) == CLOUD


def test_it_looks_as_far_as_the_farther_of_the_two(folder) -> None:
    scene = scene_of(np.ones((8, 8)), np.ones((8, 8)))
    detector = JointDetector("joint", str(folder), Rules(CLEAR), (1.0, 1.0, 1.0))
    prepared = detector.prepare(scene)
    assert (prepared.margin_px, prepared.stride_px) == (7, 2)
    assert replace(prepared, rules=replace(prepared.rules, margin_px=0)).margin_px == 0
    assert pickle.loads(pickle.dumps(prepared)) == prepared
    with pytest.raises(BandError, match="B08"):
        detector.prepare(scene.select(["B02"]))


def test_a_network_that_is_not_there_is_one_clear_error() -> None:
    scene = scene_of(np.ones((8, 8)), np.ones((8, 8)))
    with pytest.raises(ModelError):
        JointDetector("joint", "no-such-network", Rules(CLEAR), (1.0, 1.0, 1.0)).prepare(scene)


def test_auto_lets_rules_vote_beside_the_shipped_networks(tmp_path, monkeypatch) -> None:
    four = scene_of(np.ones((8, 8)), np.ones((8, 8)))
    names = ("B02", "B03", "B04", "B08")
    dn = np.ones((4, 8, 8), np.uint16)
    sensor = SENSORS["sentinel-2-l2a"].select(names)
    assert detector_for(ArrayScene(dn, sensor)) is DETECTORS["joint"]
    picture = ArrayScene(np.ones((3, 8, 8), np.uint8), SENSORS["rgb"])
    assert detector_for(picture) is DETECTORS["joint-rgb"]
    prepared = DETECTORS["joint-rgb"].prepare(picture)
    assert prepared.bands == prepared.network.bands == ("blue", "green", "red")
    monkeypatch.setattr(network, "SHIPPED", tmp_path)
    package(tmp_path / "sky")
    assert detector_for(four).name == "sky"
    assert detector_for(ArrayScene(dn, sensor.select(names[1:] + names[:1]))).name == "sky"
