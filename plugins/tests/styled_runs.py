"""Two runs in a QGIS of their own, whose results are shown as a desktop shows them; it ends well.

    python styled_runs.py SCENE FOLDER

prints, as JSON, how each layer of each run looks. A process of its own, because what QGIS frees at
its end is then freed in QGIS's order, not in that of a test's fixtures.
"""

import json
import sys
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsPalettedRasterRenderer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterBandStats,
    QgsRasterLayer,
    QgsSingleBandPseudoColorRenderer,
)

PROCESSING = "/usr/share/qgis/python/plugins"  # where Debian has the Processing framework
sys.path[:0] = [PROCESSING, str(Path(__file__).resolve().parents[1])]

OUTPUTS = ("OUTPUT", "PROVENANCE", "UNCERTAINTY", "MASK_OUT")
CHANNELS = ("red", "green", "blue")


def look_of(layer):
    """Classes of a raster of codes by code, or a ramp; of an image blue band and stretch."""
    renderer = layer.renderer()
    if isinstance(renderer, QgsPalettedRasterRenderer):
        return {str(int(one.value)): one.label for one in renderer.classes()}
    if isinstance(renderer, QgsSingleBandPseudoColorRenderer):
        return ramp_of(layer, renderer)
    stretches = [getattr(renderer, f"{channel}ContrastEnhancement")() for channel in CHANNELS]
    limits = [(one.minimumValue(), one.maximumValue()) for one in stretches]
    return {"blue band": renderer.blueBand(), "limits": limits}


def ramp_of(layer, renderer):
    """The band that is shown, its largest value, what the legend says of it and of 0."""
    band, ramp = renderer.band(), renderer.shader().rasterShaderFunction()
    wanted = QgsRasterBandStats.Stats.Max
    most = layer.dataProvider().bandStatistics(band, wanted).maximumValue
    steps = [one for one in ramp.colorRampItemList() if most <= one.value]
    return {
        "band": layer.bandName(band),
        "most": most,
        "called": steps[0].label,
        "opacity of 0": ramp.shade(0)[-1],
        "opacity of most": ramp.shade(most)[-1],
        "legend": [name for name, _ in renderer.legendSymbologyItems()],
    }


def run_once(scene, folder):
    """Remove clouds, add what was made to the project, and return how it all looks."""
    import processing

    project = QgsProject.instance()
    shown = QgsRasterLayer(scene, "a layer")
    shown.setContrastEnhancement(1)
    shown.renderer().setBlueBand(2)
    project.addMapLayer(shown)
    context = QgsProcessingContext()
    context.setProject(project)
    outputs = {name: str(folder / f"{name}.tif") for name in OUTPUTS}
    for name, path in outputs.items():
        details = QgsProcessingContext.LayerDetails(name, project, name)
        context.addLayerToLoadOnCompletion(path, details)
    asked = {"INPUT": shown, "MODEL": "decloud-s2-4band", **outputs}
    feedback = QgsProcessingFeedback(False)
    processing.run("geodecloud:removeclouds", asked, feedback=feedback, context=context)
    looks = {"INPUT": look_of(shown)}
    for path, details in context.layersToLoadOnCompletion().items():
        layer = QgsRasterLayer(path, details.name)
        details.postProcessor().postProcessLayer(layer, context, None)
        looks[details.outputName] = look_of(layer)
        project.addMapLayer(layer)
    return looks


def main():
    """Run twice: QGIS deletes who styled the layers of the first run with its context."""
    scene, folder = sys.argv[1], Path(sys.argv[2])
    application = QgsApplication([], False)
    application.initQgis()
    from processing.core.Processing import Processing
    from qgis_geodecloud.provider import Provider

    Processing.initialize()
    provider = Provider()
    QgsApplication.processingRegistry().addProvider(provider)
    looks = []
    for number in range(2):
        made = folder / str(number)
        made.mkdir()
        looks.append(run_once(scene, made))
    sys.stdout.write(json.dumps(looks) + "\n")
    application.exitQgis()


if __name__ == "__main__":
    main()
