"""A run folder made ready for a new run. What an earlier run has trained stays until the new run has ended well.

Where the folder holds a fitted state, the new run writes to `successor/` within it, a run folder of its own. Once it
has ended well:

    successor/ -> accepted/     one rename: from here on the new run is what `RunFolder.current` reads
    the former run's files      are removed
    accepted/*                  are linked (or copied) into the folder; accepted/ stays whole until all are there
    accepted/ -> discarded/     one rename; then it is removed

A process that is killed in between leaves a folder that reads as the old run before the first rename and as the new one
after it; `settle` finishes the rest before the next run. A successor that did not end well stays beside the old run.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
from pathlib import Path

from semtune.errors import OutputError
from semtune.runs.folder import ACCEPTED, DATA, RunFolder
from semtune.runs.lock import HOLDER, LOCK
from semtune.runtime import files
from semtune.specs import check_writable

SUCCESSOR, DISCARDED = "successor", "discarded"
_NOT_A_RUNS = (DATA, LOCK, HOLDER)
"""Names in a run folder that no run wrote."""
logger = logging.getLogger(__name__)


def check_out(path: Path, *, overwrite: bool) -> None:
    """Whether a run may write to `path`. Nothing is made or changed.

    Raises OutputError: it is a file, holds something else than a run, or holds a fitted approach (finished, or of a
    run that was killed) and `overwrite` is False. PathError: no folder can have that name.
    """
    files.check_path(path.absolute())
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; choose a folder with --out.")
    try:
        occupied = path.is_dir() and any(child.name not in _NOT_A_RUNS for child in path.iterdir())
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror}); choose another folder with --out.") from error
    current = RunFolder.current(path)
    if occupied and not current.spec.exists():
        raise OutputError(f"{path} holds files that are not a run; choose an empty folder with --out.")
    if current.kept() is not None and not overwrite:
        raise OutputError(f"{path} holds {_ended(current)}; choose another --out, or replace it with --overwrite.")


def _ended(run: RunFolder) -> str:
    """What a folder with a fitted state holds, in words."""
    try:
        status = str(files.read_json(run.result)["status"])
    except FileNotFoundError:
        return "what a run had trained when it was cut off"
    except (OSError, ValueError, KeyError, TypeError):
        status = "ok"
    how = {"ok": "a finished run", "interrupted": "a run that was interrupted, with what it had trained"}
    return how.get(status, "a run that did not end well, with what it had trained")


def begin(path: Path, *, overwrite: bool) -> RunFolder:
    """The folder for a new run: `path` itself, or its successor where `path` holds a fitted state.

    The caller holds the lock of `path`. Raises OutputError, as `check_out`, or where `path` cannot be written.
    """
    check_out(path, overwrite=overwrite)
    try:
        check_writable(path)
        settle(path)
        if RunFolder(path).kept() is None:
            _clear(path)
            return RunFolder(path)
        return _new_successor(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another folder with --out.") from error


def accept(folder: RunFolder) -> None:
    """Let a run that ended well replace the run that it is the successor of, if it is one. Raises OutputError."""
    home = folder.replaces
    if home is None:
        return
    try:
        files.replace(folder.path, home / ACCEPTED)
    except OSError as error:
        raise OutputError(
            f"The new run is whole in {folder.path}, but could not replace the one in {home} ({error.strerror})."
        ) from error
    try:
        settle(home)
    except OSError:
        logger.warning("The new run stays in %s for now", home / ACCEPTED, exc_info=True)


def settle(path: Path) -> None:
    """Finish a replacement that was cut off. The caller holds the lock of `path`. Raises OSError."""
    accepted, discarded = path / ACCEPTED, path / DISCARDED
    if RunFolder(accepted).spec.exists():
        _clear(path)
        for item in accepted.iterdir():
            _place(item, path / item.name)
        shutil.rmtree(discarded, ignore_errors=True)
        files.replace(accepted, discarded)
    shutil.rmtree(discarded, ignore_errors=True)


def run_folders(path: Path) -> list[RunFolder]:
    """Every run in the folder `path`, what `RunFolder.current` reads first, then its successors."""
    return [RunFolder.current(path), *map(RunFolder, _successors(path))]


def _successors(path: Path) -> list[Path]:
    """The folders of the successors: successor, successor-2, …"""
    numbered = (path / (SUCCESSOR if number == 1 else f"{SUCCESSOR}-{number}") for number in itertools.count(1))
    return list(itertools.takewhile(Path.is_dir, numbered))


def _new_successor(path: Path) -> RunFolder:
    """A new folder for a successor. One that failed without anything trained gives its place to it."""
    present = _successors(path)
    last = RunFolder(present[-1]) if present else None
    if last is not None and last.kept() is None:
        shutil.rmtree(last.path)
        present.pop()
    number = len(present) + 1
    folder = RunFolder(path / (SUCCESSOR if number == 1 else f"{SUCCESSOR}-{number}"), replaces=path)
    folder.path.mkdir()
    return folder


def _clear(path: Path) -> None:
    """Remove what runs wrote, and nothing else."""
    own = RunFolder(path)
    for file in (own.spec, own.environment, own.labels, own.metrics, own.result, own.transcripts):
        file.unlink(missing_ok=True)
    for file in path.glob("predictions-*.json"):
        file.unlink()
    for folder in (own.best.parent, own.adapter, own.fitted, *_successors(path)):
        if folder.exists():
            shutil.rmtree(folder)


def _place(source: Path, target: Path) -> None:
    """Give `target` the content of `source`, by hard links where the file system has them; `source` stays."""
    if source.is_dir():
        target.mkdir(exist_ok=True)
        for item in source.iterdir():
            _place(item, target / item.name)
        return
    target.unlink(missing_ok=True)
    with contextlib.suppress(OSError, NotImplementedError):
        os.link(source, target)
        return
    shutil.copy2(source, target)
