"""compare, info and doctor as their users run them."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geodecloud.cli import doctor
from geodecloud.cli.main import root
from geodecloud.cli.progress import Reporter
from geodecloud.errors import GridError, InputError, OutputError
from geodecloud.geo.raster import Profile, open_scene, profile_of, write_array
from geodecloud.geo.scene import ArrayScene
from geodecloud.geo.tiling import Window
from tests.strategies import make_scene, make_sensor, utm_geobox

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments):
    root.main([str(argument) for argument in arguments], standalone_mode=False, obj=Reporter())


def written(path, scene):
    shape = tuple(map(int, scene.geobox.shape))
    dn, _ = scene.read(Window.whole(shape))
    write_array(path, dn, scene.geobox, profile_of(scene), cog=False)
    return path


@pytest.fixture
def scene(tmp_path):
    """A scene on disk, 300x200 pixels, a third of it nodata."""
    made = make_scene((300, 200))
    dn, _ = made.read(Window.whole((300, 200)))
    dn[:, :100] = 0
    return written(tmp_path / "scene_MSIL2A.tif", ArrayScene(dn, made.sensor, made.geobox))


def facts(capsys, *arguments):
    run("info", *arguments, "--json")
    return json.loads(capsys.readouterr().out)


def test_info_tells_programs_what_a_scene_is_made_of(scene, capsys):
    found = facts(capsys, scene)
    assert found["files"] == [str(scene)]
    assert found["drivers"] == ["GTiff"]
    assert (found["width"], found["height"]) == (200, 300)
    assert found["crs"] == "EPSG:32632"
    assert found["pixel_m"] == [10, 10]
    assert found["transform"] == [10, 0, 600_000, 0, -10, 5_100_000]
    west, south, east, north = found["bounds_lonlat"]
    assert 10 < west < east < 11
    assert 46 < south < north < 47
    assert found["level"] == "L2A"
    assert 0.5 < found["valid_share"] < 0.8
    band = found["bands"][2]
    assert (band["name"], band["dtype"], band["scale"], band["nodata"]) == (
        "B04",
        "uint16",
        1e-4,
        0,
    )
    assert 0.05 < band["low"] < band["median"] < band["high"] < 0.4


def test_info_tells_people_the_same(scene, capsys):
    run("info", scene)
    text = capsys.readouterr().out
    for part in ("200 x 300 px, 4 bands", "EPSG:32632", "10 x 10 m", "L2A", "B08", "GTiff"):
        assert part in text


def test_info_shows_scenes_without_georeference_or_values(tmp_path, capsys):
    sensor = make_sensor(2, "float32", np.nan)
    empty = ArrayScene(np.full((2, 20, 20), np.nan, np.float32), sensor)
    path = written(tmp_path / "empty.tif", empty)
    found = facts(capsys, path)
    assert found["crs"] is None
    assert found["pixel_m"] is None
    assert found["valid_share"] == 0
    assert found["bands"][0]["nodata"] == "nan"
    assert found["bands"][0]["median"] is None
    assert found["notes"]
    run("info", path)
    assert "no georeference" in capsys.readouterr().out


def test_info_takes_a_file_a_band(tmp_path, capsys):
    made = make_scene((20, 20))
    paths = [written(tmp_path / f"{name}.tif", made.select([name])) for name in ("B02", "B03")]
    found = facts(capsys, *paths)
    assert found["files"] == list(map(str, paths))
    assert [band["name"] for band in found["bands"]] == ["B02", "B03"]
    assert facts(capsys, tmp_path)["bands"] == found["bands"]


def test_info_shows_a_scene_as_it_is_opened_with_these_options(scene, tmp_path, capsys):
    bands = (f'[[band]]\nname = "{name}"\nscale = 0.001\n' for name in ("green", "red", "a", "b"))
    (tmp_path / "own.toml").write_text('name = "own"\nlevel = "L1C"\n' + "".join(bands))
    found = facts(capsys, scene, "--sensor", tmp_path / "own.toml", "--resolution", 20)
    assert (found["sensor"], found["level"]) == ("own", "L1C")
    assert (found["width"], found["height"], found["pixel_m"]) == (100, 150, [20, 20])
    assert [(band["name"], band["scale"]) for band in found["bands"]] == [
        ("B03", 0.001), ("B04", 0.001), ("a", 0.001), ("b", 0.001)
    ]  # fmt: skip


def test_info_reads_little_of_a_large_scene(tmp_path, monkeypatch, capsys):
    made = make_scene((2000, 1500), 1)
    path = written(tmp_path / "large.tif", made)
    read = type(open_scene(path)).read
    n_pixels = []

    def counted(self, window):
        n_pixels.append(window.height * window.width)
        return read(self, window)

    monkeypatch.setattr("geodecloud.geo.raster.RasterScene.read", counted)
    facts(capsys, path)
    assert sum(n_pixels) < 40 * 128 * 128


def test_info_on_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        run("info", tmp_path / "none.tif")


def test_compare_makes_a_page(scene, tmp_path, capsys):
    run("compare", scene, scene, "-o", tmp_path / "page.html")
    assert str(tmp_path / "page.html") in capsys.readouterr().out
    assert "scene_MSIL2A.tif" in (tmp_path / "page.html").read_text("utf-8")
    with pytest.raises(OutputError, match="--overwrite"):
        run("compare", scene, scene, "-o", tmp_path / "page.html")
    run("compare", scene, scene, "-o", tmp_path / "page.html", "--overwrite")


def test_compare_marks_a_mask(scene, tmp_path):
    mask = np.zeros((1, 300, 200), np.uint8)
    mask[:, :150] = 1
    sensor = make_sensor(1, "uint8", None)
    write_array(
        tmp_path / "mask.tif", mask, utm_geobox((300, 200)), Profile.for_sensor(sensor), cog=False
    )
    run("compare", scene, scene, "-o", tmp_path / "page.html", "--mask", tmp_path / "mask.tif")
    assert "50.00 %" in (tmp_path / "page.html").read_text("utf-8")


def test_compare_takes_names_for_bands_that_have_none(scene, tmp_path):
    made = make_scene((300, 200))
    profile = Profile.for_sensor(made.sensor)
    nameless = Profile(
        dtype=profile.dtype,
        nodata=profile.nodata,
        descriptions=(None,) * 4,
        scales=profile.scales,
        offsets=profile.offsets,
        units=profile.units,
        colorinterp=profile.colorinterp,
    )
    dn, _ = made.read(Window.whole((300, 200)))
    write_array(tmp_path / "x.tif", dn, made.geobox, nameless, cog=False)
    out = tmp_path / "page.html"
    run("compare", tmp_path / "x.tif", scene, "-o", out, "--bands", "B02,B03,B04,B08")
    assert "B04" in out.read_text("utf-8")


def test_compare_refuses_another_grid(scene, tmp_path):
    other = written(tmp_path / "other.tif", make_scene((20, 20)))
    with pytest.raises(GridError, match=r"other\.tif lies on"):
        run("compare", scene, other, "-o", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


DOCTOR = """
import sys
from geodecloud.cli.main import root
from geodecloud.cli.progress import Reporter
root.main(["doctor", "--json"], standalone_mode=False, obj=Reporter())
assert not {"torch", "onnxruntime"} & set(sys.modules), "an engine came into this process"
"""


def test_the_doctor_finds_this_installation_well_without_importing_its_engines():
    done = subprocess.run(
        [sys.executable, "-c", DOCTOR], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not [name for name, check in found.items() if check["status"] == "missing"]
    assert found["numpy"]["text"] == np.__version__
    assert "CPUExecutionProvider" in found["onnxruntime"]["text"]
    for name in ("python", "gdal", "proj", "format COG", "temporary files", "cache", "memory"):
        assert found[name]["status"] in {"ok", "low"}


def test_the_doctor_tells_people_a_line_each(capsys, monkeypatch):
    monkeypatch.setattr(
        "geodecloud.cli.doctor.checks",
        lambda: {"numpy": doctor.Check("ok", "2.0"), "torch": doctor.Check("absent", "for a GPU")},
    )
    run("doctor")
    assert capsys.readouterr().out == "numpy  ok       2.0\ntorch  absent   for a GPU\n"


def test_the_doctor_names_what_is_missing_and_how_to_get_it(monkeypatch):
    version = importlib.metadata.version

    def without(name):
        if name in {"numpy", "torch", "onnxruntime"}:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    monkeypatch.setattr(doctor, "DRIVERS", ("GTiff", "NoSuchFormat"))
    found = doctor.checks()
    assert found["numpy"].status == found["onnxruntime"].status == "missing"
    assert found["torch"] == doctor.Check(
        "absent", "for training, and models on a GPU: pip install 'geodecloud[learn]'"
    )
    assert found["format NoSuchFormat"].status == "missing"
    assert found["format GTiff"].status == "ok"


@pytest.mark.parametrize(
    "code", ["import no_such_module", "import os; os.abort()", "while 1: pass"]
)
def test_the_doctor_survives_a_package_that_does_not_start(monkeypatch, code):
    monkeypatch.setattr(doctor, "DEVICES", {"numpy": code})
    monkeypatch.setattr(doctor, "CHILD_SECONDS", 1)
    check = doctor._engine("numpy", "")
    assert check.status == "missing"
    assert "does not start" in check.text


def test_the_doctor_notices_little_room(monkeypatch, tmp_path):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert doctor._folder(tmp_path / "not" / "made").status == "low"
