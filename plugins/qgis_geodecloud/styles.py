"""How results look on the map: classes and ramps with a legend, and the stretch of the input."""

from functools import partial

from qgis.core import (
    QgsColorRampShader,
    QgsPalettedRasterRenderer,
    QgsProcessingLayerPostProcessorInterface,
    QgsRasterShader,
    QgsSingleBandPseudoColorRenderer,
)
from qgis.PyQt import sip
from qgis.PyQt.QtGui import QColor

# The codes, names and colours are those of geodecloud; its tests hold the two together. What is
# original is left clear, so that the layer lies over a scene and marks what was changed in it.
PROVENANCE = (
    (1, "original", (120, 160, 120, 0)),
    (2, "generated", (255, 79, 163, 150)),
    (3, "feathered", (255, 210, 74, 150)),
    (4, "observed on another date", (79, 216, 255, 150)),
)
MASK = (
    (0, "clear", (0, 0, 0, 0)),
    (1, "cloud", (230, 70, 60, 255)),
    (2, "thin cloud", (250, 190, 80, 255)),
    (3, "shadow", (70, 90, 200, 255)),
    (4, "margin", (170, 120, 190, 255)),
)
# One standard deviation up to so much, in reflectance; what is original is 0 and left clear.
SPREAD = (
    (0, "original", (0, 0, 0, 0)),
    (0.005, "up to 0.005", (255, 250, 205, 230)),
    (0.01, "0.005 to 0.01", (253, 212, 120, 230)),
    (0.02, "0.01 to 0.02", (247, 150, 70, 230)),
    (0.04, "0.02 to 0.04", (215, 70, 55, 230)),
    (float("inf"), "more than 0.04", (125, 10, 60, 230)),
)
RED = (": B04", ": red")  # how QGIS ends the names of red bands, and may add a colour


class ClassStyle(QgsProcessingLayerPostProcessorInterface):
    """Paints a raster of codes, and names them in the legend."""

    def __init__(self, classes):
        """Take (code, name, (red, green, blue, opacity)) of each class."""
        super().__init__()
        self._classes = classes

    def postProcessLayer(self, layer, context, feedback):
        """Paint a layer that has been loaded; QGIS calls this."""
        classes = [
            QgsPalettedRasterRenderer.Class(code, QColor(*colour), name)
            for code, name, colour in self._classes
        ]
        layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, classes))
        layer.triggerRepaint()


class RampStyle(QgsProcessingLayerPostProcessorInterface):
    """Paints the red band of a raster of numbers, or else its first, by steps of a ramp."""

    def __init__(self, steps):
        """Take (highest value, name, (red, green, blue, opacity)) of each step."""
        super().__init__()
        self._steps = steps

    def postProcessLayer(self, layer, context, feedback):
        """Paint a layer that has been loaded; QGIS calls this."""
        ramp = QgsColorRampShader(0, self._steps[-2][0])
        ramp.setColorRampType(QgsColorRampShader.Type.Discrete)
        ramp.setColorRampItemList(
            [
                QgsColorRampShader.ColorRampItem(most, QColor(*colour), name)
                for most, name, colour in self._steps
            ]
        )
        shader = QgsRasterShader()
        shader.setRasterShaderFunction(ramp)
        names = {band: layer.bandName(band) for band in range(1, layer.bandCount() + 1)}
        reds = (band for band, name in names.items() if any(red in name for red in RED))
        provider, band = layer.dataProvider(), next(reds, 1)
        layer.setRenderer(QgsSingleBandPseudoColorRenderer(provider, band, shader))
        layer.triggerRepaint()


class SameStretch(QgsProcessingLayerPostProcessorInterface):
    """Shows a raster as another one is shown, so that only its content differs."""

    def __init__(self, shown):
        """Take the layer that is shown."""
        super().__init__()
        self._renderer = shown.renderer().clone()
        self._bands = {band: shown.bandName(band) for band in self._renderer.usesBands()}

    def postProcessLayer(self, layer, context, feedback):
        """Style a layer that has been loaded; QGIS calls this."""
        if all(layer.bandName(band) == name for band, name in self._bands.items()):
            layer.setRenderer(self._renderer.clone())
            layer.triggerRepaint()


MARKS = {
    "provenance": partial(ClassStyle, PROVENANCE),
    "mask": partial(ClassStyle, MASK),
    "uncertainty": partial(RampStyle, SPREAD),
}


def place(details, style):
    """Have a result styled; a QGIS that knows the key shows marks above what they mark."""
    _kept[:] = [one for one in _kept if not sip.isdeleted(one)]
    _kept.append(style)
    details.setPostProcessor(style)
    details.layerSortKey = int(not isinstance(style, SameStretch))


# QGIS takes no reference to who styles a layer, and deletes it with the context of the run: each
# run gets its own, kept here until then.
_kept = []
