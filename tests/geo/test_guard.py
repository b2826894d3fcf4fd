"""The door: what is no raster, or a hostile one, is refused with a clear word."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.io import MemoryFile

from geodecloud.errors import InputError
from geodecloud.geo.raster import _File, open_scene, profile_of, write_array
from geodecloud.geo.tiling import Window
from geodecloud.geo.trees import Entry
from tests.strategies import make_scene


@pytest.fixture
def raster(tmp_path):
    """A sound GeoTIFF of 64 x 64 px."""
    scene = make_scene((64, 64))
    path = tmp_path / "scene.tif"
    write_array(path, scene.read(Window.whole((64, 64)))[0], scene.geobox, profile_of(scene))
    return path


def refusal(source, **options):
    """The three parts of the error that opening, or reading, raises."""
    with pytest.raises(InputError) as caught, open_scene(source, **options) as scene:
        scene.read(Window.whole(scene.geobox.shape))
    error = caught.value
    assert error.found
    assert error.expected
    assert error.todo
    assert "CPLE" not in str(error)
    assert "\n" not in str(error)
    return str(error)


def test_a_missing_file_is_named(tmp_path):
    assert "no.tif does not exist" in refusal(tmp_path / "no.tif")
    assert "no.tif does not exist" in refusal([tmp_path / "no.tif"])
    assert "empty list" in refusal([])


def test_a_folder_without_rasters_says_what_is_looked_for(tmp_path):
    assert "*.tif, *.tiff, *.jp2" in refusal(tmp_path)
    assert "not a file" in refusal([tmp_path])


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "zero bytes"),
        (b"<!DOCTYPE html><html>404</html>", "not a raster"),
        (b"II*\0", "cannot be read"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "cannot be read"),
        (os.urandom(1000).replace(b"I", b"x").replace(b"M", b"x"), "not a raster"),
    ],
)
def test_what_is_no_raster_is_refused_whatever_its_name(tmp_path, content, word):
    path = tmp_path / "scene.tif"
    path.write_bytes(content)
    text = refusal(path)
    assert word in text
    assert "scene.tif" in text


@pytest.mark.parametrize(
    "name",
    ["/vsimem/a.tif", "/vsicurl/http://localhost/a.tif", "http://localhost/a.tif", "s3://b/a.tif",
     " <VRTDataset/>", "MEM:::DATAPOINTER=1", "GTIFF_DIR:1:a.tif", "zip:///a.zip!a", "", "a\0b",
     "<" * 5000, "x" * 5000],
)  # fmt: skip
def test_what_is_not_a_path_is_never_given_to_gdal(name):
    assert "not a path" in refusal(name)


def test_only_a_trusted_caller_opens_what_is_not_a_file(raster):
    with MemoryFile(raster.read_bytes()) as memory:
        assert "not a path" in refusal(memory.name)
        with _File(Entry(Path("https://host/scene.tif"), memory.name, b"II*\0")) as file:
            dn, mask = file.read([1], Window(0, 0, 64, 64))
    assert mask is None
    with open_scene(raster) as scene:
        assert np.array_equal(dn[0], scene.read(Window.whole((64, 64)))[0][0])


@pytest.mark.parametrize(("driver", "dtype"), [("JP2OpenJPEG", "uint16"), ("PNG", "uint8")])
def test_other_formats_are_read_like_geotiffs(tmp_path, driver, dtype):
    dn = np.arange(1, 13, dtype=dtype).reshape(1, 3, 4)
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
    path = plain(tmp_path / "T32TMT_20220728T102559_B02_10m.jp2", driver=driver, dtype=dtype,
                 crs="EPSG:32632", transform=Affine(10, 0, 6e5, 0, -10, 5e6),
                 **lossless)  # fmt: skip
    with open_scene(path) as scene:
        assert scene.sensor.band_names == ("B02",)
        assert scene.sensor.bands[0].dtype == dtype
        assert np.array_equal(scene.read(Window.whole((3, 4)))[0], dn - 1)
        if driver == "JP2OpenJPEG":
            assert scene.geobox.crs.epsg == 32632
            assert scene.geobox.affine == Affine(10, 0, 6e5, 0, -10, 5e6)


def vrt_of(path):
    return (
        '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="UInt16" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="0">{path}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )


@pytest.mark.parametrize("start", ["", "\n", "<?xml version='1.0'?>\n"])
def test_a_vrt_in_disguise_is_not_followed(tmp_path, raster, start):
    path = tmp_path / "disguise.tif"
    path.write_text(start + vrt_of(raster))
    with rasterio.open(path) as dataset:  # without the guard the foreign file is read
        assert dataset.read().any()
    assert "is a VRT" in refusal(path)


def test_a_cut_off_file_is_refused_at_the_door_or_when_read(tmp_path, raster):
    content = raster.read_bytes()
    path = tmp_path / "cut.tif"
    for length in range(1, len(content), 997):
        path.write_bytes(content[:length])
        assert "cut.tif" in refusal(path)
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match="is cut off after"):
        open_scene(path)


def test_a_damaged_block_is_named_by_file_and_window(raster):
    content = bytearray(raster.read_bytes())
    with rasterio.open(raster) as dataset:
        start = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content[start : start + 200] = bytes(200)
    raster.write_bytes(content)
    with open_scene(raster) as scene, pytest.raises(InputError, match=r"scene\.tif.*Window\(row=1"):
        scene.read(Window(1, 2, 3, 4))


def test_a_name_with_a_colon_is_a_name_where_the_file_exists(tmp_path, raster, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raster.rename("S2A_20190530T10:20:31.tif")
    with open_scene("S2A_20190530T10:20:31.tif") as scene:
        assert scene.path.parent == tmp_path
    assert "not a path" in refusal("S2A_20190530T10:20:32.tif")


def png_of(width, height):
    """The head of a PNG of this size; its pixels are missing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head
    data = struct.pack(">I", 9) + b"IDAT" + bytes(9) + bytes(4)
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + data


def test_a_picture_that_takes_minutes_to_decode_is_refused(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_of(60_000, 60_000))
    assert "blocks of 10800 MB" in refusal(tmp_path / "bomb.png")


def declared(path, width, height, *, rows=1, bits=16):
    """A TIFF of a few bytes that declares this size, in strips of ``rows``."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 8), (262, 3, 1),
               (273, 4, 8), (277, 3, 1), (278, 4, rows), (279, 4, 8), (339, 3, 1)]  # fmt: skip
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries)) + packed + bytes(64)
    )
    return path


def test_a_few_bytes_that_declare_terabytes_are_refused(tmp_path):
    assert "declares 1000000x1000000 px" in refusal(declared(tmp_path / "bomb.tif", 10**6, 10**6))
    big_block = declared(tmp_path / "block.tif", 20_000, 20_000, rows=20_000)
    assert "blocks of 800 MB" in refusal(big_block)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers_are_refused(tmp_path, dtype):
    assert "intensity" in refusal(plain(tmp_path / "slc.tif", dtype=dtype))


def plain(path, **keywords):
    """A file as other programs write it."""
    with rasterio.open(path, "w", **{"driver": "GTiff", "width": 4, "height": 3, "count": 1,
                                     "dtype": "uint8", **keywords}) as dataset:  # fmt: skip
        dataset.write(np.arange(12, dtype=keywords.get("dtype", "uint8")).reshape(1, 3, 4))
    return path


pytestmark = pytest.mark.filterwarnings(
    "ignore::rasterio.errors.NotGeoreferencedWarning"  # of the files made here; see the next test
)


def test_no_georeference_is_allowed_and_warns_of_nothing(tmp_path, recwarn):
    path = plain(tmp_path / "a.tif")
    recwarn.clear()
    with open_scene(path) as scene:
        scene.read(Window.whole((3, 4)))
        assert scene.geobox.crs is None
        assert scene.geobox.affine == Affine.identity()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "world"),
    [("a.tif", "a.tfw"), ("a.tif", "a.tifw"), ("a.tiff", "a.tfw"), ("a.png", "a.pgw"),
     ("a.jpg", "a.jgw"), ("a.jpeg", "a.jgw"), ("a.tif", "a.wld")],
)  # fmt: skip
def test_a_world_file_of_the_same_stem_gives_the_place(tmp_path, name, world):
    driver = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG"}.get(name.split(".")[1], "GTiff")
    path = plain(tmp_path / name, driver=driver)
    (tmp_path / world).write_text("10\n1\n2\n-20\n600005.5\n5100000\n")
    with open_scene(path) as scene:
        with rasterio.open(path) as dataset:
            assert scene.geobox.affine == dataset.transform  # GDAL reads it so too
        assert scene.geobox.crs is None


@pytest.mark.parametrize(
    "text", ["", "1 2 3", "a b c d e f", "1 2 3 4 5 6 7", "0 0 0 0 1 1", "nan 0 0 1 1 1"]
)
def test_a_world_file_that_makes_no_sense_is_refused(tmp_path, text):
    path = plain(tmp_path / "a.tif")
    (tmp_path / "a.tfw").write_text(text)
    assert "six numbers" in refusal(path) or "a size and a place" in refusal(path)


def test_ground_control_points_alone_ask_for_terrain_correction(tmp_path):
    points = [rasterio.control.GroundControlPoint(row, col, col * 10.0, row * 10.0)
              for row, col in ((0, 0), (0, 4), (3, 0), (3, 4))]  # fmt: skip
    path = plain(tmp_path / "grd.tif", gcps=points, crs="EPSG:4326")
    assert "correct the terrain" in refusal(path)


def test_files_beside_a_raster_are_not_believed(tmp_path, raster):
    with open_scene(raster) as scene:
        expected, geobox, profile = scene.read(Window.whole((64, 64))), scene.geobox, scene.profile
    aux = (
        '<PAMDataset><GeoTransform>1, 1, 0, 1, 0, -1</GeoTransform><PAMRasterBand band="1">'
        "<NoDataValue>77</NoDataValue><Description>x</Description></PAMRasterBand></PAMDataset>"
    )
    raster.with_name("scene.tif.aux.xml").write_text(aux)
    with rasterio.open(raster) as dataset:  # without the guard it is
        assert dataset.transform == Affine(1, 0, 1, 0, -1, 1)
    for suffix in (".ovr", ".msk"):
        raster.with_name(f"scene.tif{suffix}").write_bytes(raster.read_bytes())
    with open_scene(raster) as scene:
        assert scene.geobox == geobox
        assert scene.profile == profile
        for read, before in zip(scene.read(Window.whole((64, 64))), expected, strict=True):
            assert np.array_equal(read, before)


def has_caller(listener):
    """Whether somebody asked this socket for a connection."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_overviews_that_a_file_names_elsewhere_are_never_fetched(tmp_path, raster):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"/vsicurl/http://127.0.0.1:{listener.getsockname()[1]}/foreign.tif"
        with rasterio.open(raster, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
            dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=url)
        with open_scene(raster) as scene:
            scene.read(Window.whole((64, 64)))
            scene.select(["B03"]).read(Window(0, 0, 1, 1))
            assert profile_of(scene).n_bands == 4
        assert not has_caller(listener)
        with rasterio.Env(GDAL_HTTP_TIMEOUT=1), rasterio.open(raster) as dataset:
            dataset.overviews(1)  # the trick works on who asks for overviews
        assert has_caller(listener)
