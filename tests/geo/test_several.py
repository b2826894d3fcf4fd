"""Several scenes: what they are called, and where their outputs go."""

from __future__ import annotations

from pathlib import Path

import pytest

from geodecloud.errors import OptionError, OutputError
from geodecloud.geo.several import scene_names, tasks_of


def test_files_and_one_raster_are_one_scene(tmp_path):
    bands = (tmp_path / "B02.tif", tmp_path / "B03.tif")
    out = tmp_path / "clear.tif"
    (task,) = tasks_of(bands, out, {"mask_out": tmp_path / "m.tif"})
    assert task.source == bands
    assert task.outputs == {"out": out, "mask_out": tmp_path / "m.tif"}
    assert tasks_of(bands[:1], out)[0].source == bands[0]


def test_a_folder_takes_a_raster_of_each_scene(tmp_path):
    scenes = (tmp_path / "a.zip", tmp_path / "b.SAFE")
    scenes[1].mkdir()
    tasks = tasks_of(scenes, tmp_path / "clear", {"compare": tmp_path / "pages"})
    assert [task.source for task in tasks] == list(scenes)
    assert [task.outputs["out"].name for task in tasks] == ["a.tif", "b.SAFE.tif"]
    assert tasks[1].outputs["compare"] == tmp_path / "pages" / "b.SAFE.html"
    assert (tmp_path / "clear").is_dir()
    for folder in ("clear", "not-there-yet"):  # one scene, as a pattern of names may find
        (one,) = tasks_of(scenes[:1], tmp_path / folder)
        assert one.outputs["out"] == tmp_path / folder / "a.tif"


def test_no_folder_is_made_under_the_name_of_a_file(tmp_path):
    scenes = (tmp_path / "a.tif", tmp_path / "b.tif")
    with pytest.raises(OptionError, match=r"origin\.tif would be a file"):
        tasks_of(scenes, tmp_path / "out", {"provenance": tmp_path / "origin.tif"})
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced_unasked_and_no_two_outputs_are_one(tmp_path):
    scenes = (tmp_path / "a.tif", tmp_path / "b.tif")
    tasks_of(scenes, tmp_path / "out")[1].outputs["out"].write_text("here")
    with pytest.raises(OutputError, match="exists"):
        tasks_of(scenes, tmp_path / "out")
    assert tasks_of(scenes, tmp_path / "out", overwrite=True)
    with pytest.raises(OptionError, match="both named a"):
        scene_names([Path("x/a.tif"), Path("y/a.tif")])
    with pytest.raises(OutputError, match="cannot be made"):
        tasks_of(scenes, tmp_path / "no" / "such")
