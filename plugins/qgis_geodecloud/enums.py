"""Names that QGIS 3.36 moved: the same constants from 3.22 to 4."""

from qgis.core import (
    Qgis,
    QgsProcessing,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
)

if hasattr(Qgis, "ProcessingSourceType"):
    ADVANCED = Qgis.ProcessingParameterFlag.Advanced
    RASTERS = Qgis.ProcessingSourceType.Raster
    POLYGONS = Qgis.ProcessingSourceType.VectorPolygon
    WHOLE = Qgis.ProcessingNumberParameterType.Integer
    REAL = Qgis.ProcessingNumberParameterType.Double
    FILE = Qgis.ProcessingFileParameterBehavior.File
    FOLDER = Qgis.ProcessingFileParameterBehavior.Folder
else:
    ADVANCED = QgsProcessingParameterDefinition.Flag.FlagAdvanced
    RASTERS = QgsProcessing.SourceType.TypeRaster
    POLYGONS = QgsProcessing.SourceType.TypeVectorPolygon
    WHOLE = QgsProcessingParameterNumber.Type.Integer
    REAL = QgsProcessingParameterNumber.Type.Double
    FILE = QgsProcessingParameterFile.Behavior.File
    FOLDER = QgsProcessingParameterFile.Behavior.Folder
