"""Whether geodecloud is here, and what it can use."""

from qgis.core import QgsProcessingOutputString

from .algorithm import Algorithm


class CheckEnvironment(Algorithm):
    """doctor: versions, devices, formats, memory, disk."""

    ID, TITLE, GROUP, COMMAND = "checkenvironment", "Check environment", "Environment", ("doctor",)
    ABOUT = (
        "Says which geodecloud is used, and what of its environment is missing; where there is "
        "none, what to type to install it."
    )

    def initAlgorithm(self, configuration=None):
        """Add the version to what comes out."""
        super().initAlgorithm(configuration)
        self.addOutput(QgsProcessingOutputString("VERSION", "Version of geodecloud"))

    def finish(self, asked, result):
        """Return the version; what is missing is shown as a warning."""
        made = super().finish(asked, result)
        for name, check in result["checks"].items():
            if check["status"] in ("missing", "low"):
                asked.feedback.pushWarning(f"{name}: {check['status']}, {check['text']}")
        return {**made, "VERSION": result["checks"]["geodecloud"]["text"]}
