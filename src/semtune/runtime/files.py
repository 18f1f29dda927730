"""Writing a file whole or not at all: a temporary file in the same folder takes the place of the old one.

A reader, or a run that is killed, sees the old content or the new, never a part. Two processes that write the same file
have temporary files of their own; the last one to finish wins.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semtune.errors import OutputError, first_line

ADVICE = "choose a writable folder with enough space"


def write_text(path: Path, text: str, *, advice: str = ADVICE, durable: bool = False) -> None:
    """Write `text` in UTF-8. Arguments and errors: see `write_with`."""
    write_bytes(path, text.encode("utf-8"), advice=advice, durable=durable)


def write_bytes(path: Path, content: bytes, *, advice: str = ADVICE, durable: bool = False) -> None:
    """Write `content`. Arguments and errors: see `write_with`."""
    write_with(path, lambda temporary: temporary.write_bytes(content), advice=advice, durable=durable)


def write_json(path: Path, value: Any, *, indent: int | None = 1, advice: str = ADVICE, durable: bool = False) -> None:
    """Write `value` as JSON in UTF-8 with a final newline. Arguments and errors: see `write_with`."""
    text = json.dumps(value, ensure_ascii=False, indent=indent) + "\n"
    write_text(path, text, advice=advice, durable=durable)


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
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or first_line(error)}); {advice}.") from error


def _flush_to_disk(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
