"""Which Python the QGIS plugin takes, and what it says where there is none."""

import pytest

from plugins.qgis_geodecloud.finder import (
    NotReady,
    find_python,
    install_commands,
    update_commands,
)


@pytest.fixture
def program(tmp_path):
    def make(path):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
        return str(path)

    return make


def test_the_parameter_wins_then_the_setting_then_the_variable(program, tmp_path):
    first, second, third, made = map(program, ("a", "b b/ü", "c", "geodecloud/bin/python"))
    home = {"HOME": str(tmp_path)}
    variable = {**home, "GEODECLOUD_PYTHON": third}
    assert find_python(first, second, variable) == first
    assert find_python("", second, variable) == second
    assert find_python("", None, variable) == third
    assert find_python("", "", home) == made


def test_the_folder_of_an_environment_will_do(program, tmp_path):
    inside = program("env/bin/python")
    assert find_python(str(tmp_path / "env"), environment={}) == inside
    inside = program("win/Scripts/python.exe")
    assert find_python(str(tmp_path / "win"), environment={}, is_windows=True) == inside


def test_quotes_around_a_path_are_taken_off(program):
    path = program("a b")
    assert find_python(f' "{path}" ', environment={}) == path


def test_the_first_that_is_set_and_wrong_is_named_not_passed_over(program, tmp_path):
    right = program("right")
    with pytest.raises(NotReady, match=r"none, from the parameter PYTHON, is no program"):
        find_python(str(tmp_path / "none"), right, {})
    with pytest.raises(NotReady, match="from the Processing setting"):
        find_python("", str(tmp_path / "none"), {"GEODECLOUD_PYTHON": right})
    with pytest.raises(NotReady, match="from the variable GEODECLOUD_PYTHON"):
        find_python("", "", {"GEODECLOUD_PYTHON": str(tmp_path / "none")})
    (tmp_path / "text").touch(mode=0o644)
    with pytest.raises(NotReady, match="is no program"):
        find_python(str(tmp_path / "text"), environment={})


def test_where_none_is_set_the_message_is_what_to_type(tmp_path):
    with pytest.raises(NotReady) as refusal:
        find_python(environment={"HOME": str(tmp_path)}, is_windows=False)
    text = str(refusal.value)
    assert "python3 -m venv ~/geodecloud" in text
    assert "~/geodecloud/bin/python -m pip install geodecloud" in text
    assert "Settings > Options > Processing" in text


def test_what_to_type_is_that_of_the_system():
    unix, windows = install_commands(is_windows=False), install_commands(is_windows=True)
    assert "terminal" in unix
    assert "py -m venv" not in unix
    assert 'py -m venv "%USERPROFILE%\\geodecloud"' in windows
    assert '"%USERPROFILE%\\geodecloud\\Scripts\\python.exe" -m pip install geodecloud' in windows
    assert "Command Prompt" in windows


def test_an_install_for_one_user_alone_is_explained():
    assert "--user" in install_commands()


def test_a_path_with_blanks_is_quoted_in_what_to_type():
    assert "'/a b/python' -m pip" in update_commands("/a b/python", is_windows=False)
    assert '"C:\\a b\\python.exe" -m pip' in update_commands("C:\\a b\\python.exe", is_windows=True)
    assert "'/it'\"'\"'s/python' -m pip" in install_commands("/it's/python", is_windows=False)
