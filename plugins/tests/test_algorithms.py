"""Each algorithm on small real scenes, as the toolbox runs it."""

import json

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
)

from .conftest import cut, layer_of, pixels

GENERATED = (2, 3, 4)


def box(layer, columns, rows):
    """The rectangle around pixels of a layer, counted from its first corner."""
    extent, size = layer.extent(), layer.rasterUnitsPerPixelX()
    left, top = extent.xMinimum(), extent.yMaximum()
    return QgsRectangle(
        left + columns[0] * size, top - rows[1] * size,
        left + columns[1] * size, top - rows[0] * size,
    )  # fmt: skip


def polygons(layer, *boxes):
    made = QgsVectorLayer(f"Polygon?crs={layer.crs().authid()}", "drawn", "memory")
    for rectangle in boxes:
        feature = QgsFeature()
        feature.setGeometry(QgsGeometry.fromRect(rectangle))
        made.dataProvider().addFeature(feature)
    return made


def as_text(extent, layer):
    corners = (extent.xMinimum(), extent.xMaximum(), extent.yMinimum(), extent.yMaximum())
    return f"{','.join(map(repr, corners))} [{layer.crs().authid()}]"


def test_clouds_are_removed_and_clear_pixels_left_alone(run, scene, tmp_path, log):
    made = run(
        "removeclouds", INPUT=scene, OUTPUT=tmp_path / "out ü" / "clear 'é'.tif",
        PROVENANCE=tmp_path / "origin.tif", MASK_OUT=tmp_path / "mask.tif",
    )  # fmt: skip
    before, after = pixels(scene), pixels(made["OUTPUT"])
    origin, mask = pixels(made["PROVENANCE"])[0], pixels(made["MASK_OUT"])[0]
    assert before.shape == after.shape
    assert (before[:, origin == 1] == after[:, origin == 1]).all()
    assert (before[:, origin == 2] != after[:, origin == 2]).any()
    assert set(np.unique(origin)) <= {0, 1, *GENERATED}
    assert set(np.unique(mask)) <= {0, 1, 2, 3, 4}
    assert made["GENERATED_SHARE"] == pytest.approx((origin == 2).mean(), abs=1e-6)
    assert 0 < made["CLOUD_SHARE"] < 1
    assert "geodecloud 0" in log.text
    assert "decloud with decloud-s2-4band on cpu" in log.text
    assert "tiles: " in log.text
    assert "cloud  " in log.text
    assert log.shares[-1] == 100


def test_uncertainty_is_written_for_what_was_generated(run, scene, tmp_path):
    made = run(
        "removeclouds", INPUT=scene, OUTPUT=tmp_path / "out.tif",
        PROVENANCE=tmp_path / "origin.tif", UNCERTAINTY=tmp_path / "how far ü.tif",
    )  # fmt: skip
    spread, origin = pixels(made["UNCERTAINTY"]), pixels(made["PROVENANCE"])[0]
    assert spread.shape == pixels(made["OUTPUT"]).shape
    assert (spread[:, origin == 2] > 0).all()
    assert not spread[:, origin == 1].any()
    assert "UNCERTAINTY" not in run("removeclouds", INPUT=scene, OUTPUT=tmp_path / "2.tif")


def test_a_model_that_knows_no_uncertainty_says_so(run, scene, tmp_path):
    with pytest.raises(QgsProcessingException, match="fill does not say how uncertain it is"):
        run(
            "removeclouds", INPUT=scene, MODEL="fill", OUTPUT=tmp_path / "out.tif",
            UNCERTAINTY=tmp_path / "spread.tif",
        )  # fmt: skip
    assert not list(tmp_path.glob("out*"))


def test_only_selected_polygons_are_replaced(run, scene, tmp_path):
    layer = layer_of(scene)
    drawn = polygons(layer, box(layer, (10, 30), (10, 30)), box(layer, (50, 70), (50, 70)))
    QgsProject.instance().addMapLayer(drawn)
    drawn.selectByIds([1])
    made = run(
        "removeclouds", INPUT=layer, MODEL="fill", MASK="only the layers below", DILATE=0,
        FEATHER=0, MASK_POLYGONS=QgsProcessingFeatureSourceDefinition(drawn.id(), True),
        OUTPUT=tmp_path / "out.tif", PROVENANCE=tmp_path / "origin.tif",
    )  # fmt: skip
    generated = np.isin(pixels(made["PROVENANCE"])[0], GENERATED)
    assert generated[12:28, 12:28].all()
    assert not generated[50:70, 50:70].any()


def test_polygons_can_be_kept_and_a_raster_can_be_the_mask(run, scene, tmp_path):
    layer = layer_of(scene)
    whole = gdal.Translate(str(tmp_path / "one.tif"), str(scene), bandList=[1], noData="none")
    whole.GetRasterBand(1).WriteArray(np.ones((96, 96), np.uint16))
    whole = None
    made = run(
        "cloudmask", INPUT=layer, MASK="only the layers below", MASK_LAYER=tmp_path / "one.tif",
        KEEP_POLYGONS=polygons(layer, box(layer, (20, 40), (30, 60))), OUTPUT=tmp_path / "m.tif",
    )  # fmt: skip
    mask = pixels(made["OUTPUT"])[0]
    assert not mask[30:60, 20:40].any()
    mask[30:60, 20:40] = 1
    assert mask.all()
    assert made["MASK_SHARE"] == pytest.approx(1 - 600 / 96**2)


@pytest.mark.parametrize("name", ["removeclouds", "cloudmask"])
def test_a_form_that_masks_nothing_is_refused(run, scene, tmp_path, name):
    with pytest.raises(QgsProcessingException, match="choose a raster or polygons"):
        run(name, INPUT=scene, MASK="only the layers below", OUTPUT=tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()


def test_other_dates_fill_the_clouds(run, scene, tmp_path):
    other = cut(tmp_path / "other date.tif")
    dataset = gdal.Open(str(other), gdal.GA_Update)
    for band in range(1, 5):
        dataset.GetRasterBand(band).WriteArray(np.full((96, 96), 700 * band, np.uint16))
    dataset = None
    layer = layer_of(scene)
    made = run(
        "removeclouds", INPUT=layer, MODEL="fill", MASK="only the layers below",
        MASK_POLYGONS=polygons(layer, box(layer, (30, 50), (30, 50))),
        REFERENCES=[str(other)], OUTPUT=tmp_path / "out.tif",
    )  # fmt: skip
    assert made["OBSERVED_SHARE"] > 0


@pytest.mark.parametrize("name", ["removeclouds", "translate"])
def test_an_extent_is_all_that_is_written(run, scene, tmp_path, name):
    layer = layer_of(scene)
    extent = box(layer, (20, 60), (10, 40))
    model = {"removeclouds": "fill", "translate": "decloud-s2-4band"}[name]
    made = run(
        name, INPUT=layer, MODEL=model, EXTENT=as_text(extent, layer), OUTPUT=tmp_path / "out.tif"
    )
    assert layer_of(made["OUTPUT"]).extent() == extent
    assert pixels(made["OUTPUT"]).shape == (4, 30, 40)


def test_synthetic_clouds_hang_over_an_extent_with_their_truth(run, scene, tmp_path):
    layer = layer_of(scene)
    extent = box(layer, (20, 84), (10, 74))
    made = run(
        "addclouds", INPUT=layer, COVERAGE=0.5, TYPE=["cumulus", "cirrus"], LEVEL="L2A", SEED=3,
        EXTENT=as_text(extent, layer), OUTPUT=tmp_path / "cloudy.tif",
        TRUTH=tmp_path / "truth.tif", DEPTH=tmp_path / "depth.tif",
    )  # fmt: skip
    cloudy, truth, depth = (pixels(made[name]) for name in ("OUTPUT", "TRUTH", "DEPTH"))
    before = pixels(scene)[:, 10:74, 20:84]
    clear = truth[0] == 0
    assert clear.any()
    assert (cloudy[:, clear] == before[:, clear]).all()
    assert (depth[0][np.isin(truth[0], (1, 2))] > 0).all()
    assert made["CLOUD_SHARE"] == pytest.approx(0.5, abs=0.1)


def test_a_page_compares_two_rasters(run, scene, tmp_path):
    made = run("compare", BEFORE=scene, AFTER=scene, OPEN=True, OUTPUT=tmp_path / "page ü.html")
    assert "<input" in (tmp_path / "page ü.html").read_text(encoding="utf-8")
    assert made["OUTPUT"] == str(tmp_path / "page ü.html")


def test_chips_give_their_scene_back(run, scene, tmp_path):
    made = run("makechips", INPUT=[str(scene)], OVERLAP=16, OUTPUT=tmp_path / "chips ü")
    assert made["CHIPS"] == len(list((tmp_path / "chips ü").glob("*.tif"))) == 4
    again = run("mosaicchips", INPUT=made["OUTPUT"], OUTPUT=tmp_path / "again.tif")
    assert (pixels(again["OUTPUT"]) == pixels(scene)).all()


def test_chips_are_cut_inside_of_polygons(run, scene, tmp_path):
    layer = layer_of(scene)
    made = run(
        "makechips", INPUT=[layer], CHIP_SIZE=32, MIN_VALID=1,
        AREA=polygons(layer, box(layer, (0, 64), (0, 32))), OUTPUT=tmp_path / "chips",
    )  # fmt: skip
    assert made["CHIPS"] == 2


@pytest.fixture
def training_data(tmp_path):
    for number, corner in enumerate(((0, 0), (100, 300), (300, 100), (400, 400))):
        cut(tmp_path / "data" / f"{number}.tif", *corner)
    return tmp_path / "data"


def test_a_model_is_trained_told_of_and_measured(run, training_data, recipe, tmp_path, log):
    made = run(
        "trainmodel", INPUT=training_data, RECIPE=recipe, EPOCHS=2, DEVICE="cpu",
        OUTPUT=tmp_path / "model ü",
    )  # fmt: skip
    assert (tmp_path / "model ü" / "model.json").is_file()
    losses = [line for line in log.lines if line.startswith("training: ")]
    assert losses
    assert [f"epoch {n}" in "".join(losses) for n in (1, 2)] == [True, True]
    assert "loss" in losses[0]
    measured = run(
        "evaluate", INPUT=training_data, MODEL_FOLDER=made["OUTPUT"], LIMIT=2, DEVICE="cpu",
        OUTPUT=tmp_path / "figures.json",
    )  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert measured["WINDOWS"] == figures["n_windows"] == 2
    assert figures["regions"]["whole"]["psnr"] > 0
    assert "PSNR" in log.text


def test_a_model_never_takes_a_folder_that_holds_something(run, training_data, tmp_path):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "me.jpg").touch()
    with pytest.raises(QgsProcessingException, match="a model gets a new folder"):
        run("trainmodel", INPUT=training_data, OUTPUT=tmp_path / "photographs")
    assert (tmp_path / "photographs" / "me.jpg").exists()


def test_the_environment_is_checked(run, log):
    made = run("checkenvironment")
    assert made["VERSION"][0].isdigit()
    assert "onnxruntime" in log.text


def test_a_batch_does_what_it_can_and_names_what_failed(run, catalog, tmp_path, log):
    made = run(
        "batchstac", STAC=str(catalog), MODEL="fill", ALLOW_LOCAL=True, RETRIES=0,
        OUTPUT=tmp_path / "results",
    )  # fmt: skip
    assert (made["DONE"], made["FAILED"]) == (1, 1)
    assert "error: scene-1: " in log.text
    assert (tmp_path / "results" / "catalog.json").is_file()
    assert list((tmp_path / "results").rglob("scene-0*/*.tif"))


def test_a_batch_is_searched_and_said_before_it_is_done(run, catalog, tmp_path, log):
    west, south, east, north = json.loads(catalog.read_text())["features"][0]["bbox"]
    made = run(
        "batchstac", STAC=str(catalog), MAX_CLOUD=50, DATETIME="2019-05", DRY_RUN=True,
        EXTENT=f"{west},{east},{south},{north} [EPSG:4326]", ALLOW_LOCAL=True,
        UNCERTAINTY=False, SIGN="planetary-computer", OUTPUT=tmp_path / "results",
    )  # fmt: skip
    assert "scene-0" in log.text
    assert "scene-1" not in log.text
    assert "1 to do, 0 cannot be done" in log.text
    assert "DONE" not in made
    assert not list(tmp_path.rglob("results/*.json"))
