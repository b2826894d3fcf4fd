"""Which Python has geodecloud, and what to type where there is none.

Nothing of QGIS is imported here, and nothing outside the standard library.
"""

import os
import shlex
from pathlib import Path

VARIABLE = "GEODECLOUD_PYTHON"
IS_WINDOWS = os.name == "nt"
WHERE_TO_SET = (
    "Settings > Options > Processing > Providers > Geodecloud > Python that has geodecloud"
)
OF_THE_USER = (
    "A geodecloud that was installed for one user alone (pip install --user) is not seen: it "
    "needs an environment of its own, as above."
)


class NotReady(Exception):
    """No geodecloud can be started; the text says what to type."""


def find_python(parameter="", setting="", environment=os.environ, is_windows=IS_WINDOWS):
    """Return the interpreter that has geodecloud.

    The first of these that is set: the algorithm's parameter, the setting of Processing, the
    variable GEODECLOUD_PYTHON; else the environment that the install commands make. Each may
    also be the folder of an environment.

    Raises:
        NotReady: none is set, or the first that is set is no program.
    """
    for source, text in (
        ("the parameter PYTHON", parameter),
        ("the Processing setting", setting),
        (f"the variable {VARIABLE}", environment.get(VARIABLE, "")),
    ):
        words = (text or "").strip().strip("\"'")
        if words:
            path = _program(Path(words).expanduser(), is_windows)
            if not _is_program(path):
                raise NotReady(f"{path}, from {source}, is no program.\n\n{install_commands()}")
            return str(path)
    made = _program(_home(environment) / "geodecloud", is_windows)
    if _is_program(made):
        return str(made)
    raise NotReady(f"No Python that has geodecloud is set.\n\n{install_commands()}")


def install_commands(python=None, is_windows=IS_WINDOWS):
    """Return what to type here: for a new environment, or for that of ``python``."""
    if python is not None:
        lines = [f"{_quoted(python, is_windows)} -m pip install geodecloud"]
    elif is_windows:
        lines = [
            'py -m venv "%USERPROFILE%\\geodecloud"',
            '"%USERPROFILE%\\geodecloud\\Scripts\\python.exe" -m pip install geodecloud',
        ]
    else:
        lines = [
            "python3 -m venv ~/geodecloud",
            "~/geodecloud/bin/python -m pip install geodecloud",
        ]
    window = "the Command Prompt" if is_windows else "a terminal"
    typed = "\n".join(f"    {line}" for line in lines)
    return (
        f"Type in {window} (Python 3.11 or newer):\n\n{typed}\n\n"
        "For training, geodecloud[learn] in the place of geodecloud. An environment that lies "
        f"elsewhere is set in {WHERE_TO_SET}. {OF_THE_USER}"
    )


def update_commands(python, is_windows=IS_WINDOWS):
    """Return what to type where geodecloud is too old."""
    line = f"{_quoted(python, is_windows)} -m pip install --upgrade geodecloud"
    window = "the Command Prompt" if is_windows else "a terminal"
    return f"Type in {window}:\n\n    {line}"


def _quoted(word, is_windows):
    return f'"{word}"' if is_windows else shlex.quote(word)


def _program(path, is_windows):
    """The interpreter inside of an environment; other paths as they are."""
    inside = path / "Scripts" / "python.exe" if is_windows else path / "bin" / "python"
    return inside if path.is_dir() else path


def _is_program(path):
    return path.is_file() and os.access(path, os.X_OK)


def _home(environment):
    return Path(environment.get("HOME") or environment.get("USERPROFILE") or Path.home())
