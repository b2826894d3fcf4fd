"""publish and alone: whole files, one writer."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from geodecloud.errors import OutputError
from geodecloud.geo.publish import alone, publish, refuse_existing

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_file_appears_whole(tmp_path):
    publish(tmp_path / "a.html", b"content")
    assert (tmp_path / "a.html").read_bytes() == b"content"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_is_replaced_with_overwrite_alone(tmp_path):
    publish(tmp_path / "a", b"old")
    with pytest.raises(OutputError, match="--overwrite"):
        publish(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    publish(tmp_path / "a", b"new", overwrite=True)
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["", "none/a"])
def test_a_folder_is_needed_and_is_no_file(tmp_path, name):
    with pytest.raises(OutputError):
        refuse_existing(tmp_path / name, overwrite=True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_disk_leaves_nothing_and_is_one_error(tmp_path, monkeypatch, step, code):
    def fail(*_):
        raise OSError(code, "the disk says no")

    target = "os.fsync" if step == "fsync" else "pathlib.Path.replace"
    monkeypatch.setattr(target, fail)
    with pytest.raises(OutputError, match="the disk says no"):
        publish(tmp_path / "a", b"content")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, pathlib, sys
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), 9)
from geodecloud.geo.publish import publish
publish(pathlib.Path(sys.argv[1]), b"new", overwrite=True)
"""


def test_a_killed_run_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "a"], cwd=REPOSITORY, check=False
    )
    assert done.returncode == -9
    assert (tmp_path / "a").read_bytes() == b"old"


def test_one_writer_at_a_time(tmp_path):
    with alone(tmp_path / "new"):
        with pytest.raises(OutputError, match="another process"), alone(tmp_path / "new"):
            pass
        assert (tmp_path / "new" / ".lock").exists()
    with alone(tmp_path / "new"):
        pass
    assert list((tmp_path / "new").iterdir()) == []
