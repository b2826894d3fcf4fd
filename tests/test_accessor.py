"""da.geodecloud: what the lazy way gives is what the eager way and the files give, to the bit."""

from __future__ import annotations

import pickle
import weakref
from datetime import datetime
from pathlib import Path

import dask
import dask.array
import numpy as np
import pytest
import rioxarray
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import geodecloud.accessor  # noqa: F401 - registers itself
from geodecloud import clouds, cut_scene, decloud, mask, mosaic_chips, translate
from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import open_scene, write_array
from geodecloud.geo.sensors import SENSORS
from geodecloud.geo.tiling import Window
from geodecloud.paste import GENERATED
from tests.labelled_scenes import COMMON, NAMES, Blur, array, dataset, geobox, ground, stacked
from tests.packages import direction, mixing_package

SMALL = {"model": Blur(), "tile_size_px": 32, "feather_m": 20}
"""A model with a halo, on tiles so small that a test scene has several rows of them."""

SENSOR = SENSORS["sentinel-2-l2a"].select(NAMES)


def on_disk(path: Path, dn: np.ndarray) -> Path:
    write_array(path, dn, geobox(dn.shape[1:]), Profile.for_sensor(SENSOR))
    return path


def at_once(*_: object, **__: object) -> None:
    raise AssertionError("computed before it was asked for")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return on_disk(tmp_path / "cloudy.tif", ground())


READINGS = {
    "eager": {},
    "lazy": {"chunks": {"x": 40, "y": 30}},
    "lazy, one chunk": {"chunks": {}},
    "masked": {"masked": True},
    "decoded": {"mask_and_scale": True},
    "decoded, lazy": {"mask_and_scale": True, "chunks": {"x": 64, "y": 64}},
}


@pytest.mark.parametrize("reading", READINGS)
def test_a_file_read_by_rioxarray_gives_what_the_command_gives(
    scene: Path, tmp_path: Path, reading: str
) -> None:
    decloud(scene, tmp_path / "clear.tif", provenance=tmp_path / "origin.tif", **SMALL)
    cloudy = rioxarray.open_rasterio(scene, **READINGS[reading])
    clear = cloudy.geodecloud.decloud(provenance=True, **SMALL)
    clear.rio.to_raster(tmp_path / "again.tif")
    with (
        rioxarray.open_rasterio(tmp_path / "clear.tif") as wanted,
        rioxarray.open_rasterio(tmp_path / "again.tif") as got,
        rioxarray.open_rasterio(tmp_path / "origin.tif") as origin,
    ):
        assert got.dtype == wanted.dtype
        assert np.array_equal(got, wanted)
        assert got.rio.crs == wanted.rio.crs
        assert got.rio.transform() == wanted.rio.transform()
        for name in ("scale_factor", "add_offset", "_FillValue", "long_name"):
            assert got.attrs[name] == wanted.attrs[name], name
        assert np.array_equal(clear.provenance, origin[0])
    is_kept = clear.provenance != GENERATED
    assert clear.where(is_kept & (clear.provenance != 3)).equals(
        cloudy.where(is_kept & (clear.provenance != 3))
    )


@settings(max_examples=6)
@given(st.data())
def test_the_chunks_of_an_array_change_nothing(data: st.DataObject) -> None:
    row, col = (data.draw(st.integers(0, 40)) for _ in range(2))
    cloudy = array(ground(), row=row, col=col)
    model = data.draw(st.sampled_from([Blur(), "fill"]))
    wanted = cloudy.geodecloud.decloud(**{**SMALL, "model": model})
    sizes = {dim: data.draw(st.integers(12, 120)) for dim in ("y", "x")}
    chunks = {**sizes, "band": data.draw(st.integers(1, 4))}
    got = cloudy.chunk(chunks).geodecloud.decloud(**{**SMALL, "model": model})
    assert got.chunks is not None
    assert np.array_equal(got, wanted)
    assert int((got != cloudy).sum()) > 100


@pytest.mark.parametrize("kind", [array, dataset])
def test_nothing_is_computed_before_it_is_asked_for(kind) -> None:
    lazy = kind(ground()).chunk({"y": 32})
    with dask.config.set(scheduler=at_once):
        calls = {
            "decloud": lazy.geodecloud.decloud(**SMALL, provenance=True),
            "clouds": lazy.geodecloud.clouds(seed=1, truth=True, level="L2A"),
            "cloud_mask": lazy.geodecloud.cloud_mask(),
            "translate": lazy.geodecloud.translate(Blur(task="translation"), tile_size_px=32),
            "chips": lazy.geodecloud.chips(32)[3],
        }
        for name, answer in calls.items():
            assert dask.is_dask_collection(answer), name


def test_strips_begin_on_the_grid_of_the_earth_and_are_as_tall_as_the_chunks() -> None:
    lazy = array(ground(), row=8).chunk({"y": 5})
    assert lazy.geodecloud.decloud(**SMALL).chunks[1] == (8, 32, 32, 25)
    assert lazy.chunk({"y": 60}).geodecloud.decloud(**SMALL).chunks[1] == (72, 25)


@pytest.mark.slow
def test_rows_in_memory_do_not_grow_with_the_scene() -> None:
    """The search for clouds looks at 1536 rows at once; nothing holds more than that."""
    chunk, width = 128, 16
    dn = ground((chunk, width))
    white = dn[0] > 5000

    def peak(n_rows: int) -> int:
        alive: dict[int, int] = {}
        most = [0]

        def block(block_info=None):
            made = dn.copy()
            alive[id(made)] = chunk
            weakref.finalize(made, alive.pop, id(made))
            most[0] = max(most[0], sum(alive.values()))
            return made

        chunks = ((4,), (chunk,) * (n_rows // chunk), (width,))
        pixels = dask.array.map_blocks(
            block, chunks=chunks, dtype="u2", meta=np.empty((0, 0, 0), "u2")
        )
        lazy = array(np.zeros((4, n_rows, width), "u2")).copy(data=pixels)
        with dask.config.set(scheduler="synchronous"):
            mask = np.tile(white, (n_rows // chunk, 1))
            clear = lazy.geodecloud.decloud(model="fill", mask=mask)
            assert clear.data.map_blocks(lambda rows: rows[:, :1, :1]).sum().compute()
        return most[0]

    assert peak(6144) <= peak(3072) <= 1536 + 3 * chunk


def test_each_date_is_a_scene_of_its_own() -> None:
    dates = np.stack([ground(seed=1), ground(seed=2)])
    dates[1] = np.roll(dates[1], 20, axis=-1)
    cloudy = dataset(dates, times=2)
    eager = cloudy.geodecloud.decloud(**SMALL, provenance=True)
    lazy = cloudy.chunk({"time": 1, "x": 30, "y": 30}).geodecloud.decloud(**SMALL, provenance=True)
    assert lazy.compute().identical(eager)
    for i in range(2):
        one = cloudy.isel(time=i).geodecloud.decloud(**SMALL, provenance=True)
        assert one.identical(eager.isel(time=i))
    assert eager.provenance.dims == ("time", "y", "x")
    assert eager.time.identical(cloudy.time)


def test_an_array_of_stackstac_lies_where_the_file_lies(scene: Path, tmp_path: Path) -> None:
    decloud(scene, tmp_path / "clear.tif", **SMALL)
    cloudy = stacked(ground()[None])
    clear = cloudy.geodecloud.decloud(**SMALL)
    (at,) = cloudy.geodecloud.scenes()
    assert at.geobox == geobox((97, 83))
    with rioxarray.open_rasterio(tmp_path / "clear.tif") as wanted:
        assert np.array_equal(np.nan_to_num(clear[0] * 1e4).round(), wanted)
    for name, coord in cloudy.coords.items():
        assert coord.identical(clear.coords[name]), name
    part = cloudy.isel(x=slice(7, None), y=slice(3, None))
    assert part.geodecloud.scenes()[0].geobox == geobox((97, 83))[3:, 7:]


def test_a_dataset_stays_one_and_its_bands_have_their_own_names(scene: Path, tmp_path) -> None:
    decloud(scene, tmp_path / "clear.tif", mask="spectral", **SMALL)
    cloudy = dataset(ground())[list(COMMON[::-1])]
    cloudy["scl"] = xr.full_like(cloudy.red, 4, dtype=np.uint8)
    cloudy.attrs["title"] = "kept"
    clear = cloudy.geodecloud.decloud(mask="spectral", **SMALL)
    assert list(clear.data_vars) == list(COMMON[::-1])
    assert clear.attrs == cloudy.attrs
    with rioxarray.open_rasterio(tmp_path / "clear.tif") as wanted:
        for name, band in zip(COMMON, wanted, strict=True):
            assert np.array_equal(clear[name], band)
            assert clear[name].attrs.items() >= cloudy[name].attrs.items()
            assert clear[name].odc.geobox == cloudy[name].odc.geobox
    whole = cloudy.geodecloud.decloud(mask="spectral", keep_bands=True, **SMALL)
    assert whole.scl.equals(cloudy.scl)
    assert list(whole.data_vars) == list(cloudy.data_vars)


def test_the_classes_are_those_of_the_command_and_serve_as_a_mask(scene: Path, tmp_path) -> None:
    mask(scene, tmp_path / "mask.tif", mask="spectral")
    cloudy = array(ground())
    lazy = cloudy.chunk({"x": 30, "y": 30})
    found = lazy.geodecloud.cloud_mask("spectral")
    with rioxarray.open_rasterio(tmp_path / "mask.tif") as wanted:
        assert np.array_equal(found, wanted[0])
    assert found.attrs["flag_meanings"].split()[:3] == ["clear", "cloud", "thin_cloud"]
    wanted = cloudy.geodecloud.decloud(mask="spectral", **SMALL)
    assert np.array_equal(cloudy.geodecloud.decloud(mask=found, **SMALL), wanted)
    assert np.array_equal(lazy.geodecloud.decloud(mask=found.compute(), **SMALL), wanted)
    assert np.array_equal(cloudy.geodecloud.decloud(mask=found.values, **SMALL), wanted)


def test_a_sky_over_an_array_is_the_sky_over_the_file(scene: Path, tmp_path: Path) -> None:
    sky = {"seed": 3, "coverage": 0.5, "level": "L2A"}
    clouds(scene, tmp_path / "hazy.tif", truth=tmp_path / "truth.tif", **sky)
    clear = array(ground())
    for labelled in (clear, clear.chunk({"y": 30, "x": 30})):
        cloudy = labelled.geodecloud.clouds(truth=True, **sky)
        with rioxarray.open_rasterio(tmp_path / "hazy.tif") as wanted:
            assert np.array_equal(cloudy, wanted)
        with rioxarray.open_rasterio(tmp_path / "truth.tif") as wanted:
            assert np.array_equal(cloudy.truth, wanted[0])
    dates = dataset(np.stack([ground(), ground()]), times=2)
    hung = dates.geodecloud.clouds(**sky)
    assert np.array_equal(hung.isel(time=0).to_array(), cloudy)
    assert not np.array_equal(*hung.red)


@pytest.mark.parametrize("sensor_out", ["rgb", "unknown"])
def test_a_translated_array_is_the_translated_file(scene: Path, tmp_path, sensor_out: str) -> None:
    bands = ("red", "green", "blue")
    way = direction("to", NAMES, bands, ("sentinel-2-l2a", sensor_out))
    matrix = [[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 0, 0.3]]
    model = mixing_package(tmp_path / "mixing", [way], {"to": matrix})
    translate(scene, tmp_path / "drawn.tif", model=model, tile_size_px=32)
    source = array(ground())
    for labelled in (source, source.chunk({"y": 30, "x": 30})):
        drawn = labelled.geodecloud.translate(model, tile_size_px=32, provenance=True)
        drawn.rio.to_raster(tmp_path / "again.tif")
        with (
            rioxarray.open_rasterio(tmp_path / "drawn.tif") as wanted,
            rioxarray.open_rasterio(tmp_path / "again.tif") as got,
        ):
            assert drawn.band.values.tolist() == list(bands)
            assert np.array_equal(got, wanted, equal_nan=got.dtype.kind == "f")
            assert got.dtype == wanted.dtype
            assert got.rio.crs == wanted.rio.crs
    variables = dataset(ground()).geodecloud.translate(model, tile_size_px=32)
    assert np.array_equal(variables.to_array(), drawn, equal_nan=drawn.dtype.kind == "f")


def test_chips_are_those_that_are_cut_from_a_file(scene: Path, tmp_path: Path) -> None:
    whole = array(ground())
    chips = whole.geodecloud.chips(40, overlap_px=8)
    with open_scene(scene) as file:
        cut = list(cut_scene(file, size_px=40, overlap_px=8))
    assert len(chips) == len(cut)
    for chip, wanted in zip(chips, cut, strict=True):
        assert np.array_equal(chip, wanted.dn)
        assert chip.odc.geobox == wanted.geobox
    small = whole.isel(x=slice(0, 20)).geodecloud.chips(40)[0]
    assert small.shape == (4, 40, 40)
    assert np.array_equal(small.x, whole.x[0].item() + 10 * np.arange(40))
    chips.to_folder(tmp_path / "chips")
    mosaic_chips(tmp_path / "chips", tmp_path / "again.tif")
    with rioxarray.open_rasterio(tmp_path / "again.tif") as again:
        assert np.array_equal(again, whole)


def test_a_lazy_work_travels_to_another_process() -> None:
    """What a graph holds can be pickled, the model but by its name."""
    lazy = array(ground()).chunk({"y": 40})
    clear = lazy.geodecloud.decloud(model="fill", tile_size_px=32)
    again = pickle.loads(pickle.dumps(clear))
    assert np.array_equal(again, clear)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .shapely.ops.transform:DeprecationWarning")
def test_arrays_of_odc_stac_are_cleared_on_a_cluster_as_in_a_process(scene, tmp_path) -> None:
    """Items of files are loaded by odc-stac; persisted chunks stay where the cluster has them."""
    import odc.stac
    import pystac
    from distributed import Client

    with open_scene(scene) as file:
        dn, _ = file.read(Window(0, 0, 97, 83))
        sensor, box = file.sensor, file.geobox
    footprint = box.footprint("EPSG:4326")
    bounds = list(footprint.boundingbox)
    item = pystac.Item("one", footprint.json, bounds, datetime(2024, 6, 1), {})
    item.properties |= {"proj:epsg": 32632}
    for i, name in enumerate(COMMON):
        path = tmp_path / f"{name}.tif"
        write_array(path, dn[i : i + 1], box, Profile.for_sensor(sensor.select([NAMES[i]])))
        item.add_asset(name, pystac.Asset(str(path), media_type=pystac.MediaType.COG))
    how = {"geobox": box, "bands": list(COMMON), "nodata": 0, "dtype": "uint16"}
    options = {"model": "fill", "tile_size_px": 32}
    wanted = odc.stac.load([item], **how).geodecloud.decloud(**options)
    assert np.array_equal(wanted.isel(time=0).to_array(), array(dn).geodecloud.decloud(**options))
    cluster = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "host": "127.0.0.1"}
    with Client(**cluster, protocol="tcp://", dashboard_address=None):
        lazy = odc.stac.load([item], chunks={"x": 40, "y": 40}, **how)
        for loaded in (lazy, lazy.persist()):
            clear = loaded.geodecloud.decloud(**options)
            assert dask.is_dask_collection(clear)
            assert clear.compute().equals(wanted)
