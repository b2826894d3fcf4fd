"""Products as their makers ship them: bands, meaning, grids, what is refused."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import rasterio

from geodecloud.errors import BandError, GridError, InputError, OptionError
from geodecloud.geo.plausible import check_radiometry
from geodecloud.geo.raster import RasterSink, open_scene, profile_of
from geodecloud.geo.scene import shape_of
from geodecloud.geo.sensors import Band, Sensor
from geodecloud.geo.tiling import Window
from geodecloud.geo.warped import RESAMPLED_TAG
from tests import makers

N = makers.SIDE_M // 10


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """A folder with one Sentinel-2 product of each level."""
    root = tmp_path_factory.mktemp("products")
    return {level: makers.make_safe(root, level) for level in ("L1C", "L2A")}


def whole(scene):
    return scene.read(Window.whole(shape_of(scene.geobox)))


def refusal(source, kind=InputError, **options):
    """What is said where a source cannot be opened: three parts on one line."""
    with pytest.raises(kind) as caught, open_scene(source, **options) as scene:
        whole(scene)
    error = caught.value
    assert error.found
    assert error.expected
    assert error.todo
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_a_safe_folder_is_one_scene_of_all_its_bands_on_the_finest_grid(products, level):
    with open_scene(products[level]) as scene:
        names = [name for name in makers.S2_BANDS if level == "L1C" or name != "B10"]
        assert scene.sensor.band_names == (*names, *(["SCL"] if level == "L2A" else []))
        assert (scene.sensor.name, scene.sensor.level) == (f"sentinel-2-{level.lower()}", level)
        assert shape_of(scene.geobox) == (N, N)
        assert tuple(scene.geobox.affine)[:3] == (10, 0, makers.CORNER[0])
        dn, valid = whole(scene)
        assert valid.all()
        values = scene.sensor.to_reflectance(dn)[:, N // 2, N // 2]
        middle = (N / 2 + 0.5) * 1e-4
        for name, value in zip(names, values[: len(names)], strict=True):
            expected = 0.1 + makers.S2_BANDS.index(name) / 100 + middle
            assert value == pytest.approx(expected, abs=1.01e-4)
        assert check_radiometry(scene) == []


def test_bands_come_onto_the_grid_linearly_and_classes_unmixed(products):
    with open_scene(products["L2A"], bands=["B11", "SCL"], resolution_m=10) as scene:
        assert shape_of(scene.geobox) == (N, N)
        tags = [tags[RESAMPLED_TAG] for tags in profile_of(scene).band_tags]
        assert tags == ["bilinear from 20 m", "nearest from 20 m"]
        dn, _ = whole(scene)
        # a plane of one step a pixel: rounding to whole numbers is all that is lost
        assert set(np.diff(dn[0, 0, 2:-2].astype(int))) <= {0, 1, 2}
        assert set(np.unique(dn[1])) == {4, 9}
        assert (dn[1, :80, :120] == 9).all()


def test_a_resolution_chooses_the_files_of_that_size(products):
    with open_scene(products["L2A"], bands=["B02", "B8A"], resolution_m=20) as scene:
        assert [path.stem[-7:] for path in scene.paths] == ["B02_20m", "B8A_20m"]
        assert shape_of(scene.geobox) == (N // 2, N // 2)
    with open_scene(products["L1C"], bands=["B02"], resolution_m=60) as coarse:
        with open_scene(products["L1C"], bands=["B02"]) as fine:
            blocks = whole(fine)[0][0].reshape(N // 6, 6, N // 6, 6).mean((1, 3))
        assert np.abs(whole(coarse)[0][0] - blocks).max() <= 0.5


def test_a_resolution_that_makes_no_sense_is_refused(products):
    for wrong in (0, -10, float("nan")):
        refusal(products["L1C"], OptionError, bands=["B02"], resolution_m=wrong)


def test_a_zip_and_the_metadata_open_like_the_folder(products, tmp_path):
    root = products["L2A"]
    archive = makers.zipped(root, tmp_path / "a product's zip.zip")
    for source in (archive, root / "MTD_MSIL2A.xml", root.parent / root.name):
        with open_scene(source, bands=["B04", "B8A", "SCL"]) as scene:
            found = whole(scene)[0]
            assert (scene.sensor.level, scene.sensor.bands[0].offset) == ("L2A", -0.1)
        with open_scene(root, bands=["B04", "B8A", "SCL"]) as scene:
            assert np.array_equal(found, whole(scene)[0])


@pytest.mark.parametrize("level", ["L1C", "L2A"])
@pytest.mark.parametrize(("baseline", "offset"), [("02.09", None), ("05.10", -1000)])
def test_the_offset_is_the_products_own(tmp_path, level, baseline, offset):
    root = makers.make_safe(tmp_path, level, baseline=baseline, offset=offset, bands=["B03"])
    with open_scene(root, bands=["B03"]) as scene:
        assert scene.sensor.bands[0].offset == pytest.approx((offset or 0) * 1e-4)
        assert scene.sensor.to_reflectance(whole(scene)[0]).mean() == pytest.approx(0.139, abs=1e-3)
        assert profile_of(scene).tags["PROCESSING_BASELINE"] == baseline
        assert check_radiometry(scene) == []


def test_the_caller_wins_over_the_metadata(products):
    options = {"bands": ["nir", "B2"], "offset": -900, "level": "L1C", "scale": 2e-4}
    with open_scene(products["L2A"], **options) as scene:
        assert scene.sensor.band_names == ("B08", "B02")
        assert scene.sensor.level == "L1C"
        assert {band.scale for band in scene.sensor.bands} == {2e-4}
        assert [band.offset for band in scene.sensor.bands] == pytest.approx([-0.18] * 2)


def test_an_offset_that_is_not_in_the_pixels_is_said(tmp_path):
    text = makers.metadata("L2A", "04.00", -1000)
    dark = makers.make_safe(tmp_path, offset=None, text=text, bands=["B01"])
    with open_scene(dark, bands=["B01"]) as scene:  # 0.1 becomes 0, and passes
        assert check_radiometry(scene) == []
    path = next(dark.rglob("*_B01_60m.jp2"))
    with rasterio.open(path) as dataset:
        dn = dataset.read()
    dn[:, :, :20] = 150
    makers.write_raster(path, dn, 60, driver="JP2OpenJPEG")
    with open_scene(dark, bands=["B01"]) as scene:
        (note,) = check_radiometry(scene)
    assert "pass --offset 0" in note
    lacking = makers.metadata("L2A", "04.00", None)
    bright = makers.make_safe(tmp_path / "b", offset=-1000, text=lacking, bands=["B02"])
    dn = np.random.default_rng(0).integers(1050, 4000, (1, 600, 600)).astype(np.uint16)
    makers.write_raster(next(bright.rglob("*_B02_10m.jp2")), dn, 10, driver="JP2OpenJPEG")
    with open_scene(bright, bands=["B02"], resolution_m=10) as scene:
        assert any("pass --offset -1000" in note for note in check_radiometry(scene))


def test_what_a_product_says_of_its_numbers_goes_with_them_into_a_file(products, tmp_path):
    with open_scene(products["L2A"], bands=["B02", "B11", "SCL"]) as scene:
        dn, valid = whole(scene)
        with RasterSink(tmp_path / "out.tif", scene.geobox, profile_of(scene)) as sink:
            sink.write(Window.whole((N, N)), dn, valid)
        sensor = scene.sensor
    with open_scene(tmp_path / "out.tif") as again:
        assert again.sensor.band_names == sensor.band_names
        assert again.sensor.level == "L2A"
        assert [b.offset for b in again.sensor.bands] == [b.offset for b in sensor.bands]
        assert np.array_equal(whole(again)[0], dn)


def test_true_colours_are_a_picture_and_0_is_no_colour(products):
    with open_scene(next(products["L1C"].rglob("*_TCI.jp2"))) as scene:
        assert (scene.sensor.unit, scene.sensor.band_names) == ("display", ("red", "green", "blue"))
        _, valid = whole(scene)
    assert not valid[:, :8].any()
    assert valid[:, 8:].all()


def test_files_of_10_and_20_m_lie_on_one_grid_without_their_product(products):
    files = [next(products["L1C"].rglob(f"*_{name}.jp2")) for name in ("B11", "B02")]
    with open_scene(files, offset=-1000) as scene:
        assert scene.sensor.band_names == ("B11", "B02")
        assert shape_of(scene.geobox) == (N, N)
        assert RESAMPLED_TAG in profile_of(scene).band_tags[0]


def test_a_band_of_a_product_opened_alone_means_what_the_product_says(products):
    for level, names in (("L1C", ("B04", "B10")), ("L2A", ("B04_20m", "SCL_20m"))):
        for name in names:
            path = next(products[level].rglob(f"*_{name}.jp2"))
            band = name[:3]
            with open_scene(path) as alone, open_scene(products[level], bands=[band]) as among:
                assert alone.sensor.level == level
                assert alone.sensor.bands == among.sensor.bands
                assert profile_of(alone).tags["PROCESSING_BASELINE"] == "04.00"
                assert check_radiometry(alone) == []


def test_bands_of_a_product_by_name_and_by_folder_keep_their_offset(products):
    folder = next(products["L2A"].rglob("R20m"))
    files = [next(folder.glob(f"*_{name}_20m.jp2")) for name in ("B11", "B04")]
    for source, names in ((files, ("B11", "B04")), (folder, None)):
        with open_scene(source) as scene:
            assert names is None or scene.sensor.band_names == names
            spectral = [band for band in scene.sensor.bands if band.name.startswith("B")]
            assert {band.offset for band in spectral} == {-0.1}
            assert (scene.sensor.name, scene.sensor.level) == ("sentinel-2-l2a", "L2A")
    with open_scene(files, bands=["B11", "red"], offset=0, level="L1C") as scene:
        assert scene.sensor.band_names == ("B11", "B04")
        assert [band.offset for band in scene.sensor.bands] == [0, 0]
        assert scene.sensor.level == "L1C"


def test_a_band_beside_damaged_metadata_takes_the_callers_word(tmp_path):
    path = next(makers.make_safe(tmp_path, bands=["B01"], text="<a/>").rglob("*B01_60m.jp2"))
    assert "MTD_MSIL2A.xml" in refusal(path)
    with open_scene(path, scale=1e-4, offset=-1000) as scene:
        assert scene.sensor.bands[0].offset == pytest.approx(-0.1)


def test_a_sensor_of_the_callers_own_wins_over_the_product(products):
    mine = Sensor("mine", (Band("haze", scale=1.0),))
    with open_scene(next(products["L1C"].rglob("*_B01.jp2")), sensor=mine) as scene:
        assert (scene.sensor.name, scene.sensor.bands[0].scale) == ("mine", 1.0)


def test_files_that_show_other_ground_are_refused(products, tmp_path):
    near = next(products["L1C"].rglob("*_B02.jp2"))
    dn = np.ones((20, 20), np.uint16)
    far = makers.write_raster(tmp_path / "B03.tif", dn, 20, corner=(700_000, 5_100_000))
    assert "B03.tif lies on" in refusal([near, far], GridError)
    other = makers.write_raster(tmp_path / "B04.tif", dn, 20, crs="EPSG:32633")
    refusal([near, other], GridError)


def test_a_band_that_is_not_there_is_named(tmp_path):
    root = makers.make_safe(tmp_path, "L1C", bands=["B02", "B03"])
    assert "has bands B02, B03; B08 not among them" in refusal(root, BandError, bands=["B02", "B8"])


def test_two_products_in_one_folder_are_refused_by_name(products):
    text = refusal(products["L1C"].parent)
    assert "holds 2 products" in text
    assert products["L1C"].name in text


def test_a_product_without_its_bands_asks_for_the_whole_of_it(tmp_path):
    root = makers.make_safe(tmp_path, "L1C", bands=["B02"])
    for path in root.rglob("*.jp2"):
        path.unlink()
    assert "holds no band" in refusal(root)


BOMB = (
    '<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "'
    + "&a;" * 50
    + '"><!ENTITY c "'
    + "&b;" * 50
    + '">]>'
)


@pytest.mark.parametrize(
    "text",
    [
        makers.metadata("L2A", "04.00", -1000, extra=BOMB),
        makers.metadata("L2A", "04.00", -1000, extra='<!DOCTYPE x SYSTEM "file:///etc/passwd">'),
        "<a>" * 1000 + "</a>" * 1000,
        "<a><b></a>",
        "not XML",
        "",
        makers.metadata("L2A", "04.00", -1000).replace("10000", "many"),
        makers.metadata("L2A", "04.00", -1000).replace("10000", "0"),
        makers.metadata("L2A", "04.00", -1000).replace('band_id="3"', 'band_id="99"'),
        makers.metadata("L2A", "04.00", float("nan")),
        "<a/>",
    ],
)
def test_metadata_that_are_damaged_or_hostile_are_one_error(tmp_path, text):
    root = makers.make_safe(tmp_path, bands=["B01"], text=text)
    assert "MTD_MSIL2A.xml" in refusal(root)


def test_metadata_without_end_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("geodecloud.geo.trees.MAX_XML_BYTES", 1000)
    root = makers.make_safe(tmp_path, bands=["B01"])
    assert "more than 1000 bytes" in refusal(root)


def broken_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ([("../MTD_MSIL2A.xml", "<a/>")], "leads out of it"),
        ([("x/../../MTD_MSIL2A.xml", "<a/>")], "leads out of it"),
        ([("/etc/MTD_MSIL2A.xml", "<a/>")], "leads out of it"),
        ([("C:/MTD_MSIL2A.xml", "<a/>")], "leads out of it"),
        ([(link("MTD_MSIL2A.xml"), "/etc/passwd")], "holds the link"),
        ([("a.txt", "no product")], "no product"),
        ([], "no product"),
    ],
)
def test_an_archive_that_is_not_to_be_trusted_is_refused(tmp_path, members, word):
    assert word in refusal(broken_zip(tmp_path / "x.zip", members))


def test_one_name_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = broken_zip(tmp_path / "x.zip", [("a.xml", "<a/>"), ("a.xml", "<b/>")])
    assert "twice" in refusal(path)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.SAFE/MTD_MSIL2A.xml", b" " * 40_000_000)
        archive.writestr("x.SAFE/GRANULE/L2A/IMG_DATA/R60m/T_B01_60m.jp2", b"")
    assert "more than 32000000 bytes" in refusal(path)
    monkeypatch.setattr("geodecloud.geo.trees.MAX_BYTES", 1_000_000)
    assert "too many bytes" in refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_off_archive_is_one_error(products, tmp_path, share):
    content = makers.zipped(products["L1C"], tmp_path / "whole.zip").read_bytes()
    path = tmp_path / "cut.zip"
    path.write_bytes(content[: int(len(content) * share)])
    assert "cut.zip cannot be read" in refusal(path)


def test_a_damaged_band_in_an_archive_is_named(products, tmp_path):
    archive = makers.zipped(products["L1C"], tmp_path / "whole.zip")
    with zipfile.ZipFile(archive) as file:
        (member,) = (one for one in file.infolist() if one.filename.endswith("_B02.jp2"))
    content = bytearray(archive.read_bytes())
    start = member.header_offset + 200
    content[start : start + member.compress_size - 100] = bytes(member.compress_size - 100)
    path = tmp_path / "damaged.zip"
    path.write_bytes(content)
    assert "_B02.jp2 cannot be read" in refusal(path, bands=["B02"])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_flipped_bit_in_an_archive_is_found(products, tmp_path, compression):
    path, damaged = tmp_path / "whole.zip", tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(products["L1C"].rglob("*.*")):
            archive.write(file, file.relative_to(products["L1C"].parent))
    with zipfile.ZipFile(path) as archive:
        (member,) = (one for one in archive.infolist() if one.filename.endswith("_B02.jp2"))
    content = bytearray(path.read_bytes())
    content[member.header_offset + 100 + member.compress_size // 2] ^= 1
    damaged.write_bytes(content)
    assert "_B02.jp2 cannot be read" in refusal(damaged, bands=["B02"])
    with open_scene(damaged, bands=["B03"]) as scene:
        whole(scene)  # what is not asked for is not looked at


def test_theia_gives_flat_reflectance_without_masks(tmp_path):
    root = makers.make_theia(tmp_path)
    for source in (root, makers.zipped(root)):
        with open_scene(source) as scene:
            assert scene.sensor.band_names == ("B02", "B04", "B8A")
            assert scene.sensor.level == "L2A"
            dn, valid = whole(scene)
            assert profile_of(scene).tags["REFLECTANCE"] == "FRE"
        assert not valid[:, :2].any()
        assert valid[:, 4:].all()
        assert set(np.unique(dn[valid])) == {800}
        assert scene.sensor.bands[0].to_reflectance(dn[0, 9:10]).mean() == pytest.approx(0.08)
    makers.make_theia(tmp_path, date="20190107-104500-000")
    assert "holds 2 products" in refusal(tmp_path)


def test_slope_uncorrected_reflectance_is_taken_where_there_is_no_other(tmp_path):
    with open_scene(makers.make_theia(tmp_path, kinds=["SRE"])) as scene:
        assert profile_of(scene).tags["REFLECTANCE"] == "SRE"


@pytest.mark.parametrize(
    ("mission", "names"),
    [
        ("LC08", ("B01", "B02", "B03", "B04", "B08", "B11", "B12", "QA_PIXEL")),
        ("LC09", ("B01", "B02", "B03", "B04", "B08", "B11", "B12", "QA_PIXEL")),
        ("LE07", ("B02", "B03", "B04", "B08", "B11", "B12", "QA_PIXEL")),
    ],
)
def test_landsat_is_surface_reflectance_by_colour(tmp_path, mission, names):
    root = makers.make_landsat(tmp_path, mission=mission)
    with open_scene(root) as scene:
        assert scene.sensor.band_names == names
        dn, valid = whole(scene)
        blue = names.index("B02")
        number = 2 if "B01" in names else 1
        expected = (9000 + 100 * number) * 2.75e-5 - 0.2
        assert scene.sensor.to_reflectance(dn)[blue, 5, 5] == pytest.approx(expected, abs=1e-6)
        assert not valid[blue, 0].any()
        assert scene.sensor.bands[-1].scale == 1
        assert check_radiometry(scene) == []
    makers.make_landsat(tmp_path, mission=mission, date="20220729")
    assert "holds 2 products" in refusal(tmp_path)


def test_a_folder_of_rasters_is_what_it_was_with_a_product_inside(products, tmp_path):
    makers.write_raster(tmp_path / "B02.tif", np.ones((9, 9), np.uint16), 10)
    makers.make_landsat(tmp_path)
    with open_scene(tmp_path) as scene:
        assert scene.sensor.band_names == ("B02",)


def test_every_cut_of_the_metadata_is_one_error_or_a_scene(tmp_path):
    text = makers.metadata("L2A", "04.00", -1000)
    root = makers.make_safe(tmp_path, bands=["B01"])
    for end in range(0, len(text), 37):
        (root / "MTD_MSIL2A.xml").write_text(text[:end])
        refusal(root)


def test_no_damage_to_an_archive_is_more_than_one_error(products, tmp_path):
    """Bytes of its table of contents and of its metadata are changed, one or a few at a time."""
    path = makers.zipped(products["L1C"], tmp_path / "whole.zip")
    content = path.read_bytes()
    table = content.rindex(b"PK\x01\x02", 0, content.index(b"PK\x01\x02") + 4)
    random = np.random.default_rng(0)
    refusals = []
    for _ in range(120):
        damaged = bytearray(content)
        for place in random.integers(table, len(content), random.integers(1, 5)):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            with open_scene(path, bands=["B01"]) as scene:
                whole(scene)
        except InputError as error:
            refusals.append(str(error))
    assert 20 < len(refusals) < 120
    assert not any("\n" in text for text in refusals)
