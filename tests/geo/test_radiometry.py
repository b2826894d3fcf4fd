"""Names, scales and nodata of bands: what is said, where it is said, and what is usual."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio

from geodecloud.errors import BandError, InputError, OptionError, RadiometryError
from geodecloud.geo.plausible import SAMPLE_PX, check_radiometry
from geodecloud.geo.profile import Profile
from geodecloud.geo.radiometry import EUROSAT_ORDER, Overrides, known_name, sensor_of
from geodecloud.geo.raster import open_scene
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from tests.strategies import make_scene, utm_geobox


def profile(n_bands=1, dtype="uint16", **changes):
    """What a file says that says nothing, but for the changes."""
    nothing = (None,) * n_bands
    bare = Profile(
        dtype, nothing, nothing, (1,) * n_bands, (0,) * n_bands, nothing, ("gray",) * n_bands
    )
    return replace(bare, **changes)


def sensor(file, stem="scene", shape=(100, 100), **asked):
    return sensor_of(file, stem, shape, Overrides(**asked))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("B2", "B02"), ("b02", "B02"), ("B02_10m", "B02"), ("nir", "B08"), ("Blue", "B02"),
        ("B8A", "B8A"), ("b8a", "B8A"), ("B11, central wavelength 1610 nm", "B11"),
        ("T32TMT_20220728T102559_B02_10m", "B02"), ("S2A_MSIL1C_20220728_B8A", "B8A"),
        ("T32TMT_20220728T102559_SCL_20m", "SCL"), ("VV_dB", "VV"), ("qa60", "QA60"),
        ("Band 2", None), ("band_2", None), ("B13", None), ("B0", None), ("B02_B03", None),
        ("LC08_L2SP_193027_SR_B5", None), ("HLS.L30.T32TMT.B05", None), ("", None),
        ("NDVI", None),
    ],
)  # fmt: skip
def test_names_are_read_in_any_of_their_spellings_and_never_guessed(text, name):
    assert known_name(text) == name


def test_red_is_a_colour_in_eight_bits_and_a_band_of_sentinel2_elsewhere():
    assert known_name("Red", "uint8") == "red"
    assert known_name("Red", "uint16") == "B04"


def test_the_callers_names_win_over_descriptions_and_those_over_the_file_name():
    file = profile(descriptions=("B03",))
    assert sensor(file, "x_B04_10m").band_names == ("B03",)
    assert sensor(file, "x_B04_10m", bands=("nir",)).band_names == ("B08",)
    assert sensor(profile(), "x_B04_10m").band_names == ("B04",)
    assert sensor(profile(descriptions=("Layer 1",)), "x_B04_10m").band_names == ("B04",)
    assert sensor(profile(descriptions=("NDVI",))).band_names == ("NDVI",)


def test_bands_without_a_name_are_counted():
    assert sensor(profile(2)).band_names == ("band_1", "band_2")
    assert sensor_of(profile(2), "x", (1, 1), n_before=3).band_names == ("band_4", "band_5")
    assert sensor(profile(2, descriptions=("B02", None))).band_names == ("B02", "band_2")
    assert sensor(profile(2, descriptions=("a", "a"))).band_names == ("band_1", "band_2")
    with pytest.raises(BandError, match="own name"):
        sensor(profile(2), bands=("B02", "blue"))


def test_three_eight_bit_bands_are_a_picture():
    rgb = sensor(profile(3, "uint8"))
    assert rgb == SENSORS["rgb"]
    bgr = profile(3, "uint8", colorinterp=("blue", "green", "red"))
    assert sensor(bgr).band_names == ("blue", "green", "red")
    rgba = profile(4, "uint8", colorinterp=("red", "green", "blue", "alpha"))
    assert sensor(rgba).band_names == ("red", "green", "blue", "alpha")
    assert sensor(rgba).bands[3].scale == 1
    assert sensor(profile(4, "uint8")).band_names == ("band_1", "band_2", "band_3", "band_4")


def test_thirteen_bands_are_l1c_and_a_eurosat_chip_keeps_b8a_for_the_end():
    assert sensor(profile(13)) == SENSORS["sentinel-2-l1c"]
    chip = sensor(profile(13), shape=(64, 64))
    assert chip.band_names == EUROSAT_ORDER
    assert (chip.band_names[8], chip.band_names[12], chip.level) == ("B09", "B8A", "L1C")


def test_eurosat_chips_hold_b8a_last(shared_data):
    for path in sorted((shared_data / "train" / "eurosat_ms_6chips").glob("*.tif")):
        with rasterio.open(path) as dataset:
            dn = dataset.read().astype(float)
        with open_scene(path) as scene:
            names = scene.sensor.band_names
        assert dn[names.index("B10")].mean() < 30  # cirrus: next to nothing in a clear sky
        nir, narrow_nir = (dn[names.index(name)].ravel() for name in ("B08", "B8A"))
        assert np.corrcoef(nir, narrow_nir)[0, 1] > 0.8


@pytest.mark.parametrize(
    ("dtype", "scale", "nodata"),
    [("uint8", 1 / 255, None), ("uint16", 1e-4, 0), ("int16", 1e-4, None), ("float32", 1, None)],
)
def test_the_dtype_gives_what_is_usual(dtype, scale, nodata):
    band = sensor(profile(dtype=dtype), "B02").bands[0]
    assert (band.scale, band.offset, band.nodata, band.dtype) == (scale, 0, nodata, dtype)


def test_what_the_file_declares_wins_over_what_is_usual():
    band = sensor(profile(scales=(2e-4,), offsets=(-0.2,), nodata=(9,))).bands[0]
    assert (band.scale, band.offset, band.nodata) == (2e-4, -0.2, 9)


def test_where_a_mask_says_what_is_valid_no_nodata_is_guessed():
    assert sensor(profile(is_masked=True), "B02").bands[0].nodata is None


def test_the_callers_scale_and_offset_win_over_everything():
    file = profile(scales=(2e-4,), offsets=(-0.2,), tags={"BOA_ADD_OFFSET": "-7"})
    band = sensor(file, scale=1e-3, offset=-500).bands[0]
    assert (band.scale, band.offset) == (1e-3, -0.5)
    scaled = sensor(file, scale=1e-3).bands[0]  # the declared offset of -1000 numbers stays
    assert (scaled.scale, scaled.offset) == (1e-3, pytest.approx(-1))
    assert sensor(file, offset=0).bands[0].offset == 0


@pytest.mark.parametrize(
    ("tags", "offset"),
    [
        ({"BOA_ADD_OFFSET": "-1000"}, -0.1),
        ({"RADIO_ADD_OFFSET": "-1000"}, -0.1),
        ({"BOA_ADD_OFFSET_B02": "-900", "BOA_ADD_OFFSET": "-1000"}, -0.09),
        ({"BOA_ADD_OFFSET_1": "-900", "BOA_ADD_OFFSET_0": "-1"}, -0.09),
        ({"BOA_ADD_OFFSET_B03": "-900"}, 0),
        ({"PROCESSING_BASELINE": "05.10"}, 0),
        ({"BOA_ADD_OFFSET": "-1000", "BOA_QUANTIFICATION_VALUE": "20000"}, -0.05),
    ],
)
def test_the_offset_of_the_product_is_taken_from_its_tags_and_never_from_its_baseline(tags, offset):
    assert sensor(profile(tags=tags), "B02").bands[0].offset == pytest.approx(offset)
    assert sensor(profile(band_tags=(tags,)), "B02").bands[0].offset == pytest.approx(offset)
    assert sensor(profile(tags=tags, dtype="float32"), "B02").bands[0].offset == 0


@pytest.mark.parametrize("text", ["abc", "nan", "inf", ""])
def test_metadata_that_is_no_number_is_an_error(text):
    for tag in ("BOA_ADD_OFFSET", "QUANTIFICATION_VALUE"):
        with pytest.raises(RadiometryError, match=tag):
            sensor(profile(tags={tag: text}))
    for scale in (0, float("nan")):
        with pytest.raises(RadiometryError, match="scale"):
            sensor(profile(scales=(scale,), offsets=(1,)))


@pytest.mark.parametrize(
    "asked",
    [{"scale": 0}, {"scale": -1}, {"scale": float("nan")}, {"offset": np.inf}, {"level": "L3A"}],
)
def test_options_that_make_no_sense_are_refused(asked):
    with pytest.raises(OptionError):
        sensor(profile(), **asked)


def test_classes_are_never_scaled():
    file = profile(2, descriptions=("B02", "SCL"), tags={"BOA_ADD_OFFSET": "-1000"})
    scl = sensor(file, scale=3, offset=5).bands[1]
    assert (scl.scale, scl.offset, scl.nodata) == (1, 0, 0)
    assert sensor(profile(dtype="uint8"), "T32_SCL").unit == "class"


def test_radar_is_known_by_its_polarisations():
    radar = sensor(profile(2, "float32", descriptions=("VV_dB", "VH_dB")))
    assert (radar.name, radar.unit, radar.bands[0].scale) == ("sentinel-1-rtc", "dB", 1)


@pytest.mark.parametrize(
    ("file", "stem", "asked", "level"),
    [
        (profile(), "S2A_MSIL2A_20220728_B02", {}, "L2A"),
        (profile(), "S2A_MSIL1C_20220728_B02", {}, "L1C"),
        (profile(tags={"PROCESSING_LEVEL": "Level-2A"}), "S2A_MSIL1C_B02", {}, "L2A"),
        (profile(2, descriptions=("B02", "B10")), "x", {}, "L1C"),
        (profile(2, descriptions=("B02", "SCL")), "x", {}, "L2A"),
        (profile(2, descriptions=("B02", "SCL")), "x", {"level": "L1C"}, "L1C"),
        (profile(), "T32TMT_B02_10m", {}, None),
    ],
)
def test_the_level_is_taken_from_where_it_is_said(file, stem, asked, level):
    found = sensor(file, stem, **asked)
    assert found.level == level
    assert found.name == ("sentinel-2" if level is None else f"sentinel-2-{level.lower()}")


def scene(dn, dtype="uint16", name="B02", geobox=None, **band):
    """A scene of one band."""
    one = replace(Band(name, scale=1e-4, nodata=0, dtype=dtype), **band)
    array = np.atleast_3d(np.asarray(dn, dtype)).reshape(1, *np.shape(dn)[-2:])
    return ArrayScene(array, Sensor("sentinel-2", (one,)), geobox or utm_geobox(array.shape[1:]))


def full(value, shape=(300, 300)):
    return np.full(shape, value)


@pytest.mark.parametrize(
    "wrong",
    [
        scene(full(20_000)),  # stretched over 16 bits
        scene(full(3000), "float32", scale=1.0),  # numbers stored as floats
        scene(full(400), offset=-0.1),  # an offset that is not in the numbers
        scene(full(30), "uint16", scale=1.0),
    ],
)
def test_values_that_cannot_be_reflectance_are_an_error(wrong):
    with pytest.raises(RadiometryError, match=r"wrong value range.*--scale and --offset"):
        check_radiometry(wrong)


@pytest.mark.parametrize(
    "right",
    [
        make_scene((300, 300)),
        scene(full(12_000)),  # nothing but bright cloud
        scene(full(900), offset=-0.1),  # deep water
        scene(full(4), name="SCL", scale=1.0),
        scene(full(40_000), name="AOT"),
    ],
)
def test_values_that_can_be_reflectance_pass(right):
    assert check_radiometry(right) == []


@pytest.mark.parametrize("empty", [scene(full(0)), scene(full(np.nan), "float32")])
def test_a_scene_without_a_valid_pixel_is_an_error(empty):
    with pytest.raises(InputError, match="no valid pixel"):
        check_radiometry(empty)


def test_one_valid_pixel_between_the_samples_is_found():
    dn = full(0, (SAMPLE_PX * 5, SAMPLE_PX * 5))
    dn[SAMPLE_PX + 9, SAMPLE_PX + 9] = 500
    assert check_radiometry(scene(dn)) == []


def test_no_more_than_nine_windows_are_read_of_a_large_scene():
    class Counted(ArrayScene):
        n_px = 0

        def read(self, window):
            self.n_px += window.height * window.width
            return super().read(window)

    counted = Counted(np.full((1, 2000, 2000), 500, np.uint16), scene(full(1)).sensor)
    check_radiometry(counted)
    assert counted.n_px <= 9 * SAMPLE_PX**2


def test_what_the_user_should_know_is_said():
    lost = ArrayScene(
        np.full((1, 9, 9), 500, np.uint16), Sensor("unknown", (Band("band_1", scale=1e-4),))
    )
    notes = check_radiometry(lost)
    assert any("no georeference" in note for note in notes)
    assert any("--bands" in note for note in notes)


def test_dark_numbers_of_about_a_thousand_ask_for_the_offset():
    rng = np.random.default_rng(0)
    offset = scene(rng.integers(1050, 4000, (2000, 2000)))
    assert any("--offset -1000" in note for note in check_radiometry(offset))
    for other in (scene(full(1500)), scene(full(5000, (2000, 2000))), scene(full(200))):
        assert check_radiometry(other) == []


def test_the_real_scenes_are_known_for_what_they_are(shared_data):
    def opened(name, **options):
        return open_scene(next(shared_data.glob(name)), **options)

    with opened("test/scenes_cloudy/20190530_*") as zurich:
        assert (zurich.sensor.name, zurich.sensor.level) == ("sentinel-2-l2a", "L2A")
        assert check_radiometry(zurich) == []
    with opened("test/scenes_cloudy/T32TMT_20220728*") as cirrus:  # baseline 04.00
        assert any("--offset -1000" in note for note in check_radiometry(cirrus))
    with opened("train/scenes_clear/pilbara_*", scale=1 / 65535) as stretched:
        assert check_radiometry(stretched) == []
    with opened("train/sen12mscr_s1s2/1302_s1_dB.tif") as radar:
        assert radar.sensor.unit == "dB"
        assert any("no georeference" in note for note in check_radiometry(radar))
    with opened("train/sih1733/Optical*") as picture:
        assert picture.sensor == SENSORS["rgb"]
