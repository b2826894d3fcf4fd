"""The provider: all algorithms, their icon, and the setting that names the Python."""

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .chips import MakeChips, MosaicChips
from .clouds import AddClouds, CloudMask, RemoveClouds
from .environment import CheckEnvironment
from .finder import VARIABLE
from .images import Compare, TranslateImage
from .models import Evaluate, TrainModel
from .stac import BatchStac

ALGORITHMS = (
    RemoveClouds,
    CloudMask,
    AddClouds,
    TranslateImage,
    Compare,
    MakeChips,
    MosaicChips,
    TrainModel,
    Evaluate,
    BatchStac,
    CheckEnvironment,
)


class Provider(QgsProcessingProvider):
    """The algorithms of geodecloud."""

    def load(self):
        """Add the setting and the algorithms."""
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        ProcessingConfig.addSetting(
            Setting(self.name(), VARIABLE, "Python that has geodecloud", "", valuetype=Setting.FILE)
        )
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self):
        """Take the setting away."""
        ProcessingConfig.removeSetting(VARIABLE)

    def loadAlgorithms(self):
        """Add each algorithm."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def id(self):
        """Return what stands before the colon of each algorithm's id."""
        return "geodecloud"

    def name(self):
        """Return the name in the toolbox."""
        return "Geodecloud"

    def longName(self):
        """Return the name and what it is for."""
        return "Geodecloud: clouds out of satellite images"

    def icon(self):
        """Return the icon."""
        return QIcon(self.svgIconPath())

    def svgIconPath(self):
        """Return the icon's file."""
        return str(Path(__file__).with_name("icon.svg"))

    def supportedOutputRasterLayerExtensions(self):
        """Return the one kind of raster that geodecloud writes."""
        return ["tif"]

    def defaultRasterFileExtension(self, hasGeometry=True):
        """Return the ending of temporary rasters."""
        return "tif"
