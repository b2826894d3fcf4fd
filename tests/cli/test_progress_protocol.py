"""What programs hear of every command: one protocol, whatever goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click import Group

from geodecloud.cli import doctor
from geodecloud.cli.main import COMMANDS, root
from geodecloud.cli.progress import Reporter

# asked and answered at once: nothing is reported on the way, and nothing is left to stop
ANSWERS_AT_ONCE = {"info", "models"}


def started(*arguments):
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "geodecloud", *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def events_of(*arguments):
    child = started(*arguments)
    out, _ = child.communicate(timeout=60)
    return child.returncode, [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - ANSWERS_AT_ONCE))
def test_a_program_can_follow_every_command_that_takes_time(name):
    command = root.get_command(None, name)
    assert not isinstance(command, Group)
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--progress", "--watch-stdin"} <= options


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("doctor", "--progress", "json", "--no-such-option"), "no such option"),
        (("no-such-command", "--progress=json"), "no such command"),
        (("decloud", "--progress", "json", "a.tif"), "missing argument"),
    ],
)
def test_a_call_that_is_not_known_is_an_event_too(words, said):
    code, events = events_of(*words)
    assert code == 1
    assert [event["event"] for event in events] == ["error"]
    assert events[0]["kind"] == "UsageError"
    assert said in events[0]["message"].lower()


def test_a_call_that_is_not_known_is_plain_text_for_people():
    child = started("doctor", "--no-such-option")
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (1, "")
    assert "no such option" in err.lower()


def test_the_doctor_gives_programs_what_it_tells_people(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "checks", lambda: {"numpy": doctor.Check("ok", "2.0")})
    root.main(["doctor", "--progress", "json"], standalone_mode=False, obj=Reporter())
    start, result = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (start["event"], start["command"]) == ("start", "doctor")
    assert result == {
        "event": "result",
        "summary": "numpy  ok       2.0",
        "checks": {"numpy": {"status": "ok", "text": "2.0"}},
    }


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_command_stops_when_its_caller_dies(tmp_path):
    """Its caller is a shell that holds the other end of the pipe, and is killed."""
    os.mkfifo(tmp_path / "never.tif")  # opening it waits for a writer, who never comes
    words = [sys.executable, "-I", "-m", "geodecloud", "compare", "--watch-stdin"]
    call = [*words, str(tmp_path / "never.tif"), "b.tif", "--out", str(tmp_path / "page.html")]
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen({call!r}, stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(caller.stdout.readline())
    time.sleep(0.5)
    assert is_alive(pid)
    caller.send_signal(signal.SIGKILL)
    caller.communicate()
    deadline = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)


def test_on_windows_too_it_clears_away_before_it_exits():
    """There no signal can be sent: the main thread is made to believe that one came."""
    code = (
        "import signal, sys, threading, time\n"
        "from geodecloud.cli import main, progress\n"
        "signal.signal(signal.SIGTERM, main._stop)\n"
        "sys.platform = 'win32'\n"
        "try:\n"
        "    threading.Thread(target=progress._exit_when_stdin_closes, daemon=True).start()\n"
        "    for _ in range(1000): time.sleep(0.01)\n"
        "except main.Cancelled:\n"
        "    print('cleared away')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "cleared away\n", done.stderr


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
