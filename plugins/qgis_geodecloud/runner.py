"""The child process: geodecloud in its own Python, its events, and how it is stopped.

Nothing of QGIS is imported here, and nothing outside the standard library. No shell is ever
started, and what is started is the Python that the user named (hence bandit's B404 and B603 are
answered below) or a fixed program of Windows (B607).
"""

import contextlib
import json
import os
import queue
import shlex
import signal
import subprocess  # nosec B404
import threading

from .finder import NotReady, install_commands, update_commands

PROTOCOL, PROTOCOL_VERSION = "geodecloud-progress", 1
POLL_SECONDS = 0.1
GRACE_SECONDS = 5.0
TAIL_LINES = 20
DONE, DONE_WITH_FAILURES = 0, 3
LAST = ("result", "error", "cancelled")
IS_WINDOWS = os.name == "nt"

# What QGIS sets for its own Python, GDAL and Qt; another Python breaks on it.
FOREIGN = {
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "GDAL_PYTHON_DRIVER_PATH",
    "DYLD_FRAMEWORK_PATH",
    "DYLD_LIBRARY_PATH",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PROJ_DATA",
    "PROJ_LIB",
    "QT_PLUGIN_PATH",
    "QT_QPA_PLATFORM_PLUGIN_PATH",
    "__PYVENV_LAUNCHER__",
}


class Cancelled(Exception):
    """The user stopped the work, and the child is gone."""


class Failed(Exception):
    """The work ended with an error; its text is for the user."""


def clean_environment(environment=os.environ):
    """Return the variables for the child: none that QGIS set for its own libraries."""
    return {
        name: value
        for name, value in environment.items()
        if name not in FOREIGN and not name.startswith("PYTHON")
    }


def command(python, arguments):
    """Return what is started: a list, for no shell ever reads it."""
    name, *rest = arguments
    reporting = ["--progress", "json", "--watch-stdin"]
    return [python, "-I", "-m", "geodecloud", name, *reporting, *rest]


def as_typed(words, is_windows=IS_WINDOWS):
    """Return words as one types them in a terminal of this system."""
    return subprocess.list2cmdline(words) if is_windows else shlex.join(words)


def run(python, arguments, tell, is_cancelled):
    """Run a command of geodecloud to its end and return its result.

    Args:
        python: the interpreter that has geodecloud.
        arguments: the command's name, then its options and files, all strings.
        tell: called with each event before the result: a mapping that names its "event".
        is_cancelled: asked ten times a second; True stops the child.

    Raises:
        Cancelled: ``is_cancelled`` said so.
        Failed: geodecloud refused or broke, in its own words.
        NotReady: this Python has no geodecloud, or one that the plugin does not understand.
    """
    child = start(command(python, arguments))
    last, tail = {}, []
    try:
        for is_event, line in _lines(child, is_cancelled):
            event = _event(line) if is_event else None
            if event is None:
                tail = [*tail, line][-TAIL_LINES:]
                continue
            last = event
            if event["event"] == "start":
                check_protocol(event, python)
            if event["event"] not in LAST:
                tell(event)
        child.wait()
    finally:
        stop(child)
    return _outcome(python, child.returncode, last, tail)


def start(words, is_windows=IS_WINDOWS):
    """Return the child process, at the head of a group of its own."""
    if is_windows:
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    else:
        apart = {"start_new_session": True}
    try:
        return subprocess.Popen(  # nosec B603
            words,
            stdin=subprocess.PIPE,  # stays open while QGIS lives: the child watches it
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            encoding="utf-8",
            errors="replace",
            **apart,
        )
    except OSError as error:
        raise NotReady(f"{words[0]} does not start ({error}).\n\n{install_commands()}") from error


def stop(child, grace_seconds=GRACE_SECONDS, is_windows=IS_WINDOWS):
    """End the child and all that it started: asked first, killed after the grace."""
    if child.poll() is None:
        _close(child.stdin)  # which it watches: on Windows a program without a console can ask so
        _ask(child, is_windows)
        try:
            child.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            _kill(child, is_windows)
            child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        _close(stream)


def _ask(child, is_windows):
    with contextlib.suppress(OSError):  # it went by itself
        if is_windows:
            child.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            os.killpg(child.pid, signal.SIGTERM)


def _kill(child, is_windows):
    if is_windows:
        subprocess.run(  # nosec B603 B607
            ["taskkill", "/F", "/T", "/PID", str(child.pid)], check=False, capture_output=True
        )
        child.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _close(stream):
    with contextlib.suppress(OSError):  # a pipe whose other end is gone
        stream.close()


def _lines(child, is_cancelled):
    """Each line of the child as it comes, and whether it stood where events stand."""
    lines = queue.Queue()

    def pump(stream, holds_events):
        with contextlib.suppress(ValueError):  # closed by stop()
            for line in stream:
                lines.put((holds_events, line.rstrip("\n")))
        lines.put((holds_events, None))

    pipes = ((child.stdout, True), (child.stderr, False))
    for pipe in pipes:
        threading.Thread(target=pump, args=pipe, daemon=True).start()
    n_open = len(pipes)
    while n_open:
        if is_cancelled():
            raise Cancelled
        try:
            holds_events, line = lines.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
        if line is None:
            n_open -= 1
        else:
            yield holds_events, line


def _event(line):
    """The event that a line holds; None where it holds something else."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def check_protocol(event, python):
    """Refuse a geodecloud whose events are not those that are read here."""
    version = event.get("version")
    if event.get("protocol") == PROTOCOL and version == PROTOCOL_VERSION:
        return
    found = f"geodecloud {event.get('geodecloud', '')} speaks version {version} of its protocol"
    if isinstance(version, int) and version > PROTOCOL_VERSION:
        raise NotReady(
            f"{found}, this plugin version {PROTOCOL_VERSION}: update the plugin in "
            "Plugins > Manage and Install Plugins."
        )
    raise NotReady(
        f"{found}, this plugin needs version {PROTOCOL_VERSION}: update geodecloud.\n\n"
        f"{update_commands(python)}"
    )


def _outcome(python, code, last, tail):
    """The result of a child that has ended, or why there is none."""
    kind = last.get("event")
    if kind == "result" and code in (DONE, DONE_WITH_FAILURES):
        return last
    if last.get("kind") == "UsageError" and last["message"].startswith("No such"):
        raise NotReady(
            f"This geodecloud is too old for the plugin ({last['message']}).\n\n"
            f"{update_commands(python)}"
        )
    if kind == "error":
        raise Failed(last["message"])
    if kind == "cancelled":
        raise Failed("geodecloud was stopped from outside of QGIS; nothing was left half-written")
    said = "\n".join(line for line in tail if line.strip())
    if "No module named" in said and "geodecloud" in said.rsplit("No module named", 1)[1]:
        raise NotReady(f"{python} has no geodecloud.\n\n{install_commands(python)}")
    raise Failed(f"geodecloud ended with code {code} and without a result:\n{said}")
