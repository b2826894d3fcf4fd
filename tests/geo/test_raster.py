"""What goes through the writer comes back from the opener, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError, GridError, InputError, OutputError
from geodecloud.geo.geotiff import Ledger
from geodecloud.geo.profile import CLASSES_TAG, Profile
from geodecloud.geo.raster import (
    RasterSink,
    RasterStack,
    encode_array,
    open_scene,
    profile_of,
    write_array,
)
from geodecloud.geo.scene import ArrayScene, StackedScene, without_georeference
from geodecloud.geo.sensors import SENSORS
from geodecloud.geo.tiling import Window
from tests.strategies import make_scene, make_sensor, utm_geobox

DTYPES = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64")
NODATA = {
    "uint8": (0, 255), "int8": (-128,), "int16": (-9999, 0, -32768), "uint16": (0, 65535),
    "int32": (-(2**31),), "uint32": (2**32 - 1,),
    "float32": (float("nan"), -9999.0, float(np.finfo("float32").min)),
    "float64": (float("nan"), 1e-300),
}  # fmt: skip

lengths = st.sampled_from((1, 2, 15, 16, 17, 33, 64, 65))
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
# XML holds no control characters, and GDAL trims blanks
words = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=12).map(str.strip)
keys = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}X", fullmatch=True)
tags = st.dictionaries(keys, words.filter(bool), max_size=3)


@st.composite
def geoboxes(draw):
    shape = (draw(lengths), draw(lengths))
    x, y = draw(st.integers(-(10**7), 10**7)), draw(st.floats(-1e7, 1e7))
    size = draw(st.sampled_from((10.0, 0.5, 60.0, 1 / 3)))
    kind = draw(st.sampled_from(("nowhere", "utm", "south-up", "rotated", "degrees", "no crs")))
    affine = {
        "nowhere": Affine.identity(),
        "utm": Affine(size, 0, x, 0, -size, y),
        "south-up": Affine(size, 0, x, 0, size, y),
        "rotated": Affine.translation(x, y) * Affine.rotation(draw(st.floats(1, 359)))
        * Affine.scale(size, -2 * size) * Affine.shear(draw(st.floats(-30, 30))),
        "degrees": Affine(size / 1e5, 0, x / 1e5, 0, -size / 1e5, y / 2e5),
        "no crs": Affine(size, 0, x, 0, -size, y),
    }[kind]  # fmt: skip
    crs = {"utm": "EPSG:32632", "south-up": "EPSG:32733", "rotated": "EPSG:3857",
           "degrees": "EPSG:4326"}.get(kind)  # fmt: skip
    return GeoBox(shape, affine, crs)


@st.composite
def profiles(draw):
    dtype, n_bands = draw(st.sampled_from(DTYPES)), draw(st.integers(1, 5))
    kind = draw(st.sampled_from(("none", "one", "each")))
    choice = st.sampled_from((*NODATA[dtype], None))
    one = draw(choice)
    nodata = {
        "none": (None,) * n_bands,
        "one": (one,) * n_bands,
        "each": tuple(draw(choice) for _ in range(n_bands)),
    }[kind]

    def each(entries):
        return tuple(draw(entries) for _ in range(n_bands))

    is_rgb = dtype in {"uint8", "uint16"} and n_bands >= 3 and draw(st.booleans())
    is_table = dtype == "uint8" and n_bands == 1 and draw(st.booleans())
    colors = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, (256, 3)).tolist()
    scales = each(numbers.filter(bool)) if draw(st.booleans()) else (1.0,) * n_bands
    last = draw(st.sampled_from(("undefined", "alpha")))
    colorinterp = ("gray", *("undefined",) * (n_bands - 2), last)[:n_bands]
    if is_rgb:
        colorinterp = ("red", "green", "blue", *("undefined",) * (n_bands - 3))
    return Profile(
        dtype=dtype,
        nodata=nodata,
        descriptions=each(words.map(lambda text: text or None)),
        scales=scales,
        offsets=each(numbers) if scales[0] != 1 else (0.0,) * n_bands,
        units=each(words.map(lambda text: text or None)),
        colorinterp=("palette",) if is_table else colorinterp,
        tags=draw(tags),
        band_tags=each(tags),
        colormap={n: (*rgb, 255) for n, rgb in enumerate(colors)} if is_table else None,
        class_names=draw(st.dictionaries(st.integers(0, 255), words, min_size=1, max_size=3))
        if is_table
        else None,
        is_masked=draw(st.booleans()) and "alpha" not in colorinterp,
    )


def bits(array):
    """The memory of an array: NaN payloads and the sign of zero count."""
    return array.tobytes(), array.dtype, array.shape


def opaque(colormap):
    """The colours without their alpha, which a TIFF has no place for."""
    return colormap and {number: (*color[:3], 255) for number, color in colormap.items()}


@given(geoboxes(), profiles(), st.booleans(), st.data())
def test_what_is_written_reads_back_bit_for_bit(geobox, profile, is_cog, data):
    shape = (profile.n_bands, *geobox.shape)
    seed = data.draw(st.integers(0, 2**32 - 1))
    size = int(np.prod(shape)) * np.dtype(profile.dtype).itemsize
    # random bytes: in floats NaN payloads, infinities, subnormal numbers and -0.0 among them
    raw = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    array = raw.view(profile.dtype).reshape(shape)
    valid = np.random.default_rng(seed).random(shape) < 0.9
    with TemporaryDirectory() as folder:
        path = Path(folder) / "Zürich 'a b'.tif"
        with RasterSink(path, geobox, profile, cog=is_cog) as sink:
            for window in stripes(geobox.shape, data.draw(st.integers(1, 70))):
                rows, cols = window.slices
                sink.write(window, array[:, rows, cols], valid[:, rows, cols])
        expected = {path.name, *([path.name + ".aux.xml"] if profile.class_names else [])}
        assert {entry.name for entry in Path(folder).iterdir()} == expected
        with open_scene(path, bands=[f"x{i}" for i in range(profile.n_bands)]) as scene:
            read, read_valid = scene.read(Window.whole(array.shape[1:]))
            assert bits(read) == bits(array)
            assert scene.geobox == geobox
            assert repr(scene.profile.nodata) == repr(profile.nodata)  # NaN among them
            assert (
                replace(scene.profile, nodata=profile.nodata, colormap=profile.colormap) == profile
            )
            assert opaque(scene.profile.colormap) == profile.colormap
            if profile.is_masked:
                assert not read_valid[:, ~valid.any(axis=0)].any()


@given(geoboxes())
def test_where_a_pixel_is_a_point_corners_stay_within_a_billionth_of_a_pixel(geobox):
    profile = replace(Profile.for_sensor(make_sensor(1)), tags={"AREA_OR_POINT": "Point"})
    with TemporaryDirectory() as folder:
        path = Path(folder) / "point.tif"
        write_array(path, np.zeros((1, *geobox.shape), "uint16"), geobox, profile, cog=False)
        with open_scene(path) as scene:
            assert scene.profile.tags == profile.tags
            shift = ~geobox.affine * (scene.geobox.affine.c, scene.geobox.affine.f)
            assert scene.geobox.crs == geobox.crs
    # the inverse is itself off by so much where the coordinates are large
    assert max(map(abs, shift)) < 1e-9 + 1e-15 * max(map(abs, (~geobox.affine)[:6]))


def stripes(shape, height):
    for row in range(0, shape[0], height):
        yield Window(row, 0, min(height, shape[0] - row), shape[1])


@given(arrays(np.uint16, (2, 5, 7)))
def test_a_raster_in_memory_is_the_raster_on_disk(array):
    scene = ArrayScene(array, make_sensor(2), utm_geobox((5, 7)))
    profile = profile_of(scene)
    content = encode_array(array, np.ones(array.shape, bool), scene.geobox, profile)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "chip.tif"
        path.write_bytes(content)
        with open_scene(path) as chip:
            assert bits(chip.read(Window.whole((5, 7)))[0]) == bits(array)
            assert chip.geobox == scene.geobox
            assert chip.profile == profile


@pytest.mark.parametrize("is_cog", [True, False])
@pytest.mark.parametrize("compress", ["deflate", "zstd", "lzw", "none"])
def test_writing_twice_gives_the_same_bytes(tmp_path, compress, is_cog):
    scene = make_scene((700, 600))
    profile = replace(profile_of(scene), tags={"TIFFTAG_DATETIME": "2019:05:30 10:00:00"})
    contents = []
    for name in ("a.tif", "b.tif"):
        with RasterSink(tmp_path / name, scene.geobox, profile, cog=is_cog, compress=compress) as s:
            for window in stripes((700, 600), 64 if name == "a.tif" else 700):
                s.write(window, *scene.read(window))
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1] or compress != "none"
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.tags()["TIFFTAG_DATETIME"] == "2019:05:30 10:00:00"
        assert dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == ("COG" if is_cog else None)
        assert bool(dataset.overviews(1)) == is_cog


def write_band(path, value, *, geobox=None, name=None, dtype="uint16", nodata=None):
    geobox = geobox or utm_geobox((5, 7))
    profile = Profile(
        dtype,
        (nodata,),
        (name,),
        (1.0,),
        (0.0,),
        (None,),
        ("gray",),
        {"MISSION": "S2", "N": name or ""},
    )
    write_array(path, np.full((1, *geobox.shape), value, dtype), geobox, profile, cog=False)
    return path


def test_a_folder_of_bands_is_one_scene_by_name(tmp_path):
    for number, name in enumerate(
        (
            "T32TMT_20220728T102559_SCL_20m",
            "T32TMT_20220728T102559_B8A",
            "T32TMT_20220728T102559_B02_10m",
            "T32TMT_20220728T102559_TCI",
        ),
        1,
    ):
        write_band(tmp_path / f"{name}.tif", number)  # fmt: skip
    (tmp_path / "notes.txt").write_text("not a raster")
    with open_scene(tmp_path) as scene:
        assert scene.sensor.band_names == ("B02", "B8A", "SCL")
        assert scene.sensor.level == "L2A"
        dn, _ = scene.read(Window(1, 1, 2, 2))
        assert dn[:, 0, 0].tolist() == [3, 2, 1]


def test_only_a_manifest_of_our_own_makes_a_folder_one_of_chips(tmp_path):
    write_band(tmp_path / "B02.tif", 1)
    (tmp_path / "manifest.json").write_text('{"name": "an order of images", "files": []}')
    with open_scene(tmp_path) as scene:
        assert scene.sensor.band_names == ("B02",)
    (tmp_path / "manifest.json").write_text('{\n "format": "geodecloud-chips",\n "version": 1}')
    with pytest.raises(InputError, match=r"holds chips.*geodecloud mosaic"):
        open_scene(tmp_path)


def test_a_list_of_bands_keeps_its_order_and_takes_names(tmp_path):
    paths = [write_band(tmp_path / f"{i}.tif", i) for i in (3, 1, 2)]
    with open_scene(paths) as scene:
        assert scene.sensor.band_names == ("band_1", "band_2", "band_3")
    with open_scene(paths, bands=["B04", "blue", "x"], offset=-1000) as scene:
        assert isinstance(scene, RasterStack)
        assert scene.sensor.band_names == ("B04", "B02", "x")
        assert {band.offset for band in scene.sensor.bands} == {-0.1}
        assert scene.select(["x", "B04"]).read(Window(0, 0, 1, 1))[0].ravel().tolist() == [2, 3]
    with pytest.raises(BandError, match=r"3\.tif and 2 more holds 3 bands.*2 names"):
        open_scene(paths, bands=["B04", "B03"])


def test_the_profiles_of_a_stack_stand_side_by_side(tmp_path):
    paths = [
        write_band(tmp_path / "B02.tif", 7, name="blue", nodata=0),
        write_band(tmp_path / "SCL.tif", 4, dtype="uint8"),
    ]
    with open_scene(paths) as scene:
        profile = profile_of(scene)
        assert (profile.dtype, profile.nodata) == ("uint16", (0.0, None))
        assert profile.descriptions == ("blue", None)
        assert profile.tags == {"MISSION": "S2"}
        assert profile_of(scene.select(["SCL", "B02"])).nodata == (None, 0.0)
        dn, _ = scene.read(Window.whole((5, 7)))
        write_array(tmp_path / "both.tif", dn, scene.geobox, profile)
    with open_scene(tmp_path / "both.tif") as both:
        assert both.profile == profile
        assert bits(both.read(Window.whole((5, 7)))[0]) == bits(dn)


def test_bands_on_two_grids_are_refused_by_the_names_of_both_files(tmp_path):
    coarse = GeoBox((3, 4), Affine(20, 0, 600_100, 0, -20, 5_100_000), "EPSG:32632")
    paths = [
        write_band(tmp_path / "T32TMT_B02_10m.tif", 1),
        write_band(tmp_path / "T32TMT_B11_20m.tif", 1, geobox=coarse),
    ]
    with pytest.raises(GridError, match=r"B11_20m\.tif lies on 4x3 px of 20x20.*B02_10m\.tif lies"):
        open_scene(paths)


def test_a_scene_without_a_file_has_the_profile_of_its_sensor():
    scene = make_scene()
    assert profile_of(scene).descriptions == scene.sensor.band_names
    assert profile_of(StackedScene([scene])) == profile_of(scene)
    assert profile_of(ArrayScene(np.zeros((3, 1, 1), "uint8"), SENSORS["rgb"])).scales == (1,) * 3


def test_reading_beyond_the_scene_is_an_error_and_not_a_stretched_array(tmp_path):
    with open_scene(write_band(tmp_path / "a.tif", 1)) as scene:
        for window in (Window(-1, 0, 2, 2), Window(4, 0, 2, 2), Window(0, 0, 6, 7)):
            with pytest.raises(ValueError, match="beyond"):
                scene.read(window)


def test_a_mask_or_an_alpha_band_hides_pixels(tmp_path):
    array = np.arange(1, 13, dtype=np.uint8).reshape(4, 1, 3)
    array[3] = [0, 255, 1]
    profile = Profile("uint8", (None,) * 4, (None,) * 4, (1,) * 4, (0,) * 4, (None,) * 4,
                      ("red", "green", "blue", "alpha"))  # fmt: skip
    write_array(tmp_path / "rgba.tif", array, without_georeference((1, 3)), profile)
    with open_scene(tmp_path / "rgba.tif") as scene:
        assert scene.sensor.band_names == ("red", "green", "blue", "alpha")
        assert scene.read(Window.whole((1, 3)))[1].tolist() == [[[False, True, True]]] * 4
        rgb = scene.select(["red", "green", "blue"])
        assert rgb.read(Window.whole((1, 3)))[1].shape == (3, 1, 3)


SCENE = make_scene((5, 7), n_bands=2)
ROWS = [(window, *SCENE.read(window)) for window in stripes((5, 7), 2)]


def write_rows(sink, rows=ROWS, failure=None):
    """Write rows of the scene through a sink, and fail after the last."""
    with sink:
        for row in rows:
            sink.write(*row)
        if failure:
            raise failure


@pytest.fixture
def sink(tmp_path):
    """A sink for the scene."""
    return RasterSink(tmp_path / "out.tif", SCENE.geobox, profile_of(SCENE))


def test_short_arrays_and_other_dtypes_are_never_written(sink, tmp_path):
    window, pixels, valid = ROWS[0]
    with sink:
        for wrong in (pixels[:, :1], pixels[:1], pixels[:, :, :6], pixels.astype("float32")):
            with pytest.raises(ValueError, match="pixels"):
                sink.write(window, wrong, np.ones(wrong.shape, bool))
        with pytest.raises(ValueError, match="valid"):
            sink.write(window, pixels, valid[:1])
        for row in ROWS:
            sink.write(*row)
    assert (tmp_path / "out.tif").exists()


@pytest.mark.parametrize("order", [[1, 2], [0, 0], [0, 2, 1]])
def test_windows_that_overlap_or_leave_gaps_are_refused(sink, tmp_path, order):
    with pytest.raises(ValueError, match="does not follow"):
        write_rows(sink, [ROWS[i] for i in order])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_a_file_with_unwritten_pixels_is_never_published(sink, tmp_path, n_rows):
    with pytest.raises(OutputError, match=r"\d+ px .* never written"):
        write_rows(sink, ROWS[:n_rows])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_while_writing_leaves_nothing_behind(sink, tmp_path, failure):
    with pytest.raises(failure):
        write_rows(sink, ROWS[:1], failure)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_exists_is_refused_before_any_work_and_kept(sink, tmp_path):
    (tmp_path / "out.tif").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"exists.*--overwrite"):
        RasterSink(tmp_path / "out.tif", SCENE.geobox, profile_of(SCENE))
    with pytest.raises(OutputError, match="exists"):  # it came while the rows were written
        write_rows(sink)
    assert (tmp_path / "out.tif").read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_overwriting_takes_away_what_gdal_would_believe_about_the_old_raster(tmp_path):
    path = tmp_path / "out.tif"
    for name in ("out.tif", "out.tif.aux.xml", "out.tif.ovr", "out.tif.msk", "out.tif.partial"):
        (tmp_path / name).write_bytes(b"old")
    write_rows(RasterSink(path, SCENE.geobox, profile_of(SCENE), overwrite=True))
    assert {entry.name for entry in tmp_path.iterdir()} == {"out.tif", "out.tif.partial"}


def test_outputs_that_cannot_be_are_refused_before_any_work(tmp_path, monkeypatch):
    def make(path):
        return RasterSink(path, SCENE.geobox, profile_of(SCENE))

    with pytest.raises(OutputError, match="does not exist"):
        make(tmp_path / "no" / "out.tif")
    with pytest.raises(OutputError, match="GeoTIFF"):
        make(tmp_path / "out.png")
    (tmp_path / "dir.tif").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        make(tmp_path / "dir.tif")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match="read-only"):
        make(tmp_path / "out.tif")


def test_a_full_disk_is_refused_before_any_work(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"at least .* MB are needed"):
        RasterSink(tmp_path / "out.tif", SCENE.geobox, profile_of(SCENE))


def test_what_a_geotiff_cannot_hold_is_refused_before_any_work(tmp_path):
    profile = Profile.for_sensor(make_sensor(1))
    nowhere = GeoBox((5, 7), SCENE.geobox.affine, "+proj=ob_tran +o_proj=longlat +o_lat_p=9 +R=6e6")
    with pytest.raises(OutputError, match=r"cannot be written: .* reads back as None"):
        write_rows(RasterSink(tmp_path / "out.tif", nowhere, profile), [])
    wrong = replace(profile, nodata=(-1,))
    with pytest.raises(OutputError, match="beyond the valid range"):
        write_rows(RasterSink(tmp_path / "out.tif", SCENE.geobox, wrong), [])
    assert list(tmp_path.iterdir()) == []


def test_class_names_stand_in_the_sidecar_that_gdal_reads(tmp_path):
    profile = Profile(
        "uint8", (0,), ("provenance",), (1,), (0,), (None,), ("palette",),
        colormap={0: (0, 0, 0, 0), 2: (215, 48, 39, 255)}, class_names={0: "a < b", 2: "&"},
    )  # fmt: skip
    write_array(tmp_path / "p.tif", np.full((1, 5, 7), 2, "uint8"), utm_geobox((5, 7)), profile)
    text = (tmp_path / "p.tif.aux.xml").read_text()
    assert "<Category>a &lt; b</Category>" in text
    assert "<Category></Category>" in text
    with rasterio.open(tmp_path / "p.tif") as dataset:  # GDAL takes the sidecar for good
        assert dataset.tags(1)["GEODECLOUD_CLASSES"] == '{"0": "a < b", "2": "&"}'
        assert dataset.colormap(1)[2] == (215, 48, 39, 255)
    with open_scene(tmp_path / "p.tif") as scene:
        assert scene.profile.class_names == profile.class_names


@pytest.mark.parametrize(
    "text", ['{"4000000000": "x", "-1": "y", "0": "z"}', "[1]", "{", "[" * 10**5]
)
def test_names_of_classes_that_anybody_may_have_written_do_no_harm(tmp_path, text):
    array = np.zeros((1, 5, 7), "uint8")
    profile = replace(Profile.for_sensor(make_sensor(1, "uint8")), band_tags=({CLASSES_TAG: text},))
    write_array(tmp_path / "a.tif", array, utm_geobox((5, 7)), profile)
    with open_scene(tmp_path / "a.tif") as scene:
        assert scene.profile.class_names in (None, {0: "z"})


@given(lengths, lengths, st.integers(1, 9), st.data())
def test_the_parts_of_a_window_partition_it_and_lie_in_one_cell(height, width, n_bands, data):
    shape = (height * 31, width * 97)
    ledger = Ledger(shape, Profile.for_sensor(make_sensor(n_bands, "float32")))
    row = data.draw(st.integers(0, shape[0] - 1))
    window = Window(row, 0, data.draw(st.integers(1, shape[0] - row)), shape[1])
    count = np.zeros(shape, int)
    for part in ledger.cut(window):
        count[part.slices] += 1
        (height, width) = ledger._cell
        assert part.row // height == (part.row_stop - 1) // height
        assert part.col // width == (part.col_stop - 1) // width
    assert (count[window.slices] == 1).all()
    assert count.sum() == window.height * window.width
