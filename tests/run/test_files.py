"""Archives read in place: whatever is in one, nothing leaves it, and nothing runs."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodecloud.errors import ModelError
from geodecloud.run.files import ArchiveFiles, FolderFiles, MemoryFiles, archive_bytes

CONTENTS = {"model.json": b"{}", "weights.safetensors": b"\x00" * 100, "a/b.txt": b"deep"}


def archive(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.dlpk"
    path.write_bytes(archive_bytes(CONTENTS))
    files = ArchiveFiles(path)
    assert files.sizes == {name: len(content) for name, content in CONTENTS.items()}
    assert {name: files.read(name, 1000) for name in CONTENTS} == CONTENTS
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_contents_make_the_same_bytes_in_any_order() -> None:
    assert archive_bytes(CONTENTS) == archive_bytes(dict(reversed(CONTENTS.items())))


def test_never_more_than_is_asked_for_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.dlpk").write_bytes(archive_bytes(CONTENTS))
    (tmp_path / "weights.safetensors").write_bytes(CONTENTS["weights.safetensors"])
    for files in (
        ArchiveFiles(tmp_path / "x.dlpk"),
        FolderFiles(tmp_path),
        MemoryFiles(tmp_path, CONTENTS),
    ):
        assert len(files.read("weights.safetensors", 10)) == 11


def linked() -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("weights.safetensors")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../model.json", "leaves the folder"),
        ("a/../../model.json", "leaves the folder"),
        ("/etc/passwd", "leaves the folder"),
        ("a\\..\\..\\model.json", "leaves the folder"),
        ("C:model.json", "leaves the folder"),
        (linked(), "is a link"),
    ],
)
def test_an_archive_that_tries_something_is_refused(tmp_path: Path, name, reason: str) -> None:
    path = archive(tmp_path / "x.dlpk", (name, b"content"))
    with pytest.raises(ModelError, match=reason):
        ArchiveFiles(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.dlpk", ("a", b"1"), ("A", b"2"))
    with pytest.raises(ModelError, match="'A' twice"):
        ArchiveFiles(path)


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.dlpk"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("weights.safetensors", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(ModelError, match="50000000 bytes"):
        ArchiveFiles(path)


def test_a_thousand_files_and_more_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.dlpk", *((f"{i}", b"0" * 50) for i in range(1001)))
    with pytest.raises(ModelError, match="1001 files"):
        ArchiveFiles(path)


def test_a_password_is_refused(tmp_path: Path) -> None:
    content = bytearray(archive_bytes({"a": b"1"}))
    content[content.rfind(b"PK\x01\x02") + 8] |= 1  # the flag in the table of contents
    (tmp_path / "x.dlpk").write_bytes(content)
    with pytest.raises(ModelError, match="password"):
        ArchiveFiles(tmp_path / "x.dlpk")


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", archive_bytes(CONTENTS)[:-30]])
def test_what_is_no_archive_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.dlpk").write_bytes(content)
    with pytest.raises(ModelError, match="is damaged"):
        ArchiveFiles(tmp_path / "x.dlpk")


@given(st.data())
def test_a_flipped_byte_is_an_error_or_changes_nothing_unseen(data: st.DataObject) -> None:
    whole = archive_bytes(CONTENTS)
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    file = MutatedPath(bytes(changed))
    try:
        files = ArchiveFiles(file)  # type: ignore[arg-type]
        for name in files.sizes:
            files.read(name, 1000)
    except (ModelError, ValueError, OSError):
        return


class MutatedPath(io.BytesIO):
    """Bytes that zipfile opens, with the one question a path is asked."""

    def stat(self):
        return type("Status", (), {"st_size": len(self.getvalue())})
