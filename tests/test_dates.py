"""Other dates as references of decloud: any grid, their clouds found, what is observed told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from geodecloud import decloud
from geodecloud.errors import BandError, GridError, OptionError
from geodecloud.geo.profile import Profile
from geodecloud.geo.raster import write_array
from geodecloud.geo.sensors import SENSORS, Band, Sensor
from geodecloud.paste import GENERATED, ORIGINAL, OTHER_DATE
from tests.strategies import utm_geobox

BANDS = ("B02", "B03", "B04", "B08")
SENSOR = Sensor("test", tuple(Band(name, scale=1e-4, nodata=0) for name in BANDS))


def ground(shape: tuple[int, int], gain: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """Bare and green fields, in the light of a day."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    fields = np.random.default_rng(0).uniform(0, 1, (20, 20))[rows // 7 % 20, cols // 9 % 20]
    dn = np.stack([700 + 400 * fields, 900 + 300 * fields, 800 + 700 * fields, 3500 - 900 * fields])
    return dn * gain + offset


def with_cloud(dn: np.ndarray, row: int, col: int, radius: int) -> np.ndarray:
    rows, cols = np.mgrid[: dn.shape[1], : dn.shape[2]]
    cloudy = dn.copy()
    cloudy[:, (rows - row) ** 2 + (cols - col) ** 2 < radius**2] = 7500
    return cloudy


def write(path: Path, dn: np.ndarray, geobox: GeoBox, sensor: Sensor = SENSOR) -> Path:
    dtype = sensor.bands[0].dtype
    write_array(path, dn.astype(dtype), geobox, Profile.for_sensor(sensor))
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    shape = (100, 120)
    return write(tmp_path / "scene.tif", with_cloud(ground(shape), 50, 60, 18), utm_geobox(shape))


def other_date(path: Path, *, cloud_at: tuple[int, int] | None = None) -> Path:
    """A darker day on a larger grid, whose corner lies 30 rows and 20 columns further out."""
    whole = np.zeros((4, 160, 170))
    whole[:, 30:130, 20:140] = ground((100, 120), 0.8, 150)
    whole[whole == 0] = 1200
    if cloud_at is not None:
        whole = with_cloud(whole, cloud_at[0] + 30, cloud_at[1] + 20, 12)
    return write(path, whole, utm_geobox((160, 170), row=-30, col=-20))


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read()


def test_clouds_are_filled_with_what_another_date_saw(scene: Path, tmp_path: Path) -> None:
    out, origin = tmp_path / "out.tif", tmp_path / "origin.tif"
    other = other_date(tmp_path / "other.tif")
    result = decloud(scene, out, references=[other], provenance=origin)
    kind, before, after = read(origin)[0], read(scene), read(out)
    assert set(np.unique(kind)) <= {ORIGINAL, OTHER_DATE, 3}
    assert (kind == OTHER_DATE).mean() == pytest.approx(result.observed_share, abs=1e-9)
    assert result.observed_share > 0.1
    assert result.generated_share == 0
    np.testing.assert_array_equal(before[:, kind == ORIGINAL], after[:, kind == ORIGINAL])
    truth = ground((100, 120))
    assert np.abs(after[:, kind == OTHER_DATE] - truth[:, kind == OTHER_DATE]).max() < 30
    alone = tmp_path / "alone.tif"
    decloud(scene, alone, model="fill")
    assert np.abs(read(alone) - truth)[:, kind == OTHER_DATE].max() > 150


def test_what_the_other_date_did_not_see_is_generated_or_asked_of_a_third(
    scene: Path, tmp_path: Path
) -> None:
    origin = tmp_path / "origin.tif"
    second = other_date(tmp_path / "second.tif", cloud_at=(50, 60))
    result = decloud(scene, tmp_path / "a.tif", references=[second], provenance=origin)
    assert {GENERATED, OTHER_DATE} <= set(np.unique(read(origin)))
    assert result.generated_share > 0.01
    third = other_date(tmp_path / "third.tif")
    result = decloud(scene, tmp_path / "b.tif", references=[second, third])
    assert result.generated_share == 0
    assert any("third.tif covers 100%" in text for text in result.notes)


def test_a_date_without_a_common_clear_pixel_is_said_and_left_out(
    scene: Path, tmp_path: Path
) -> None:
    overcast = np.full((4, 100, 120), 7000)
    other = write(tmp_path / "overcast.tif", overcast, utm_geobox((100, 120)))
    result = decloud(scene, tmp_path / "a.tif", references=[other])
    assert result.observed_share == 0
    assert any("1 of 1 references" in text for text in result.notes)


@pytest.mark.parametrize(
    ("changes", "error"),
    [("elsewhere", GridError), ("bands", BandError), ("picture", OptionError)],
)
def test_a_reference_that_cannot_help_is_one_clear_error(
    scene: Path, tmp_path: Path, changes: str, error: type[Exception]
) -> None:
    shape, path = (100, 120), tmp_path / "other.tif"
    if changes == "elsewhere":
        write(path, ground(shape), utm_geobox(shape, row=5000))
    elif changes == "bands":
        write(path, ground(shape)[:3], utm_geobox(shape), SENSOR.select(BANDS[:3]))
    else:
        write(path, ground(shape)[:3] / 20, utm_geobox(shape), SENSORS["rgb"])
    with pytest.raises(error, match=r"other\.tif|not lie on|B08"):
        decloud(scene, tmp_path / "out.tif", references=[path])
    assert not (tmp_path / "out.tif").exists()
