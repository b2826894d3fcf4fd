"""da.geodecloud with other dates, radar, areas and uncertainty: as the command gives it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import dask
import numpy as np
import pytest
import rioxarray
import shapely
import xarray as xr
from odc.geo import CRS as OdcCRS
from odc.geo.geom import Geometry
from shapely.geometry import Point, box

import geodecloud.accessor  # noqa: F401 - registers itself
from geodecloud import decloud
from geodecloud.errors import (
    BandError,
    GridError,
    InputError,
    ModelError,
    OptionError,
)
from geodecloud.geo.crossing import way_between
from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import open_scene, write_array
from geodecloud.geo.sensors import SENSORS
from geodecloud.geo.tiling import Window
from geodecloud.in_strips import Declouding
from geodecloud.options import DecloudOptions
from geodecloud.paste import GENERATED, OTHER_DATE
from geodecloud.pipeline import Answer
from tests.labelled_scenes import CRS, NAMES, Blur, array, dataset, geobox, ground, stacked

SENSOR = SENSORS["sentinel-2-l2a"].select(NAMES)
RADAR = SENSORS["sentinel-1-rtc"]
SIZE = {"tile_size_px": 32, "feather_m": 20}
CHUNKS = {"x": 40, "y": 30}


def on_disk(path: Path, dn: np.ndarray, box=None, sensor=SENSOR) -> Path:
    write_array(path, dn, box or geobox(dn.shape[1:]), Profile.for_sensor(sensor))
    return path


def read(path: Path) -> np.ndarray:
    with rioxarray.open_rasterio(path) as file:
        return file.values


def later(row: int = 20, seed: int = 1) -> np.ndarray:
    """The same ground in another light, its cloud elsewhere."""
    dn = ground(seed=seed)
    cloud = dn[0] > 5000
    clear = np.where(cloud, np.roll(dn, 40, axis=1), dn)
    clear[:, np.roll(cloud, row + 20, axis=0)] = 7800
    return np.where(dn == 0, 0, clear * 0.8 + 60).astype(np.uint16)


@pytest.fixture
def cloudy(tmp_path: Path) -> Path:
    return on_disk(tmp_path / "cloudy.tif", ground())


@pytest.fixture
def may(tmp_path: Path) -> Path:
    """Another date on a grid of 20 m, larger than the scene."""
    coarse = np.pad(later(), ((0, 0), (5, 8), (7, 6)), "edge")[:, ::2, ::2]
    box = geobox((coarse.shape[1] * 2, coarse.shape[2] * 2), row=-5, col=-7).zoom_out(2)
    return on_disk(tmp_path / "may.tif", coarse, box[: coarse.shape[1], : coarse.shape[2]])


def both(path: Path):
    """An array of a file, in memory and lazy."""
    return rioxarray.open_rasterio(path), rioxarray.open_rasterio(path, chunks=CHUNKS)


@pytest.mark.parametrize("model", ["auto", "blur"])
def test_other_dates_help_as_they_help_the_command(
    cloudy: Path, may: Path, tmp_path: Path, model: str
) -> None:
    options = {"model": Blur() if model == "blur" else model, **SIZE}
    july = on_disk(tmp_path / "july.tif", later(-30))
    out, origin = tmp_path / "clear.tif", tmp_path / "origin.tif"
    decloud(cloudy, out, references=[may, july], provenance=origin, **options)
    assert (OTHER_DATE in read(origin)) == (model == "auto")
    for scene, other in zip(both(cloudy), both(may), strict=True):
        references = [other, july]  # an array, and a path
        clear = scene.geodecloud.decloud(references=references, provenance=True, **options)
        assert dask.is_dask_collection(clear) == dask.is_dask_collection(scene)
        assert np.array_equal(clear, read(out))
        assert np.array_equal(clear.provenance, read(origin)[0])


@pytest.mark.slow
def test_other_dates_of_an_array_are_the_nearest_within_days() -> None:
    cube = dataset(np.stack([later(5), ground(), later(-30)]), times=3)
    times = np.array(["2024-05-20", "2024-06-01", "2024-06-04"], "datetime64[ns]")
    cube = cube.assign_coords(time=times)
    asked = {"references": "others", "provenance": True, **SIZE}
    whole = cube.geodecloud.decloud(**asked)
    passed = [cube.isel(time=2), cube.isel(time=0)]
    june = cube.isel(time=1)
    one = june.geodecloud.decloud(references=passed, provenance=True, **SIZE)
    assert one.identical(whole.isel(time=1))
    assert (whole.provenance == OTHER_DATE).any(("y", "x")).all()
    alone = june.geodecloud.decloud(references=passed[0], provenance=True, **SIZE)
    assert not alone.identical(one)
    for limit in ({"max_references": 1}, {"reference_days": 3}):
        part = cube.isel(time=slice(1, None))
        assert part.geodecloud.decloud(**asked, **limit).isel(time=0).identical(alone)
    lazy = cube.chunk({"time": 1, **CHUNKS}).geodecloud.decloud(**asked)
    assert lazy.compute().identical(whole)


def test_a_date_without_others_is_drawn_and_that_is_said() -> None:
    cube = dataset(np.stack([ground(), later()]), times=2)
    with pytest.warns(UserWarning, match=r"no other date lies within 5 days of 2024-06-(01|11)"):
        clear = cube.geodecloud.decloud(
            references="others", reference_days=5, provenance=True, **SIZE
        )
    assert GENERATED in clear.provenance
    assert OTHER_DATE not in clear.provenance
    assert clear.red.attrs["GEODECLOUD_GENERATED_BY"] == "fill"


def test_the_clearest_date_comes_first_where_items_tell_of_their_clouds() -> None:
    cube = stacked(np.stack([ground(), later(), later(-30)])[[0, 1]])
    third = stacked(later(-30)[None]).assign_coords(time=[np.datetime64("2024-06-21", "ns")])
    cube = xr.concat([cube, third], "time", coords="minimal", compat="override")
    told = cube.assign_coords({"eo:cloud_cover": ("time", [50.0, 40.0, 3.0])})
    asked = {"references": "others", "max_references": 1, **SIZE}
    first = cube.isel(time=0)
    wanted = first.geodecloud.decloud(references=cube.isel(time=2), **SIZE)
    assert np.array_equal(told.geodecloud.decloud(**asked)[0], wanted, equal_nan=True)
    assert not np.array_equal(cube.geodecloud.decloud(**asked)[0], wanted, equal_nan=True)


def test_the_date_itself_among_those_passed_does_not_help_itself() -> None:
    cube = dataset(np.stack([ground(), later()]), times=2)
    first = cube.isel(time=0)
    one = first.geodecloud.decloud(references=cube, **SIZE)
    assert one.identical(first.geodecloud.decloud(references=[cube.isel(time=1)], **SIZE))


class Listening(Blur):
    """Draws what the radar hears: a hundredth of its decibels above -40."""

    inputs = ("pixels", "mask", "fill", "sar")

    def __call__(self, request) -> Answer:
        heard = np.float32(0.01) * (request.extra["sar"][:, :1] + 40)
        return Answer(super().__call__(request).pixels * 0 + heard)


def power() -> np.ndarray:
    rows, cols = np.mgrid[:60, :50]
    dn = np.stack([0.05 + 0.04 * np.sin(rows / 5), 0.01 + 0.008 * np.cos(cols / 6)])
    return dn.astype(np.float32)


def radar_on_disk(path: Path, values: np.ndarray) -> Path:
    return on_disk(path, values, geobox((120, 100), row=-4, col=-6).zoom_out(2), RADAR)


def labelled_radar(path: Path, **how: object) -> xr.DataArray:
    return rioxarray.open_rasterio(path, **how).assign_coords(band=["vv", "vh"])


@pytest.mark.parametrize("stored", ["decibels", "power"])
def test_radar_reaches_the_model_as_it_does_from_files(
    cloudy: Path, tmp_path: Path, stored: str
) -> None:
    values = power() if stored == "power" else 10 * np.log10(power())
    sar = radar_on_disk(tmp_path / "sar.tif", values)
    out = tmp_path / "clear.tif"
    decloud(cloudy, out, model=Listening(), sar=sar, **SIZE)
    for scene in both(cloudy):
        for how in ({}, {"chunks": CHUNKS}):
            radar = labelled_radar(sar, **how)
            clear = scene.geodecloud.decloud(Listening(), sar=radar, **SIZE)
            assert np.array_equal(clear, read(out))
            assert dask.is_dask_collection(clear) == (
                dask.is_dask_collection(scene) or "chunks" in how
            )
    assert np.array_equal(scene.geodecloud.decloud(Listening(), sar=str(sar), **SIZE), read(out))
    variables = radar.to_dataset(dim="band")
    assert np.array_equal(scene.geodecloud.decloud(Listening(), sar=variables, **SIZE), read(out))


def test_of_several_dates_of_radar_the_nearest_is_heard(tmp_path: Path) -> None:
    first = labelled_radar(radar_on_disk(tmp_path / "sar.tif", power()))
    dates = np.array(["2024-05-31", "2024-06-12"], "datetime64[ns]")
    radar = xr.concat([first, first * 2], xr.Variable("time", dates))
    radar.attrs = first.attrs
    cube = dataset(np.stack([ground(), ground()]), times=2)
    clear = cube.geodecloud.decloud(Listening(), sar=radar, **SIZE)
    for i in range(2):
        one = cube.isel(time=i).geodecloud.decloud(Listening(), sar=radar.isel(time=i), **SIZE)
        assert one.identical(clear.isel(time=i))
    with pytest.warns(UserWarning, match="the nearest radar is 10 days away from 2024-06-01"):
        cube.geodecloud.decloud(
            Listening(), sar=radar.assign_coords(time=dates + np.timedelta64(11, "D")), **SIZE
        )
    with pytest.raises(OptionError, match="radar of 2 dates"):
        array(ground()).geodecloud.decloud(Listening(), sar=radar)


CRS_OF_SCENES, DEGREES = OdcCRS(CRS), OdcCRS("OGC:CRS84")
AREA = box(600_150, 5_099_350, 600_640, 5_099_810) - Point(600_400, 5_099_600).buffer(40)


@pytest.fixture
def areas(tmp_path: Path) -> Path:
    there = way_between(CRS_OF_SCENES, DEGREES)
    where = shapely.transform(AREA.segmentize(50), lambda at: np.stack(there(*at.T), axis=1))
    (tmp_path / "areas.geojson").write_text(shapely.to_geojson(where))
    return tmp_path / "areas.geojson"


def test_an_area_is_cut_out_as_the_command_cuts_it(
    cloudy: Path, may: Path, areas: Path, tmp_path: Path
) -> None:
    out, origin = tmp_path / "part.tif", tmp_path / "origin.tif"
    decloud(cloudy, out, references=[may], aoi=areas, provenance=origin, **SIZE)
    for scene in both(cloudy):
        clear = scene.geodecloud.decloud(references=may, aoi=areas, provenance=True, **SIZE)
        clear.rio.to_raster(tmp_path / "again.tif")
        with (
            rioxarray.open_rasterio(out) as wanted,
            rioxarray.open_rasterio(tmp_path / "again.tif") as got,
        ):
            assert np.array_equal(clear, wanted)
            assert clear.odc.geobox == wanted.odc.geobox
            assert got.rio.transform() == wanted.rio.transform()
            assert np.array_equal(got.x, wanted.x)
        assert np.array_equal(clear.provenance, read(origin)[0])
        assert (clear == 0).any()
    decoded = rioxarray.open_rasterio(cloudy, mask_and_scale=True)
    part = decoded.geodecloud.decloud(references=may, aoi=areas, **SIZE)
    assert np.array_equal(part.isnull(), clear == 0)


class Series:
    """What geopandas hands out: features, and their coordinate system beside them."""

    def __init__(self, area, crs) -> None:
        self.crs = crs
        feature = {"type": "Feature", "properties": {}, "geometry": area.__geo_interface__}
        self.__geo_interface__ = {"type": "FeatureCollection", "features": [feature]}


def test_areas_are_geometries_mappings_and_files(cloudy: Path, areas: Path) -> None:
    scene = rioxarray.open_rasterio(cloudy)
    wanted = scene.geodecloud.decloud("fill", aoi=str(areas))
    degrees = json.loads(areas.read_text())
    geometry = Geometry(degrees, "EPSG:4326")
    for aoi in (degrees, geometry, Series(geometry.geom, "EPSG:4326"), AREA, Series(AREA, None)):
        assert scene.geodecloud.decloud("fill", aoi=aoi).equals(wanted), aoi
    with pytest.raises(GridError, match="none of the 1 polygons of a Polygon lies on the scene"):
        scene.geodecloud.decloud("fill", aoi=geometry.geom)
    with pytest.raises(InputError, match="a Point holds no polygon"):
        scene.geodecloud.decloud("fill", aoi=Point(600_400, 5_099_600))
    with pytest.raises(InputError, match="a int cannot be read as polygons"):
        scene.geodecloud.decloud("fill", aoi=3)


def test_an_area_and_a_mask_of_the_whole_go_together(cloudy: Path, areas: Path) -> None:
    scene = rioxarray.open_rasterio(cloudy)
    mask = scene.geodecloud.cloud_mask()
    wanted = scene.geodecloud.decloud("fill", mask, feather_m=0)
    part = scene.chunk(CHUNKS).geodecloud.decloud("fill", mask, aoi=areas, feather_m=0).compute()
    here = {"x": part.x, "y": part.y}
    kept = part != 0
    assert 1000 < int(kept[0].sum()) < kept[0].size
    is_drawn = kept & (mask.sel(here) != 0)
    is_own = kept & (mask.sel(here) == 0)
    assert (part == scene.sel(here)).where(is_own, True).all()
    assert int(is_drawn[0].sum()) > 100
    assert np.abs(part.astype(float) - wanted.sel(here)).where(is_drawn).max() < 200


def test_where_nothing_can_stand_outside_of_an_area_it_is_refused() -> None:
    picture = array((ground()[:3] // 32).astype(np.uint8)).assign_coords(
        band=["red", "green", "blue"]
    )
    picture.attrs = {}
    with pytest.raises(InputError, match=r"declare no nodata.*write_nodata"):
        picture.geodecloud.decloud("fill", mask="none", aoi=AREA)


@pytest.mark.slow
def test_uncertainty_is_that_of_the_command(tmp_path: Path) -> None:
    cloudy = on_disk(tmp_path / "cloudy.tif", ground())
    spread = tmp_path / "spread.tif"
    decloud(cloudy, tmp_path / "clear.tif", model="decloud-s2-4band", uncertainty=spread)
    with rioxarray.open_rasterio(spread, mask_and_scale=True) as file:
        wanted = file.load()
    for scene in both(cloudy):
        clear = scene.geodecloud.decloud("decloud-s2-4band", uncertainty=True)
        assert np.array_equal(clear, read(tmp_path / "clear.tif"))
        assert clear.uncertainty.dims == clear.dims
        np.testing.assert_allclose(clear.uncertainty, wanted, atol=1e-8)
    series = dataset(ground()).geodecloud.decloud("decloud-s2-4band", uncertainty=True)
    assert np.array_equal(series.nir_uncertainty, clear.uncertainty[3], equal_nan=True)
    packed = xr.conventions.encode_cf_variable(clear.uncertainty.variable)
    assert np.array_equal(packed, read(spread))
    with pytest.raises(ModelError, match="uncertain"):
        scene.geodecloud.decloud("fill", uncertainty=True)


def at_once(*_: object, **__: object) -> None:
    raise AssertionError("computed before it was asked for")


def test_nothing_beside_an_array_is_computed_before_it_is_asked_for(tmp_path: Path) -> None:
    scene, other = (array(dn).chunk(CHUNKS) for dn in (ground(), later()))
    radar = labelled_radar(radar_on_disk(tmp_path / "sar.tif", power()), chunks={})
    with dask.config.set(scheduler=at_once):
        clear = scene.geodecloud.decloud(
            Listening(), references=other, sar=radar, aoi=AREA, provenance=True, **SIZE
        )
        scene.geodecloud.decloud(uncertainty=True, **SIZE)
    assert dask.is_dask_collection(clear)
    again = pickle.loads(pickle.dumps(clear))
    assert again.compute().identical(clear.compute())


@pytest.mark.parametrize(
    ("asked", "error", "match"),
    [
        ({"references": "others"}, OptionError, "without a dimension of time"),
        ({"references": array(ground(), row=5000)}, GridError, "does not lie on the scene"),
        ({"references": array(ground()[:3])}, BandError, "B08 not among them"),
        ({"references": "missing.tif"}, InputError, "missing.tif does not exist"),
        ({"sar": array(ground())}, BandError, "radar has VV, VH"),
        ({"sar": "missing.tif"}, InputError, "missing.tif does not exist"),
        ({"model": Listening()}, OptionError, "looks at radar, and there is none"),
        ({"aoi": "missing.geojson"}, InputError, "missing.geojson"),
        ({"reference_days": 0}, OptionError, "reference_days is 0"),
        ({"max_references": 0}, OptionError, "max_references is 0"),
    ],
)
def test_what_cannot_help_is_refused_at_the_call(asked, error, match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        array(ground()).chunk(CHUNKS).geodecloud.decloud(**{"model": "fill", **asked})
    assert caught.value.todo


def test_a_date_that_cannot_be_cleared_is_named() -> None:
    cube = dataset(np.stack([ground(), np.full_like(ground(), 7900)]), times=2)
    lazy = cube.chunk(CHUNKS).geodecloud.decloud("fill", mask="spectral")
    with pytest.raises(OptionError, match=r"time 2024-06-11: .* of the scene is cloud"):
        lazy.compute()


def test_what_strips_need_to_know_travels_without_the_pixels(cloudy: Path, may: Path) -> None:
    options = DecloudOptions(references=[may], mask="spectral", **SIZE)
    with open_scene(cloudy) as scene:
        work = Declouding(scene, options)
        prepared = work.prepare(scene, print)
        strip = work.strips(0)[1]
        wanted = work.do(scene, strip, prepared)
        again = pickle.loads(pickle.dumps(prepared))  # an open file cannot
        assert np.array_equal(work.do(scene, strip, again).dn, wanted.dn)


def test_a_date_travels_without_the_others_of_its_array() -> None:
    cube = dataset(np.stack([ground()] * 3), times=3).chunk({"time": 1, **CHUNKS})
    scenes = [labelled.geodecloud.scenes()[0] for labelled in (cube, cube.isel(time=[0]))]
    sizes = [len(pickle.dumps(scene)) for scene in scenes]
    assert sizes[0] < 1.1 * sizes[1]
    again = pickle.loads(pickle.dumps(scenes[0]))
    window = Window(20, 30, 30, 20)
    assert np.array_equal(again.read(window)[0], scenes[1].read(window)[0])
