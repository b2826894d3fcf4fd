"""A sky over a scene on disk: any size, any window, any encoding, clear pixels untouched."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import geodecloud
from geodecloud import clouding
from geodecloud.clouding import CloudsOptions, clouds
from geodecloud.errors import BandError, InputError, OptionError, OutputError
from geodecloud.geo.masks import CLASSES, CLEAR, CLOUD, SHADOW, THIN
from geodecloud.geo.raster import open_scene, profile_of, write_array
from geodecloud.geo.scene import ArrayScene, ArraySink, shape_of
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.sky.sky import Sky
from tests.strategies import DTYPES, dn_arrays, make_scene, utm_geobox

SCENE = make_scene((300, 280))
WAVELENGTHS = {"B02": 492.4, "B03": 559.8, "B04": 664.6, "B08": 832.8}


def with_wavelengths(sensor: Sensor) -> Sensor:
    bands = tuple(replace(b, wavelength_nm=WAVELENGTHS.get(b.name)) for b in sensor.bands)
    return replace(sensor, bands=bands, level="L2A")


def scene_of(shape: tuple[int, int], *, row: int = 0, col: int = 0) -> ArrayScene:
    """The window at row, col of one scene of 300 by 280 pixels."""
    dn, _ = SCENE.read(Window(row, col, *shape))
    return ArrayScene(dn, with_wavelengths(SCENE.sensor), utm_geobox(shape, row=row, col=col))


def in_memory(scene: ArrayScene, **options):
    """Stored numbers, class codes and result of a scene under a sky."""
    shape = shape_of(scene.geobox)
    dtype = scene.sensor.bands[0].dtype
    sink = ArraySink(len(scene.sensor.bands), shape, dtype)
    with sink:
        result = clouds(scene, sink, **options)
    return sink, result


def on_disk(scene: ArrayScene, path: Path) -> Path:
    dn, _ = scene.read(Window.whole(shape_of(scene.geobox)))
    write_array(path, dn, scene.geobox, profile_of(scene), cog=False)
    return path


def whole(path: Path) -> np.ndarray:
    with open_scene(path) as scene:
        return scene.read(Window.whole(shape_of(scene.geobox)))[0]


@pytest.mark.parametrize("type", ["cumulus", "haze", "fog+cirrus"])
def test_the_windows_of_the_work_cannot_be_told_from_the_result(type, monkeypatch):
    scene = scene_of((300, 280))
    sinks = []
    for side in (256, 64, 97):
        monkeypatch.setattr(clouding, "WINDOW_PX", side)
        sinks.append(in_memory(scene, type=type, seed=3)[0])
    for sink in sinks[1:]:
        np.testing.assert_array_equal(sink.dn, sinks[0].dn)


@given(start=st.tuples(*[st.integers(12, 60)] * 2), seed=st.integers(0, 99))
@settings(max_examples=8)
def test_a_chip_of_the_clouded_scene_is_the_clouded_chip(start, seed):
    """Away from the chip's own edge, where the clouds blur what the chip does not hold."""
    sky = Sky.for_scene(utm_geobox((160, 150)), 0.5, "cumulus", seed)
    sink, _ = in_memory(scene_of((160, 150)), sky=sky)
    row, col = start
    chip, _ = in_memory(scene_of((86, 86), row=row, col=col), sky=sky)
    expected = sink.dn[:, row + 11 : row + 75, col + 11 : col + 75]
    np.testing.assert_array_equal(chip.dn[:, 11:75, 11:75], expected)


@given(st.data())
@settings(max_examples=20)
def test_clear_pixels_and_nodata_leave_bit_identical_in_every_dtype(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    nodata = data.draw(st.sampled_from((None, 0, 7))) if dtype != "float32" else None
    scale = {"uint8": 1 / 255, "float32": 1.0}.get(dtype, 1e-4)
    bands = tuple(
        Band(name, nm, scale=scale, nodata=nodata, dtype=dtype) for name, nm in WAVELENGTHS.items()
    )
    sensor = Sensor("test", bands, level=data.draw(st.sampled_from(("L1C", "L2A"))))
    dn = data.draw(dn_arrays(sensor, (40, 33)))
    scene = ArrayScene(dn, sensor, utm_geobox((40, 33)))
    sky = Sky.for_scene(scene.geobox, 0.4, data.draw(st.sampled_from(("cumulus", "haze"))))
    ground = clouding.Ground(scene, sensor, [0, 1, 2, 3], list(WAVELENGTHS.values()), 11)
    grid = clouding.SceneGrid.of(scene.geobox)
    with np.errstate(over="ignore", invalid="ignore"):
        out, valid, truth = ground.under(Window(0, 0, 40, 33), sky, grid)
    marked = (truth.is_thin | truth.is_thick | truth.is_shadow)[0, 0]
    same = ~marked[None] | ~valid
    assert out[same].tobytes() == dn[same].tobytes()
    assert sensor.is_valid(out)[valid].all()


def test_coverage_truth_and_depth_agree(tmp_path):
    scene = scene_of((200, 180))
    source = on_disk(scene, tmp_path / "clear.tif")
    names = ("out", "truth", "depth")
    out, truth, depth = (tmp_path / f"{name}.tif" for name in names)
    result = clouds(source, out, coverage=0.3, truth=truth, depth=depth, seed=1, level="L2A")
    assert result.cloud_share == pytest.approx(0.3, abs=0.02)
    classes, deep = whole(truth)[0], whole(depth)[0]
    np.testing.assert_array_equal((classes == THIN) | (classes == CLOUD), deep > 0)
    assert set(np.unique(classes)) == {CLEAR, THIN, CLOUD, SHADOW}
    assert result.shadow_share == pytest.approx((classes == SHADOW).mean())
    clear = classes == CLEAR
    np.testing.assert_array_equal(whole(out)[:, clear], whole(source)[:, clear])
    assert (whole(out)[:, classes == CLOUD] > whole(source)[:, classes == CLOUD]).mean() > 0.99
    with open_scene(truth) as raster:
        assert raster.profile.class_names[CLOUD] == "cloud"
        assert raster.profile.colormap[SHADOW] == CLASSES[SHADOW].colour
    with open_scene(source) as before, open_scene(out) as after:
        assert after.profile == before.profile
        assert after.geobox == before.geobox


def test_the_truth_is_a_mask_that_decloud_takes(tmp_path):
    source = on_disk(scene_of((96, 96)), tmp_path / "clear.tif")
    clouds(source, tmp_path / "cloudy.tif", truth=tmp_path / "truth.tif", coverage=0.2)
    result = geodecloud.decloud(
        tmp_path / "cloudy.tif", tmp_path / "again.tif", model="fill", mask=tmp_path / "truth.tif"
    )
    masked = whole(tmp_path / "truth.tif")[0] != CLEAR
    assert result.generated_share + result.feathered_share == pytest.approx(masked.mean(), abs=0.01)
    np.testing.assert_array_equal(
        whole(tmp_path / "again.tif")[:, ~masked], whole(source)[:, ~masked]
    )


def test_a_sky_is_written_and_taken_for_a_window_of_the_scene(tmp_path):
    scene = on_disk(scene_of((160, 150)), tmp_path / "scene.tif")
    window = on_disk(scene_of((100, 90), row=30, col=40), tmp_path / "window.tif")
    clouds(scene, tmp_path / "a.tif", seed=4, sky_out=tmp_path / "sky.json", type="cumulus+cirrus")
    clouds(window, tmp_path / "b.tif", sky=tmp_path / "sky.json")
    whole_scene, part = whole(tmp_path / "a.tif"), whole(tmp_path / "b.tif")
    np.testing.assert_array_equal(part[:, 11:89, 11:79], whole_scene[:, 41:119, 51:119])
    assert Sky.from_json((tmp_path / "sky.json").read_text()).types == ("cumulus", "cirrus")


def test_nodata_and_classes_stay(tmp_path):
    dn, _ = scene_of((64, 64)).read(Window(0, 0, 64, 64))
    dn[:, :20, :20] = 0
    scl = np.full((1, 64, 64), 4, np.uint16)
    bands = tuple(Band(name, nm, scale=1e-4, nodata=0) for name, nm in WAVELENGTHS.items())
    sensor = Sensor("sentinel-2-l2a", (*bands, Band("SCL", nodata=0)), level="L2A")
    scene = ArrayScene(np.concatenate([dn, scl]), sensor, utm_geobox((64, 64)))
    notes = []
    sink, result = in_memory(scene, coverage=1.0, type="deck", on_note=notes.append)
    assert not sink.dn[:4, :20, :20].any()
    assert (sink.dn[4] == 4).all()
    assert not sink.valid[:4, :20, :20].any()
    assert result.n_valid == 64 * 64 - 400
    assert any("SCL" in note for note in notes)


def test_memory_does_not_grow_with_the_scene(monkeypatch):
    monkeypatch.setattr(clouding, "WINDOW_PX", 64)

    class Endless(ArrayScene):
        def __init__(self, shape):
            first = scene_of((8, 8))
            self.geobox, self.sensor = utm_geobox(shape), first.sensor

        def read(self, window):
            dn = np.full((4, *window.shape), 1500, np.uint16)
            return dn, np.ones(dn.shape, bool)

        def select(self, names):
            return self

    class Nowhere(ArraySink):
        def __init__(self):
            super().__init__(4, (1, 1), "uint16")

        def write(self, window, pixels, valid):
            pass

    peaks = []
    sky = Sky(1, 0.5, thresholds=(0.0,))
    for rows in (192, 192, 640):  # the first fills what is kept for good
        tracemalloc.start()
        clouds(Endless((rows, 128)), Nowhere(), sky=sky)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] * 1.2


def test_other_seeds_hang_other_skies():
    first, other, again = (in_memory(scene_of((64, 64)), seed=n)[0].dn for n in (1, 2, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("options", "kind", "word"),
    [
        ({"type": "smoke"}, OptionError, "known are"),
        ({"coverage": 1.5}, OptionError, "0 to 1"),
        ({"sun_elevation_deg": -2.0}, OptionError, "horizon"),
        ({"sky": Sky(1), "seed": 2}, OptionError, "seed"),
        ({"sky": "nowhere.json"}, InputError, "No such file"),
        ({"sky_out": "no/folder/sky.json"}, OutputError, "folder"),
    ],
    ids=["type", "coverage", "sun", "said twice", "no sky", "no folder"],
)
def test_a_bad_option_is_one_clear_error_and_nothing_is_written(options, kind, word, tmp_path):
    source = on_disk(scene_of((40, 40)), tmp_path / "clear.tif")
    with pytest.raises(kind, match=word):
        clouds(source, tmp_path / "out.tif", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["clear.tif"]


def test_bands_without_a_wavelength_are_one_clear_error(tmp_path):
    source = on_disk(scene_of((40, 40)), tmp_path / "clear.tif")
    with pytest.raises(BandError, match="VV have no wavelength"):
        clouds(source, tmp_path / "out.tif", bands=("B02", "B03", "B04", "VV"))
    assert not (tmp_path / "out.tif").exists()


def test_what_exists_is_not_replaced_unasked(tmp_path):
    source = on_disk(scene_of((40, 40)), tmp_path / "clear.tif")
    (tmp_path / "sky.json").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        clouds(source, tmp_path / "out.tif", sky_out=tmp_path / "sky.json")
    assert not (tmp_path / "out.tif").exists()
    clouds(source, tmp_path / "out.tif", sky_out=tmp_path / "sky.json", overwrite=True)
    assert Sky.from_json((tmp_path / "sky.json").read_text()).thresholds is not None


def test_the_face_knows_clouds():
    assert geodecloud.clouds is clouds
    assert geodecloud.CloudsOptions is CloudsOptions
    assert geodecloud.Sky is Sky
