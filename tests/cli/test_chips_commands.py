"""chip and mosaic as their users run them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geodecloud.cli.main import root
from geodecloud.cli.progress import Reporter
from geodecloud.errors import BandError, InputError, OptionError, OutputError
from geodecloud.geo.chips import ChipStore, part_of
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
    """A scene on disk, 70x50 pixels."""
    made = make_scene((70, 50))
    path = tmp_path / "scene.tif"
    dn, _ = made.read(Window.whole((70, 50)))
    write_array(path, dn, made.geobox, profile_of(made), cog=False)
    return path


def test_a_scene_goes_to_chips_and_back(scene, tmp_path, capsys):
    run("chip", scene, tmp_path / "chips", "--chip-size", 32, "--overlap", 8)
    assert "6 chips of 32 px out of scene" in capsys.readouterr().out
    run("mosaic", tmp_path / "chips", tmp_path / "back.tif")
    assert str(tmp_path / "back.tif") in capsys.readouterr().out
    np.testing.assert_array_equal(whole(scene), whole(tmp_path / "back.tif"))


def test_chips_are_of_64_px_unless_said_otherwise(scene, tmp_path):
    run("chip", scene, tmp_path / "chips")
    store = ChipStore.open(tmp_path / "chips")
    assert (store.manifest.size_px, store.manifest.overlap_px, len(store)) == (64, 0, 2)


def test_several_scenes_get_a_folder_each(scene, tmp_path, capsys):
    second = tmp_path / "zürich 2.tif"
    second.write_bytes(scene.read_bytes())
    run("chip", scene, second, tmp_path / "chips")
    names = sorted(path.name for path in (tmp_path / "chips").iterdir())
    assert names[0] == "scene"
    assert names[1].startswith("z_rich_2-")
    for name in names:
        run("mosaic", tmp_path / "chips" / name, tmp_path / f"{name} back.tif")
    with pytest.raises(InputError, match="several scenes"):
        run("mosaic", tmp_path / "chips", tmp_path / "out.tif")


def test_two_scenes_of_one_name_are_refused(scene, tmp_path):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "scene.tif"
    twin.write_bytes(scene.read_bytes())
    with pytest.raises(OptionError, match="both named scene"):
        run("chip", scene, twin, tmp_path / "chips")
    assert not (tmp_path / "chips").exists()


def test_a_folder_of_bands_is_one_scene(scene, tmp_path):
    folder = tmp_path / "product"
    folder.mkdir()
    with open_scene(scene) as made:
        for name in ("B02", "B03"):
            band = made.select([name])
            dn, _ = band.read(Window.whole((70, 50)))
            write_array(folder / f"{name}.tif", dn, band.geobox, profile_of(band), cog=False)
    run("chip", folder, tmp_path / "chips")
    store = ChipStore.open(tmp_path / "chips")
    assert store.manifest.scene == "product"
    assert store.manifest.sensor.band_names == ("B02", "B03")


def test_bands_are_named_on_the_command_line(scene, tmp_path):
    run("chip", scene, tmp_path / "chips", "--bands", "B05, B06,B07,B8A")
    assert ChipStore.open(tmp_path / "chips").manifest.sensor.band_names[3] == "B8A"
    with pytest.raises(BandError):
        run("chip", scene, tmp_path / "others", "--bands", "B05")


def test_scenes_go_to_one_export_for_arcgis(scene, tmp_path, capsys):
    second = tmp_path / "second.tif"
    second.write_bytes(scene.read_bytes())
    arguments = (scene, second, tmp_path / "out", "--chip-size", 32, "--layout", "esri")
    run("chip", *arguments, "--progress", "json")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    steps = [(event["done"], event["total"]) for event in events if event["event"] == "progress"]
    assert steps == [(i + 1, 6) for i in range(6)] * 2
    assert (events[-1]["scenes"], events[-1]["n_chips"]) == (["scene", "second"], 12)
    about = json.loads((tmp_path / "out" / "esri_model_definition.emd").read_text())
    assert (about["MetaDataMode"], about["ImageHeight"]) == ("Export_Tiles", 32)
    with pytest.raises(OutputError, match="--overwrite"):
        run("chip", *arguments)
    run("chip", scene, second, tmp_path / "out", "--layout", "esri", "--pairs", "--overwrite")
    assert len(list((tmp_path / "out" / "images2").glob("*.tif"))) == 2
    run("mosaic", tmp_path / "out" / "images2", tmp_path / "back.tif")
    back = whole(tmp_path / "back.tif")[:, :70, :50]  # chips reach beyond the scene
    np.testing.assert_array_equal(whole(scene), back)


def test_loose_chips_take_nodata_for_their_gaps(tmp_path):
    folder = tmp_path / "loose"
    folder.mkdir()
    made = make_scene((16, 48))
    for name, col in (("a", 0), ("b", 32)):
        window = Window(0, col, 16, 16)
        dn, _ = made.read(window)
        write_array(
            folder / f"{name}.tif", dn, part_of(made.geobox, window), profile_of(made), cog=False
        )
    run("mosaic", folder, tmp_path / "out.tif", "--nodata", 0)
    assert not whole(tmp_path / "out.tif")[:, :, 16:32].any()


def test_what_exists_is_replaced_with_overwrite_alone(scene, tmp_path):
    run("chip", scene, tmp_path / "chips")
    with pytest.raises(OutputError, match="--overwrite"):
        run("chip", scene, tmp_path / "chips", "--chip-size", 32)
    run("chip", scene, tmp_path / "chips", "--chip-size", 32, "--overwrite")
    run("mosaic", tmp_path / "chips", tmp_path / "out.tif")
    with pytest.raises(OutputError, match="--overwrite"):
        run("mosaic", tmp_path / "chips", tmp_path / "out.tif")
    run("mosaic", tmp_path / "chips", tmp_path / "out.tif", "--overwrite")


def test_programs_hear_each_step_as_json(scene, tmp_path, capsys):
    run("chip", scene, tmp_path / "chips", "--chip-size", 32, "--progress", "json")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "start"
    assert events[0]["command"] == "chip"
    steps = [(event["done"], event["total"]) for event in events if event["event"] == "progress"]
    assert steps == [(i + 1, 6) for i in range(6)]
    assert events[-1] == {
        "event": "result", "chips": str(tmp_path / "chips"), "scenes": ["scene"], "size_px": 32,
        "n_chips": 6, "skipped": {},
        "summary": f"6 chips of 32 px out of scene: {tmp_path / 'chips'}",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("chip", "{here}/none.tif", "{here}/chips"),
        ("chip", "{here}/text.tif", "{here}/chips"),
        ("chip", "{here}/scene.tif", "{here}/chips", "--overlap", "64"),
        ("chip", "{here}/scene.tif", "{here}/chips", "--chip-size", "0"),
        ("mosaic", "{here}/none", "{here}/out.tif"),
        ("mosaic", "{here}/chips_without", "{here}/out.tif"),
        ("chip", "{here}/scene.tif"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_clear_error_and_leaves_nothing(scene, tmp_path, arguments):
    (tmp_path / "text.tif").write_text("not a raster")
    (tmp_path / "chips_without").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = process(*(argument.format(here=tmp_path) for argument in arguments))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "rror: " in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
