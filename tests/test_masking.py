"""Masks from words, files and arrays to class rasters, and back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from odc.geo.geobox import GeoBox

import geodecloud
from geodecloud.errors import (
    BandError,
    GeodecloudError,
    GridError,
    InputError,
    ModelError,
    OptionError,
    OutputError,
)
from geodecloud.geo import classing
from geodecloud.geo.masks import CLASSES, CLEAR, CLOUD, MARGIN, NODATA, SHADOW, THIN
from geodecloud.geo.raster import Profile, open_scene, write_array
from geodecloud.geo.scene import ArrayScene, ArraySink
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.masking import MASK_PROFILE, MaskOptions, combine, mask
from tests.run.test_package import write_package

GRID = GeoBox((96, 80), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")
SENSOR = SENSORS["sentinel-2-l2a"].select(["B02", "B03", "B04", "B08"])


def ground(seed=1):
    """Smooth ground with a white cloud in the middle and a strip of nodata at the left."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:96, :80]
    dn = 900 + 300 * np.sin(rows / 9) * np.cos(cols / 7) + rng.normal(0, 20, (4, 96, 80))
    dn[3] += 2000
    dn[:, (rows - 48) ** 2 + (cols - 40) ** 2 < 250] = 8000
    dn[:, :, :6] = 0
    return dn.astype(np.uint16)


@pytest.fixture
def scene():
    return ArrayScene(ground(), SENSOR, GRID)


def codes_of(scene, mask_="auto", **options):
    with ArraySink(1, scene.read(Window(0, 0, 96, 80))[0].shape[1:], np.uint8) as sink:
        mask(scene, sink, mask=mask_, **options)
    return sink.dn[0]


def raster(path, codes, geobox=GRID):
    write_array(path, np.asarray(codes, np.uint8)[None], geobox, MASK_PROFILE)
    return path


def polygon(path, rows, cols, **properties):
    left, right = 600_000 + 10 * cols.start, 600_000 + 10 * cols.stop
    top, bottom = 5_000_000 - 10 * rows.start, 5_000_000 - 10 * rows.stop
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    tree = {"type": "FeatureCollection", "features": [feature], "crs": crs}
    path.write_text(json.dumps(tree))
    return path


def test_nodata_is_never_cloud_whatever_the_mask_says(scene, tmp_path) -> None:
    everywhere = polygon(tmp_path / "all.geojson", slice(-5, 100), slice(-5, 90))
    painted = raster(tmp_path / "all.tif", np.ones((96, 80)))
    drawn = np.ones((96, 80), bool)
    for what in ("auto", "all", "none", everywhere, painted, drawn, f"auto+{painted}"):
        codes = codes_of(scene, what, dilate_m=300, holes_m2=1e6)
        assert (codes[:, :6] == NODATA).all()
        assert (codes[:, 6:] != NODATA).all()


def test_scl_over_nodata_is_no_cloud() -> None:
    dn = np.concatenate([ground(), np.full((1, 96, 80), 9, np.uint16)])
    sensor = replace(SENSOR, bands=(*SENSOR.bands, Band("SCL", nodata=0)))
    codes = codes_of(ArrayScene(dn, sensor, GRID), "scl")
    assert (codes[:, :6] == NODATA).all()
    assert (codes[:, 6:] == CLOUD).all()


def test_qa60_of_a_file_that_declares_0_as_nodata_is_clear_where_it_is_0(tmp_path) -> None:
    dn = np.concatenate([ground(), np.zeros((1, 96, 80), np.uint16)])
    dn[4, 40:60, 40:60] = 1024
    profile = replace(
        Profile.for_sensor(SENSORS["sentinel-2-l2a"].select(["B02", "B03", "B04", "B08", "B12"])),
        descriptions=("B02", "B03", "B04", "B08", "QA60"),
    )
    write_array(tmp_path / "a.tif", dn, GRID, profile)
    with open_scene(tmp_path / "a.tif") as scene:
        codes = codes_of(scene, "qa60", dilate_m=0)
    assert (codes[40:60, 40:60] == CLOUD).all()
    assert (codes[:40, 6:] == CLEAR).all()
    assert (codes[:, :6] == NODATA).all()


def test_words_mean_what_they_say(scene) -> None:
    assert (codes_of(scene, "all")[:, 6:] == CLOUD).all()
    assert (codes_of(scene, "none")[:, 6:] == CLEAR).all()
    assert np.array_equal(codes_of(scene, "joint"), codes_of(scene, "auto"))
    found = codes_of(scene)
    assert (found[44:52, 36:44] == CLOUD).all()
    assert 0.03 < (found == MARGIN).mean() < 0.3


def test_terms_join_and_take_away_from_left_to_right(scene, tmp_path) -> None:
    extra = polygon(tmp_path / "extra.geojson", slice(0, 20), slice(60, 80))
    keep = raster(tmp_path / "keep-this.tif", np.mgrid[:96, :80][0] >= 48)
    found = codes_of(scene)
    codes = codes_of(scene, f"auto+{extra}-{keep}")
    wanted = found.copy()
    wanted[:20, 60:80] = CLOUD
    wanted[48:, 6:] = CLEAR
    assert np.array_equal(codes, wanted)
    assert np.array_equal(codes_of(scene, ["auto", extra, f"-{keep}"]), wanted)
    assert np.array_equal(codes_of(scene, [f"auto+{extra}", f'-"{keep}"']), wanted)
    again = codes_of(scene, f"auto-{keep}+{keep}")
    assert (again[48:, 6:] == CLOUD).all()


def test_a_drawn_term_is_taken_as_drawn_and_a_found_one_grows(scene, tmp_path) -> None:
    drawn = np.zeros((96, 80), bool)
    drawn[10, 70] = True
    assert (codes_of(scene, drawn) == CLOUD).sum() == 1
    grown = codes_of(scene, drawn, dilate_m=20)
    assert (grown == MARGIN).sum() == 12
    kept = codes_of(scene, ["all", "-" + str(raster(tmp_path / "k.tif", drawn))], dilate_m=20)
    assert (kept[:, 6:] == CLEAR).sum() == 1  # what is taken away never grows


def test_of_two_classes_the_one_nearer_to_thick_cloud_stands(scene, tmp_path) -> None:
    painted = np.full((96, 80), SHADOW, np.uint8)
    extra = polygon(tmp_path / "a.geojson", slice(0, 96), slice(40, 80), **{"class": "thin cloud"})
    for mask_ in ([painted, extra], [extra, painted]):
        codes = codes_of(scene, mask_)
        assert (codes[:, 6:40] == SHADOW).all()
        assert (codes[:, 40:] == THIN).all()


layers = npst.arrays(np.uint8, (3, 5), elements=st.sampled_from([*CLASSES]))


@given(layers, layers, layers)
def test_joining_knows_no_order_and_taking_away_leaves_none_of_it(one, other, third) -> None:
    def plus(a, b):
        return combine(a, "+", b)

    def is_masked(codes):
        return (codes != CLEAR) & (codes != NODATA)

    assert np.array_equal(plus(one, other), plus(other, one))
    assert np.array_equal(plus(plus(one, other), third), plus(one, plus(other, third)))
    assert np.array_equal(is_masked(plus(one, other)), is_masked(one) | is_masked(other))
    left = combine(one, "-", other)
    assert np.array_equal(is_masked(left), is_masked(one) & ~is_masked(other))
    assert np.array_equal(left == NODATA, one == NODATA)


def test_a_written_mask_is_taken_back_as_it_is(scene, tmp_path) -> None:
    path = tmp_path / "mask.tif"
    result = mask(scene, path)
    with rasterio.open(path) as written:
        codes = written.read(1)
        assert written.colormap(1)[CLOUD] == CLASSES[CLOUD].colour
        assert written.nodata == NODATA
        assert "GEODECLOUD_CLASSES" in written.tags(1)
    assert np.array_equal(codes_of(scene, path), codes)
    assert np.array_equal(codes_of(scene, str(path), shadows=False), codes)
    again = mask(scene, tmp_path / "again.tif", mask=path)
    assert (again.shares, again.n_valid) == (result.shares, result.n_valid)
    assert (tmp_path / "again.tif").read_bytes() == path.read_bytes()
    assert sum(result.shares.values()) == pytest.approx(1)


def test_what_a_user_painted_over_is_what_decloud_replaces(scene, tmp_path) -> None:
    path = tmp_path / "mask.tif"
    mask(scene, path)
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as painted:
        codes = painted.read(1)
        codes[20:76, 12:68] = CLEAR
        codes[5:9, 60:70] = 77
        painted.write(codes, 1)
    out = ArraySink(4, (96, 80), "uint16")
    geodecloud.decloud(scene, out, mask=path, feather_m=0)
    dn = ground()
    changed = (out.dn != dn).any(axis=0)
    assert changed[5:9, 60:70].mean() > 0.9
    changed[5:9, 60:70] = False
    assert not changed.any()


def test_the_detector_that_auto_means_can_be_chosen(scene) -> None:
    class White:
        name, bands, margin_px, stride_px = "white", ("B02",), 0, 1

        def prepare(self, scene, on_progress=None):
            return self

        def classes(self, reflectance, valid):
            white = reflectance[0] > 0.5
            return np.where(valid, np.where(white, SHADOW, CLEAR), NODATA).astype(np.uint8)

    found = codes_of(scene, detector=White(), dilate_m=0)
    assert np.array_equal(found == SHADOW, (ground()[0] > 5000) & (ground()[0] > 0))
    assert not (codes_of(scene, detector=White(), shadows=False) == SHADOW).any()
    rgb = replace(SENSOR, bands=SENSOR.bands[:3])
    three = ArrayScene(ground()[:3], rgb, GRID)
    with pytest.raises(BandError, match="B08"):
        codes_of(three, detector="spectral")


def test_memory_holds_a_strip_whatever_the_height(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(classing, "DETECTION_TILE_PX", 64)
    monkeypatch.setattr("geodecloud.masking.STRIP_PX", 64)
    tallest = []

    class Tall(ArrayScene):
        def read(self, window):
            tallest.append(window.height)
            return super().read(window)

        def select(self, names):
            chosen = super().select(names)
            return Tall(chosen._dn, chosen.sensor, chosen.geobox, chosen._valid)

    dn = np.ones((1, 2000, 30), np.uint16)
    tall = Tall(dn, Sensor("s", (Band("B02"),)), GeoBox((2000, 30), GRID.affine, GRID.crs))
    area = polygon(tmp_path / "a.geojson", slice(0, 1500), slice(0, 10))
    written = []

    class Sink(ArraySink):
        def write(self, window, pixels, valid):
            written.append(window.height)
            super().write(window, pixels, valid)

    with Sink(1, (2000, 30), np.uint8) as sink:
        mask(tall, sink, mask=["all", area], dilate_m=100, holes_m2=2_000)
    assert max(tallest) <= 64
    assert max(written) <= 64
    assert (sink.dn == CLOUD).all()


def bad(name, tmp_path):  # noqa: C901 - a table of cases
    """The mask, the error and a word of it."""
    if name == "unknown word":
        return "clouds", OptionError, "'clouds'"
    if name == "missing file":
        return "auto+my-roofs.tif", OptionError, "'my-roofs.tif'"
    if name == "empty file":
        (tmp_path / "empty.tif").write_bytes(b"")
        return tmp_path / "empty.tif", InputError, "empty.tif"
    if name == "empty polygons":
        (tmp_path / "empty.geojson").write_bytes(b"")
        return tmp_path / "empty.geojson", InputError, "empty.geojson"
    if name == "polygons elsewhere":
        area = polygon(tmp_path / "far.geojson", slice(500, 600), slice(0, 9))
        return f"auto+{area}", GridError, "far.geojson"
    if name == "unknown class":
        area = polygon(tmp_path / "a.geojson", slice(0, 9), slice(0, 9), **{"class": "fog"})
        return area, InputError, "'fog'"
    if name == "another grid":
        moved = GeoBox((96, 80), GRID.affine * Affine.translation(3, 0), GRID.crs)
        return raster(tmp_path / "moved.tif", np.ones((96, 80)), moved), GridError, "lies on"
    if name == "another size":
        small = GeoBox((9, 8), GRID.affine, GRID.crs)
        return raster(tmp_path / "small.tif", np.ones((9, 8)), small), GridError, "9x8 px"
    if name == "array of another size":
        return np.ones((9, 8), bool), GridError, "(9, 8)"
    if name == "array of fractions":
        return np.full((96, 80), 0.5), GridError, "float64"
    if name == "missing bands":
        return "scl", BandError, "SCL"
    if name == "model for something else":
        return write_package(tmp_path / "painter"), ModelError, "cloud-removal"
    raise AssertionError(name)


@pytest.mark.parametrize("name", [
    "unknown word", "missing file", "empty file", "empty polygons", "polygons elsewhere",
    "unknown class", "another grid", "another size", "array of another size",
    "array of fractions", "missing bands", "model for something else",
])  # fmt: skip
def test_a_bad_mask_is_one_clear_error_and_leaves_nothing(scene, tmp_path, name) -> None:
    asked, kind, word = bad(name, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for task in (mask, geodecloud.decloud):
        with pytest.raises(kind) as error:
            task(scene, tmp_path / "out.tif", mask=asked)
        assert word in str(error.value)
        assert "\n" not in str(error.value)
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("options", [
    {"detector": "spectrral"}, {"dilate_m": -1}, {"specks_m2": np.nan}, {"holes_m2": 1e9},
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(scene, tmp_path, options) -> None:
    for task in (mask, geodecloud.decloud):
        with pytest.raises(GeodecloudError, match=next(iter(options)).split("_")[0]):
            task(scene, tmp_path / "out.tif", **options)
    assert not list(tmp_path.iterdir())


def test_a_mask_that_exists_is_kept_unless_told_otherwise(scene, tmp_path) -> None:
    path = raster(tmp_path / "a.tif", np.zeros((96, 80)))
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        geodecloud.mask(scene, path)
    assert path.read_bytes() == before
    geodecloud.mask(scene, path, MaskOptions(mask="all"), overwrite=True)
    assert path.read_bytes() != before
