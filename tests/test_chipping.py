"""Which chips are cut: inside of areas, valid, clear; pairs side by side."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from geodecloud.chipping import chip
from geodecloud.cli.main import root
from geodecloud.cli.progress import Reporter
from geodecloud.errors import BandError, GridError, InputError, OptionError, OutputError
from geodecloud.geo.chips import ChipStore, mosaic_chips
from geodecloud.geo.esri import is_export
from geodecloud.geo.raster import open_scene, profile_of, write_array
from geodecloud.geo.scene import shape_of
from geodecloud.geo.tiling import Window
from geodecloud.geo.warped import RESAMPLED_TAG
from tests import makers
from tests.strategies import UTM_ORIGIN, make_scene

SHAPE = (96, 128)  # 3 x 4 chips of 32 px


def whole(path):
    with open_scene(path) as scene:
        return scene.read(Window.whole(shape_of(scene.geobox)))


def write(path, dn, made):
    path.parent.mkdir(exist_ok=True)
    write_array(path, dn, made.geobox, profile_of(made), cog=False)
    return path


@pytest.fixture
def scene(tmp_path):
    """A scene on disk; its left chips are nodata, half of the next column's are."""
    made = make_scene(SHAPE)
    dn, _ = made.read(Window.whole(SHAPE))
    dn[:, :, :48] = 0
    return write(tmp_path / "scene.tif", dn, made)


def square(path, *, row, col, height, width, crs="EPSG:32632", **properties):
    """A rectangle of a scene's pixels as GeoJSON in the scene's coordinates."""
    x, y = UTM_ORIGIN[0] + 10 * col, UTM_ORIGIN[1] - 10 * row
    right, bottom = x + 10 * width, y - 10 * height
    ring = [[x, y], [right, y], [right, bottom], [x, bottom], [x, y]]
    feature = {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    named = {"type": "name", "properties": {"name": crs}}
    collection = {"type": "FeatureCollection", "crs": named, "features": [feature]}
    path.write_text(json.dumps(collection))
    return path


def test_nothing_is_left_out_unless_it_is_asked(scene, tmp_path):
    result = chip([scene], tmp_path / "chips", size_px=32)
    assert (result.n_chips, result.skipped) == (12, {})


@pytest.mark.parametrize(("min_valid", "n_chips"), [(0.01, 9), (0.5, 9), (0.6, 6), (1, 6)])
def test_chips_that_are_mostly_nodata_are_left_out_and_counted(scene, tmp_path, min_valid, n_chips):
    result = chip([scene], tmp_path / "chips", size_px=32, min_valid=min_valid)
    assert result.n_chips == n_chips
    assert result.skipped == {"nodata": 12 - n_chips}
    store = ChipStore.open(tmp_path / "chips")
    store.verify()
    assert len(list(store.folder.glob("*.tif"))) == len(store) == n_chips
    mosaic_chips(tmp_path / "chips", tmp_path / "back.tif")
    dn, valid = whole(tmp_path / "back.tif")
    first = 32 if n_chips == 9 else 64
    assert np.array_equal(dn[:, :, first:], whole(scene)[0][:, :, first:])
    assert not valid[:, :, :first].any()


def test_another_share_is_another_cut(scene, tmp_path):
    chip([scene], tmp_path / "chips", size_px=32, min_valid=0.1)
    with pytest.raises(OutputError, match="overwrite"):
        chip([scene], tmp_path / "chips", size_px=32, min_valid=1)
    result = chip([scene], tmp_path / "chips", size_px=32, min_valid=1, overwrite=True)
    assert len(list((tmp_path / "chips").glob("*.tif"))) == result.n_chips == 6


def test_a_run_that_stopped_goes_on_with_the_same_choice(scene, tmp_path):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.done == 5:
            raise Stop

    with pytest.raises(Stop):
        chip([scene], tmp_path / "chips", size_px=32, min_valid=1, on_progress=stop)
    result = chip([scene], tmp_path / "chips", size_px=32, min_valid=1)
    assert result.n_chips == 6
    ChipStore.open(tmp_path / "chips").verify()


def test_cloudy_chips_are_left_out_and_counted(tmp_path):
    made = make_scene(SHAPE, n_bands=5)
    dn, _ = made.read(Window.whole(SHAPE))
    profile = profile_of(made)
    scl = np.full((1, *SHAPE), 4, np.uint16)
    scl[:, :32, :64] = 9
    scl[:, 32:64, :16] = 8
    names = (*profile.descriptions[:4], "SCL")
    profile = profile.select(range(5)).__class__(
        **{**vars(profile), "descriptions": names, "scales": (1e-4,) * 4 + (1,)}
    )
    path = tmp_path / "scene.tif"
    write_array(path, np.concatenate([dn[:4], scl]), made.geobox, profile, cog=False)
    for max_cloud, n_cloudy in ((0.4, 3), (0.6, 2), (0.0, 3)):
        result = chip([path], tmp_path / f"chips {max_cloud}", size_px=32, max_cloud=max_cloud)
        assert result.skipped == {"cloud": n_cloudy}
        assert result.n_chips == 12 - n_cloudy


def test_outside_of_the_areas_is_nodata_and_no_chip(tmp_path):
    made = make_scene(SHAPE)
    dn, _ = made.read(Window.whole(SHAPE))
    path = write(tmp_path / "scene.tif", dn, made)
    aoi = square(
        tmp_path / "aoi.geojson", row=10, col=40, height=30, width=50, **{"class": "wheat"}
    )
    result = chip([path], tmp_path / "chips", size_px=32, aoi=aoi)
    assert (result.n_chips, result.skipped) == (4, {"nodata": 8})
    mosaic_chips(tmp_path / "chips", tmp_path / "back.tif")
    back, valid = whole(tmp_path / "back.tif")
    inside = np.zeros(SHAPE, bool)
    inside[10:40, 40:90] = True
    assert np.array_equal(valid, np.broadcast_to(inside, valid.shape))
    assert np.array_equal(back[:, inside], dn[:, inside])
    assert not back[:, ~inside].any()


def test_without_a_nodata_value_the_outside_is_masked(tmp_path):
    made = make_scene(SHAPE, n_bands=3, dtype="uint8")
    dn, _ = made.read(Window.whole(SHAPE))
    profile = profile_of(made)
    plain = profile.__class__(**{**vars(profile), "nodata": (None,) * 3})
    write_array(tmp_path / "scene.tif", dn, made.geobox, plain, cog=False)
    aoi = square(tmp_path / "aoi.geojson", row=0, col=0, height=20, width=20)
    result = chip([tmp_path / "scene.tif"], tmp_path / "chips", size_px=32, aoi=aoi)
    assert result.n_chips == 1
    (only,) = ChipStore.open(tmp_path / "chips")
    assert np.array_equal(only.dn, dn[:, :32, :32])
    assert only.valid[:, :20, :20].all()
    assert not only.valid[:, 20:].any()


def test_areas_that_are_elsewhere_or_damaged_are_one_error(scene, tmp_path):
    far = square(tmp_path / "far.geojson", row=9000, col=9000, height=9, width=9)
    with pytest.raises(GridError, match="lies on the scene"):
        chip([scene], tmp_path / "chips", aoi=far)
    (tmp_path / "bad.geojson").write_text("{")
    with pytest.raises(InputError, match="cannot be read as polygons"):
        chip([scene], tmp_path / "chips", aoi=tmp_path / "bad.geojson")
    with pytest.raises(InputError, match="does not exist"):
        chip([scene], tmp_path / "chips", aoi=tmp_path / "no.geojson")
    assert not (tmp_path / "chips").exists()


def test_pairs_lie_side_by_side_under_one_name(scene, tmp_path):
    made = make_scene(SHAPE, seed=1)
    other = write(tmp_path / "clear.tif", made.read(Window.whole(SHAPE))[0], made)
    result = chip([scene, other], tmp_path / "set", size_px=32, pairs=True, min_valid=0.6)
    assert (result.n_chips, result.skipped) == (6, {"nodata": 6})
    stores = [ChipStore.open(tmp_path / "set" / side) for side in ("images", "images2")]
    files = [[record.file for record in store.manifest.chips] for store in stores]
    assert files[0] == files[1]
    for store, path in zip(stores, (scene, other), strict=True):
        rows, cols = store[0].tile.read.slices
        assert np.array_equal(store[0].dn, whole(path)[0][:, rows, cols])


def test_radar_is_resampled_onto_the_grid_of_its_pair(tmp_path):
    made = make_scene(SHAPE)
    optical = write(tmp_path / "optical.tif", made.read(Window.whole(SHAPE))[0], made)
    radar = makers.make_rtc(tmp_path, corner=(599_900.0, 5_100_100.0))
    notes = []
    chip([optical, radar], tmp_path / "set", size_px=32, pairs=True, on_note=notes.append)
    assert any("resampled" in note for note in notes)
    store = ChipStore.open(tmp_path / "set" / "images2")
    assert store.manifest.sensor.unit == "dB"
    assert RESAMPLED_TAG in store.manifest.profile.band_tags[0]
    first = store[0]
    assert first.geobox == ChipStore.open(tmp_path / "set" / "images")[0].geobox
    power = makers.backscatter()[0]
    middle = np.average(power[5:7, 5:7].ravel(), weights=[0.5625, 0.1875, 0.1875, 0.0625])
    assert first.dn[0, 1, 1] == pytest.approx(10 * np.log10(middle), abs=1e-3)


def test_a_pair_is_two_scenes_of_one_place(scene, tmp_path):
    with pytest.raises(OptionError, match="1 scenes for pairs"):
        chip([scene], tmp_path / "set", pairs=True)
    radar = makers.make_rtc(tmp_path, corner=(700_000.0, 5_100_000.0))
    with pytest.raises(GridError, match="does not lie"):
        chip([scene, radar], tmp_path / "set", pairs=True)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"min_valid": 2}, "between 0 and 1"),
        ({"max_cloud": -0.1}, "between 0 and 1"),
        ({"layout": "kitti"}, "layout is 'kitti'"),
    ],
)
def test_options_that_are_none_are_refused(scene, tmp_path, wrong, found):
    with pytest.raises(OptionError, match=found):
        chip([scene], tmp_path / "chips", **wrong)


def numbered(folder):
    return sorted(path.name for path in folder.glob("*.tif"))


def prepared(folder):
    """What a model would train on."""
    pytest.importorskip("torch")
    from geodecloud.datasets import prepare_data

    return prepare_data(folder, working_dir=folder.parent / "work", chip_size=32, batch_size=2)


def test_an_export_of_all_scenes_is_read_as_clear_chips(scene, tmp_path):
    made = make_scene(SHAPE, seed=1)
    other = write(tmp_path / "second.tif", made.read(Window.whole(SHAPE))[0], made)
    out = tmp_path / "export"
    result = chip([scene, other], out, size_px=32, min_valid=0.6, layout="esri")
    assert (result.n_chips, result.skipped) == (18, {"nodata": 6})
    assert is_export(out)
    assert numbered(out / "images") == [f"{i:09}.tif" for i in range(18)]
    assert np.array_equal(whole(out / "images" / "000000006.tif")[0], whole(other)[0][:, :32, :32])
    data = prepared(out)
    assert (data.dataset_type, len(data.packed)) == ("CloudRemoval", 18)
    with open_scene(scene) as opened:
        assert data.packed.sides["target"].bands == opened.sensor.band_names


def test_an_export_of_a_pair_is_read_as_a_pair(tmp_path):
    made = make_scene(SHAPE)
    optical = write(tmp_path / "optical.tif", made.read(Window.whole(SHAPE))[0], made)
    radar = makers.make_rtc(tmp_path, corner=(599_900.0, 5_100_100.0))
    out, notes = tmp_path / "export", []
    options = {"size_px": 32, "pairs": True, "min_valid": 0.5}
    chip([radar, optical], out, layout="esri", on_note=notes.append, **options)
    stored = chip([radar, optical], tmp_path / "set", **options)
    assert len(notes) == 1
    for side in ("images", "images2"):
        assert len(numbered(out / side)) == stored.n_chips > 3
        others = ChipStore.open(tmp_path / "set" / side)
        for file, other in zip(numbered(out / side), others, strict=True):
            dn, valid = whole(out / side / file)
            assert np.array_equal(dn, other.dn, equal_nan=True)
            assert np.array_equal(valid, other.valid)
    data = prepared(out)
    assert (data.dataset_type, len(data.packed)) == ("Pix2Pix", stored.n_chips)
    assert (data.sides["source"].unit, data.sides["target"].unit) == ("dB", "reflectance")


def test_chips_of_an_export_say_what_the_name_of_the_file_said(tmp_path):
    made = make_scene((20, 40), n_bands=1)
    profile = profile_of(made)
    plain = profile.__class__(**{**vars(profile), "descriptions": (None,), "nodata": (None,)})
    path = tmp_path / "T32TMT_20200101_MSIL1C_B08.tif"
    write_array(path, made.read(Window.whole((20, 40)))[0], made.geobox, plain, cog=False)
    with open_scene(path) as scene:
        assert (scene.sensor.band_names, scene.sensor.level) == (("B08",), "L1C")
        sensor = scene.sensor
    chip([path], tmp_path / "export", size_px=32, layout="esri")
    with open_scene(tmp_path / "export" / "images" / "000000000.tif") as cut:
        assert (cut.sensor.band_names, cut.sensor.level) == (sensor.band_names, sensor.level)
    valid = whole(tmp_path / "export" / "images" / "000000000.tif")[1]
    assert valid[:, :20].all()
    assert not valid[:, 20:].any()  # the scene ends there


def test_scenes_that_are_not_alike_make_no_export(scene, tmp_path):
    made = make_scene(SHAPE, n_bands=3, dtype="uint8")
    other = write(tmp_path / "rgb.tif", made.read(Window.whole(SHAPE))[0], made)
    with pytest.raises(BandError, match=r"rgb.tif has other bands"):
        chip([scene, other], tmp_path / "export", layout="esri")
    assert not (tmp_path / "export").exists()


def test_an_export_that_would_be_empty_leaves_the_one_that_is_there(scene, tmp_path):
    out = tmp_path / "export"
    chip([scene], out, size_px=32, layout="esri")
    nothing = write(tmp_path / "nothing.tif", np.zeros_like(whole(scene)[0]), make_scene(SHAPE))
    with pytest.raises(OptionError, match="no chip to export"):
        chip([nothing], out, size_px=32, layout="esri", min_valid=0.5, overwrite=True)
    assert len(numbered(out / "images")) == 12
    assert is_export(out)
    chip([scene], out, size_px=32, layout="esri", min_valid=1, overwrite=True)
    assert len(numbered(out / "images")) == 6


def test_the_command_says_what_it_left_out(scene, tmp_path):
    arguments = ["chip", scene, tmp_path / "chips", "--chip-size", "32", "--min-valid", "0.6"]
    runner = CliRunner()
    done = runner.invoke(root, [str(text) for text in arguments], obj=Reporter())
    assert done.exit_code == 0, done.output
    assert "6 chips of 32 px out of scene" in done.output
    assert "left out: 6 of nodata" in done.output
