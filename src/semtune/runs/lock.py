"""One process at a time writes to a folder: an operating-system lock, and a sentence about who holds it.

The kernel gives the lock back when its process ends, however it ends, so a stale lock file is simply taken over. On
a file system without such locks filelock falls back to a file with the holder's process id.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from semtune.errors import OutputError
from semtune.runtime.files import read_json

LOCK, HOLDER = ".lock", ".lock-holder.json"
"""The locked file, and the file that says who locked it: Windows lets nobody else read a locked file."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make `folder` and hold its lock; afterwards a folder that was made here and is empty is removed again.

    Raises OutputError: another process (or another thread of this one) holds it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        made = _make(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fall-back warns
            lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{folder} is in use by {_holder(folder)}; wait until that has ended, or choose another folder with --out."
        ) from error
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written ({error.strerror}); choose another folder with --out."
        ) from error
    try:
        _write_holder(folder)
        yield
    finally:
        _release(folder, lock)
        _remove_empty(made)


def _make(folder: Path) -> list[Path]:
    """Make `folder` with its parents; those that were missing, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):  # not empty, or removed by somebody else
        for folder in folders:
            folder.rmdir()


def _release(folder: Path, lock: object) -> None:
    """Remove the two files and give the lock back. POSIX unlinks a locked file, Windows only a released one."""
    for name in (HOLDER, LOCK):
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    lock.release()  # type: ignore[attr-defined]
    if os.name == "nt":
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()


def _write_holder(folder: Path) -> None:
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
    with contextlib.suppress(OSError):  # the lock holds without its sentence
        (folder / HOLDER).write_text(json.dumps(holder) + "\n", encoding="utf-8")


def _holder(folder: Path) -> str:
    """Who holds the lock, as far as the holder has written it down."""
    try:
        holder = read_json(folder / HOLDER)
        where = "this machine" if holder["host"] == socket.gethostname() else f"the machine {holder['host']}"
        return f"process {holder['pid']} on {where}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
