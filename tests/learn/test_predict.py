"""Model.predict: files, arrays and arrays with coordinates; both directions by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray
from affine import Affine
from odc.geo.geobox import GeoBox

from geodecloud.errors import BandError, InputError, ModelError, OptionError, OutputError
from geodecloud.geo.raster import Profile, write_array
from geodecloud.geo.sensors import SENSORS
from geodecloud.learn.model import Model
from geodecloud.learn.models import Pix2Pix, from_model
from tests.learn.conftest import BANDS, WIDTHS

S2 = SENSORS["sentinel-2-l2a"].select(BANDS)
GRID = Affine(10, 0, 600_000, 0, -10, 5_000_000)


@pytest.fixture(scope="module")
def cloudy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    dn = random.integers(500, 1500, (4, 70, 50)).astype(np.uint16)
    dn[:, 20:40, 10:30] = 9000
    dn[:, 60:, 40:] = 0
    path = tmp_path_factory.mktemp("scenes") / "cloudy.tif"
    write_array(path, dn, GeoBox((70, 50), GRID, "EPSG:32632"), Profile.for_sensor(S2))
    return path


@pytest.fixture(scope="module")
def clearing(package_folder: Path) -> Model:
    return from_model(package_folder)


@pytest.fixture
def translating(paired_data) -> Pix2Pix:
    return Pix2Pix(paired_data, widths=WIDTHS, gan_weight=0)


def mask_of(shape: tuple[int, int] = (70, 50)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[20:40, 10:30] = True
    return mask


def test_a_file_in_is_a_file_out_on_the_same_grid(
    clearing: Model, cloudy: Path, tmp_path: Path
) -> None:
    out = clearing.predict(cloudy, tmp_path / "out.tif", mask=mask_of(), device="cpu")
    with rasterio.open(cloudy) as before, rasterio.open(out) as after:
        assert after.profile["crs"] == before.crs
        assert (after.transform, after.dtypes, after.nodata) == (
            before.transform, before.dtypes, before.nodata
        )  # fmt: skip
        changed = (before.read() != after.read()).any(0)
        assert (before.read() == 0).all(0).sum() == (after.read() == 0).all(0).sum() == 100
    assert changed[mask_of()].mean() > 0.9
    assert not changed[~mask_of()].any()


def test_a_translation_draws_every_valid_pixel(
    translating: Pix2Pix, cloudy: Path, tmp_path: Path
) -> None:
    out = translating.predict(
        str(cloudy), output=tmp_path / "out.tif", tile_size=32, batch_size=2, padding=8
    )
    with rasterio.open(cloudy) as before, rasterio.open(out) as after:
        assert after.descriptions == BANDS
        assert after.tags(1)["GEODECLOUD_GENERATED_BY"] == "pix2pix"
        assert ((before.read() == 0) == (after.read() == 0)).all()


def test_a_file_and_its_values_are_answered_alike(
    translating: Pix2Pix, cloudy: Path, tmp_path: Path
) -> None:
    out = translating.predict(cloudy, tmp_path / "out.tif", device="cpu")
    with rasterio.open(cloudy) as before, rasterio.open(out) as after:
        values = S2.to_reflectance(before.read())
        drawn = S2.to_reflectance(after.read())
    answer = translating.predict(values, device="cpu")
    inner = np.s_[:, 8:-24, 8:-24]  # edges are mirrored in two ways
    assert np.abs(answer - drawn)[inner].max() < 1e-3
    assert np.ptp(drawn[inner]) > 1e-3


def test_a_small_file_without_an_output_is_shown(translating: Pix2Pix, cloudy: Path) -> None:
    figure = translating.predict(cloudy, device="cpu")
    assert [axes.get_title() for axes in figure.axes] == ["Input", "Prediction"]


def test_a_large_file_without_an_output_is_refused(
    translating: Pix2Pix, cloudy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geodecloud.learn.scenes.SHOWN_PX", 64)
    with pytest.raises(OptionError, match=r"70x50 px.*pass output="):
        translating.predict(cloudy)


def test_a_labelled_array_keeps_its_coordinates(translating: Pix2Pix) -> None:
    values = np.random.default_rng(0).uniform(0, 0.4, (4, 20, 30)).astype(np.float32)
    place = {"y": np.arange(20.0), "x": np.arange(30.0)}
    labelled = xarray.DataArray(
        values,
        dims=("band", "y", "x"),
        coords={**place, "band": [1, 2, 3, 4], "wavelength": ("band", [1.0, 2, 3, 4])},
        attrs={"place": "Bern"},
        name="scene",
    )
    answer = translating.predict(labelled, device="cpu")
    assert answer.dims == labelled.dims
    assert list(answer.band.values) == list(BANDS)
    assert "wavelength" not in answer.coords  # it was of the bands that went in
    np.testing.assert_array_equal(answer.x, labelled.x)
    assert (answer.attrs, answer.name) == ({"place": "Bern"}, "scene")
    np.testing.assert_array_equal(answer.values, translating.predict(values, device="cpu"))


def test_arrays_are_answered_in_batches_of_any_size(translating: Pix2Pix) -> None:
    values = np.random.default_rng(0).uniform(0, 0.4, (5, 4, 16, 16)).astype(np.float32)
    whole = translating.predict(values, device="cpu")
    parts = translating.predict(values, device="cpu", batch_size=2)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_a_direction_that_is_not_there_is_named(translating: Pix2Pix) -> None:
    values = np.zeros((4, 16, 16), np.float32)
    for asked in ({"direction": "BtoA"}, {"convert_to": "A"}):
        with pytest.raises(ModelError, match=r"no direction 'BtoA'; it has forward"):
            translating.predict(values, **asked)


def test_bad_files_are_one_clear_error(
    clearing: Model, translating: Pix2Pix, cloudy: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"none.tif"):
        translating.predict(tmp_path / "none.tif", tmp_path / "out.tif")
    with pytest.raises(OutputError, match="exists"):
        translating.predict(cloudy, cloudy)
    with pytest.raises(InputError, match="no clear pixel"):
        clearing.predict(cloudy, tmp_path / "out.tif", mask="all")
    with pytest.raises(OptionError, match="leave output out"):
        translating.predict(np.zeros((4, 16, 16), np.float32), tmp_path / "out.tif")
    rgb = Profile.for_sensor(SENSORS["rgb"])
    colours = np.full((3, 20, 20), 9, np.uint8)
    write_array(tmp_path / "rgb.tif", colours, GeoBox((20, 20), GRID, "EPSG:32632"), rgb)
    with pytest.raises(BandError, match="B02"):
        translating.predict(tmp_path / "rgb.tif", tmp_path / "out.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["rgb.tif"]
