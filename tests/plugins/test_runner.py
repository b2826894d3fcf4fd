"""The child process that the QGIS plugin starts: events, errors, cancel, death."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from plugins.qgis_geodecloud import runner
from plugins.qgis_geodecloud.finder import NotReady
from tests.makers import write_raster

START = {"event": "start", "protocol": "geodecloud-progress", "version": 1, "geodecloud": "0.1.0"}


@pytest.fixture
def standing_in(tmp_path):
    """A program in the place of Python, which does what it is given and tells its process id."""

    def make(body):
        program = tmp_path / 'it\'s a "python" ü'
        program.write_text(
            f"#!{sys.executable}\nimport json, os, signal, subprocess, sys, time\n"
            f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
            "def tell(**event): print(json.dumps(event), flush=True)\n" + body,
            encoding="utf-8",
        )
        program.chmod(0o755)
        return str(program)

    return make


def never():
    return False


def ran(python, *arguments, is_cancelled=never):
    heard = []
    return runner.run(python, arguments or ("decloud",), heard.append, is_cancelled), heard


def after(path):
    """True from the moment when a file is there."""
    return lambda: path.exists()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_the_real_geodecloud_answers(tmp_path):
    scene = write_raster(tmp_path / "a b.tif", np.ones((1, 8, 8), np.uint16), 10)
    call = ("chip", "--chip-size", "4", "--bands", "B02", "--", str(scene), str(tmp_path / "ü"))
    result, heard = ran(sys.executable, *call)
    assert result["n_chips"] == 4
    assert heard[0]["command"] == "chip"
    assert [event["done"] for event in heard if event["event"] == "progress"] == [1, 2, 3, 4]


def test_an_error_of_geodecloud_is_its_own_words(tmp_path):
    call = ("compare", "--out", str(tmp_path / "page.html"), "--", str(tmp_path / "none.tif"), "b")
    with pytest.raises(runner.Failed, match=r"none\.tif"):
        ran(sys.executable, *call)
    assert not list(tmp_path.iterdir())


def test_events_are_told_in_order_and_the_result_returned(standing_in):
    python = standing_in(
        f"tell(**{START!r})\ntell(event='progress', done=1, total=2, message='tiles')\n"
        "print('no event at all')\nprint('[1]')\ntell(event='result', summary='done')\n"
    )
    result, heard = ran(python)
    assert result == {"event": "result", "summary": "done"}
    assert [event["event"] for event in heard] == ["start", "progress"]


def test_a_batch_with_failed_items_has_a_result(standing_in):
    assert ran(standing_in("tell(event='result', n=2); sys.exit(3)"))[0]["n"] == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("print('boom', file=sys.stderr); sys.exit(9)", "code 9.*boom"),
        ("tell(event='result'); sys.exit(1)", "code 1"),
        ("tell(event='error', kind='GridError', message='the grids differ'); sys.exit(1)",
         "^the grids differ$"),
        ("tell(event='error', kind='UsageError', message='Missing option --model.'); sys.exit(1)",
         "^Missing option --model.$"),
        ("tell(event='cancelled'); sys.exit(130)", "outside of QGIS"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "code -9"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_message(standing_in, body, said):
    with pytest.raises(runner.Failed, match=f"(?s){said}"):
        ran(standing_in(body))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("print('x: No module named geodecloud', file=sys.stderr); sys.exit(1)",
         "has no geodecloud.*-m pip install geodecloud"),
        ("tell(event='error', kind='UsageError', message='No such option: --x'); sys.exit(1)",
         "too old.*--upgrade geodecloud"),
        ("tell(event='start', protocol='geodecloud-progress', version=0)", "update geodecloud"),
        ("tell(event='start', protocol='geodecloud-progress', version=2)", "update the plugin"),
        ("tell(event='start', protocol='other', version=1)", "update geodecloud"),
    ],
)  # fmt: skip
def test_a_geodecloud_that_does_not_fit_is_said_with_what_to_type(standing_in, body, said):
    with pytest.raises(NotReady, match=f"(?s){said}"):
        ran(standing_in(body))


def test_a_module_that_geodecloud_lacks_is_no_missing_geodecloud(standing_in):
    with pytest.raises(runner.Failed, match="No module named 'rasterio'"):
        ran(standing_in("print(\"No module named 'rasterio'\", file=sys.stderr); sys.exit(1)"))


def test_a_python_without_geodecloud_is_told_how_to_get_it(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty"], check=True)
    python = str(tmp_path / "empty/bin/python")
    with pytest.raises(NotReady, match="-m pip install geodecloud"):
        ran(python)


def test_a_program_that_is_not_there_is_told_what_to_type(tmp_path):
    with pytest.raises(NotReady, match="-m venv"):
        ran(str(tmp_path / "none"))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_cancel_ends_the_child_and_all_that_it_started(standing_in, tmp_path):
    python = standing_in(
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(tmp_path / 'grandchild')!r}, 'w').write(str(child.pid))\n"
        f"open({str(tmp_path / 'begun')!r}, 'w')\n"
        "time.sleep(60)\n"
    )
    began = time.monotonic()
    with pytest.raises(runner.Cancelled):
        ran(python, is_cancelled=after(tmp_path / "begun"))
    assert time.monotonic() - began < 10
    pids = [int((tmp_path / name).read_text()) for name in ("pid", "grandchild")]
    deadline = time.monotonic() + 5
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


def test_a_child_that_does_not_listen_is_killed_after_the_grace(standing_in, tmp_path):
    python = standing_in(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(tmp_path / 'begun')!r}, 'w')\ntime.sleep(60)\n"
    )
    child = runner.start(runner.command(python, ("decloud",)))
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    runner.stop(child, grace_seconds=0.2)
    assert child.returncode == -signal.SIGKILL


def test_an_error_in_who_listens_leaves_no_child(standing_in, tmp_path):
    def shout(_):
        raise ZeroDivisionError

    python = standing_in(f"tell(**{START!r})\ntime.sleep(60)\n")
    with pytest.raises(ZeroDivisionError):
        runner.run(python, ("decloud",), shout, never)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_child_is_told_that_its_caller_died():
    """It reads from a pipe that closes with its caller; how it stops is tested with the CLI."""
    words = runner.command("python", ("decloud", "a.tif"))
    assert words == [
        "python", "-I", "-m", "geodecloud", "decloud", "--progress", "json", "--watch-stdin",
        "a.tif",
    ]  # fmt: skip


def test_words_reach_the_child_as_they_are(standing_in):
    python = standing_in("tell(event='result', words=sys.argv[1:])")
    hostile = ["decloud", "a b", "$(touch x)", "; rm", "'\"", "ü—", "-x", "", "a\nb", "%PATH%"]
    assert ran(python, *hostile)[0]["words"][-9:] == hostile[1:]


def test_the_command_is_shown_as_one_types_it():
    words = ["C:\\a b\\python.exe", "-I", "it's.tif"]
    assert runner.as_typed(words, is_windows=True) == '"C:\\a b\\python.exe" -I it\'s.tif'
    assert shlex.split(runner.as_typed(words, is_windows=False)) == words


def test_much_that_is_said_at_once_blocks_nobody(standing_in):
    python = standing_in(
        "for _ in range(20000): print('x' * 50, file=sys.stderr); print('y' * 50)\n"
        "tell(event='result')"
    )
    assert ran(python)[0] == {"event": "result"}


def test_the_environment_of_qgis_does_not_leak():
    of_qgis = {
        "PYTHONHOME": "/qgis", "PYTHONPATH": "/qgis", "PYTHONSTARTUP": "x", "PROJ_LIB": "/qgis",
        "PROJ_DATA": "/qgis", "GDAL_DATA": "/qgis", "GDAL_DRIVER_PATH": "/qgis",
        "LD_LIBRARY_PATH": "/qgis", "QT_PLUGIN_PATH": "/qgis",
    }  # fmt: skip
    kept = {"HOME": "/home/me", "PATH": "/bin", "GDAL_CACHEMAX": "64", "CUDA_VISIBLE_DEVICES": "0"}
    assert runner.clean_environment({**of_qgis, **kept}) == kept


class Pipe:
    is_closed = False

    def close(self):
        self.is_closed = True


class OnWindows:
    """A child there: what is asked of it is kept."""

    pid = 7

    def __init__(self, listens):
        self.listens, self.asked, self.returncode = listens, [], None
        self.stdin, self.stdout, self.stderr = Pipe(), Pipe(), Pipe()

    def poll(self):
        return self.returncode

    def send_signal(self, number):
        assert self.stdin.is_closed, "its pipe tells it first"
        self.asked.append(number)

    def kill(self):
        self.asked.append("kill")
        self.returncode = 1

    def wait(self, seconds=None):
        if seconds is not None and not self.listens:
            raise subprocess.TimeoutExpired("geodecloud", seconds)
        self.returncode = 1


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(signal, "CTRL_BREAK_EVENT", "break", raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 1024, raising=False)


def test_on_windows_a_child_that_listens_is_asked_alone(windows, monkeypatch):
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    child = OnWindows(listens=True)
    runner.stop(child, is_windows=True)
    assert child.asked == ["break"]


def test_on_windows_a_child_that_does_not_listen_is_killed_with_its_tree(windows, monkeypatch):
    called = []
    monkeypatch.setattr(subprocess, "run", lambda words, **_: called.append(words))
    child = OnWindows(listens=False)
    runner.stop(child, is_windows=True)
    assert called == [["taskkill", "/F", "/T", "/PID", "7"]]
    assert child.asked == ["break", "kill"]


def test_on_windows_the_child_gets_a_group_and_no_window(windows, monkeypatch):
    given = {}
    monkeypatch.setattr(subprocess, "Popen", lambda words, **more: given.update(more))
    runner.start(["python"], is_windows=True)
    assert given["creationflags"] == 512 | 1024
    assert "start_new_session" not in given


def test_no_thread_outlives_the_run(standing_in):
    before = threading.active_count()
    ran(standing_in("tell(event='result')"))
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() == before


def test_lines_of_the_protocol_are_those_of_geodecloud():
    from geodecloud import progress

    assert (progress.PROTOCOL, progress.PROTOCOL_VERSION) == (
        runner.PROTOCOL, runner.PROTOCOL_VERSION,
    )  # fmt: skip
    assert json.loads(json.dumps(START))["version"] == progress.PROTOCOL_VERSION
