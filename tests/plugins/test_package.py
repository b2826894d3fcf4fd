"""The zip of the QGIS plugin, and what plugins.qgis.org asks of it."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from geodecloud import __version__
from geodecloud.geo.masks import CLASSES
from geodecloud.paste import PROVENANCE, PROVENANCE_COLOURS
from plugins import package
from tests.conftest import absent

PLUGIN = package.PLUGIN
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def about():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(PLUGIN / "metadata.txt", encoding="utf-8")
    return parser["general"]


def test_the_zip_is_one_folder_with_all_it_needs_and_nothing_else(tmp_path):
    made = package.package(tmp_path)
    assert made.stat().st_size < 25_000_000
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert {name.split("/")[0] for name in names} == {"qgis_geodecloud"}
    needed = {"__init__.py", "metadata.txt", "LICENSE", "icon.svg", "provider.py", "runner.py"}
    assert {f"qgis_geodecloud/{name}" for name in needed} <= set(names)
    assert any(name.endswith(".model3") for name in names)
    assert not [name for name in names if "__pycache__" in name or "/." in name]


def test_every_file_of_the_plugin_is_in_the_zip_or_is_a_cache():
    left_out = {path for path in PLUGIN.rglob("*") if path.is_file()} - set(package.contents())
    assert [path for path in left_out if "__pycache__" not in path.parts] == []


def test_the_zip_is_the_same_whenever_it_is_made(tmp_path):
    one, other = (package.package(tmp_path / name).read_bytes() for name in "ab")
    assert one == other


def test_the_metadata_say_what_plugins_qgis_org_asks(about):
    asked = (
        *("name", "qgisMinimumVersion", "description", "about", "version", "author", "email"),
        *("repository", "tracker", "tags", "icon"),
    )
    assert [name for name in asked if not about.get(name)] == []
    assert about["version"] == __version__
    assert about["hasProcessingProvider"] == "yes"
    assert about["experimental"] == "True"
    assert (PLUGIN / about["icon"]).is_file()
    assert "GNU GENERAL PUBLIC LICENSE" in (PLUGIN / "LICENSE").read_text(encoding="utf-8")


def test_pictures_and_models_are_well_formed():
    for path in (*PLUGIN.rglob("*.svg"), *PLUGIN.rglob("*.model3")):
        assert len(ElementTree.parse(path).getroot())


def classes_in_the_plugin(name):
    """A table of styles.py, which cannot be imported without QGIS."""
    import ast

    for node in ast.parse((PLUGIN / "styles.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return {code: (label, colour) for code, label, colour in ast.literal_eval(node.value)}
    raise KeyError(name)


def test_the_legends_in_qgis_are_those_of_the_rasters():
    in_qgis = {
        code: (name, colour[:3])
        for code, (name, colour) in classes_in_the_plugin("PROVENANCE").items()
    }
    assert in_qgis == {
        code: (name, PROVENANCE_COLOURS[code][:3]) for code, name in PROVENANCE.items() if code
    }
    assert classes_in_the_plugin("MASK") == {
        one.code: (one.name, one.colour) for one in CLASSES.values() if one.code != 255
    }


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("bandit", ["-q", "-r"]),
        ("ruff", ["check", "--isolated", "--select", "E,F,W", "--line-length", "100"]),
    ],
)
def test_the_checks_of_plugins_qgis_org_find_nothing(tool, words):
    if not (BIN / tool).exists():
        absent(f"no {tool} beside this Python")
    done = subprocess.run([BIN / tool, *words, PLUGIN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_secret_is_in_the_plugin():
    if not (BIN / "detect-secrets").exists():
        absent("no detect-secrets beside this Python")
    done = subprocess.run(
        [BIN / "detect-secrets", "scan", "--all-files", str(PLUGIN)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '"results": {}' in done.stdout


def test_the_plugin_is_written_for_the_oldest_python_of_qgis():
    import ast

    for path in PLUGIN.rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_the_plugin_reaches_qt_by_the_one_door_that_both_versions_have():
    for path in PLUGIN.rglob("*.py"):
        assert "PyQt5" not in path.read_text(encoding="utf-8")
        assert "PyQt6" not in path.read_text(encoding="utf-8")
