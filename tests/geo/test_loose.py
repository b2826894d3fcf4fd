"""Chips without a manifest: where they lie, how they are stored, what lies between them."""

import shutil

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geodecloud.errors import GridError, InputError
from geodecloud.geo.chips import cut_scene, mosaic_chips
from geodecloud.geo.loose import ON_GRID_PX
from geodecloud.geo.raster import Profile, open_scene, profile_of, write_array
from geodecloud.geo.scene import ArrayScene, shape_of
from geodecloud.geo.tiling import Window
from tests.strategies import geoboxes, make_scene, make_sensor, utm_geobox

# Each example writes dozens of files.
on_disk = settings(max_examples=max(1, settings.default.max_examples // 4))


def whole(scene):
    return scene.read(Window.whole(shape_of(scene.geobox)))


def loose(folder, scene, size_px=16, overlap_px=0, *, suffix=".tif"):
    """Chips of a scene as somebody else would write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, chip in enumerate(cut_scene(scene, size_px=size_px, overlap_px=overlap_px)):
        path = folder / f"tile {number:03}{suffix}"
        write_array(path, chip.dn, chip.geobox, profile_of(scene), cog=False)
    return folder


def corners_agree(one, other):
    """Within what an inverse of coordinates of millions of metres can tell."""
    height, width = shape_of(one)
    to_px = ~one.affine * other.affine
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    return all(np.hypot(*np.subtract(to_px * at, at)) < 1e-8 for at in corners)


@on_disk
@given(geoboxes((33, 24)), st.integers(0, 7))
def test_loose_chips_find_their_grid(tmp_path_factory, geobox, overlap_px):
    """North-up, south-up, rotated, in degrees."""
    assume(geobox.crs is not None)
    folder = tmp_path_factory.mktemp("loose")
    scene = ArrayScene(whole(make_scene((33, 24), 1))[0], make_sensor(1), geobox)
    loose(folder / "chips", scene, 16, overlap_px)
    mosaic_chips(folder / "chips", folder / "out.tif")
    with open_scene(folder / "out.tif") as back:
        np.testing.assert_array_equal(whole(back)[0], whole(scene)[0])
        assert back.geobox.crs == scene.geobox.crs
        assert corners_agree(back.geobox, scene.geobox)
    shutil.rmtree(folder)


def shifted(geobox, col_px, row_px):
    return GeoBox(geobox.shape, geobox.affine * Affine.translation(col_px, row_px), geobox.crs)


def put(folder, name, dn, geobox, profile=None):
    folder.mkdir(exist_ok=True)
    profile = profile or profile_of(ArrayScene(dn, make_sensor(len(dn), dn.dtype.name), geobox))
    write_array(folder / f"{name}.tif", dn, geobox, profile, cog=False)


def test_chips_off_the_grid_are_named_with_how_far_they_lie(tmp_path):
    folder = loose(tmp_path / "chips", make_scene((32, 48)))
    ones = np.ones((4, 16, 16), np.uint16)
    put(folder, "half", ones, shifted(utm_geobox((16, 16)), 16.5, 0))
    put(folder, "coarse", ones, GeoBox((16, 16), Affine(20, 0, 6e5, 0, -20, 5.1e6), "EPSG:32632"))
    with pytest.raises(GridError) as error:
        mosaic_chips(folder, tmp_path / "out.tif")
    assert "2 of 8 chips lie off the grid" in error.value.found
    assert "half.tif (0.5 px)" in error.value.found
    assert "coarse.tif (22.6 px)" in error.value.found


def test_the_grid_is_that_of_most_chips_whichever_comes_first(tmp_path):
    folder = loose(tmp_path / "chips", make_scene((32, 48)))
    put(folder, "a first", np.ones((4, 16, 16), np.uint16), shifted(utm_geobox((16, 16)), 0.5, 0.5))
    with pytest.raises(GridError, match=r"1 of 7 chips .* a first\.tif \(0\.707 px\)"):
        mosaic_chips(folder, tmp_path / "out.tif")


@pytest.mark.parametrize(
    ("off_px", "is_taken"), [(ON_GRID_PX * 0.9, True), (ON_GRID_PX * 1.1, False)]
)
def test_rounded_world_files_are_within_the_tolerance(tmp_path, off_px, is_taken):
    folder = loose(tmp_path / "chips", make_scene((16, 32)))
    put(
        folder,
        "near",
        np.ones((4, 16, 16), np.uint16),
        shifted(utm_geobox((16, 16)), 32 + off_px, 0),
    )
    if is_taken:
        mosaic_chips(folder, tmp_path / "out.tif")
        with open_scene(tmp_path / "out.tif") as back:
            assert back.geobox == utm_geobox((16, 48))
    else:
        with pytest.raises(GridError, match=r"near\.tif"):
            mosaic_chips(folder, tmp_path / "out.tif")


def test_chips_that_are_stored_otherwise_are_named_by_what_differs(tmp_path):
    folder = loose(tmp_path / "chips", make_scene((32, 32)))
    place = utm_geobox((16, 16))
    put(folder, "three", np.ones((3, 16, 16), np.uint16), place)
    put(folder, "eight bits", np.ones((4, 16, 16), np.uint8), place)
    zone = GeoBox((16, 16), place.affine, "EPSG:32633")
    put(folder, "zone", np.ones((4, 16, 16), np.uint16), zone)
    with pytest.raises(InputError) as error:
        mosaic_chips(folder, tmp_path / "out.tif")
    for word in (
        "1 have another CRS than EPSG:32632: zone.tif (EPSG:32633)",
        "1 have another number of bands than 4: three.tif (3)",
        "1 have another dtype than uint16: eight bits.tif (uint8)",
    ):
        assert word in error.value.found


def test_gaps_become_the_declared_nodata(tmp_path):
    folder = tmp_path / "chips"
    put(folder, "a", np.full((1, 4, 4), 7, np.uint16), utm_geobox((4, 4)))
    put(folder, "b", np.full((1, 4, 4), 9, np.uint16), utm_geobox((4, 4), row=4, col=6))
    mosaic_chips(folder, tmp_path / "out.tif")
    with open_scene(tmp_path / "out.tif") as back:
        dn, valid = whole(back)
    assert dn.shape == (1, 8, 10)
    assert (dn[0, :4, :4] == 7).all()
    assert (dn[0, 4:, 6:] == 9).all()
    assert valid.sum() == 32
    assert not dn[~valid].any()


def test_gaps_without_a_nodata_value_are_an_error_until_one_is_given(tmp_path):
    folder = tmp_path / "chips"
    for name, col in (("a", 0), ("b", 6)):
        dn = np.full((1, 4, 4), 7, np.int16)
        geobox = utm_geobox((4, 4), col=col)
        put(folder, name, dn, geobox, Profile.for_sensor(make_sensor(1, "int16", None)))
    with pytest.raises(InputError, match="8 of 40 px lie in no chip, the first at row 0, column 4"):
        mosaic_chips(folder, tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()
    mosaic_chips(folder, tmp_path / "out.tif", nodata=-1)
    with open_scene(tmp_path / "out.tif") as back:
        dn, _ = whole(back)
        assert back.profile.nodata == (-1,)
    assert (dn[0, :, 4:6] == -1).all()


def test_overlaps_that_differ_are_blended_in_a_straight_line(tmp_path):
    folder = tmp_path / "chips"
    put(folder, "a", np.full((1, 8, 8), 100, np.uint16), utm_geobox((8, 8)))
    put(folder, "b", np.full((1, 8, 8), 200, np.uint16), utm_geobox((8, 8), col=4))
    mosaic_chips(folder, tmp_path / "out.tif")
    with open_scene(tmp_path / "out.tif") as back:
        dn, _ = whole(back)
    assert dn[0, 4, 3:9].tolist() == [100, 112, 138, 162, 188, 200]


def test_an_export_of_arcgis_is_taken_from_its_images_folder(tmp_path):
    scene = make_scene((16, 32))
    loose(tmp_path / "export" / "images", scene)
    (tmp_path / "export" / "esri_model_definition.emd").write_text("{}")
    mosaic_chips(tmp_path / "export", tmp_path / "out.tif")
    with open_scene(tmp_path / "out.tif") as back:
        np.testing.assert_array_equal(whole(back)[0], whole(scene)[0])


def test_world_files_say_where_chips_lie(tmp_path):
    folder, scene = tmp_path / "chips", make_scene((16, 32))
    for number, chip in enumerate(cut_scene(scene, size_px=16)):
        put(folder, f"chip {number}", chip.dn, GeoBox((16, 16), Affine.identity(), None))
        x, y = chip.geobox.affine * (0.5, 0.5)  # the middle of the first pixel
        (folder / f"chip {number}.tfw").write_text(f"10\n0\n0\n-10\n{x:.3f}\n{y:.3f}\n")
    mosaic_chips(folder, tmp_path / "out.tif")
    with open_scene(tmp_path / "out.tif") as back:
        np.testing.assert_array_equal(whole(back)[0], whole(scene)[0])
        assert back.geobox.affine == scene.geobox.affine


def test_several_chips_that_lie_nowhere_are_refused(tmp_path):
    for name in "ab":
        put(
            tmp_path / "chips",
            name,
            np.ones((1, 4, 4), np.uint8),
            GeoBox((4, 4), Affine.identity(), None),
        )
    with pytest.raises(GridError, match="2 chips that say nothing of where they lie"):
        mosaic_chips(tmp_path / "chips", tmp_path / "out.tif")


def test_a_chip_in_a_wrong_place_does_not_fill_the_disk(tmp_path):
    folder = tmp_path / "chips"
    put(folder, "here", np.ones((1, 4, 4), np.uint8), utm_geobox((4, 4)))
    put(folder, "far", np.ones((1, 4, 4), np.uint8), utm_geobox((4, 4), row=300_000, col=300_000))
    with pytest.raises(GridError, match=r"from here\.tif to far\.tif"):
        mosaic_chips(folder, tmp_path / "out.tif")


@pytest.mark.parametrize("what", ["nothing", "missing", "empty"])
def test_a_folder_without_chips_is_refused(tmp_path, what):
    folder = tmp_path / what
    if what != "missing":
        folder.mkdir()
    if what == "nothing":
        (folder / "notes.txt").write_text("")
    with pytest.raises(InputError):
        mosaic_chips(folder, tmp_path / "out.tif")


def test_a_damaged_loose_chip_is_named(tmp_path):
    folder = loose(tmp_path / "chips", make_scene((32, 32)))
    path = folder / "tile 002.tif"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"tile 002\.tif"):
        mosaic_chips(folder, tmp_path / "out.tif")
