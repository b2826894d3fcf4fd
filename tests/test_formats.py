"""What docs/formats.md promises, by the commands that it shows."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from geodecloud.cli.main import root
from geodecloud.cli.progress import Reporter
from geodecloud.errors import GeodecloudError
from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import shape_of
from geodecloud.geo.tiling import Window
from tests import makers


def run(*arguments):
    done = CliRunner().invoke(root, [str(text) for text in arguments], obj=Reporter())
    if isinstance(done.exception, GeodecloudError):
        raise done.exception
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def whole(source, **options):
    with open_scene(source, **options) as scene:
        return scene.read(Window.whole(shape_of(scene.geobox)))


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_clouds_go_out_of_a_zipped_safe_and_clear_pixels_stay(tmp_path, level):
    names = ("B02", "B03", "B04", "B08", "B11")
    archive = makers.zipped(makers.make_safe(tmp_path, level, bands=names))
    mask = np.zeros((384, 384), np.uint8)
    mask[50:90, 60:120] = 1
    makers.write_raster(tmp_path / "mask.tif", mask, 10)
    out = tmp_path / "clear.tif"
    run("decloud", archive, out, "--model", "fill", "--mask", tmp_path / "mask.tif",
        "--bands", ",".join(names))  # fmt: skip
    before, _ = whole(archive, bands=names)
    after, _ = whole(out)
    assert np.array_equal(before[:, mask == 0], after[:, mask == 0])
    with open_scene(out) as scene:
        assert (scene.sensor.level, scene.sensor.band_names) == (level, names)
        assert {band.offset for band in scene.sensor.bands} == {-0.1}
    # a plane drawn on under the mask is the plane
    assert np.abs(before.astype(int) - after)[:, mask == 1].max() < 60
    with rasterio.open(out) as dataset:
        assert dataset.tags()["PROCESSING_BASELINE"] == "04.00"
        assert dataset.tags(5)["GEODECLOUD_RESAMPLED"] == "bilinear from 20 m"
        assert dataset.nodata == 0


def test_what_is_in_an_archive_is_shown(tmp_path):
    archive = makers.zipped(makers.make_safe(tmp_path, "L1C", bands=("B02", "B11")))
    shown = json.loads(run("info", archive, "--json"))
    assert shown["drivers"] == ["JP2OpenJPEG"]
    assert [band["name"] for band in shown["bands"]] == ["B02", "B11"]
    assert (shown["sensor"], shown["level"]) == ("sentinel-2-l1c", "L1C")


def test_the_classification_of_a_product_is_its_mask(tmp_path):
    product = makers.make_safe(tmp_path, bands=("B02", "B03"))
    out = tmp_path / "clear.tif"
    run("decloud", product, out, "--model", "fill", "--mask", "scl", "--dilate", "0")
    (before, _), (after, _) = whole(product, bands=["B02", "B03"]), whole(out)
    is_changed = (before != after).any(0)
    assert is_changed[:80, :120].mean() > 0.5
    assert not is_changed[80:].any()
    assert not is_changed[:, 120:].any()


def test_landsat_and_theia_are_cleared(tmp_path):
    for product, nodata in (
        (makers.make_landsat(tmp_path), 0),
        (makers.make_theia(tmp_path), -1e4),
    ):
        out = tmp_path / f"{product.name}.tif"
        run("decloud", product, out, "--model", "fill", "--mask", "none")
        with open_scene(out) as scene:
            dn, _ = scene.read(Window.whole(shape_of(scene.geobox)))
            assert {band.nodata for band in scene.sensor.bands} == {nodata}
        with open_scene(product, bands=scene.sensor.band_names) as source:
            assert np.array_equal(dn, source.read(Window.whole(shape_of(source.geobox)))[0])
        for band, own in zip(scene.sensor.bands, source.sensor.bands, strict=True):
            assert (band.scale, band.offset) == pytest.approx((own.scale, own.offset))


def test_a_sensor_of_ones_own_is_cleared_and_said_in_the_output(tmp_path):
    text = 'name = "mine"\n' + "".join(
        f'[[band]]\nname = "{name}"\nscale = 0.001\noffset = -0.01\nnodata = 0\n'
        for name in ("blue", "green", "red", "nir")
    )
    (tmp_path / "mine.toml").write_text(text)
    dn = np.random.default_rng(0).integers(100, 300, (4, 64, 64)).astype(np.uint16)
    path = makers.write_raster(tmp_path / "mine.tif", dn, 10)
    out = tmp_path / "out.tif"
    run("decloud", path, out, "--model", "fill", "--mask", "none",
        "--sensor", tmp_path / "mine.toml")  # fmt: skip
    with rasterio.open(out) as dataset:
        assert dataset.scales == (0.001,) * 4
        assert dataset.offsets == (-0.01,) * 4
        assert dataset.descriptions == ("B02", "B03", "B04", "B08")
        assert np.array_equal(dataset.read(), dn)


def test_pictures_with_world_files_are_scenes(tmp_path):
    rgb = np.random.default_rng(0).integers(1, 255, (3, 40, 50)).astype(np.uint8)
    for driver, name, world in (("PNG", "a.png", "a.pgw"), ("JPEG", "b.jpg", "b.jgw")):
        makers.write_raster(tmp_path / name, rgb, 2, driver=driver, crs=None)
        (tmp_path / world).write_text("2\n0\n0\n-2\n1001\n1999\n")
        with open_scene(tmp_path / name) as scene:
            assert scene.sensor.unit == "display"
            assert tuple(scene.geobox.affine)[:6] == (2, 0, 1000, 0, -2, 2000)
    # JPEG 2000 has a place of its own; where it names no coordinate system, GDAL makes one up
    makers.write_raster(
        tmp_path / "c.jp2", rgb, 2, driver="JP2OpenJPEG", crs=None, corner=(1000, 2000)
    )
    with open_scene(tmp_path / "c.jp2") as scene:
        assert tuple(scene.geobox.affine)[:6] == (2, 0, 1000, 0, -2, 2000)
        assert scene.geobox.crs is None
    assert "no georeference" in run("info", tmp_path / "c.jp2")


def test_pairs_of_a_product_and_radar_are_cut_by_the_command(tmp_path):
    product = makers.make_safe(tmp_path, bands=("B02", "B03", "B04", "B08"))
    radar = makers.make_rtc(tmp_path, pixel_m=40, values=makers.backscatter((96, 96)))
    output = run("chip", radar, product, tmp_path / "set", "--pairs", "--chip-size", "32")
    assert "9 chips of 32 px" in output
    (manifest,) = (tmp_path / "set" / "images2").glob("manifest.json")
    said = json.loads(manifest.read_text())
    bands = [band["name"] for band in said["sensor"]["bands"]]
    assert bands == ["B02", "B03", "B04", "B08", "SCL"]
    tags = said["profile"]["band_tags"]
    assert tags[4]["GEODECLOUD_RESAMPLED"].startswith("nearest")
    assert tags[0]["GEODECLOUD_RESAMPLED"].startswith("bilinear")


def test_the_sensor_of_the_documentation_is_one(tmp_path):
    text = (makers.REPOSITORY / "docs" / "formats.md").read_text()
    block = text.partition("# planet.toml")[2].partition("The offset here")[0]
    path = tmp_path / "planet.toml"
    path.write_text("#" + "\n".join(line.removeprefix("    ") for line in block.splitlines()))
    dn = np.full((2, 9, 9), 500, np.uint16)
    with open_scene(makers.write_raster(tmp_path / "a.tif", dn, 3), sensor=path) as scene:
        assert scene.sensor.band_names == ("B02", "B03")
        assert scene.sensor.level == "L2A"
