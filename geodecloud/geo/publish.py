"""publish: bytes under a name, whole or not at all; one writer at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from geodecloud.errors import OutputError


def publish(path: Path, content: bytes, *, overwrite: bool = False, is_synced: bool = True) -> None:
    """Write a file beside its name, then rename it: a killed run leaves no half file.

    Args:
        path: the name to publish under.
        content: of the file.
        overwrite: replace a file of that name.
        is_synced: wait until the disk has it; without, a power cut (no kill) may lose it.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    refuse_existing(path, overwrite)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            if is_synced:
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}",
            "a folder that exists, the right to write and room on the disk",
            "choose another folder, or free some space",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise where a file would be replaced unasked; call it before the work is done.

    Raises:
        OutputError: the file exists, or its folder does not.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder", "the output is a file", "name a file")
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path} exists", "nothing is replaced unasked", "pass --overwrite")
    if not path.parent.is_dir():
        raise OutputError(
            f"folder {path.parent} does not exist", "the output goes into a folder", "create it"
        )


@contextmanager
def alone(folder: Path, patience_s: float = 0) -> Iterator[None]:
    """Make a folder and keep other writers out of it until the context is left.

    Args:
        folder: what is written.
        patience_s: so long another writer is waited for.

    Raises:
        OutputError: it is being written, or cannot be.
    """
    lock = FileLock(folder / ".lock", timeout=patience_s, is_singleton=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"{folder} is being written by another process",
            "one writer at a time",
            "wait for the other, or choose another folder",
        ) from error
    except OSError as error:
        raise OutputError(
            f"folder {folder} cannot be written: {error.strerror}",
            "a folder that can be made and written",
            "choose another folder",
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / ".lock").unlink()
        lock.release()
