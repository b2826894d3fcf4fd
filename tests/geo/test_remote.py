"""Rasters on servers: the same pixels as on the disk, and few bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from geodecloud.errors import InputError
from geodecloud.geo.assets import Asset, open_assets
from geodecloud.geo.fetching import Fetcher
from geodecloud.geo.raster import open_scene
from geodecloud.geo.remote import RemoteRaster
from geodecloud.geo.tiling import Window
from tests.batch.conftest import IMPATIENT
from tests.batch.stac_server import Fault, StacServer, serving

SHAPE = (700, 650)
BAND_BY_BAND = {"interleave": "band"}
LAYOUTS = {
    "tiles, pixel by pixel": {"tiled": True, "blockxsize": 128, "blockysize": 128},
    "tiles, band by band": {"tiled": True, "blockxsize": 128, "blockysize": 64, **BAND_BY_BAND},
    "strips": {"tiled": False, "blockysize": 16},
    "strips, band by band": {"tiled": False, "blockysize": 7, **BAND_BY_BAND},
    "one strip": {"tiled": False, "blockysize": 700},
    "packed": {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"},
    "packed strips": {"tiled": False, "compress": "lzw", "blockysize": 32},
    "large": {"tiled": True, "blockxsize": 128, "blockysize": 128, "BIGTIFF": "YES"},
    "big end first": {"tiled": True, "blockxsize": 128, "blockysize": 128, "ENDIANNESS": "BIG"},
    "holes": {"tiled": True, "blockxsize": 128, "blockysize": 128, "SPARSE_OK": "TRUE"},
}  # fmt: skip


def write(path: Path, *, mask: bool = False, overviews: bool = False, **options) -> None:
    random = np.random.default_rng(0)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", count=3, height=SHAPE[0], width=SHAPE[1], dtype="uint16",
            crs="EPSG:32632", transform=Affine(10, 0, 600_000, 0, -10, 5_100_000), **options,
        ) as raster,
    ):  # fmt: skip
        rows = SHAPE[0] // 2 if "SPARSE_OK" in options else SHAPE[0]
        pixels = random.integers(1, 9000, (3, rows, SHAPE[1])).astype(np.uint16)
        raster.write(pixels, window=((0, rows), (0, SHAPE[1])))
        if mask:
            raster.write_mask(random.random(SHAPE) > 0.3)
        if overviews:
            raster.build_overviews([2, 4])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StacServer]:
    with serving(tmp_path, []) as running:
        yield running


def windows(seed: int, number: int = 12) -> Iterator[Window]:
    random = np.random.default_rng(seed)
    for _ in range(number):
        height, width = (int(random.integers(1, 200)) for _ in SHAPE)
        row = int(random.integers(0, SHAPE[0] - height + 1))
        col = int(random.integers(0, SHAPE[1] - width + 1))
        yield Window(row, col, height, width)


def check_same(server: StacServer, path: Path) -> None:
    asset = Asset(f"{server.url}/assets/{path.name}", ())
    with open_assets([asset], Fetcher(IMPATIENT)) as remote, open_scene(path) as local:
        assert remote.geobox == local.geobox
        for window in windows(1):
            for got, want in zip(remote.read(window), local.read(window), strict=True):
                np.testing.assert_array_equal(got, want)
        some = [remote.sensor.band_names[2], remote.sensor.band_names[0]]
        got, want = (scene.select(some).read(Window(3, 5, 400, 300)) for scene in (remote, local))
        np.testing.assert_array_equal(got[0], want[0])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("extra", [{}, {"mask": True, "overviews": True}], ids=["plain", "masked"])
def test_windows_of_a_server_are_those_of_the_disk(server, tmp_path, layout, extra):
    write(tmp_path / "a.tif", **LAYOUTS[layout], **extra)
    check_same(server, tmp_path / "a.tif")


@pytest.mark.parametrize("compress", ["DEFLATE", "NONE", "ZSTD"])
def test_cogs_of_a_server_are_those_of_the_disk(server, tmp_path, compress):
    write(tmp_path / "plain.tif", mask=True)
    rasterio.shutil.copy(
        tmp_path / "plain.tif", tmp_path / "cog.tif", driver="COG", COMPRESS=compress, BLOCKSIZE=128
    )
    check_same(server, tmp_path / "cog.tif")


def test_a_jpeg_2000_comes_whole(server, tmp_path):
    random = np.random.default_rng(0)
    with rasterio.open(
        tmp_path / "a.jp2", "w", driver="JP2OpenJPEG", count=1, height=400, width=400,
        dtype="uint16", crs="EPSG:32632", transform=Affine(10, 0, 6e5, 0, -10, 5e6),
        QUALITY=100, REVERSIBLE="YES",
    ) as raster:  # fmt: skip
        raster.write(random.integers(1, 9000, (1, 400, 400)).astype(np.uint16))
    for beside in tmp_path.glob("*.xml"):
        beside.unlink()
    asset = Asset(f"{server.url}/assets/a.jp2", ())
    with (
        open_assets([asset], Fetcher(IMPATIENT)) as remote,
        open_scene(tmp_path / "a.jp2") as local,
    ):
        whole = Window.whole((400, 400))
        np.testing.assert_array_equal(remote.read(whole)[0], local.read(whole)[0])


def test_a_window_costs_its_blocks_and_hardly_a_byte_comes_twice(server, tmp_path):
    write(tmp_path / "a.tif", **LAYOUTS["tiles, band by band"])
    size = (tmp_path / "a.tif").stat().st_size
    with RemoteRaster(f"{server.url}/assets/a.tif", Fetcher(IMPATIENT)) as raster:
        head = raster.n_fetched
        raster.need([0], Window(300, 300, 10, 10))
        assert 0 < raster.n_fetched - head < 0.05 * size
        raster.need([0], Window(300, 300, 10, 10))
        asked = len(server.log)
        raster.need([0, 1, 2], Window(0, 0, *SHAPE))
        assert raster.n_fetched <= 1.05 * size  # short gaps are bridged
        raster.need([0, 1, 2], Window(0, 0, *SHAPE))
        assert len(server.log) - asked < 12
        assert raster.local.read_bytes() == (tmp_path / "a.tif").read_bytes()


def test_nothing_is_left_on_the_disk(server, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    write(tmp_path / "a.tif", **LAYOUTS["packed"])
    asset = Asset(f"{server.url}/assets/a.tif", ())
    with open_assets([asset], Fetcher(IMPATIENT)) as scene:
        scene.read(Window(0, 0, 10, 10))
        assert list(folder.iterdir())
    assert list(folder.iterdir()) == []
    server.faults = [Fault(404)]
    with pytest.raises(InputError), open_assets([asset], Fetcher(IMPATIENT)):
        pass
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_head_is_one_typed_error_or_the_pixels_of_the_disk(server, tmp_path, seed):
    random = np.random.default_rng(seed)
    write(tmp_path / "a.tif", **LAYOUTS["packed" if seed % 2 else "strips"])
    content = bytearray((tmp_path / "a.tif").read_bytes())
    places = random.integers(0, 400, 6) if seed % 3 else random.integers(0, len(content), 40)
    for place in places:
        content[place] = int(random.integers(0, 256))
    (tmp_path / "bad.tif").write_bytes(content)
    outcomes = []
    window = Window(0, 0, 40, 40)
    for where in (f"{server.url}/assets/bad.tif", str(tmp_path / "bad.tif")):
        try:
            fetcher = Fetcher(IMPATIENT)
            local = Fetcher(type(IMPATIENT)(reach=3))
            with open_assets([Asset(where, ())], fetcher if "http" in where else local) as scene:
                inside = window & Window.whole(tuple(scene.geobox.shape))
                outcomes.append(scene.read(inside)[0])
        except InputError:
            outcomes.append(None)
    if outcomes[0] is not None:
        np.testing.assert_array_equal(outcomes[0], outcomes[1])
