"""What a form asks: each parameter beside the words that it becomes on the command line."""

from collections import namedtuple
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeatureRequest,
    QgsProcessingException,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from . import enums
from .layers import polygon_file, raster_file, rectangle

# ``paths`` keeps what each output is called: QGIS makes up a new temporary name when asked again
Asked = namedtuple("Asked", "algorithm parameters context feedback paths")
ANY_FILE = "All files (*)"  # the default, *.*, refuses names without a dot


class Parameter:
    """One question of a form.

    ``option`` is the option of the command line that carries the answer, "" for a positional
    argument, None where the answer travels in another way; ``form`` is how it is written there.
    """

    is_output = False

    def __init__(self, name, title, option=None, **details):
        """Take the name in scripts, the title in the form, and details such as ``help``."""
        self.name, self.title, self.option = name, title, option
        self.help = details.pop("help", "")
        self.is_optional = details.pop("optional", False)
        self.is_advanced = details.pop("advanced", False)
        self.form = details.pop("form", "{}")
        self.details = details

    def definition(self):
        """Return the parameter as QGIS has it."""
        made = self._definition()
        made.setHelp(self.help)
        if self.is_advanced:
            made.setFlags(made.flags() | enums.ADVANCED)
        return made

    def words(self, asked):
        """Return the answer as words of the command line; none where there is no answer."""
        if self.option is None:
            return []
        values = [self.form.format(value) for value in self.values(asked)]
        return [
            word for value in values for word in ([self.option] if self.option else []) + [value]
        ]

    def values(self, asked):
        """Return the answer as a list of strings, usually of one."""
        raise NotImplementedError

    def _definition(self):
        raise NotImplementedError

    def _is_empty(self, asked):
        return asked.parameters.get(self.name) in (None, "")


class Raster(Parameter):
    """A raster layer or file; ``within`` names the extent whose part of it is taken."""

    def _definition(self):
        return QgsProcessingParameterRasterLayer(self.name, self.title, optional=self.is_optional)

    def layer(self, asked):
        """Return the layer; None where none was chosen."""
        if self._is_empty(asked):
            return None
        layer = asked.algorithm.parameterAsRasterLayer(asked.parameters, self.name, asked.context)
        if layer is None or not layer.isValid():
            raise QgsProcessingException(
                f"{self.title}: QGIS cannot open {asked.parameters[self.name]} as a raster"
            )
        return layer

    def values(self, asked):
        """Return the file."""
        layer = self.layer(asked)
        if layer is None:
            return []
        within = self.details.get("within")
        extent = within and asked.algorithm.parameterAsExtent(
            asked.parameters, within, asked.context, layer.crs()
        )
        return [raster_file(layer, asked.feedback, extent or None)]


class Rasters(Parameter):
    """Several raster layers or files."""

    def _definition(self):
        return QgsProcessingParameterMultipleLayers(
            self.name, self.title, enums.RASTERS, optional=self.is_optional
        )

    def values(self, asked):
        """Return the files."""
        if self._is_empty(asked):
            return []
        layers = asked.algorithm.parameterAsLayerList(asked.parameters, self.name, asked.context)
        return [raster_file(layer, asked.feedback) for layer in layers]


class Polygons(Parameter):
    """A polygon layer, or what is selected of it; ``crs`` and ``ending`` are those of the file."""

    def _definition(self):
        return QgsProcessingParameterFeatureSource(
            self.name, self.title, [enums.POLYGONS], optional=self.is_optional
        )

    def values(self, asked):
        """Return a temporary file with the polygons."""
        if self._is_empty(asked):
            return []
        source = asked.algorithm.parameterAsSource(asked.parameters, self.name, asked.context)
        if source is None:
            raise QgsProcessingException(f"{self.title}: QGIS cannot open the layer")
        layer = source.materialize(QgsFeatureRequest(), asked.feedback)
        return [polygon_file(layer, asked.context, **self.details)]


class Extent(Parameter):
    """A rectangle on the map; ``of`` names the raster in whose CRS it is written."""

    def _definition(self):
        return QgsProcessingParameterExtent(self.name, self.title, optional=True)

    def values(self, asked):
        """Return a temporary file with the rectangle."""
        if self._is_empty(asked):
            return []
        layer = asked.algorithm.parameterAsRasterLayer(
            asked.parameters, self.details["of"], asked.context
        )
        extent = asked.algorithm.parameterAsExtent(
            asked.parameters, self.name, asked.context, layer.crs()
        )
        return [polygon_file(rectangle(extent, layer.crs()), asked.context)]


class Bounds(Parameter):
    """A rectangle on the map as degrees: west, south, east, north."""

    def _definition(self):
        return QgsProcessingParameterExtent(self.name, self.title, optional=True)

    def values(self, asked):
        """Return the four numbers with commas between."""
        if self._is_empty(asked):
            return []
        degrees = QgsCoordinateReferenceSystem("EPSG:4326")
        extent = asked.algorithm.parameterAsExtent(
            asked.parameters, self.name, asked.context, degrees
        )
        ends = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
        return [",".join(map(repr, ends))]


class Number(Parameter):
    """A number; ``default`` None leaves it to geodecloud."""

    def _definition(self):
        low, high = self.details.get("low"), self.details.get("high")
        limits = {"minValue": low, "maxValue": high}
        return QgsProcessingParameterNumber(
            self.name,
            self.title,
            enums.WHOLE if self.details.get("whole") else enums.REAL,
            self.details.get("default"),
            self.details.get("default") is None,
            **{name: value for name, value in limits.items() if value is not None},
        )

    def values(self, asked):
        """Return the number."""
        if asked.parameters.get(self.name, self.details.get("default")) is None:
            return []
        number = asked.algorithm.parameterAsDouble(asked.parameters, self.name, asked.context)
        return [f"{number:.0f}" if self.details.get("whole") else repr(number)]


class Text(Parameter):
    """A line of text."""

    def _definition(self):
        return QgsProcessingParameterString(
            self.name, self.title, self.details.get("default"), optional=self.is_optional
        )

    def values(self, asked):
        """Return the text."""
        text = asked.algorithm.parameterAsString(asked.parameters, self.name, asked.context)
        return [text.strip()] if text.strip() else []


class Choice(Parameter):
    """One of several words, or some of them joined by +; the ``silent`` ones say nothing."""

    def _definition(self):
        return QgsProcessingParameterEnum(
            self.name,
            self.title,
            self.details["words"],
            self.details.get("several", False),
            self.details["default"],
            usesStaticStrings=True,
        )

    def values(self, asked):
        """Return the words."""
        chosen = asked.algorithm.parameterAsEnumStrings(asked.parameters, self.name, asked.context)
        said = [word for word in chosen if word not in self.details.get("silent", ())]
        return ["+".join(said)] if said else []


class Switch(Parameter):
    """Yes or no; the option is said where the answer is not the ``default``."""

    def _definition(self):
        return QgsProcessingParameterBoolean(
            self.name, self.title, self.details.get("default", False)
        )

    def is_on(self, asked):
        """Return the answer."""
        return asked.algorithm.parameterAsBool(asked.parameters, self.name, asked.context)

    def words(self, asked):
        """Return the option alone."""
        said = self.is_on(asked) != self.details.get("default", False)
        return [self.option] if said and self.option else []


class Place(Parameter):
    """A file or a folder that is read."""

    behaviour = None

    def _definition(self):
        return QgsProcessingParameterFile(
            self.name,
            self.title,
            self.behaviour,
            optional=self.is_optional,
            fileFilter=self.details.get("filter", ANY_FILE),
        )

    def values(self, asked):
        """Return the path."""
        path = asked.algorithm.parameterAsFile(asked.parameters, self.name, asked.context)
        return [path] if path else []


class File(Place):
    """A file that is read; ``filter`` says which."""

    behaviour = enums.FILE


class Folder(Place):
    """A folder that is read."""

    behaviour = enums.FOLDER


class Output(Parameter):
    """Something that is written; an optional one is skipped unless it is asked for."""

    is_output = True

    def values(self, asked):
        """Return the path, in a folder that exists."""
        path = self.path(asked)
        if not path:
            return []
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return [path]

    def path(self, asked):
        """Return the path; "" where the output is skipped."""
        if self.name not in asked.paths:
            asked.paths[self.name] = self._path(asked)
        return asked.paths[self.name]

    def _path(self, asked):
        return asked.algorithm.parameterAsFileOutput(asked.parameters, self.name, asked.context)

    def _defaults(self):
        return {"optional": self.is_optional, "createByDefault": not self.is_optional}


class RasterOutput(Output):
    """A GeoTIFF; ``style`` names how it is shown."""

    def _definition(self):
        return QgsProcessingParameterRasterDestination(self.name, self.title, **self._defaults())

    def _path(self, asked):
        return asked.algorithm.parameterAsOutputLayer(asked.parameters, self.name, asked.context)


class FileOutput(Output):
    """A file of the kind that ``filter`` names."""

    def _definition(self):
        return QgsProcessingParameterFileDestination(
            self.name, self.title, fileFilter=self.details["filter"], **self._defaults()
        )


class FolderOutput(Output):
    """A folder; ``new`` says that it has to be one that is not there yet, or that is empty."""

    def _definition(self):
        return QgsProcessingParameterFolderDestination(self.name, self.title, **self._defaults())

    def _path(self, asked):
        path = asked.algorithm.parameterAsString(asked.parameters, self.name, asked.context)
        if (
            self.details.get("new")
            and path
            and Path(path).is_dir()
            and not any(Path(path).iterdir())
        ):
            Path(path).rmdir()  # QGIS offers folders that are there; an empty one is as good as new
        return path
