"""QGIS with the plugin in it, and small scenes cut from the sample."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
)

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


@pytest.fixture
def catalog(tmp_path):
    """Items of two scenes on this disk, a file a band; the files of the second are not there."""
    items = []
    for number in range(2):
        corner = [60 + 100 * number, 200, 96, 96]
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": f"scene-{number}", "links": [],
            "stac_extensions": [], "collection": "sentinel-2-l2a",
            "properties": {
                "datetime": "2019-05-30T10:30:00Z", "eo:cloud_cover": 20 + 50 * number,
                "proj:code": "EPSG:32632",
            },
            "assets": {},
        }  # fmt: skip
        for band, name in enumerate(("B02", "B03", "B04", "B08"), 1):
            path = tmp_path / "data" / f"scene-{number}_{name}.tif"
            path.parent.mkdir(exist_ok=True)
            gdal.Translate(str(path), str(SAMPLE), srcWin=corner, bandList=[band])
            extent = layer_of(path).extent()
            item["assets"][name] = {
                "href": path.as_uri(), "type": "image/tiff", "roles": ["data"],
                "raster:bands": [{"scale": 0.0001, "offset": 0, "nodata": 0}],
            }  # fmt: skip
        degrees = QgsCoordinateTransform(
            QgsCoordinateReferenceSystem("EPSG:32632"),
            QgsCoordinateReferenceSystem("EPSG:4326"),
            QgsProject.instance(),
        ).transformBoundingBox(extent)
        west, south = degrees.xMinimum(), degrees.yMinimum()
        east, north = degrees.xMaximum(), degrees.yMaximum()
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        item["geometry"] = {"type": "Polygon", "coordinates": [ring]}
        item["bbox"] = [west, south, east, north]
        items.append(item)
    for path in (tmp_path / "data").glob("scene-1*"):
        path.unlink()
    written = tmp_path / "items.json"
    written.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return written
