"""Digests of whole files, which of large ones are remembered in the cache folder until the file is written again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from semtune.errors import SemtuneError
from semtune.runtime import files
from semtune.runtime.cache import cache_folder

REMEMBERED_BYTES = 64 << 20
"""Digests of files from this size on are remembered."""
SETTLED_SECONDS = 2.0
"""A file that was written less than so long ago may be written again without another time."""
_FOLDER = "digests"


def file_digest(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits. Raises OSError."""
    state = _state(file)
    if state[0] < REMEMBERED_BYTES:
        return _digest(file)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, SemtuneError):
        kept = files.read_json(_entry(file))
        if kept["state"] == state:
            return str(kept["sha256"])
    found = _digest(file)
    settled = max(state[1:3]) < time.time_ns() - SETTLED_SECONDS * 1e9
    if settled and _state(file) == state:
        with contextlib.suppress(SemtuneError):  # the cache cannot be written: the file is read again next time
            files.write_json(_entry(file), {"state": state, "sha256": found})
    return found


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _state(file: Path) -> list[int]:
    """What changes when a file is written, even where somebody resets the time of its content."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _entry(file: Path) -> Path:
    """Where the digest of the file at this path is kept. Raises OutputError."""
    name = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()
    return cache_folder() / _FOLDER / f"{name[:32]}.json"
