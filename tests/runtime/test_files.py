"""A file is the old one or the new one, never a part, and a folder that cannot be written is one clear sentence."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from semtune.errors import OutputError, PathError
from semtune.runtime import files


def test_every_form_writes_what_it_is_given(tmp_path: Path) -> None:
    files.write_text(tmp_path / "new" / "a.txt", "naïve\n", durable=True)
    files.write_bytes(tmp_path / "new" / "a.bin", b"\x00\xff")
    files.write_json(tmp_path / "new" / "a.json", {"ü": [1, None]})
    files.write_with(tmp_path / "new" / "a.own", lambda temporary: temporary.write_text("own"))
    assert (tmp_path / "new" / "a.txt").read_bytes() == "naïve\n".encode()
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "new" / "a.json").read_text(encoding="utf-8") == '{\n "ü": [\n  1,\n  null\n ]\n}\n'
    assert (tmp_path / "new" / "a.own").read_text() == "own"
    assert len(list((tmp_path / "new").iterdir())) == 4, "no temporary file is left"
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o644 for file in (tmp_path / "new").iterdir())


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), OSError("io"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "result.json"
    files.write_json(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        assert json.loads(path.read_text()) == "old"
        raise failure

    said = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else OutputError
    with pytest.raises(said) as caught:
        files.write_with(path, fail, advice="buy a disk")
    if said is OutputError:
        reason = getattr(failure, "strerror", None) or str(failure)
        assert str(caught.value) == f"{path} cannot be written ({reason}); buy a disk."
    assert json.loads(path.read_text()) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"a\.txt cannot be written \(.*\); choose a writable folder"):
        files.write_text(tmp_path / "file" / "a.txt", "x")


def test_two_writers_have_temporary_files_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def outer(temporary: Path) -> None:
        files.write_with(path, lambda other: (other.write_text("inner"), other != temporary or pytest.fail("shared")))
        assert path.read_text() == "inner"
        temporary.write_text("outer")

    files.write_with(path, outer)
    assert path.read_text() == "outer"


def test_windows_renames_again_while_somebody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virus scanner that opened the new file: the first renames are refused there."""
    refusals = iter([PermissionError(13, "in use")] * 3)
    rename = Path.replace

    def busy(source: Path, target: Path) -> Path:
        error = next(refusals, None)
        if error is not None:
            raise error
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(files, "RETRY_SECONDS", (0.0,) * 3)
    with pytest.raises(OutputError, match=r"cannot be written \(in use\)"):
        files.write_text(tmp_path / "result.json", "new")
    monkeypatch.setattr("sys.platform", "win32")
    refusals = iter([PermissionError(13, "in use")] * 3)
    files.write_text(tmp_path / "result.json", "new")
    assert (tmp_path / "result.json").read_text() == "new"
    refusals = iter([PermissionError(13, "in use")] * 9)
    with pytest.raises(OutputError, match="in use"):
        files.write_text(tmp_path / "result.json", "newer")
    assert (tmp_path / "result.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_what_is_flushed_is_open_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows' fsync refuses a descriptor that can only be read."""

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")

    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(os, "fsync", fsync)
    files.write_text(tmp_path / "result.json", "kept", durable=True)
    assert (tmp_path / "result.json").read_text() == "kept"


def test_a_home_that_nobody_knows_stays_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks there then says that there is no such file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expanded("~/data.csv") == tmp_path / "data.csv"
    assert files.expanded("~no-such-user-here/data.csv") == Path("~no-such-user-here/data.csv")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 256, r"256 bytes\); give a path"),
        ("\u00e9" * 128, "256 bytes"),
        ("a/" * 2100, "4,200 bytes"),
        ("x\0y", r'^"x\\x00y" cannot be a file or folder, as it holds a null character'),
        ("runs/l\udce9", r'^"l\\udce9" holds a byte that is not UTF-8'),
    ],
)
def test_impossible_paths_are_refused(name: str, message: str) -> None:
    for function in (files.check_path, files.expanded):
        with pytest.raises(PathError, match=message):
            function(name)


@pytest.mark.parametrize("name", ["", ".", "caf\u00e9/\u00fc", "x" * 255, "a\nb", "/tmp", "C:\\x"])
def test_possible_paths_are_not(name: str) -> None:
    files.check_path(name)


def test_a_deleted_working_directory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    files.check_working_folder()
    (tmp_path / "gone").rmdir()
    with pytest.raises(PathError, match="has been deleted; change to one"):
        files.check_working_folder()


def test_json_keeps_what_is_no_character(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"file": "l\udce9", "caf\u00e9": 1})
    assert "caf\u00e9" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert files.read_json(tmp_path / "x.json") == {"file": "l\udce9", "caf\u00e9": 1}
