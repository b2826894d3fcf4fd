"""What goes wrong, and what a person is told of it."""

import time

import pytest
from qgis.core import QgsProcessingException

from .conftest import cut, pixels


def test_cancel_ends_the_work_and_leaves_nothing(run, tmp_path, log):
    scene = cut(tmp_path / "large.tif", column=0, row=0, side=512)  # seconds of work
    log.progressChanged.connect(lambda share: log.cancel())
    began = time.monotonic()
    made = run("removeclouds", INPUT=scene, OUTPUT=tmp_path / "out.tif")
    assert time.monotonic() - began < 30
    assert "GENERATED_SHARE" not in made
    assert list(tmp_path.glob("*out*")) == []


def test_an_interpreter_that_is_not_there_is_told_with_what_to_type(run, scene, tmp_path):
    with pytest.raises(QgsProcessingException) as refusal:
        run("removeclouds", INPUT=scene, OUTPUT=tmp_path / "o.tif", PYTHON=tmp_path / "none")
    assert "none, from the parameter PYTHON, is no program" in str(refusal.value)
    assert "python3 -m venv" in str(refusal.value)


def test_without_any_interpreter_the_message_says_where_to_set_it(
    run, scene, tmp_path, monkeypatch
):
    monkeypatch.delenv("GEODECLOUD_PYTHON")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(QgsProcessingException, match="Settings > Options > Processing"):
        run("removeclouds", INPUT=scene, OUTPUT=tmp_path / "o.tif")


def test_a_python_without_geodecloud_is_told_the_command(run, scene, tmp_path):
    with pytest.raises(QgsProcessingException, match="/usr/bin/python3 -m pip install geodecloud"):
        run("removeclouds", INPUT=scene, OUTPUT=tmp_path / "o.tif", PYTHON="/usr/bin/python3")


def test_the_setting_of_processing_goes_before_the_variable(run, monkeypatch):
    from processing.core.ProcessingConfig import ProcessingConfig

    setting = ProcessingConfig.settings["GEODECLOUD_PYTHON"]
    monkeypatch.setattr(setting, "value", "/no/such/python")
    with pytest.raises(QgsProcessingException, match="/no/such/python, from the Processing sett"):
        run("checkenvironment")


def test_an_error_of_geodecloud_is_one_message(run, scene, tmp_path):
    with pytest.raises(QgsProcessingException) as refusal:
        run("removeclouds", INPUT=scene, MODEL="no such model", OUTPUT=tmp_path / "o.tif")
    text = str(refusal.value)
    assert "no such model" in text
    assert "decloud-s2-4band" in text
    assert "Traceback" not in text


def test_an_input_is_never_written_over(run, scene):
    before = pixels(scene)
    with pytest.raises(QgsProcessingException, match="is also an input"):
        run("removeclouds", INPUT=scene, MODEL="fill", OUTPUT=scene)
    assert (pixels(scene) == before).all()


def test_what_is_no_raster_is_refused_in_words(run, tmp_path):
    (tmp_path / "text.tif").write_text("not a raster", encoding="utf-8")
    with pytest.raises(QgsProcessingException, match=r"INPUT|Cloudy scene"):
        run("removeclouds", INPUT=tmp_path / "text.tif", OUTPUT=tmp_path / "o.tif")


def test_a_translation_without_a_model_is_refused_at_once(run, scene, tmp_path):
    with pytest.raises(QgsProcessingException, match="No model is chosen"):
        run("translate", INPUT=scene, OUTPUT=tmp_path / "o.tif")


def test_another_date_that_is_no_raster_is_not_passed_over(run, scene, tmp_path):
    dates = [str(scene), str(tmp_path / "none.tif")]
    with pytest.raises(QgsProcessingException, match="REFERENCES"):
        run("removeclouds", INPUT=scene, REFERENCES=dates, OUTPUT=tmp_path / "o.tif")
