"""Folders that a user names for output."""

from __future__ import annotations

from pathlib import Path

from semtune.errors import OutputError


def check_writable(folder: Path) -> None:
    """Make `folder`. Raises OutputError when that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written ({error.strerror}); choose another folder with --out."
        ) from error
