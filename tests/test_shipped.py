"""The shipped models: whole, small, chosen where they suit, better than the fill they correct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.errors import ModelError
from geodecloud.geo.classing import Shaping, write_classes
from geodecloud.geo.masks import CLOUD, MARGIN, SHADOW, THIN
from geodecloud.geo.scene import ArrayScene, ArraySink
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.models import load_translator
from geodecloud.run.detectors import DETECTORS
from geodecloud.run.onnx import OnnxTranslator
from geodecloud.run.package import SHIPPED, open_package
from geodecloud.tasks import decloud
from geodecloud.translator import Request
from tests.strategies import make_scene, make_sensor, utm_geobox

FORMAT_BYTES = 4_000_000
MASK_BYTES = 2_000_000
ALL_BYTES = 40_000_000
NAMES = sorted(path.parent.name for path in SHIPPED.glob("*/model.json"))
HELD_OUT_FOLD = 2
FOLD = Path(__file__).resolve().parents[1] / "benchmarks/folds/decloud-s2-4band/fold-2"
"""The model that has not seen that fold; every place taught the one that is shipped."""

FIGURE = {
    "cloud-mask": ("skies", "cloud_f1"),
    "cloud-removal": ("masked", "psnr"),
    "translation": ("whole", "psnr"),
}
"""What each card has a figure of, by task."""

RGB_GAINS = {
    "masked": 1.0, "thin": 1.0, "shadow": 1.1, "thick": 0.1, "pairs_masked": 0.8,
    "pictures_masked": 0.9, "pictures_thin": 1.0, "pictures_thick": 0.0,
}  # fmt: skip
"""What decloud-rgb gains over the fill at least, dB."""

COLOUR_GAIN = 0.2
"""What colorize gains over a line a band at least, dB."""


def test_there_is_a_model() -> None:
    models = {"decloud-s2-4band", "decloud-rgb", "colorize", "cloud-mask", "cloud-mask-rgb"}
    assert models <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_is_whole_small_and_says_where_it_comes_from(name: str) -> None:
    package = open_package(name)
    is_mask = package.card.task == "cloud-mask"
    for file, entry in package.card.files.items():
        most = MASK_BYTES if is_mask else FORMAT_BYTES
        assert len(package.read(file)) == entry.n_bytes <= most
    assert package.card.attribution
    assert package.card.licence
    region, figure = FIGURE[package.card.task]
    assert package.card.metrics[region][figure]
    assert ("Generated, not observed" in (package.folder / "README.md").read_text()) != is_mask


def test_all_models_together_stay_small() -> None:
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) < ALL_BYTES


def test_the_model_that_suits_the_scene_is_chosen() -> None:
    assert load_translator("auto", make_scene()).name == "decloud-s2-4band"
    three_bands = make_scene().select(["B02", "B03", "B04"])
    assert load_translator("auto", three_bands).name == "decloud-rgb"
    assert load_translator("auto", make_scene(n_bands=6)).name == "fill"
    picture = ArrayScene(np.ones((3, 8, 8), np.uint8), SENSORS["rgb"])
    shown = load_translator("auto", picture)
    assert (shown.name, set(shown.bands_out)) == ("decloud-rgb", {"red", "green", "blue"})
    coarse = utm_geobox((8, 8)).zoom_out(6)
    scene = ArrayScene(np.ones((4, *coarse.shape), np.uint16), make_sensor(), coarse)
    assert load_translator("auto", scene).name == "fill"


def test_a_model_that_tells_clouds_is_not_asked_to_draw() -> None:
    with pytest.raises(ModelError, match="--mask cloud-mask"):
        load_translator("cloud-mask", make_scene())


def test_both_engines_answer_alike() -> None:
    torch = pytest.importorskip("torch")
    from geodecloud.learn.translator import TorchTranslator

    random = np.random.default_rng(0)
    pixels, fill = random.uniform(0, 1, (2, 2, 4, 64, 96)).astype(np.float32)
    mask = random.random((2, 1, 64, 96)) < 0.5
    request = Request(
        pixels, np.ones(pixels.shape, bool), mask=mask, fill=fill, extra={}, level="L2A"
    )
    package = open_package("decloud-s2-4band")
    torch.manual_seed(0)
    answers = [
        make(request).pixels
        for make in (OnnxTranslator(package, "cpu"), TorchTranslator.of(package, "cpu"))
    ]
    np.testing.assert_allclose(*answers, atol=1e-4)


@pytest.mark.slow
def test_it_beats_the_fill_on_places_it_has_not_seen(shared_data: Path, tmp_path: Path) -> None:
    from geodecloud.datasets import prepare_data
    from geodecloud.learn.models import from_model

    splits = Path(__file__).resolve().parents[1] / "benchmarks/splits.json"
    data = prepare_data(
        shared_data, bands=("B02", "B03", "B04", "B08"), dataset_type="CloudRemoval",
        splits=splits, fold=HELD_OUT_FOLD, working_dir=tmp_path,
    )  # fmt: skip
    figures = from_model(FOLD, data).compute_metrics()

    def gain(region: str) -> float:
        return figures[region]["psnr"] - figures[region]["psnr_fill"]

    assert gain("thin") > 2.1
    assert gain("thick") > 0.9
    assert gain("shadow") > 2.4
    assert gain("masked") > 2.2
    assert gain("pairs_thin") > 0.6
    assert gain("pairs_shadow") > 0.2
    assert gain("pairs_masked") > 0.3
    # under real thick clouds nothing shines through: it is a little worse
    assert gain("pairs_thick") > -0.3


def test_bands_come_out_in_the_order_of_the_scene() -> None:
    random = np.random.default_rng(0)
    ground = random.integers(500, 900, (3, 64, 64), np.uint16) + np.uint16(1000) * np.arange(
        3, dtype=np.uint16
    ).reshape(3, 1, 1)
    sensor = SENSORS["sentinel-2-l2a"].select(("B04", "B03", "B02"))
    mask = np.zeros((64, 64), bool)
    mask[20:30, 20:30] = True
    with ArraySink(3, (64, 64), np.uint16) as sink:
        decloud(ArrayScene(ground, sensor, utm_geobox((64, 64))), sink, mask=mask)
    assert np.array_equal(sink.dn[:, ~mask], ground[:, ~mask])
    drawn = sink.dn[:, mask].mean(1)
    assert drawn[0] + 500 < drawn[1] < drawn[2] - 500


def test_a_picture_is_cleared_in_its_own_numbers() -> None:
    """Grey veil over a bright and a dark field: the model draws both, and nothing else changes."""
    ground = np.full((3, 96, 96), 60, np.uint8)
    ground[:, :, 48:] = 120
    ground[1] += 10
    veil = np.zeros((96, 96), bool)
    veil[30:66, 30:66] = True
    dn = np.where(veil, (0.5 * ground + 110).astype(np.uint8), ground)
    picture = ArrayScene(dn, SENSORS["rgb"], utm_geobox((96, 96)))
    with ArraySink(3, (96, 96), np.uint8) as sink:
        decloud(picture, sink, mask=veil)
    assert np.array_equal(sink.dn[:, ~veil], dn[:, ~veil])
    before, after = (
        np.abs(each[:, veil].astype(float) - ground[:, veil]).mean() for each in (dn, sink.dn)
    )
    assert after < before / 2.5


@pytest.mark.slow
def test_colours_and_pictures_beat_what_needs_no_training(
    shared_data: Path, tmp_path: Path
) -> None:
    from geodecloud.datasets import prepare_data
    from geodecloud.learn.data import ChipData
    from geodecloud.learn.models import from_model

    splits = Path(__file__).resolve().parents[1] / "benchmarks/splits.json"
    packed = prepare_data(
        shared_data, bands=("B02", "B03", "B04", "B08"), dataset_type="CloudRemoval",
        splits=splits, fold=HELD_OUT_FOLD, working_dir=tmp_path,
    )  # fmt: skip

    def figures(name: str, dataset_type: str, bands: tuple[str, ...], **options: float) -> Any:
        chips = packed.packed.select(bands)
        data = ChipData(chips, dataset_type, packed.train, packed.valid, **options)
        return from_model(name, data).compute_metrics()

    clear = figures("decloud-rgb", "CloudRemoval", ("B02", "B03", "B04"), pictures=0.4)
    for region, least in RGB_GAINS.items():
        assert clear[region]["psnr"] - clear[region]["psnr_fill"] > least, region
    colours = figures("colorize", "Colorize", ("B04", "B03", "B02"))["whole"]
    assert colours["psnr"] > max(colours["psnr_grey"], colours["psnr_line"]) + COLOUR_GAIN


def found_beside_the_reference(shared_data: Path, name: str, side_m: float) -> dict[str, float]:
    """F1 of cloud and of shadow on the one scene with a true mask, as it is found and shaped."""
    (path,) = (shared_data / "test/ukis_cloudmask_512").glob("*.npz")
    file = np.load(path)
    image, truth = np.moveaxis(file["img"], -1, 0), file["msk"][..., 0]
    grid = GeoBox((512, 512), Affine(side_m, 0, 6e5, 0, -side_m, 5e6), "EPSG:32632")
    bands = ("B02", "B03", "B04", "B08")
    sensor = Sensor("s", tuple(Band(each, dtype="float32") for each in bands), level="L1C")
    scene = ArrayScene(image[:4].astype(np.float32), sensor, grid)
    with ArraySink(1, (512, 512), np.uint8) as sink:
        shaping = Shaping(specks_m2=500, holes_m2=5000)
        write_classes(scene, DETECTORS[name].prepare(scene), sink, shaping)
    codes, where = sink.dn[0], truth != 1
    figures = {}
    for kind, said, true in (
        ("cloud", np.isin(codes, [CLOUD, THIN, MARGIN]), truth == 4),
        ("shadow", codes == SHADOW, truth == 0),
    ):
        both = (said & true & where).sum()
        figures[kind] = 2 * both / ((said & where).sum() + (true & where).sum())
    return figures


@pytest.mark.parametrize(
    ("name", "side_m", "cloud", "shadow"),
    [
        ("joint", 10, 0.90, 0.84),
        ("joint", 30, 0.90, 0.88),
        ("joint-rgb", 10, 0.90, 0.76),
    ],
)
def test_network_and_rules_find_what_the_reference_mask_shows(
    shared_data: Path, name: str, side_m: float, cloud: float, shadow: float
) -> None:
    figures = found_beside_the_reference(shared_data, name, side_m)
    assert figures["cloud"] > cloud
    assert figures["shadow"] > shadow
