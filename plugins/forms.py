"""The forms of the plugin as docs/qgis.md shows them, drawn without a screen: `make forms`.

Usage: forms.py FOLDER
"""

import sys
from pathlib import Path

from qgis.core import QgsApplication, QgsProject, QgsRasterLayer
from qgis.PyQt.QtWidgets import QGroupBox, QScrollArea, QSplitter

PLUGINS = Path(__file__).resolve().parent
SAMPLE = PLUGINS.parent / "sample/zurich_2019.tif"
PROCESSING = "/usr/share/qgis/python/plugins"  # where Debian has the Processing framework
sys.path[:0] = [PROCESSING, str(PLUGINS)]

WIDTH_PX = 800
LEAST_PX = 300  # of the height: it grows from here
ABOUT_PX = 250  # of the width: the text beside the form
ROUNDS = 3  # of growth: a scroll bar that goes makes room, a form that is laid out anew takes it
FORMS = {
    "qgis_dialog": ("removeclouds", {"INPUT": "zurich_2019"}),
    "qgis_batch": (
        "batchstac",
        {
            "STAC": "https://example.org/stac",
            "COLLECTIONS": "sentinel-2-l2a",
            "DATETIME": "2026-06-01/2026-06-30",
            "MAX_CLOUD": 60,
        },
    ),
}
UNFOLDED = {"batchstac"}  # whose advanced parameters are shown, too


def form(algorithm, answers):
    """Return the dialog of an algorithm, filled in, as high as all of its questions."""
    from processing.gui.AlgorithmDialog import AlgorithmDialog

    registry = QgsApplication.processingRegistry()
    dialog = AlgorithmDialog(registry.algorithmById(f"geodecloud:{algorithm}").create())
    dialog.mainWidget().setParameters(answers)
    dialog.show()
    for box in dialog.findChildren(QGroupBox):
        box.setProperty("collapsed", algorithm not in UNFOLDED)
    dialog.resize(WIDTH_PX, LEAST_PX)
    for splitter in dialog.findChildren(QSplitter):
        splitter.setSizes([WIDTH_PX - ABOUT_PX, ABOUT_PX])
    for _ in range(ROUNDS):
        QgsApplication.processEvents()
        hidden = max(area.verticalScrollBar().maximum() for area in questions(dialog))
        dialog.resize(WIDTH_PX, dialog.height() + hidden)
    QgsApplication.processEvents()
    return dialog


def questions(dialog):
    """Return what the questions of a form scroll in."""
    return dialog.mainWidget().findChildren(QScrollArea)


def main():
    """Draw each form into a folder."""
    folder = Path(sys.argv[1])
    application = QgsApplication([], True)
    application.initQgis()
    from processing.core.Processing import Processing
    from qgis_geodecloud.provider import Provider

    Processing.initialize()
    provider = Provider()
    QgsApplication.processingRegistry().addProvider(provider)
    QgsProject.instance().addMapLayer(QgsRasterLayer(str(SAMPLE), SAMPLE.stem))
    for name, (algorithm, answers) in FORMS.items():
        dialog = form(algorithm, answers)
        target = folder / f"{name}.png"
        if not dialog.grab().save(str(target)):
            sys.exit(f"{target} cannot be written")
        dialog.deleteLater()
        sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main()
