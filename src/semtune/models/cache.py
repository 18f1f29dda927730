"""Folders of the local cache that appear whole or not at all.

Two processes may build the same entry at once: each builds in a folder of its own, and the first rename wins.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from semtune.errors import OutputError
from semtune.runtime.cache import cache_folder
from semtune.runtime.files import replace


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A temporary folder on the cache's own disk, so that its content can be renamed into the cache.

    Raises:
        OutputError: the cache cannot be written.
    """
    root = cache_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="building-", dir=root, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(
            f"The cache folder {root} cannot be written ({error.strerror}); point SEMTUNE_CACHE at one that can."
        ) from error


def cached(entry: str, build: Callable[[Path], None]) -> Path:
    """The cache's folder `entry` (a relative path), built by `build(empty_folder)` if it is not there yet.

    Raises:
        OutputError: the cache cannot be written.
    """
    final = cache_folder() / entry
    if final.is_dir():
        return final
    with scratch_folder() as scratch:
        building = Path(scratch) / "entry"
        building.mkdir()
        build(building)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            replace(building, final)
        except OSError:
            if not final.is_dir():  # not: another process was first
                raise
            shutil.rmtree(building, ignore_errors=True)
    return final
