"""Algorithm: a form whose answers become one call of geodecloud."""

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingOutputNumber,
)

from . import runner
from .finder import VARIABLE, NotReady, find_python
from .narrator import Narrator
from .parameters import Asked, File, RasterOutput
from .styles import MARKS, SameStretch, place

PYTHON = File(
    "PYTHON",
    "Python that has geodecloud",
    help=f"Else the one of the Processing settings, or of the variable {VARIABLE}.",
    optional=True,
    advanced=True,
)


class Algorithm(QgsProcessingAlgorithm):
    """What the algorithms share; each of them is a table.

    Attributes:
        ID, TITLE, GROUP, ABOUT: how it is called and shown.
        COMMAND: the words that its call begins with.
        PARAMETERS: what the form asks, positional arguments in the order of the command.
        FIGURES: (name, key, title) of the numbers that a result has.
    """

    ID = TITLE = GROUP = ABOUT = ""
    COMMAND = ()
    PARAMETERS = ()
    FIGURES = ()

    def createInstance(self):
        """Return a new one of its kind."""
        return type(self)()

    def name(self):
        """Return what stands behind the colon of the algorithm's id."""
        return self.ID

    def displayName(self):
        """Return the name in the toolbox."""
        return self.TITLE

    def group(self):
        """Return the group in the toolbox."""
        return self.GROUP

    def groupId(self):
        """Return the group's id."""
        return self.GROUP.lower()

    def icon(self):
        """Return the icon of the provider."""
        return self.provider().icon()

    def svgIconPath(self):
        """Return the icon's file."""
        return self.provider().svgIconPath()

    def shortHelpString(self):
        """Return the text beside the form: what it is for, and what each parameter means."""
        told = [f"<b>{each.title}</b><br>{each.help}" for each in self.PARAMETERS if each.help]
        return "".join(f"<p>{text}</p>" for text in (self.ABOUT, *told))

    def initAlgorithm(self, configuration=None):
        """Add the parameters and the figures."""
        for parameter in (*self.PARAMETERS, PYTHON):
            self.addParameter(parameter.definition())
        for name, _, title in self.FIGURES:
            self.addOutput(QgsProcessingOutputNumber(name, title))

    def processAlgorithm(self, parameters, context, feedback):
        """Call geodecloud and return what it has made."""
        asked = Asked(self, parameters, context, feedback, {})
        try:
            python = find_python(
                "".join(PYTHON.values(asked)), ProcessingConfig.getSetting(VARIABLE)
            )
            words = self.words(asked)
            feedback.pushCommandInfo(runner.as_typed(runner.command(python, words)))
            result = runner.run(python, words, Narrator(feedback), feedback.isCanceled)
        except runner.Cancelled:
            return {}
        except (runner.Failed, NotReady) as error:
            raise QgsProcessingException(str(error)) from None
        return self.finish(asked, result)

    def words(self, asked):
        """Return the command and its words: options first, then files, so that none is an option.

        Raises:
            QgsProcessingException: an output would be written over an input.
        """
        options, inputs, outputs = [], [], []
        for parameter in self.PARAMETERS:
            words = parameter.words(asked)
            if parameter.is_output:
                _refuse_own_input(words, inputs + options)
            if parameter.option == "":
                (outputs if parameter.is_output else inputs).extend(words)
            else:
                options += words
        return [*self.COMMAND, *options, "--", *inputs, *outputs]

    def finish(self, asked, result):
        """Tell the result, style the layers, and return the outputs by name."""
        for line in result.get("summary", "").splitlines():
            asked.feedback.pushInfo(line)
        made = {}
        for parameter in self.PARAMETERS:
            if parameter.is_output:
                made[parameter.name] = parameter.path(asked) or None
                if isinstance(parameter, RasterOutput):
                    self._style(asked, parameter, made[parameter.name])
        figures = {name: result[key] for name, key, _ in self.FIGURES if key in result}
        return {**{name: value for name, value in made.items() if value}, **figures}

    def _style(self, asked, parameter, path):
        context, wanted = asked.context, parameter.details.get("style")
        if not (path and wanted and context.willLoadLayerOnCompletion(path)):
            return
        if wanted in MARKS:
            style = MARKS[wanted]()
        else:  # the name of the input whose look is taken
            shown = self.parameterAsRasterLayer(asked.parameters, wanted, context)
            if shown is None or context.project() is None:
                return
            if context.project().mapLayer(shown.id()) is None:
                return  # a file, which nobody has given a look yet
            style = SameStretch(shown)
        place(context.layerToLoadOnCompletionDetails(path), style)


def _refuse_own_input(outputs, inputs):
    for path in outputs:
        if any(_is_same(path, other) for other in inputs):
            raise QgsProcessingException(
                f"The output {path} is also an input, which stays as it is: choose another name"
            )


def _is_same(path, other):
    try:
        return Path(path).samefile(other)
    except OSError:  # one of them is no file
        return False
