"""How results look once they are on the map."""

import pytest
from qgis.core import QgsPalettedRasterRenderer, QgsProcessingContext, QgsProject

from .conftest import layer_of


@pytest.fixture
def loaded(run, scene, tmp_path):
    """The layers that a run adds to the project, by the name of their output."""
    project = QgsProject.instance()
    project.clear()
    shown = layer_of(scene)
    shown.setContrastEnhancement(1)
    shown.renderer().setBlueBand(2)
    project.addMapLayer(shown)
    context = QgsProcessingContext()
    context.setProject(project)
    outputs = {name: str(tmp_path / f"{name}.tif") for name in ("OUTPUT", "PROVENANCE", "MASK_OUT")}
    for name, path in outputs.items():
        details = QgsProcessingContext.LayerDetails(name, project, name)
        context.addLayerToLoadOnCompletion(path, details)
    run("removeclouds", context=context, INPUT=shown, MODEL="fill", **outputs)
    found = {"INPUT": shown}
    for path, details in context.layersToLoadOnCompletion().items():
        layer = layer_of(path)
        details.postProcessor().postProcessLayer(layer, context, None)
        found[details.outputName] = layer
    return found


def classes_of(layer):
    assert isinstance(layer.renderer(), QgsPalettedRasterRenderer)
    return {one.value: one.label for one in layer.renderer().classes()}


def test_results_are_styled_for_those_who_look(loaded):
    assert classes_of(loaded["PROVENANCE"])[2] == "generated"
    assert classes_of(loaded["MASK_OUT"])[1] == "cloud"
    before, after = loaded["INPUT"].renderer(), loaded["OUTPUT"].renderer()
    assert after.blueBand() == before.blueBand() == 2
    for channel in ("red", "green", "blue"):
        one, other = (getattr(r, f"{channel}ContrastEnhancement")() for r in (before, after))
        assert (one.minimumValue(), one.maximumValue()) == (
            other.minimumValue(),
            other.maximumValue(),
        )


def test_a_second_run_styles_layers_of_its_own(loaded):
    """QGIS deletes who styled those of the first with its context."""
    assert classes_of(loaded["PROVENANCE"])[4] == "observed on another date"
