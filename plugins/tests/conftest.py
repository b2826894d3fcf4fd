"""QGIS with the plugin in it, and small scenes cut from the sample."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import QgsApplication, QgsProcessingFeedback, QgsRasterLayer

PLUGINS = Path(__file__).resolve().parents[1]
REPOSITORY = PLUGINS.parent
SAMPLE = REPOSITORY / "sample/zurich_2019.tif"
PYTHON = REPOSITORY / ".venv/bin/python"
PROCESSING = "/usr/share/qgis/python/plugins"  # where Debian has the Processing framework

sys.path[:0] = [PROCESSING, str(PLUGINS)]
os.environ["OMP_NUM_THREADS"] = "1"  # for the children: small scenes, on few cores


def pytest_collection_modifyitems(items):
    """Mark everything here: none of it runs without QGIS."""
    for item in items:
        item.add_marker(pytest.mark.qgis)


class Log(QgsProcessingFeedback):
    """What an algorithm says, kept."""

    def __init__(self):
        super().__init__(False)
        self.lines = []
        self.shares = []
        self.progressChanged.connect(self.shares.append)

    def setProgressText(self, text):
        self.lines.append(text)

    pushInfo = pushCommandInfo = setProgressText

    def pushWarning(self, text):
        self.lines.append(f"warning: {text}")

    def reportError(self, text, fatalError=False):
        self.lines.append(f"error: {text}")

    @property
    def text(self):
        return "\n".join(self.lines)


@pytest.fixture(scope="session")
def provider(qgis_app, qgis_processing):
    from qgis_geodecloud.provider import Provider

    assert PYTHON.is_file(), "the plugin's tests need `make test`'s environment beside them"
    provider = Provider()
    QgsApplication.processingRegistry().addProvider(provider)
    return provider


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def run(provider, log, monkeypatch):
    """Runs an algorithm of ours; what it says is in ``log``."""
    import processing

    monkeypatch.setenv("GEODECLOUD_PYTHON", str(PYTHON))

    def run(name, context=None, **parameters):
        asked = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in parameters.items()
        }
        return processing.run(f"geodecloud:{name}", asked, feedback=log, context=context)

    return run


def cut(path, column=60, row=200, side=96):
    """Write a window of the sample, with all that it says of itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = gdal.Translate(str(path), str(SAMPLE), srcWin=[column, row, side, side])
    assert done is not None
    return path


@pytest.fixture
def scene(tmp_path):
    """A cloudy scene whose name has a blank, a quote and letters beyond ASCII."""
    return cut(tmp_path / 'it\'s "a" scène ü.tif')


def pixels(path):
    """All bands of a raster, (C, H, W)."""
    array = gdal.Open(str(path)).ReadAsArray()
    return array[None] if array.ndim == 2 else array


def layer_of(path):
    layer = QgsRasterLayer(str(path), "a layer")
    assert layer.isValid()
    return layer


def qgis_process(profile, *words, **variables):
    """Run qgis_process as a batch user does, with the plugin switched on."""
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "QGIS_CUSTOM_CONFIG_PATH": str(profile),
        "QGIS_PLUGINPATH": str(PLUGINS),
        **variables,
    }
    return subprocess.Popen(
        ["qgis_process.bin", *map(str, words)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


RECIPE = """
[data]
dataset_type = "CloudRemoval"
bands = ["B02", "B03", "B04", "B08"]
chip_size = 32
batch_size = 4

[model]
system = "Pix2Pix"
generator = "unet"
widths = [4, 8]
gan_weight = 0.0

[training]
epochs = 1
steps_per_epoch = 4
lr = 1e-3
"""


@pytest.fixture
def recipe(tmp_path):
    """A training that is over in seconds."""
    path = tmp_path / "small.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path
