"""Images drawn anew by a model, and shown beside each other."""

from qgis.core import QgsProcessingException
from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtGui import QDesktopServices
from qgis.utils import iface

from .algorithm import Algorithm
from .parameters import Choice, Extent, FileOutput, Raster, RasterOutput, Switch
from .scene import BANDS, DEVICE, ENCODING, SENSOR, model, scene

GROUP = "Images"


class TranslateImage(Algorithm):
    """translate: a scene in the bands of a model's target sensor."""

    ID, TITLE, GROUP, COMMAND = "translate", "Translate image", GROUP, ("translate", "--overwrite")
    ABOUT = (
        "Draws a scene anew in the bands of the model's target sensor, such as radar as optical "
        "colours. Every pixel of the result is generated."
    )
    PARAMETERS = (
        scene("Scene"),
        *model(),
        Raster("SAR", "Radar", "--extra", form="sar={}", optional=True,
               help="For models that look at it beside the scene."),
        Choice(
            "DIRECTION",
            "Direction",
            "--direction",
            help="Which way, of models with two.",
            words=["the only one", "AtoB", "BtoA"],
            default="the only one",
            silent=["the only one"],
            advanced=True,
        ),
        Extent("EXTENT", "Only inside of", "--aoi", of="INPUT"),
        DEVICE,
        *ENCODING,
        SENSOR,
        RasterOutput("OUTPUT", "Translated image", ""),
    )  # fmt: skip

    def words(self, asked):
        """Return the words; without a model there is nothing to draw by."""
        words = super().words(asked)
        if "--model" not in words:
            raise QgsProcessingException("No model is chosen: name one, or choose its folder")
        return words


class Compare(Algorithm):
    """compare: a page with a swipe bar."""

    ID, TITLE, GROUP, COMMAND = "compare", "Compare before/after", GROUP, ("compare", "--overwrite")
    ABOUT = (
        "Makes one HTML file that shows two rasters under a swipe bar, with the same stretch. It "
        "holds all it shows, so it can be sent by mail."
    )
    SHOW = Switch("OPEN", "Open the page in the browser", default=True)
    PARAMETERS = (
        Raster("BEFORE", "Before", ""),
        Raster("AFTER", "After", ""),
        Raster("MASK", "Mask", "--mask", optional=True, help="What is not 0 is marked."),
        Raster("PROVENANCE", "Where each pixel comes from", "--provenance", optional=True),
        BANDS,
        SHOW,
        FileOutput("OUTPUT", "Page", "--out", filter="HTML (*.html)"),
    )

    def finish(self, asked, result):
        """Remember whether the page is to be shown."""
        made = super().finish(asked, result)
        self._page = made["OUTPUT"] if self.SHOW.is_on(asked) else None
        return made

    def postProcessAlgorithm(self, context, feedback):
        """Open the page, where there are windows to look at."""
        page = getattr(self, "_page", None)
        if page and iface is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(page))
        return {}
