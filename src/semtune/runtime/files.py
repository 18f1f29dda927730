"""Reading the files that semtune writes, and writing a file whole or not at all.

A temporary file in the same folder takes the place of the old one.

A reader, or a run that is killed, sees the old content or the new, never a part. Two processes that write the same file
have temporary files of their own; the last one to finish wins.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semtune.errors import OutputError, PathError, first_line

RETRY_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)
"""Pauses between attempts to rename on Windows."""
NAME_BYTES, PATH_CHARACTERS = 255, 4095
"""The longest name of a file or folder, and the longest path, that file systems have."""
SHOWN_CHARACTERS = 60
ADVICE = "choose a writable folder with enough space"


def check_path(path: str | os.PathLike[str]) -> None:
    """Raises PathError for a path that no file system has, and for one that a record in UTF-8 cannot hold."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str):  # bytes, or no path at all
        kind = type(path).__name__
        raise PathError(f"A path is needed, but this is of the kind {kind}; give a text or a pathlib.Path.")
    for part in Path(text).parts:
        shown = repr(part[:SHOWN_CHARACTERS])[1:-1] + ("…" if part[SHOWN_CHARACTERS:] else "")
        if "\0" in part:
            raise PathError(f'"{shown}" cannot be a file or folder, as it holds a null character; give a path.')
        try:
            size = len(part.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise PathError(
                f'"{shown}" holds a byte that is not UTF-8, so that no record can name it; rename that file or folder.'
            ) from error
        if size > NAME_BYTES or len(text) > PATH_CHARACTERS:
            raise PathError(
                f'"{shown}" cannot be a file or folder, as its name is too long ({max(size, len(text)):,} bytes); give '
                "a path, not what a file holds."
            )


def check_working_folder() -> None:
    """Raises PathError where the working directory has been deleted."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise PathError("The working directory has been deleted; change to one that is there.") from error


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with "~" as the user's home folder; as it is where there is no such user, or the system knows no home.

    Raises PathError: see `check_path`.
    """
    check_path(path)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def no_file(path: Path) -> str:
    """The sentence about a file that is not there; of a relative path, with the folder that it was looked for in."""
    place = "" if path.is_absolute() else f" in {Path.cwd()}"
    return f"There is no file {path}{place}; check the path."


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without the byte-order mark that editors on Windows write.

    Raises OSError; ValueError for another encoding, with a message that says what to do, without a final stop.
    """
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is in UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not in UTF-8; save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises as `read_text` does; ValueError for what is no JSON, or too deep."""
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("lists or mappings stand too deep in each other") from error


def write_text(path: Path, text: str, *, advice: str = ADVICE, durable: bool = False) -> None:
    """Write `text` in UTF-8. Arguments and errors: see `write_with`."""
    write_bytes(path, text.encode("utf-8"), advice=advice, durable=durable)


def write_bytes(path: Path, content: bytes, *, advice: str = ADVICE, durable: bool = False) -> None:
    """Write `content`. Arguments and errors: see `write_with`."""
    write_with(path, lambda temporary: temporary.write_bytes(content), advice=advice, durable=durable)


def write_json(path: Path, value: Any, *, indent: int | None = 1, advice: str = ADVICE, durable: bool = False) -> None:
    """Write `value` as JSON in UTF-8 with a final newline. Arguments and errors: see `write_with`."""
    text = json.dumps(value, ensure_ascii=False, indent=indent) + "\n"
    # What is no character, such as a byte of a foreign file name, becomes JSON's own escape: nothing measured is lost.
    write_bytes(path, text.encode("utf-8", "backslashreplace"), advice=advice, durable=durable)


def write_with(path: Path, write: Callable[[Path], object], *, advice: str = ADVICE, durable: bool = False) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in `path`'s place, readable by all (0644).

    Args:
        write: receives the temporary file, which exists and is empty.
        advice: what the user can do where that fails, without a final stop.
        durable: wait until the disk has the content before the old file goes (fsync).

    Raises:
        OutputError: `write`, or anything around it, raised OSError. What was at `path` is still there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o644)  # mkstemp gives 0600
            if durable:
                _flush_to_disk(temporary)
            replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or first_line(error)}); {advice}.") from error


def replace(source: Path, target: Path) -> None:
    """Put the file or folder `source` in the place of `target`.

    Windows refuses while any process has either open without sharing it, as virus scanners and indexers do for an
    instant after a file was written. So there it is tried again for about a second. Raises OSError.
    """
    for wait in RETRY_SECONDS if sys.platform == "win32" else ():
        try:
            source.replace(target)
            return
        except PermissionError:
            time.sleep(wait)
    source.replace(target)


def _flush_to_disk(file: Path) -> None:
    with file.open("r+b") as handle:  # Windows refuses to flush what is open for reading alone
        os.fsync(handle.fileno())
