"""Chips: cut, kept, and put together again."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodecloud.errors import InputError, OptionError, OutputError
from geodecloud.geo.chips import ChipStore, cut_scene, mosaic_chips, part_of
from geodecloud.geo.manifest import MANIFEST, holds_chips
from geodecloud.geo.raster import Profile, open_scene, profile_of, write_array
from geodecloud.geo.scene import ArrayScene, shape_of
from geodecloud.geo.tiling import Tiling, Window
from geodecloud.progress import Cancelled
from tests.strategies import chip_tilings, geoboxes, make_scene, make_sensor, scenes, utm_geobox

# Each example writes dozens of files.
on_disk = settings(max_examples=max(1, settings.default.max_examples // 4))


def bits(array):
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def whole(scene):
    return scene.read(Window.whole(shape_of(scene.geobox)))


def corner_error_px(one, other):
    """How far the corners of two grids of one size lie apart, in pixels."""
    height, width = shape_of(one)
    to_px = ~one.affine * other.affine
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    return max(float(np.hypot(*np.subtract(to_px * at, at))) for at in corners)


def written(path, scene, profile=None):
    """A scene as a file, opened."""
    dn, _ = whole(scene)
    write_array(path, dn, scene.geobox, profile or profile_of(scene), cog=False)
    return open_scene(path)


@pytest.fixture
def store(tmp_path):
    """A store of six chips, two of them overlapping a neighbour."""
    return ChipStore.cut(make_scene((40, 24)), tmp_path / "chips", size_px=16)


@given(scenes(max_px=40), st.integers(1, 20), st.data())
def test_chips_hold_the_scene_where_they_lie_inside(scene, size_px, data):
    overlap_px = data.draw(st.integers(0, size_px - 1))
    dn, valid = whole(scene)
    seen = np.zeros(dn.shape[1:], bool)
    for chip in cut_scene(scene, size_px=size_px, overlap_px=overlap_px):
        assert chip.dn.shape == (len(dn), size_px, size_px)
        inside = chip.tile.read & Window.whole(dn.shape[1:])
        at = inside.relative_to(chip.tile.read).slices
        np.testing.assert_array_equal(bits(chip.dn[:, *at]), bits(dn[:, *inside.slices]))
        np.testing.assert_array_equal(chip.valid[:, *at], valid[:, *inside.slices])
        assert np.count_nonzero(chip.valid) == np.count_nonzero(chip.valid[:, *at])
        seen[inside.slices] = True
    assert seen.all()


def test_a_small_scene_is_padded_by_reflection_and_the_padding_is_invalid():
    dn = np.arange(1, 7, dtype=np.uint16).reshape(1, 2, 3)
    (chip,) = cut_scene(ArrayScene(dn, make_sensor(1), utm_geobox((2, 3))), size_px=4)
    assert chip.dn[0].tolist() == [[1, 2, 3, 2], [4, 5, 6, 5], [1, 2, 3, 2], [4, 5, 6, 5]]
    assert chip.valid[0].tolist() == [[True] * 3 + [False]] * 2 + [[False] * 4] * 2


def test_a_scene_of_one_pixel_makes_a_chip():
    (chip,) = cut_scene(make_scene((1, 1), 1), size_px=3)
    assert (chip.dn == chip.dn[0, 0, 0]).all()
    assert chip.valid.sum() == 1


@given(chip_tilings(), st.data())
def test_corners_of_chips_lie_within_a_billionth_of_a_pixel(tiling, data):
    """In fractions, so that what is measured is the chip and not the measurement."""
    geobox = data.draw(geoboxes(tiling.shape))
    a, b, c, d, e, f = map(Fraction, tuple(geobox.affine)[:6])
    for tile in data.draw(st.sets(st.sampled_from(tiling), min_size=1, max_size=4)):
        row, col = tile.read.row, tile.read.col
        x, y = (Fraction(value) for value in part_of(geobox, tile.read).affine[2:6:3])
        off_x, off_y = x - (a * col + b * row + c), y - (d * col + e * row + f)
        off_col, off_row = e * off_x - b * off_y, a * off_y - d * off_x
        assert max(abs(off_col), abs(off_row)) <= Fraction(1, 10**9) * abs(a * e - b * d)


def test_memory_is_one_row_of_tiles():
    class Watched(ArrayScene):
        tallest = 0

        def read(self, window):
            self.tallest = max(self.tallest, window.height)
            return super().read(window)

    scene = make_scene((200, 30))
    watched = Watched(whole(scene)[0], scene.sensor, scene.geobox)
    assert len(list(cut_scene(watched, size_px=16, overlap_px=4))) > 20
    assert watched.tallest == 16


def test_an_overlap_as_large_as_the_chip_is_refused():
    with pytest.raises(OptionError, match="overlap is 8 px for chips of 8 px"):
        list(cut_scene(make_scene((16, 16)), size_px=8, overlap_px=8))


@on_disk
@given(scenes(max_px=40), st.integers(8, 24), st.data())
def test_mosaic_of_chips_is_the_scene_bit_for_bit(tmp_path_factory, scene, size_px, data):
    """Pixels, grid, nodata of each band, names, scale, offset: uint8, int16, uint16, float32."""
    folder = tmp_path_factory.mktemp("mosaic")
    overlap_px = data.draw(st.integers(0, size_px // 2))
    with written(folder / "scene.tif", scene) as source:
        ChipStore.cut(source, folder / "chips", size_px=size_px, overlap_px=overlap_px)
        mosaic_chips(folder / "chips", folder / "out.tif")
        with open_scene(folder / "out.tif") as back:
            for here, there in zip(whole(source), whole(back), strict=True):
                np.testing.assert_array_equal(bits(here), bits(there))
            assert repr(back.profile) == repr(source.profile)
            assert repr(back.sensor) == repr(source.sensor)
            assert back.geobox.crs == source.geobox.crs
            assert corner_error_px(back.geobox, source.geobox) <= 1e-9
    shutil.rmtree(folder)


def test_all_that_a_file_says_of_its_bands_comes_back(tmp_path):
    scene = make_scene((30, 20), 3)
    profile = Profile(
        dtype="uint16",
        nodata=(0, 65535, None),
        descriptions=("red", None, "näher <infrared>"),
        scales=(1e-4, 1.0, 2.5e-5),
        offsets=(-0.1, 0.0, 273.15),
        units=("reflectance", None, "K"),
        colorinterp=("red", "green", "undefined"),
        tags={"PROCESSING_BASELINE": "05.09", "note": 'a "quoted" <b>'},
        band_tags=({"wavelength": "665"}, {}, {}),
        is_masked=True,
    )
    hidden = np.ones((3, 30, 20), bool)
    hidden[:, 5:9, 3:19] = False
    with written(tmp_path / "scene.tif", scene, profile) as source:
        store = ChipStore.cut(source, tmp_path / "chips", size_px=16, overlap_px=5)
        assert repr(ChipStore.open(tmp_path / "chips").profile) == repr(source.profile)
        mosaic_chips(store.folder, tmp_path / "out.tif")
        with open_scene(tmp_path / "out.tif") as back:
            assert repr(back.profile) == repr(source.profile)


def test_the_mask_of_a_file_comes_back(tmp_path):
    from geodecloud.geo.raster import RasterSink

    scene = make_scene((30, 20))
    dn, _ = whole(scene)
    valid = np.ones(dn.shape, bool)
    valid[:, 5:21, 3:19] = False
    profile = replace(profile_of(scene), is_masked=True, nodata=(None,) * 4)
    with RasterSink(tmp_path / "scene.tif", scene.geobox, profile, cog=False) as sink:
        sink.write(Window.whole((30, 20)), dn, valid)
    with open_scene(tmp_path / "scene.tif") as source:
        ChipStore.cut(source, tmp_path / "chips", size_px=8, overlap_px=2)
    mosaic_chips(tmp_path / "chips", tmp_path / "out.tif")
    with open_scene(tmp_path / "out.tif") as back:
        np.testing.assert_array_equal(whole(back)[0], dn)
        np.testing.assert_array_equal(whole(back)[1], valid)


def test_a_store_gives_the_chips_that_were_cut(store):
    cut = list(cut_scene(make_scene((40, 24)), size_px=16))
    assert len(store) == len(cut) == 6
    for kept, chip in zip(ChipStore.open(store.folder), cut, strict=True):
        np.testing.assert_array_equal(kept.dn, chip.dn)
        np.testing.assert_array_equal(kept.valid, chip.valid)
        assert (kept.tile, kept.geobox) == (chip.tile, chip.geobox)
    assert [chip.tile for chip in store[1:3]] == [store.tiling[1], store.tiling[2]]


def test_chip_files_are_georeferenced_rasters(store):
    for record, chip in zip(store.manifest.chips, store, strict=True):
        with open_scene(store.folder / record.file) as scene:
            assert scene.geobox == chip.geobox
            assert scene.sensor.band_names == ("B02", "B03", "B04", "B08")


def test_cutting_twice_gives_the_same_bytes(store, tmp_path):
    again = ChipStore.cut(make_scene((40, 24)), tmp_path / "again", size_px=16)
    for path in store.folder.iterdir():
        assert path.read_bytes() == (again.folder / path.name).read_bytes()


def test_a_store_is_known_as_one(store, tmp_path):
    assert holds_chips(store.folder)
    assert not holds_chips(tmp_path)


def test_a_manifest_names_no_folder(store):
    assert str(store.folder.parent) not in (store.folder / MANIFEST).read_text()


def test_a_stopped_run_leaves_no_manifest_and_goes_on_where_it_was(tmp_path):
    scene, folder = make_scene((40, 24)), tmp_path / "chips"

    def stop_at_four(progress):
        if progress.done == 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        ChipStore.cut(scene, folder, size_px=16, on_progress=stop_at_four)
    assert not (folder / MANIFEST).exists()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tif")}
    assert len(kept) == 4
    first = min(kept)
    (folder / first).write_bytes(b"torn")
    store = ChipStore.cut(scene, folder, size_px=16)
    store.verify()
    unchanged = [name for name, time in kept.items() if (folder / name).stat().st_mtime_ns == time]
    assert sorted(unchanged) == sorted(set(kept) - {first})
    assert {path.name for path in folder.iterdir()} == {
        MANIFEST, *(record.file for record in store.manifest.chips),
    }  # fmt: skip


KILLED = """
import os, sys
from geodecloud.geo.chips import ChipStore
from tests.strategies import make_scene
def stop(progress):
    if progress.done == 4:
        os.kill(os.getpid(), 9)
ChipStore.cut(make_scene((40, 24)), sys.argv[1], size_px=16, on_progress=stop)
"""


def test_a_killed_run_can_be_repeated(tmp_path, store):
    folder = tmp_path / "killed"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, folder], cwd=root, check=False)
    assert done.returncode == -9
    assert not (folder / MANIFEST).exists()
    (folder / f".{store.manifest.chips[0].file}.77.part").write_bytes(b"half")
    ChipStore.cut(make_scene((40, 24)), folder, size_px=16)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        p.name: p.read_bytes() for p in store.folder.iterdir()
    }


def test_missing_and_damaged_chips_are_all_named_at_once(store, tmp_path):
    files = [record.file for record in store.manifest.chips]
    (store.folder / files[1]).unlink()
    content = bytearray((store.folder / files[4]).read_bytes())
    content[-1] ^= 1
    (store.folder / files[4]).write_bytes(content)
    with pytest.raises(InputError) as error:
        mosaic_chips(store.folder, tmp_path / "out.tif")
    assert f"1 missing: {files[1]}" in error.value.found
    assert f"1 damaged or changed: {files[4]}" in error.value.found
    assert not (tmp_path / "out.tif").exists()
    ChipStore.cut(make_scene((40, 24)), store.folder, size_px=16)
    mosaic_chips(store.folder, tmp_path / "out.tif")


def test_a_chip_of_another_size_with_a_right_checksum_is_refused(store):
    record = store.manifest.chips[0]
    write_array(
        store.folder / record.file,
        np.ones((4, 9, 9), np.uint16),
        utm_geobox((9, 9)),
        store.profile,
        overwrite=True,
        cog=False,
    )
    content = (store.folder / record.file).read_bytes()
    changed = record.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    forged = store.manifest.model_copy(update={"chips": (changed, *store.manifest.chips[1:])})
    (store.folder / MANIFEST).write_bytes(forged.dumped())
    with pytest.raises(InputError, match=r"has \(9, 9\) px"):
        ChipStore.open(store.folder)[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"size_px": 32}, "size"),
        ({"overlap_px": 2}, "overlap"),
        ({"name": "another"}, "name"),
    ],
)
def test_another_cut_into_the_same_folder_needs_overwrite(store, change, word):
    options = {"size_px": 16, **change}
    with pytest.raises(OutputError, match="--overwrite"):
        ChipStore.cut(make_scene((40, 24)), store.folder, **options)
    again = ChipStore.cut(make_scene((40, 24)), store.folder, overwrite=True, **options)
    again.verify()
    assert len(list(store.folder.glob("*.tif"))) == len(again)


def test_a_folder_with_other_things_needs_overwrite_and_keeps_them(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds other things: thesis\.txt"):
        ChipStore.cut(make_scene((20, 20)), tmp_path, size_px=16)
    ChipStore.cut(make_scene((20, 20)), tmp_path, size_px=16, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_damaged_manifest_is_not_overwritten_unasked(store):
    (store.folder / MANIFEST).write_text("{")
    with pytest.raises(OutputError, match="--overwrite"):
        ChipStore.cut(make_scene((40, 24)), store.folder, size_px=16)
    ChipStore.cut(make_scene((40, 24)), store.folder, size_px=16, overwrite=True).verify()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "chips").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        ChipStore.cut(make_scene((20, 20)), tmp_path / "chips")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        ChipStore.cut(make_scene((20, 20)), tmp_path)


def test_two_writers_in_one_folder_are_one_too_many(tmp_path):
    def cut_again(_):
        ChipStore.cut(make_scene((20, 20)), tmp_path / "chips", size_px=16)

    with pytest.raises(OutputError, match="being written by another process"):
        ChipStore.cut(make_scene((20, 20)), tmp_path / "chips", size_px=16, on_progress=cut_again)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a b'\"c", "Zürich ☁", ".hidden", "", "-x"])
def test_awkward_names_of_scenes_stay_inside_the_folder(tmp_path, name):
    store = ChipStore.cut(make_scene((20, 20)), tmp_path / "chips", name=name, size_px=16)
    assert {path.parent for path in tmp_path.rglob("*.tif")} == {tmp_path / "chips"}
    assert ChipStore.open(store.folder).manifest.scene == name


def test_a_folder_of_several_stores_is_refused_by_name(tmp_path):
    for name in ("a", "b"):
        ChipStore.cut(make_scene((20, 20)), tmp_path / "all" / name, size_px=16)
    with pytest.raises(InputError, match="several scenes: a, b"):
        mosaic_chips(tmp_path / "all", tmp_path / "out.tif")


def test_an_output_that_exists_is_not_replaced_unasked(store, tmp_path):
    (tmp_path / "out.tif").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        mosaic_chips(store.folder, tmp_path / "out.tif")
    assert (tmp_path / "out.tif").read_text() == "mine"
    mosaic_chips(store.folder, tmp_path / "out.tif", overwrite=True)


@pytest.mark.parametrize(
    "name",
    [
        "test/scenes_cloudy/20190530_T32TMT_MSIL2A_S2A_pixel_division_10m.tiff",
        "train/scenes_clear/bouconne_*",
    ],
)
def test_real_scenes_come_back_from_their_chips(shared_data, tmp_path, name):
    path = min(shared_data.glob(name))
    with open_scene(path) as file:
        source = file.select(file.sensor.band_names[:4])
        ChipStore.cut(source, tmp_path / "chips", size_px=256, overlap_px=32)
        mosaic_chips(tmp_path / "chips", tmp_path / "out.tif")
        with open_scene(tmp_path / "out.tif") as back:
            np.testing.assert_array_equal(whole(back)[0], whole(source)[0])
            assert back.geobox == source.geobox
            assert back.profile == source.profile


def test_a_tiling_of_prediction_is_cut_as_well():
    """Reads beyond all four sides are reflections of the scene."""
    scene = make_scene((20, 20), 1)
    dn, _ = whole(scene)
    tiling = Tiling.for_prediction((20, 20), 16, halo_px=4)
    for chip in cut_scene(scene, tiling):
        rows, cols = (
            np.abs(np.arange(start, start + size))
            for start, size in (
                (chip.tile.read.row, chip.tile.read.height),
                (chip.tile.read.col, chip.tile.read.width),
            )
        )
        rows, cols = (np.where(i > 19, 38 - i, i) for i in (rows, cols))
        np.testing.assert_array_equal(chip.dn, dn[:, rows[:, None], cols])
