"""decloud from options to files: what is written, what is refused, what is said."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geodecloud import decloud
from geodecloud.errors import (
    BandError,
    GeodecloudError,
    GridError,
    InputError,
    ModelError,
    OptionError,
    OutputError,
    RadiometryError,
)
from geodecloud.geo.raster import Profile, open_scene, write_array
from geodecloud.geo.scene import ArrayScene, ArraySink
from geodecloud.geo.sensors import SENSORS
from geodecloud.models import list_models
from geodecloud.options import DecloudOptions
from geodecloud.paste import GENERATED, NODATA, ORIGINAL
from geodecloud.run.baselines import IdentityTranslator

SENSOR = SENSORS["sentinel-2-l2a"].select(["B02", "B03", "B04", "B08"])
GRID = Affine(10, 0, 600_000, 0, -10, 5_000_000)


def ground(shape: tuple[int, int] = (96, 80), seed: int = 1) -> np.ndarray:
    """Smooth ground of four bands with a white cloud in the middle."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    dn = 900 + 300 * np.sin(rows / 9) * np.cos(cols / 7) + rng.normal(0, 20, (4, *shape))
    dn[3] += 2000
    cloud = (rows - shape[0] / 2) ** 2 + (cols - shape[1] / 2) ** 2 < (min(shape) / 6) ** 2
    dn[:, cloud] = 8000 + rng.normal(0, 50, (4, int(cloud.sum())))
    return dn.astype(np.uint16)


def write(path: Path, dn: np.ndarray, *, crs: str | None = "EPSG:32632", **changes: object) -> Path:
    profile = replace(Profile.for_sensor(SENSOR), **changes)
    affine = GRID if crs else Affine.identity()
    write_array(path, dn, GeoBox(dn.shape[1:], affine, crs), profile)
    return path


@pytest.fixture
def cloudy(tmp_path: Path) -> Path:
    return write(tmp_path / "cloudy scene ü.tif", ground())


def test_clear_pixels_and_metadata_survive_and_clouds_do_not(cloudy: Path, tmp_path: Path) -> None:
    out = tmp_path / "clear.tif"
    result = decloud(cloudy, out, provenance=tmp_path / "origin.tif", mask_out=tmp_path / "m.tif")
    with rasterio.open(cloudy) as before, rasterio.open(out) as after:
        dn, clear = before.read(), after.read()
        for name in ("crs", "transform", "nodata", "dtypes", "descriptions", "scales", "offsets"):
            assert getattr(before, name) == getattr(after, name), name
        assert after.overviews(1) or max(after.shape) <= 512
    with rasterio.open(tmp_path / "origin.tif") as origin:
        kind = origin.read(1)
        assert origin.colormap(1)[GENERATED][3] == 255
    assert (dn[:, kind == ORIGINAL] == clear[:, kind == ORIGINAL]).all()
    assert (kind == GENERATED).mean() > 0.05
    assert dn.max() > 7000 > clear.max()
    assert result.identical_share >= 1 - (kind != ORIGINAL).mean()
    assert result.files["output"] == str(out)


def test_a_rerun_gives_the_same_bytes(cloudy: Path, tmp_path: Path) -> None:
    names = [tmp_path / f"{i}.tif" for i in range(2)]
    for name in names:
        decloud(cloudy, name, compare=name.with_suffix(".html"), overwrite=True)
    assert names[0].read_bytes() == names[1].read_bytes()


def test_the_mask_that_was_written_is_taken_back(cloudy: Path, tmp_path: Path) -> None:
    decloud(cloudy, tmp_path / "a.tif", mask_out=tmp_path / "mask.tif")
    decloud(cloudy, tmp_path / "b.tif", mask=tmp_path / "mask.tif")
    pixels = [rasterio.open(tmp_path / f"{name}.tif").read() for name in "ab"]
    np.testing.assert_array_equal(*pixels)


def test_other_bands_are_dropped_or_kept_unchanged(tmp_path: Path) -> None:
    dn = np.concatenate([ground(), np.full((1, 96, 80), 4, np.uint16)])
    bands = Profile.for_sensor(SENSOR)
    names = (*bands.descriptions, "SCL")
    profile = Profile(
        "uint16", (0.0,) * 5, names, (1e-4,) * 4 + (1.0,), (0.0,) * 5, (None,) * 5,
        ("gray", *("undefined",) * 4),
    )  # fmt: skip
    dn[4, 20:60, 20:60] = 9
    path = tmp_path / "scl.tif"
    write_array(path, dn, GeoBox((96, 80), GRID, "EPSG:32632"), profile)
    decloud(path, tmp_path / "four.tif", model="fill")
    decloud(path, tmp_path / "five.tif", model="fill", keep_bands=True)
    with rasterio.open(tmp_path / "four.tif") as four, rasterio.open(tmp_path / "five.tif") as five:
        assert four.descriptions == names[:4]
        assert five.descriptions == names
        np.testing.assert_array_equal(five.read(5), dn[4])
        np.testing.assert_array_equal(five.read([1, 2, 3, 4]), four.read())
        assert five.tags(5)["GEODECLOUD_GENERATED_BY"] == "none"
        assert five.tags(1)["GEODECLOUD_GENERATED_BY"] == "fill"


def test_scl_is_taken_where_the_scene_has_it(tmp_path: Path) -> None:
    dn = ground()
    scl = np.full((1, 96, 80), 4, np.uint16)
    scl[0, :30] = 9
    profile = replace(
        Profile.for_sensor(SENSORS["sentinel-2-l2a"].select(["B02", "B03", "B04", "B08", "B12"])),
        descriptions=("B02", "B03", "B04", "B08", "SCL"),
    )
    path = tmp_path / "s.tif"
    write_array(path, np.concatenate([dn, scl]), GeoBox((96, 80), GRID, "EPSG:32632"), profile)
    out = ArraySink(4, (96, 80), "uint16")
    decloud(path, out, dilate_m=0)
    np.testing.assert_array_equal(out.dn[:, 30:], dn[:, 30:])
    assert (out.dn[:, :30] != dn[:, :30]).mean() > 0.5


def test_a_scene_without_cloud_is_given_back_and_said(tmp_path: Path) -> None:
    dn = np.clip(ground(), 1, 4000)[:, :30, :30]
    mask = write(tmp_path / "m.tif", np.zeros((4, 30, 30), np.uint16))
    mask = tmp_path / "none.tif"
    band = replace(SENSOR, bands=(replace(SENSOR.bands[0], nodata=None, dtype="uint8"),))
    write_array(
        mask, np.zeros((1, 30, 30), np.uint8), GeoBox((30, 30), GRID, "EPSG:32632"),
        Profile.for_sensor(band),
    )  # fmt: skip
    notes: list[str] = []
    out = ArraySink(4, (30, 30), "uint16")
    decloud(write(tmp_path / "a.tif", dn), out, mask=mask, on_note=notes.append)
    np.testing.assert_array_equal(out.dn, dn)
    assert any("no cloud" in note for note in notes)


def test_an_array_scene_and_a_sink_in_memory_do(tmp_path: Path) -> None:
    out = ArraySink(4, (96, 80), "uint16")
    result = decloud(ArrayScene(ground(), SENSOR), out)
    assert out.is_published
    assert 0 < result.generated_share < 0.5


@given(st.integers(0, 2**32 - 1), st.integers(20, 70), st.integers(20, 70))
def test_clear_pixels_are_identical_under_any_mask(seed: int, height: int, width: int) -> None:
    dn = ground((height, width), seed % 7)
    drawn = (np.random.default_rng(seed).random((height, width)) < 0.3).astype(np.uint8)
    out, origin = ArraySink(4, (height, width), "uint16"), None
    scene = ArrayScene(dn, SENSOR)

    class Painter(IdentityTranslator):
        def __call__(self, request):
            return replace(super().__call__(request), pixels=request.pixels * 0 + 0.4)

    from geodecloud.geo.scene import ArrayMask
    from geodecloud.pipeline import Aids, Records, translate_scene

    with out:
        translate_scene(
            scene, out, Painter(SENSOR.band_names), aids=Aids(ArrayMask(drawn > 0)),
            records=Records(origin),
        )  # fmt: skip
    assert (out.dn[:, drawn == 0] == dn[:, drawn == 0]).all()
    assert (out.dn[:, drawn > 0] == 4000).all()


def _bad(  # noqa: C901 - a table of cases
    name: str, tmp_path: Path
) -> tuple[dict[str, object], type[GeodecloudError], str]:
    """A scene, options over it, the error and a word of it."""
    scene = tmp_path / "scene.tif"
    dn = ground()
    if name == "missing file":
        return {"source": tmp_path / "none.tif"}, InputError, "none.tif"
    if name == "zero bytes":
        scene.write_bytes(b"")
        return {"source": scene}, InputError, "scene.tif"
    if name == "not a raster":
        scene.write_text("hello")
        return {"source": scene}, InputError, "scene.tif"
    if name == "truncated":
        write(scene, dn)
        scene.write_bytes(scene.read_bytes()[: scene.stat().st_size // 2])
        return {"source": scene}, InputError, "scene.tif"
    if name == "a VRT in disguise":
        scene.write_text("<VRTDataset rasterXSize='5' rasterYSize='5'></VRTDataset>")
        return {"source": scene}, InputError, "VRT"
    if name == "all nodata":
        return {"source": write(scene, dn * 0)}, InputError, "valid"
    if name == "wrong value range":
        return {"source": write(scene, dn * 0 + 40_000)}, RadiometryError, "--scale"
    write(scene, dn)
    other = tmp_path / "other.tif"
    if name == "output exists":
        other.write_bytes(b"mine")
        return {"source": scene, "out": other}, OutputError, "--overwrite"
    if name == "no such folder":
        return {"source": scene, "out": tmp_path / "x" / "y.tif"}, OutputError, "folder"
    if name == "unknown model":
        return {"source": scene, "model": "nothing"}, ModelError, "nothing"
    if name == "unknown mask":
        return {"source": scene, "mask": "nothing"}, OptionError, "nothing"
    if name == "mask of another size":
        write(other, dn[:, :50], descriptions=("a", "b", "c", "d"))
        with open_scene(other) as full:
            band = full.select(["a"])
            write_array(tmp_path / "m.tif", band.read(_whole(band))[0], band.geobox, band.profile)
        return {"source": scene, "mask": tmp_path / "m.tif"}, GridError, "50x80"
    if name == "all cloud":
        return {"source": scene, "mask": "all"}, OptionError, "--max-cloud"
    if name == "no clear pixel":
        return {"source": scene, "mask": "all", "max_cloud": 1.0}, InputError, "clear pixel"
    if name == "bands that do not fit":
        return {"source": scene, "bands": ("B02", "B03")}, BandError, "B02"
    raise ValueError(name)


def _whole(scene):
    from geodecloud.geo.tiling import Window

    return Window.whole(tuple(scene.geobox.shape))


BAD = (
    "missing file", "zero bytes", "not a raster", "truncated", "a VRT in disguise", "all nodata",
    "wrong value range", "output exists", "no such folder", "unknown model", "unknown mask",
    "mask of another size", "all cloud", "no clear pixel",
    "bands that do not fit",
)  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    options, kind, word = _bad(name, tmp_path)
    before = {path: path.stat().st_size for path in tmp_path.rglob("*")}
    source = options.pop("source")
    out = options.pop("out", tmp_path / "out.tif")
    with pytest.raises(kind) as error:
        decloud(source, out, **options)
    assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert {path: path.stat().st_size for path in tmp_path.rglob("*")} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder_is_refused(cloudy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    with pytest.raises(OutputError, match="read-only"):
        decloud(cloudy, folder / "out.tif")


def test_pixels_of_another_size_than_the_models_are_refused(cloudy: Path, tmp_path: Path) -> None:
    class Coarse(IdentityTranslator):
        resolution_m = 60.0

    with pytest.raises(GridError, match=r"10 m.*60 m"):
        decloud(cloudy, tmp_path / "out.tif", model=Coarse(SENSOR.band_names))


def test_no_georeference_is_allowed_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "nowhere.tif", ground(), crs=None)
    result = decloud(path, tmp_path / "out.tif")
    assert sum("no georeference" in note for note in result.notes) == 1


def test_options_that_make_no_sense_are_refused() -> None:
    for changes in ({"max_cloud": 1.5}, {"feather_m": -1}, {"tile_size_px": 3}, {"batch_size": 0}):
        with pytest.raises(OptionError):
            DecloudOptions(**changes)


def test_nodata_stays_nodata_under_a_cloud(tmp_path: Path) -> None:
    dn = ground()
    dn[:, 40:50, 30:50] = 0
    decloud(write(tmp_path / "a.tif", dn), tmp_path / "b.tif", provenance=tmp_path / "p.tif")
    with rasterio.open(tmp_path / "b.tif") as out, rasterio.open(tmp_path / "p.tif") as origin:
        assert (out.read()[:, 40:50, 30:50] == 0).all()
        assert ((origin.read(1) == NODATA) == (dn == 0).all(0)).all()


def test_the_models_are_listed_with_what_they_do() -> None:
    models = {model["name"]: model["summary"] for model in list_models()}
    assert len(models["fill"]) > 10
