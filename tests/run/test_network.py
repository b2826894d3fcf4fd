"""A network that finds clouds, out of a package made by hand; windows, refusals, shipping."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError, GridError, ModelError
from geodecloud.geo.classing import write_classes
from geodecloud.geo.masks import CLEAR, CLOUD, NODATA, SHADOW, THIN
from geodecloud.geo.scene import ArrayScene, ArraySink
from geodecloud.geo.sensors import DISPLAY_REFLECTANCE, SENSORS, Band, Sensor
from geodecloud.run import detectors, network
from geodecloud.run.blocks import in_blocks
from geodecloud.run.network import NetworkDetector, enlarged, is_model
from geodecloud.run.package import CARD
from tests.run.test_package import WAY, write_package

onnx = pytest.importorskip("onnx")

BANDS = ("B02", "B08")


def graph() -> bytes:
    """Scores of clear, thick, thin and shadow, from the mean blue and near infrared of 2x2 cells.

    thick: 10 blue - 3; thin: 0.2 where it lies between; shadow: 0.5 - 10 nir; clear: 0.1.
    """
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((4, 2, 1, 1), np.float32)
    weights[1, 0], weights[2, 0], weights[3, 1] = 10, 5, -10
    biases = np.array([0.1, -3, -0.9, 0.5], np.float32)
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["cells"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["cells", "weights", "biases"], ["scores"]),
        helper.make_node("Resize", ["scores", "", "scales"], ["answer"], mode="nearest"),
    ]
    known = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["b", 2, "h", "w"])]
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["b", 4, "h", "w"])
    held = {"weights": weights, "biases": biases, "scales": np.array([1, 1, 2, 2], np.float32)}
    made = helper.make_graph(
        nodes, "by hand", known, [answer],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(made, opset_imports=opset, ir_version=9).SerializeToString()


def package(folder, *, task="cloud-mask", classes=("clear", "thick", "thin", "shadow"), **changed):
    content = graph()
    write_package(folder, task=task, **changed)
    (folder / "model.onnx").write_bytes(content)
    card = json.loads((folder / CARD).read_text())
    digest = hashlib.sha256(content).hexdigest()
    card["files"]["model.onnx"] = {"sha256": digest, "n_bytes": len(content)}
    way = {**WAY, "inputs": ["pixels"], "bands_in": BANDS, "bands_out": classes}
    card["directions"] = [{**way, "sensor_out": "classes", "stride_px": 2, "halo_px": 0}]
    (folder / CARD).write_text(json.dumps(card))
    return folder


def scene_of(blue, nir, geobox=None):
    dn = np.rint(np.stack([blue, nir]) * 1e4).astype(np.uint16)
    sensor = Sensor("s", tuple(Band(name, scale=1e-4, nodata=0) for name in BANDS), level="L1C")
    return ArrayScene(dn, sensor, geobox)


def field(shape=(700, 610)):
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 4, (shape[0] // 2 + 1, shape[1] // 2 + 1))
    kinds = kinds.repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]]
    blue = np.array([0.05, 0.6, 0.3, 0.05])[kinds]
    nir = np.array([0.3, 0.5, 0.3, 0.01])[kinds]
    return blue, nir, np.array([CLEAR, CLOUD, THIN, SHADOW], np.uint8)[kinds]


def test_the_highest_score_is_the_class(tmp_path) -> None:
    blue, nir, truth = field()
    blue[10:20] = 0
    scene = scene_of(blue, nir)
    detector = NetworkDetector.open(package(tmp_path / "sky")).prepare(scene)
    with ArraySink(1, truth.shape, np.uint8) as sink:
        write_classes(scene, detector, sink)
    truth[10:20] = NODATA
    assert np.array_equal(sink.dn[0], truth)
    assert (detector.level, detector.name) == ("L1C", "sky")


def test_it_survives_pickling_with_its_network_open(tmp_path) -> None:
    blue, nir, truth = field((64, 64))
    detector = NetworkDetector.open(package(tmp_path / "sky"))
    values, valid = np.stack([blue, nir]).astype(np.float32), np.ones((64, 64), bool)
    assert np.array_equal(detector.classes(values, valid), truth)
    copy = pickle.loads(pickle.dumps(detector))
    assert copy == detector
    assert np.array_equal(copy.classes(values, valid), truth)


def test_a_model_for_something_else_is_refused(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"cloud-removal.*cloud-mask"):
        NetworkDetector.open(package(tmp_path / "sky", task="cloud-removal"))


def test_a_model_that_tells_an_unknown_class_is_refused(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"fog.*clear, thick"):
        NetworkDetector.open(package(tmp_path / "sky", classes=("clear", "fog")))


def test_a_scene_of_other_bands_or_pixels_is_refused(tmp_path) -> None:
    detector = NetworkDetector.open(package(tmp_path / "sky", resolution_m=10))
    blue, nir, _ = field((8, 8))
    coarse = GeoBox((8, 8), Affine(60, 0, 600_000, 0, -60, 5_000_000), "EPSG:32632")
    with pytest.raises(GridError, match="60 m"):
        detector.prepare(scene_of(blue, nir, coarse))
    with pytest.raises(BandError, match="B08"):
        detector.prepare(scene_of(blue, nir).select(["B02"]))


def test_larger_pixels_are_shown_enlarged_and_windows_agree(tmp_path, monkeypatch) -> None:
    blue, nir, truth = (plane.repeat(4, 0).repeat(4, 1)[:90, :77] for plane in field((24, 24)))
    twenty = GeoBox((90, 77), Affine(20, 0, 600_000, 0, -20, 5_000_000), "EPSG:32632")
    scene = scene_of(blue, nir, twenty)
    detector = NetworkDetector.open(package(tmp_path / "sky", resolution_m=10)).prepare(scene)
    assert (detector.step_px, detector.stride_px, detector.margin_px) == (2, 1, 1)
    assert detector.prepare(scene) == detector
    found = []
    for tile_px in (7, 1536):
        monkeypatch.setattr("geodecloud.geo.classing.DETECTION_TILE_PX", tile_px)
        with ArraySink(1, truth.shape, np.uint8) as sink:
            write_classes(scene, detector, sink)
        found.append(sink.dn[0])
    assert np.array_equal(*found)
    inside = np.zeros(truth.shape, bool)
    inside[:, :] = (np.arange(90) % 4 % 3 > 0)[:, None] & (np.arange(77) % 4 % 3 > 0)
    assert np.array_equal(found[0][inside], truth[inside])


def test_enlarging_adds_nothing_and_keeps_means() -> None:
    values = np.random.default_rng(0).random((2, 5, 4)).astype(np.float32)
    for step in (1, 2, 3):
        large = enlarged(values, step)
        assert large.shape == (2, 5 * step, 4 * step)
        assert values.min() <= large.min() <= large.max() <= values.max()
    assert np.allclose(enlarged(np.full((1, 3, 3), 0.3, np.float32), 3), 0.3)


def test_a_picture_serves_a_network_of_blue_green_and_red(tmp_path) -> None:
    detector = NetworkDetector.open(package(tmp_path / "sky"))
    colours = replace(detector, bands=("B02", "B04"))
    dn = np.full((3, 64, 64), 200, np.uint8)
    dn[::2, 20:] = 20  # green land beside a cloud: green is not what the network sees, yet counts
    dn[1, 20:] = 80
    prepared = colours.prepare(ArrayScene(dn, SENSORS["rgb"]))
    assert prepared.bands == ("blue", "red")
    assert prepared.gain == pytest.approx(DISPLAY_REFLECTANCE)


def test_a_shipped_network_serves_auto_where_it_suits(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(network, "SHIPPED", tmp_path)
    package(tmp_path / "sky", resolution_m=10)
    package(tmp_path / "another", task="cloud-removal")
    blue, nir, _ = field((8, 8))
    scene = scene_of(blue, nir)
    assert detectors.detector_for(scene).name == "sky"
    coarse = GeoBox((8, 8), Affine(60, 0, 600_000, 0, -60, 5_000_000), "EPSG:32632")
    with pytest.raises(BandError):
        detectors.detector_for(scene_of(blue, nir, coarse))
    scl = replace(scene.sensor, bands=(*scene.sensor.bands[:1], Band("SCL")))
    assert detectors.detector_for(ArrayScene(np.ones((2, 8, 8)), scl)).name == "scl"


@pytest.mark.parametrize("name", ["sky", "sky/model.json"])
def test_a_path_names_a_model_and_nothing_else_does(tmp_path, name) -> None:
    package(tmp_path / "sky")
    assert is_model(str(tmp_path / name))
    assert detectors.detector_named(str(tmp_path / name)).name == "sky"
    for other in (str(tmp_path), "no such", "x" * 5_000):
        assert not is_model(other)


def test_blocks_show_each_pixel_its_context_and_keep_the_middle() -> None:
    values = np.random.default_rng(0).random((1, 23, 31)).astype(np.float32)
    seen = []

    def brightest(block):
        seen.append(block.shape)
        around = np.lib.stride_tricks.sliding_window_view(np.pad(block[0], 2), (5, 5))
        return (around.max(axis=(2, 3)) * 255).astype(np.uint8)

    whole = brightest(np.pad(values, [(0, 0), (2, 2), (2, 2)], mode="edge"))[2:-2, 2:-2]
    assert np.array_equal(in_blocks(values, 8, 2, brightest), whole)
    assert set(seen[1:]) == {(1, 12, 12)}
