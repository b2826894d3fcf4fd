"""A part of a scene: what is written inside of areas, and that it looks as it does in the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geodecloud import decloud
from geodecloud.errors import GridError, InputError, OptionError
from geodecloud.geo.part import Part, WindowScene
from geodecloud.geo.raster import open_scene, profile_of, write_array
from geodecloud.geo.scene import shape_of
from geodecloud.geo.tiling import Window
from geodecloud.paste import GENERATED, NODATA, ORIGINAL
from geodecloud.translating import translate
from geodecloud.translator import Answer
from tests.strategies import UTM_ORIGIN, make_scene

SHAPE = (400, 500)
CORNER = (123, 217)  # of the areas' extent, row and column
SIDE = 90


def whole(path):
    with open_scene(path) as scene:
        return scene.read(Window.whole(shape_of(scene.geobox)))


def area(path, corners, crs="EPSG:32632"):
    """A polygon through (row, col) of the scene's pixel corners, as GeoJSON."""
    ring = [[UTM_ORIGIN[0] + 10 * col, UTM_ORIGIN[1] - 10 * row] for row, col in corners]
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    named = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps({"type": "Feature", "crs": named, "geometry": geometry}))
    return path


@pytest.fixture
def square(tmp_path):
    row, col = CORNER
    corners = [(row, col), (row, col + SIDE), (row + SIDE, col + SIDE), (row + SIDE, col)]
    return area(tmp_path / "square.geojson", corners)


@pytest.fixture
def triangle(tmp_path):
    row, col = CORNER
    return area(tmp_path / "triangle.geojson", [(row, col), (row, col + SIDE), (row + SIDE, col)])


@pytest.fixture
def cloudy(tmp_path):
    """A scene on disk with clouds over the middle and over its rim; its mask beside it."""
    made = make_scene(SHAPE)
    dn = made.read(Window.whole(SHAPE))[0]
    mask = np.zeros((1, *SHAPE), np.uint8)
    for row, col in ((150, 200), (205, 300), (10, 10)):
        mask[0, row : row + 40, col : col + 60] = 1
    dn[:, mask[0] == 1] = 9000
    write_array(tmp_path / "scene.tif", dn, made.geobox, profile_of(made), cog=False)
    profile = profile_of(make_scene(SHAPE, 1, "uint8"))
    write_array(tmp_path / "mask.tif", mask, made.geobox, profile, cog=False)
    return tmp_path / "scene.tif"


class Blur:
    """A translator that looks 8 px far: the mean of what is around, clouds taken for dark."""

    bands_in = bands_out = ("B02", "B03", "B04", "B08")
    stride_px, halo_px = 4, 8
    name, device, task = "blur", "cpu", "cloud-removal"
    sensor_out = resolution_m = None

    def __call__(self, request):
        seen = np.where(request.mask, 0.05, request.pixels)
        total = sum(
            np.roll(seen, (down, right), (2, 3)) for down in range(-8, 9) for right in range(-8, 9)
        )
        return Answer((total / 289).astype(np.float32))


def test_a_window_of_a_scene_is_a_scene_on_its_part_of_the_grid():
    scene = make_scene((40, 50))
    part = WindowScene(scene, Window(7, 11, 20, 30))
    assert part.geobox.affine * (0, 0) == scene.geobox.affine * (11, 7)
    inside = WindowScene(part, Window(2, 3, 5, 5)).select(["B08"])
    dn, valid = inside.read(Window(1, 1, 3, 3))
    assert np.array_equal(dn[0], scene.read(Window(10, 15, 3, 3))[0][3])
    assert valid.all()


@pytest.mark.parametrize("model", ["fill", Blur()])
def test_a_part_is_the_window_of_what_the_whole_scene_gives(cloudy, square, tmp_path, model):
    options = {"model": model, "mask": tmp_path / "mask.tif", "feather_m": 30}
    decloud(cloudy, tmp_path / "whole.tif", **options)
    result = decloud(
        cloudy, tmp_path / "part.tif", **options, aoi=square, provenance=tmp_path / "origin.tif"
    )
    here = Window(*CORNER, SIDE, SIDE)
    with open_scene(tmp_path / "part.tif") as part, open_scene(tmp_path / "whole.tif") as all_:
        assert part.geobox == WindowScene(all_, here).geobox
        dn, valid = part.read(Window.whole((SIDE, SIDE)))
        expected, _ = all_.read(here)
    assert valid.all()
    mask = whole(tmp_path / "mask.tif")[0][0][here.slices] == 1
    before = whole(cloudy)[0][:, *here.slices]
    assert np.array_equal(dn[:, ~mask], before[:, ~mask])
    assert (dn[:, mask] != before[:, mask]).any()
    # the fill draws from all that is clear, of which a part has less
    assert np.abs(dn.astype(int) - expected).max() <= (60 if model == "fill" else 1)
    assert result.n_valid == SIDE * SIDE
    assert result.cloud_share == pytest.approx(mask.mean())
    origin, _ = whole(tmp_path / "origin.tif")
    assert result.generated_share == pytest.approx((origin == GENERATED).mean())
    assert result.generated_share + result.feathered_share == pytest.approx(mask.mean())


def test_outside_of_the_areas_is_nodata_in_all_that_is_written(cloudy, triangle, tmp_path):
    result = decloud(
        cloudy, tmp_path / "part.tif", model="fill", mask=tmp_path / "mask.tif", aoi=triangle,
        provenance=tmp_path / "origin.tif", mask_out=tmp_path / "seen.tif",
        compare=tmp_path / "page.html",
    )  # fmt: skip
    rows, cols = np.mgrid[:SIDE, :SIDE] + 0.5
    is_inside = rows + cols < SIDE
    dn, valid = whole(tmp_path / "part.tif")
    is_rim = np.abs(rows + cols - SIDE) < 1e-9  # centres on the edge itself
    assert (valid.all(0) == is_inside)[~is_rim].all()
    assert not dn[:, ~valid.all(0)].any()
    origin = whole(tmp_path / "origin.tif")[0][0]
    assert ((origin == NODATA) == ~valid.all(0)).all()
    assert {ORIGINAL, GENERATED} <= set(np.unique(origin))
    seen, is_seen = whole(tmp_path / "seen.tif")
    assert (is_seen[0] == valid.all(0)).all()
    assert result.n_valid == int(valid.all(0).sum())
    assert result.cloud_share == pytest.approx((seen[0] == 1).sum() / result.n_valid)
    again = decloud(
        cloudy, tmp_path / "again.tif", model="fill", mask=tmp_path / "seen.tif", aoi=triangle
    )
    assert again.cloud_share == result.cloud_share
    assert "<html" in (tmp_path / "page.html").read_text()[:200].lower()


def test_a_model_is_not_asked_for_what_is_not_written(cloudy, square, tmp_path):
    asked = []

    class Counting(Blur):
        def __call__(self, request):
            asked.append(request.pixels.shape)
            return super().__call__(request)

    mask = np.zeros(SHAPE, bool)
    mask[100:122] = True  # right above the part
    decloud(cloudy, tmp_path / "part.tif", model=Counting(), mask=mask, aoi=square)
    assert asked == []
    mask[130] = True
    decloud(cloudy, tmp_path / "part.tif", model=Counting(), mask=mask, aoi=square, overwrite=True)
    assert asked


def test_a_part_of_a_scene_is_drawn_in_other_bands(cloudy, triangle, tmp_path):
    class Picture(Blur):
        bands_out, task, sensor_out = ("red", "green", "blue"), "translation", "rgb"

        def __call__(self, request):
            return Answer(np.clip(request.pixels[:, 2::-1], 0, 1))

    translate(cloudy, tmp_path / "whole.tif", model=Picture())
    translate(cloudy, tmp_path / "part.tif", model=Picture(), aoi=triangle)
    (dn, valid), (expected, _) = whole(tmp_path / "part.tif"), whole(tmp_path / "whole.tif")
    assert dn.dtype == np.uint8
    assert 0.4 < valid.all(0).mean() < 0.6
    row, col = CORNER
    expected = expected[:, row : row + SIDE, col : col + SIDE]
    assert np.array_equal(dn[valid], expected[valid])


def test_areas_that_hold_nothing_of_the_scene_are_refused(cloudy, tmp_path):
    far = area(tmp_path / "far.geojson", [(9000, 0), (9000, 90), (9090, 90)])
    tiny = area(tmp_path / "tiny.geojson", [(5.6, 5.6), (5.6, 5.9), (5.9, 5.9)])
    for aoi, kind in ((far, GridError), (tiny, GridError), (tmp_path / "no.gpkg", InputError)):
        with pytest.raises(kind):
            decloud(cloudy, tmp_path / "out.tif", model="fill", aoi=aoi)
    assert not list(tmp_path.glob("out*"))
    (tmp_path / "chips").mkdir()
    (tmp_path / "chips" / "manifest.json").write_text("{}")
    with pytest.raises(OptionError, match="chips"):
        translate(tmp_path / "chips", tmp_path / "out", model="fill", aoi=far)


def test_without_areas_a_part_is_the_scene():
    scene = make_scene((20, 30))
    part = Part.of(scene, None)
    assert part.scene is part.cut(scene) is part.clipped(scene) is scene
    assert part.geobox == scene.geobox
