"""What a labelled array says of itself: names, scale, nodata, place; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import geodecloud.accessor  # noqa: F401 - registers itself
from geodecloud import prepare_data
from geodecloud.accessor.meaning import Packing
from geodecloud.errors import (
    BandError,
    GeodecloudError,
    GridError,
    InputError,
    OptionError,
    RadiometryError,
)
from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import write_array
from geodecloud.geo.sensors import SENSORS
from tests.labelled_scenes import COMMON, NAMES, Blur, array, dataset, geobox, ground

FILL = {"model": "fill", "mask": "spectral"}


def sensor_of(labelled: xr.DataArray | xr.Dataset, **said: object):
    return labelled.geodecloud.scenes(**said)[0].sensor


@pytest.mark.parametrize(
    "names", [NAMES, COMMON, ("B2", "B3", "B4", "B8"), ("B02.tif", "B03_10m", "B04", "x_B08")]
)
def test_bands_are_known_by_the_names_of_any_catalogue(names: tuple[str, ...]) -> None:
    labelled = array(ground()).assign_coords(band=list(names))
    assert sensor_of(labelled).band_names == NAMES
    variables = labelled.to_dataset(dim="band")
    assert sensor_of(variables).band_names == NAMES


def test_bands_are_known_by_long_name_and_by_common_name() -> None:
    numbered = array(ground()).assign_coords(band=[1, 2, 3, 4])
    assert sensor_of(numbered.assign_attrs(long_name=COMMON)).band_names == NAMES
    assert sensor_of(numbered.assign_coords(common_name=("band", list(COMMON)))).band_names == NAMES
    assert sensor_of(numbered, bands=COMMON).band_names == NAMES
    with pytest.raises(BandError, match="band_1"):
        numbered.geodecloud.decloud(Blur())


def test_a_scene_classification_tells_the_level_and_the_clouds() -> None:
    labelled = dataset(ground())
    labelled["scl"] = xr.full_like(labelled.red, 4, dtype=np.uint8)
    labelled.scl[10:30, 10:30] = 9
    assert sensor_of(labelled).level == "L2A"
    found = labelled.geodecloud.cloud_mask("scl", dilate_m=0)
    assert int((found == 1).sum()) == 400


@given(
    scale=st.sampled_from([1e-4, 1 / 255, 0.01, 1.0]),
    offset=st.sampled_from([0.0, -0.1, 12.5]),
    dtype=st.sampled_from(["uint8", "int16", "uint16"]),
)
def test_packing_gives_every_stored_number_back(scale: float, offset: float, dtype: str) -> None:
    info = np.iinfo(dtype)
    dn = np.arange(info.min, info.max + 1).astype(dtype)
    packing = Packing(dtype, scale, offset, 0.0)
    assert np.array_equal(packing.stored(packing.values(dn, np.dtype("float32"))), dn)


def test_values_that_are_decoded_are_packed_once() -> None:
    stored = array(ground(), scale_factor=1e-4, add_offset=-0.1, _FillValue=0)
    decoded = xr.decode_cf(stored.to_dataset(name="cloudy")).cloudy
    assert decoded.dtype.kind == "f"
    clear = decoded.geodecloud.decloud(**FILL)
    assert clear.encoding["scale_factor"] == 1e-4
    packed = xr.conventions.encode_cf_variable(clear.variable)
    assert packed.dtype == np.uint16
    assert np.array_equal(packed, stored.geodecloud.decloud(**FILL))


def test_what_an_encoding_says_of_a_file_does_not_travel() -> None:
    labelled = array(ground())
    labelled.encoding = {"chunks": (1, 64, 64), "dtype": "uint16", "compressor": None}
    clear = labelled.geodecloud.decloud(**FILL)
    assert clear.encoding == {"dtype": "uint16", "compressor": None}


def test_attributes_with_an_entry_for_each_band_go_with_the_band() -> None:
    five = np.concatenate([ground(), ground()[:1]])
    labelled = array(five[:4]).reindex(band=[*COMMON, "rededge1"], fill_value=900)
    labelled.attrs |= {"long_name": [*"abcde"], "notes": [1, 2, 3, 4, 5]}
    clear = labelled.isel(band=[4, 0, 1, 2, 3]).geodecloud.decloud(Blur(), "spectral")
    assert clear.band.values.tolist() == list(COMMON)
    assert clear.attrs["notes"] == [1, 2, 3, 4, 5]
    assert clear.attrs["long_name"] == [*"bcde"]


REFUSED = {
    "no CRS": (
        lambda a: a.drop_vars("spatial_ref"),
        InputError,
        r"no coordinate system.*write_crs",
    ),
    "uneven": (
        lambda a: a.isel(x=[0, 1, 2, 5, 9]),
        GridError,
        "not evenly spaced",
    ),
    "no rows": (lambda a: a.rename(y="line"), InputError, "line"),
    "scale left over": (
        lambda a: (a * 1e-4).assign_attrs(scale_factor=1e-4),
        RadiometryError,
        "scale_factor.*scale=",
    ),
    "complex": (lambda a: a * 1j, InputError, "complex"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_told_is_refused_at_the_call(what: str) -> None:
    change, kind, match = REFUSED[what]
    with pytest.raises(kind, match=match):
        change(array(ground())).geodecloud.decloud(**FILL)


def test_a_scale_in_an_encoding_of_integers_is_refused() -> None:
    labelled = array(ground())
    labelled.encoding["scale_factor"] = 1e-4
    with pytest.raises(RadiometryError, match="says that it was applied"):
        labelled.geodecloud.decloud(**FILL)


def test_values_that_cannot_be_reflectance_are_refused_until_the_scale_is_said() -> None:
    plain = array(ground()).astype("float32")
    plain.attrs, plain.encoding = {"nodata": 0}, {}
    with pytest.raises(RadiometryError, match="wrong value range"):
        plain.geodecloud.decloud(**FILL)
    with pytest.raises(RadiometryError, match="wrong value range"):
        plain.chunk({"y": 40}).geodecloud.decloud(**FILL).compute()
    clear = plain.geodecloud.decloud(scale=1e-4, **FILL)
    whole = array(ground()).geodecloud.decloud(**FILL)
    assert np.abs(clear - whole.astype("float32")).max() <= 0.5


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"compare": "page.html"}, "about files"),
        ({"modle": "fill"}, "spelling"),
        ({"tile_size_px": 1}, "tile_size_px"),
        ({"model": "no-such-model"}, "no-such-model"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_three_parts(options, match: str) -> None:
    with pytest.raises((OptionError, GeodecloudError), match=match) as caught:
        array(ground()).geodecloud.decloud(**options)
    assert caught.value.todo


def test_a_mask_of_another_place_or_size_is_refused() -> None:
    labelled = array(ground())
    found = labelled.geodecloud.cloud_mask("spectral")
    with pytest.raises(GridError, match="reproject the mask"):
        labelled.geodecloud.decloud("fill", found.assign_coords(x=found.x + 100))
    with pytest.raises(GridError, match="rows and columns"):
        labelled.geodecloud.decloud("fill", found.isel(x=slice(0, 9)))


def test_an_array_without_a_place_is_cleared_with_a_warning() -> None:
    labelled = xr.DataArray(ground(), {"band": list(COMMON)}, ("band", "y", "x"))
    with pytest.warns(UserWarning, match="no georeference"):
        clear = labelled.geodecloud.decloud(**FILL)
    assert set(clear.coords) == {"band"}
    assert 100 < int((clear != labelled).any("band").sum()) < 5000


@pytest.mark.slow
def test_a_training_set_is_made_of_arrays_as_of_files(tmp_path: Path) -> None:
    dn = ground((512, 256))
    sensor = SENSORS["sentinel-2-l2a"].select(NAMES)
    write_array(tmp_path / "scene.tif", dn, geobox((512, 256)), Profile.for_sensor(sensor))
    how = {"dataset_type": "CloudRemoval", "batch_size": 2}
    wanted = prepare_data(tmp_path / "scene.tif", **how).packed
    lazy = array(dn).chunk({"y": 200, "x": 200})
    got = prepare_data(lazy, working_dir=tmp_path / "work", **how).packed
    assert len(got) == len(wanted) == 2
    assert list((tmp_path / "work").iterdir()) == [tmp_path / "work" / "chips.safetensors"]
    for i in range(len(wanted)):
        assert np.array_equal(got.stored("target", i), wanted.stored("target", i))
