"""The plugin: a provider of Processing algorithms, and nothing else."""

from qgis.core import QgsApplication

from .provider import Provider


class Plugin:
    """Brings the provider when QGIS starts, in its windows and in qgis_process alike."""

    def __init__(self, iface):
        """Take the windows of QGIS, which are None in qgis_process."""
        self._provider = None

    def initProcessing(self):
        """Add the algorithms: the one hook that qgis_process calls."""
        self._provider = Provider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self):
        """Add the algorithms to the toolbox."""
        self.initProcessing()

    def unload(self):
        """Take the algorithms away."""
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
