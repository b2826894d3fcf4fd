"""Forms in the toolbox, in batches and in the model designer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProcessingModelAlgorithm,
    QgsProcessingParameterDefinition,
)
from qgis.gui import QgsGui, QgsProcessingGui
from qgis.PyQt.QtGui import QImage

from .conftest import PLUGINS, cut, pixels

EXAMPLES = sorted((PLUGINS / "qgis_geodecloud/examples").glob("*.model3"))
OPTIONAL = QgsProcessingParameterDefinition.Flag.FlagOptional
FORMS = QgsProcessingGui.WidgetType


def test_the_provider_brings_all_algorithms(provider):
    assert {algorithm.id() for algorithm in provider.algorithms()} == {
        f"geodecloud:{name}"
        for name in (
            *("removeclouds", "cloudmask", "addclouds", "translate", "compare", "makechips"),
            *("mosaicchips", "trainmodel", "evaluate", "batchstac", "checkenvironment"),
        )
    }
    assert not provider.icon().isNull()


def test_every_algorithm_is_told_and_every_number_has_a_default_or_may_be_left_out(provider):
    for algorithm in provider.algorithms():
        assert algorithm.shortHelpString().count("<p>") >= 1
        assert algorithm.group()
        assert algorithm.displayName()
        for parameter in algorithm.parameterDefinitions():
            if parameter.type() in ("number", "enum", "boolean"):
                assert parameter.defaultValue() is not None or parameter.flags() & OPTIONAL, (
                    parameter.name()
                )


@pytest.mark.parametrize("kind", [FORMS.Standard, FORMS.Batch, FORMS.Modeler])
def test_every_parameter_can_be_asked_in_every_form(provider, kind):
    registry, context = QgsGui.processingGuiRegistry(), QgsProcessingContext()
    for algorithm in provider.algorithms():
        for parameter in algorithm.parameterDefinitions():
            if parameter.isDestination() and kind != FORMS.Standard:
                continue  # the table of a batch and the designer ask for these by themselves
            wrapper = registry.createParameterWidgetWrapper(parameter, kind)
            assert wrapper is not None, (algorithm.id(), parameter.name())
            widget = wrapper.createWrappedWidget(context)
            assert widget is not None, (algorithm.id(), parameter.name())


def test_one_form_serves_many_scenes_one_after_the_other(run, tmp_path, log, monkeypatch):
    """As the batch dialog does: one algorithm, a row of parameters for each run."""
    algorithm = QgsApplication.processingRegistry().algorithmById("geodecloud:cloudmask").create()
    context = QgsProcessingContext()
    for number in range(2):
        scene = cut(tmp_path / f"scene {number}.tif", column=100 * number)
        row = {"INPUT": str(scene), "OUTPUT": str(tmp_path / f"mask {number}.tif")}
        made, is_done = algorithm.run(row, context, log)
        assert is_done, log.text
        assert pixels(made["OUTPUT"]).shape == (1, 96, 96)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_models_run(run, path, scene, tmp_path, log):
    model = QgsProcessingModelAlgorithm()
    assert model.fromFile(str(path))
    assert model.validate()[0], model.validate()
    model.initAlgorithm()
    values = {"scene": str(scene), "model": "fill"}
    for output in model.destinationParameterDefinitions():
        ending = "html" if output.type() == "fileDestination" else "tif"
        values[output.name()] = str(tmp_path / f"{output.description()}.{ending}")
    made, is_done = model.run(values, QgsProcessingContext(), log)
    assert is_done, log.text
    page = Path(made["compare:Page"]).read_text(encoding="utf-8")
    assert "<input" in page
    assert (pixels(made["remove:Where each pixel comes from"]) == 2).any()
    assert json.dumps(sorted(made))


def test_the_forms_of_the_page_are_drawn_whole(tmp_path):
    """Each as high as its questions: the page of the documentation shows them unscrolled."""
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "profile"),
    }
    command = [sys.executable, str(PLUGINS / "forms.py"), str(tmp_path)]
    subprocess.run(command, env=environment, timeout=300, check=True)
    heights = {path.stem: QImage(str(path)).height() for path in tmp_path.glob("*.png")}
    assert heights.keys() == {"qgis_dialog", "qgis_batch"}
    assert heights["qgis_batch"] > heights["qgis_dialog"] > 1000  # one with, one without advanced
