"""Radar beside a scene: on its grid, for models that look at it, and said where they do not."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from geodecloud.errors import BandError, GridError, OptionError
from geodecloud.geo.raster import open_scene
from geodecloud.geo.tiling import Window
from geodecloud.guides import open_guide
from geodecloud.tasks import decloud
from geodecloud.translator import Answer
from tests import makers
from tests.strategies import make_scene

SHAPE = (96, 80)


class Radar:
    """Answers with what the radar shows: 0.1 where VV is above its usual value, else 0.4."""

    name, device = "radar", "cpu"
    bands_in = bands_out = ("B02", "B03", "B04", "B08")
    resolution_m, stride_px, halo_px = None, 1, 0
    inputs = ("pixels", "sar")

    def __init__(self):
        self.seen = []

    def __call__(self, request):
        sar = request.extra["sar"]
        self.seen.append(sar)
        answer = np.where(sar[:, :1] > -10, np.float32(0.1), np.float32(0.4))
        return Answer(np.repeat(answer, 4, 1))


class Blind(Radar):
    """The same that looks at nothing but the scene."""

    name = "blind"
    inputs = ("pixels",)

    def __call__(self, request):
        assert request.extra == {}
        return Answer(request.pixels)


@pytest.fixture
def scene():
    """A scene of 960 x 800 m, all of it to be generated."""
    return make_scene(SHAPE)


def radar(tmp_path, power=None, **options):
    power = np.full((2, 60, 60), 0.05, np.float32) if power is None else power
    return makers.make_rtc(tmp_path, values=power, **options)


def test_radar_of_another_grid_reaches_the_model_on_the_scenes(scene, tmp_path):
    power = np.full((2, 60, 60), 0.05, np.float32)
    power[0, :, 20:] = 0.5  # 400 m to the right of the corner: column 40
    model = Radar()
    notes = []
    result = decloud(
        scene, tmp_path / "out.tif", model=model, mask="all", sar=radar(tmp_path, power),
        feather_m=0, max_cloud=0.5, tile_size_px=32, on_note=notes.append,
    )  # fmt: skip
    with open_scene(tmp_path / "out.tif") as out:
        values = out.sensor.to_reflectance(out.read(Window.whole(SHAPE))[0])
    # within a pixel of the radar, which mixes across it
    np.testing.assert_allclose(values[:, :, :39], 0.4, atol=1e-4)
    np.testing.assert_allclose(values[:, :, 41:], 0.1, atol=1e-4)
    assert result.generated_share == 1
    assert not any("radar" in note for note in notes)


def test_the_radar_is_the_same_whatever_the_tiles(scene, tmp_path):
    rows, cols = np.mgrid[:60, :60]
    power = np.stack([np.exp(np.sin(rows / 5) + np.cos(cols / 7) - 3)] * 2).astype(np.float32)
    source = radar(tmp_path, power, corner=(599_900.0, 5_100_050.0))
    outputs = []
    for size_px in (16, 48, 512):
        path = tmp_path / f"{size_px}.tif"
        decloud(scene, path, model=Radar(), mask="all", sar=source, tile_size_px=size_px)
        with rasterio.open(path) as dataset:
            outputs.append(dataset.read())
    assert np.array_equal(outputs[0], outputs[1])
    assert np.array_equal(outputs[0], outputs[2])


def test_a_model_that_does_not_look_at_radar_is_said_to(scene, tmp_path):
    result = decloud(scene, tmp_path / "out.tif", model=Blind(), mask="none", sar=radar(tmp_path))
    assert any("blind does not look at radar" in note for note in result.notes)


def test_a_model_that_looks_at_radar_asks_for_it_before_any_work(scene, tmp_path):
    with pytest.raises(OptionError, match="looks at radar, and there is none"):
        decloud(scene, tmp_path / "out.tif", model=Radar(), mask="all")
    assert list(tmp_path.iterdir()) == []


def test_radar_of_a_part_is_said_and_of_elsewhere_refused(scene, tmp_path):
    half = radar(tmp_path / "half", corner=(600_400.0, 5_100_000.0))
    result = decloud(scene, tmp_path / "out.tif", model=Radar(), mask="all", sar=half)
    assert any("covers 50% of the scene" in note for note in result.notes)
    far = radar(tmp_path / "far", corner=(700_000.0, 5_100_000.0))
    with pytest.raises(GridError, match="does not lie on the scene"):
        decloud(scene, tmp_path / "no.tif", model=Radar(), mask="all", sar=far)
    assert not (tmp_path / "no.tif").exists()


def test_what_is_no_radar_is_refused(scene, tmp_path):
    path = makers.write_raster(tmp_path / "B02.tif", np.ones((60, 60), np.uint16), 20)
    with pytest.raises(BandError, match="radar has VV, VH"), open_guide("sar", path, scene):
        pass


def test_only_a_few_rows_of_the_radar_are_read_at_a_time(scene, tmp_path):
    with open_guide("sar", radar(tmp_path), scene) as guide:
        read = []
        source = guide.scene.read
        guide.scene.read = lambda window: read.append(window) or source(window)
        guide.read(Window(40, 0, 8, 80))
    assert max(window.height for window in read) <= 6
