"""clouds as its users run it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geodecloud.cli.main import root
from geodecloud.cli.progress import Reporter
from geodecloud.errors import BandError, InputError, OptionError
from geodecloud.geo.raster import open_scene, profile_of, write_array
from geodecloud.geo.scene import shape_of
from geodecloud.geo.tiling import Window
from tests.strategies import make_scene

REPOSITORY = Path(__file__).resolve().parents[2]


def whole(path):
    with open_scene(path) as scene:
        return scene.read(Window.whole(shape_of(scene.geobox)))[0]


def run(*arguments):
    root.main([str(argument) for argument in arguments], standalone_mode=False, obj=Reporter())


def process(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "geodecloud", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def scene(tmp_path):
    """A clear scene on disk, 90x70 pixels."""
    made = make_scene((90, 70))
    path = tmp_path / "clear.tif"
    dn, _ = made.read(Window.whole((90, 70)))
    write_array(path, dn, made.geobox, profile_of(made), cog=False)
    return path


def test_a_sky_hangs_over_a_scene(scene, tmp_path, capsys):
    sky, truth = tmp_path / "sky.json", tmp_path / "truth.tif"
    run(
        "clouds", scene, tmp_path / "cloudy.tif", "--seed", 7, "--coverage", 0.4,
        "--type", "cumulus", "--sun-azimuth", 140, "--sun-elevation", 40,
        "--truth", truth, "--sky-out", sky,
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "cumulus" in said
    assert str(truth) in said
    clear = whole(truth)[0] == 0
    assert 0.2 < clear.mean() < 0.6
    before, after = whole(scene), whole(tmp_path / "cloudy.tif")
    np.testing.assert_array_equal(after[:, clear], before[:, clear])
    run("clouds", scene, tmp_path / "again.tif", "--sky", sky)
    np.testing.assert_array_equal(whole(tmp_path / "again.tif"), after)


def test_a_sensor_and_a_pixel_size_are_taken_as_said(scene, tmp_path):
    bands = (f'[[band]]\nname = "b{nm}"\nwavelength_nm = {nm}\n' for nm in (450, 550, 650, 850))
    (tmp_path / "own.toml").write_text(
        'name = "own"\n' + "".join(f"{band}scale = 0.0001\n" for band in bands)
    )
    options = ("--sensor", tmp_path / "own.toml", "--resolution", 20)
    run("clouds", scene, tmp_path / "cloudy.tif", "--coverage", 0.5, *options)
    with open_scene(tmp_path / "cloudy.tif") as cloudy:
        assert cloudy.sensor.band_names == ("b450", "b550", "b650", "b850")
        assert shape_of(cloudy.geobox) == (45, 35)
    with open_scene(scene, resolution_m=20) as clear:
        before = clear.read(Window.whole((45, 35)))[0]
    brighter = whole(tmp_path / "cloudy.tif")[0] > before[0]
    assert 0.3 < brighter.mean() < 0.7


def test_programs_get_json_lines(scene, tmp_path):
    done = process("clouds", scene, tmp_path / "cloudy.tif", "--progress", "json", "--type", "fog")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["start", "result"]
    assert events[-1]["sky"]["type"] == "fog"
    assert events[-1]["cloud_share"] == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize(
    ("options", "kind", "word"),
    [
        (["--type", "smoke"], OptionError, "known are"),
        (["--coverage", "2"], OptionError, "0 to 1"),
        (["--sun-elevation", "-5"], OptionError, "horizon"),
        (["--sky", "{folder}/damaged.json"], InputError, "JSON"),
        (["--bands", "VV,VH,a,b"], BandError, "wavelength"),
    ],
    ids=["type", "coverage", "sun", "sky", "bands"],
)
def test_bad_input_is_one_clear_error_and_nothing_is_written(scene, tmp_path, options, kind, word):
    (tmp_path / "damaged.json").write_text('{"format": "geodecloud-sky", ')
    filled = [option.format(folder=tmp_path) for option in options]
    with pytest.raises(kind, match=word):
        run("clouds", scene, tmp_path / "cloudy.tif", *filled)
    assert {path.name for path in tmp_path.iterdir()} == {"clear.tif", "damaged.json"}


def test_an_error_is_one_line(scene, tmp_path):
    done = process("clouds", scene, tmp_path / "cloudy.tif", "--type", "smoke")
    assert done.returncode == 1
    assert [line[:6] for line in done.stderr.splitlines()] == ["error:"]
