"""What stored numbers mean, both ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geodecloud.errors import BandError
from geodecloud.geo.sensors import ALIASES, SENSORS, SENTINEL2_OFFSET_DN, Band, Sensor
from tests.strategies import DTYPES, dn_arrays, nodatas, sensors, shapes

EVERY_UINT16 = np.arange(2**16, dtype=np.uint16)

# The encodings in use: Sentinel-2 before and since baseline 04.00, with and without nodata,
# surface reflectance in int16 (Theia, MODIS), the 16-bit stretch, 8-bit pictures.
ENCODINGS = {
    "uint16": [
        (1e-4, 0.0, 0),
        (1e-4, SENTINEL2_OFFSET_DN * 1e-4, 0),
        (1e-4, -0.1, None),
        (1 / 65535, 0.0, 65535),
        (2.75e-5, -0.2, 0),
    ],
    "int16": [(1e-4, 0.0, -9999), (1e-4, -0.1, -32768), (1e-4, 0.0, 0)],
    "uint8": [(1 / 255, 0.0, None), (1.0, 0.0, 0), (1 / 255, 0.0, 255)],
}
BANDS = [
    pytest.param(
        Band("B", scale=scale, offset=offset, nodata=nodata, dtype=dtype), id=f"{dtype}{i}"
    )
    for dtype, encodings in ENCODINGS.items()
    for i, (scale, offset, nodata) in enumerate(encodings)
]


def every_dn(dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1, dtype=dtype)


@pytest.mark.parametrize("band", BANDS)
def test_every_stored_number_survives_the_way_to_reflectance_and_back(band):
    dn = every_dn(band.dtype)
    back = band.to_dn(band.to_reflectance(dn))
    assert back.dtype == dn.dtype
    valid = band.is_valid(dn)
    assert (back[valid] == dn[valid]).all()


@pytest.mark.parametrize("name", SENSORS)
def test_every_registered_sensor_makes_the_round_trip(name):
    for band in SENSORS[name].bands:
        if np.dtype(band.dtype).kind == "f":
            dn = np.random.default_rng(0).normal(size=4096).astype(band.dtype)
        else:
            dn = every_dn(band.dtype)
        valid = band.is_valid(dn)
        assert (band.to_dn(band.to_reflectance(dn))[valid] == dn[valid]).all()


@given(sensors(), shapes(16), st.data())
def test_a_whole_scene_makes_the_round_trip_band_by_band(sensor, shape, data):
    dn = data.draw(dn_arrays(sensor, shape))
    valid = sensor.is_valid(dn)
    back = sensor.to_dn(sensor.to_reflectance(dn))
    assert back.dtype == dn.dtype
    assert (back[valid] == dn[valid]).all()


@given(st.sampled_from(DTYPES), st.data())
def test_nodata_is_never_written(dtype, data):
    nodata = data.draw(nodatas(dtype))
    scale, offset = data.draw(st.sampled_from(((1.0, 0.0), (1e-4, 0.0), (1e-4, -0.1))))
    band = Band("B", scale=scale, offset=offset, nodata=nodata, dtype=dtype)
    exactly_nodata = [] if nodata is None or np.isnan(nodata) else [nodata * scale + offset]
    wanted = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, *exactly_nodata])
    # beyond float32 lies infinity, which no band can store
    wanted = wanted.filter(lambda value: abs(value / scale) < np.finfo(np.float32).max)
    value = data.draw(arrays(np.float64, 20, elements=wanted))
    assert band.is_valid(band.to_dn(value)).all()


@pytest.mark.parametrize("nodata", [0, -9999, float(np.finfo(np.float32).min), 1.0])
def test_a_float_that_falls_on_nodata_moves_by_less_than_anyone_sees(nodata):
    band = Band("B", nodata=nodata, dtype="float32")
    stored = band.to_dn(np.array([nodata], np.float32))
    assert band.is_valid(stored).all()
    assert stored == pytest.approx(nodata, rel=1e-6, abs=1e-37)
    assert abs(stored[0]) >= np.finfo(np.float32).tiny, "readers may flush subnormals to 0"


@pytest.mark.parametrize(
    ("dtype", "nodata", "low", "high"),
    [
        ("uint16", 0, 1, 65535),
        ("uint16", 65535, 0, 65534),
        ("uint16", None, 0, 65535),
        ("uint8", 0, 1, 255),
        ("int16", -32768, -32767, 32767),
        ("int16", -9999, -32768, 32767),
    ],
)
def test_what_does_not_fit_is_clipped_beside_nodata(dtype, nodata, low, high):
    band = Band("B", scale=1e-4, nodata=nodata, dtype=dtype)
    assert band.to_dn(np.array([-1e9, 1e9])).tolist() == [low, high]


def test_reflectance_above_one_survives():
    band = SENSORS["sentinel-2-l2a"].bands[0]
    bright = np.array([10000, 10001, 15000, 28000, 65535], np.uint16)
    assert band.to_reflectance(bright).max() > 1
    assert (band.to_dn(band.to_reflectance(bright)) == bright).all()


def test_the_offset_makes_dark_pixels_negative_and_not_huge():
    """Signed arithmetic: 500 - 1000 in uint16 would be 65036."""
    band = Band("B02", scale=1e-4, offset=SENTINEL2_OFFSET_DN * 1e-4, nodata=0)
    assert band.to_reflectance(np.array([500], np.uint16)) == pytest.approx(-0.05)


def test_stored_numbers_are_rounded_and_not_cut():
    band = Band("B", dtype="uint8")
    assert band.to_dn(np.array([1.6, 2.4, 254.9])).tolist() == [2, 2, 255]


@pytest.mark.parametrize("scale", [0, np.nan, np.inf])
def test_a_scale_that_cannot_be_inverted_is_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        Band("B", scale=scale)


@pytest.mark.parametrize("nodata", [None, np.nan, -9999.0])
def test_what_is_not_a_number_is_never_valid(nodata):
    band = Band("B", nodata=nodata, dtype="float32")
    dn = np.array([0, np.nan, np.inf, -np.inf, -9999], np.float32)
    assert band.is_valid(dn).tolist() == [True, False, False, False, nodata != -9999]


@given(sensors(), st.data())
def test_selecting_bands_follows_the_order_asked(sensor, data):
    names = data.draw(st.permutations(sensor.band_names))
    names = names[: data.draw(st.integers(1, len(names)))]
    assert sensor.select(names).band_names == tuple(names)
    assert [sensor.bands[i].name for i in sensor.index(names)] == names


def test_a_missing_band_is_named_beside_those_that_are_there():
    with pytest.raises(BandError) as refusal:
        SENSORS["sentinel-2-l2a"].select(["B02", "B10"])
    assert "B10 not among them" in refusal.value.found
    assert "B8A" in refusal.value.found
    assert "B02, B10" in refusal.value.expected


def test_two_bands_of_one_name_are_refused():
    with pytest.raises(BandError, match="its own name"):
        Sensor("twice", (Band("B02"), Band("B02")))


def test_every_alias_leads_to_a_band_that_some_sensor_has():
    known = {name for sensor in SENSORS.values() for name in sensor.band_names}
    assert set(ALIASES.values()) <= known


@given(sensors(), shapes(8), st.data())
def test_batches_are_converted_like_their_members(sensor, shape, data):
    dn = np.stack([data.draw(dn_arrays(sensor, shape)) for _ in range(2)])
    whole, parts = sensor.to_reflectance(dn), [sensor.to_reflectance(part) for part in dn]
    assert np.array_equal(whole, np.stack(parts), equal_nan=True)
    assert (sensor.is_valid(dn) == np.stack([sensor.is_valid(part) for part in dn])).all()
