"""A GGUF file (llama.cpp's format), dequantised once into the local cache as safetensors.

The cache is keyed by the file's sha256. The conversion holds the file's vocabulary as Python objects, and where
transformers reads the weights the whole model in fp32, so it runs in a process of its own: that memory must not stay
in, or be measured as, this process's memory.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from semtune.contracts import Located, ModelIdentity, SourceOptions
from semtune.errors import ModelError, first_line
from semtune.models.cache import cached
from semtune.models.gguf_convert import CONVERSION_FILE
from semtune.models.gguf_weights import LAYOUTS, architecture_of
from semtune.models.quiet import quiet
from semtune.models.sources.base import Source
from semtune.models.sources.folder import FolderSource
from semtune.runtime.cache import cache_folder
from semtune.runtime.children import run_module
from semtune.runtime.files import expanded, read_json

_NOTE = "the weights were dequantised from a GGUF file"
_LAYOUT = "v1"
"""Changes when `gguf_convert` writes something else, so that old cache entries are not read."""
_STREAM_BYTES, _TOKEN_BYTES = 404_000_000, 2_125
"""Peak memory of the streamed conversion: a constant, and bytes per token of the vocabulary. The weights do not count.
Fitted to vocabularies of 49,152 and 262,144 tokens (peaks of 0.51 and 0.96 GB)."""
_CONVERTER_BYTES, _CONVERSION_SHARE = 614_000_000, 1.16
"""Peak memory of transformers' conversion: a constant, and bytes per byte of the fp32 model. Fitted to models of
135, 347 and 878 million parameters (peaks of 1.24, 2.22 and 4.70 GB, within 1%)."""


class GgufSource(Source):
    """`reference` is the file's path."""

    def __init__(self, reference: str, options: SourceOptions) -> None:
        self._file = Path(reference)
        self._options = options

    @classmethod
    def claims(cls, name: str) -> str | None:
        """The path of a file that ends in .gguf. Raises ModelError where there is no such file."""
        if not name.lower().endswith(".gguf"):
            return None
        path = expanded(name)
        if not path.is_file():
            raise ModelError(f'There is no GGUF file at "{name}"; check the path.')
        return str(path)

    def locate(self) -> Located:
        """Raises ModelError: the file is corrupt, truncated, or of an architecture that cannot be converted."""
        located = FolderSource(str(converted_folder(self._file)), self._options).locate()
        identity = ModelIdentity(digests={"weights": _digest(self._file)})
        notes = (*located.notes, *conversion_notes(located.tokenizer_folder), _NOTE)
        return replace(located, identity=identity, notes=notes)

    def config(self) -> Any:
        """transformers' config; nothing is converted for it. Raises ModelError."""
        folder = cached_folder(_digest(self._file))
        if folder.is_dir():
            return FolderSource(str(folder), self._options).config()
        from transformers import AutoConfig

        try:
            with quiet():
                return AutoConfig.from_pretrained(
                    str(self._file.parent), gguf_file=self._file.name, trust_remote_code=False
                )
        except Exception as error:  # a corrupt file can fail anywhere in two foreign libraries
            raise _unreadable(self._file, error) from error

    def tokenizer_folder(self) -> Path:
        """The folder of the converted model. Raises ModelError where it has not been converted."""
        folder = cached_folder(_digest(self._file))
        if not folder.is_dir():
            raise ModelError(f"{self._file.name} has not been converted yet.")
        return FolderSource(str(folder), self._options).tokenizer_folder()

    def conversion_bytes(self) -> int:
        """Estimated peak bytes of the converting process; 0: it is converted already. Raises ModelError."""
        if cached_folder(_digest(self._file)).is_dir():
            return 0
        from semtune.models.gguf_reader import Reader

        try:
            reader = Reader(str(self._file))
            tokens = reader.get_field("tokenizer.ggml.tokens")
            numbers = sum(int(tensor.n_elements) for tensor in reader.tensors)
        except Exception as error:
            raise _unreadable(self._file, error) from error
        if architecture_of(reader) in LAYOUTS:
            return _STREAM_BYTES + _TOKEN_BYTES * (0 if tokens is None else len(tokens.data))
        return _CONVERTER_BYTES + round(_CONVERSION_SHARE * 4 * numbers)

    def stored_dtype(self, config: Any) -> torch.dtype:
        """fp32, which `gguf_convert` writes whatever the config says."""
        return torch.float32


def cached_folder(sha256: str) -> Path:
    """The cache folder for the converted GGUF file with this digest; it may not exist yet."""
    return cache_folder() / _entry(sha256)


def conversion_notes(folder: Path) -> tuple[str, ...]:
    """What there is to say about the conversion that wrote `folder`."""
    file = folder / CONVERSION_FILE
    return tuple(read_json(file)["notes"]) if file.is_file() else ()


def converted_folder(file: Path) -> Path:
    """The folder in transformers' format that `file` was converted to, now or earlier. Raises ModelError."""
    return cached(_entry(_digest(file)), lambda folder: _convert(file, folder))


def _digest(file: Path) -> str:
    """sha256. Raises ModelError: it cannot be read, or is no GGUF file."""
    try:
        state = file.stat()
        magic, digest = _read(file, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise ModelError(f"The GGUF file {file} cannot be read ({error.strerror}); check the path.") from error
    if magic != b"GGUF":
        raise ModelError(f"{file.name} is not a GGUF file; check the path or download it again.")
    return digest


@functools.lru_cache(maxsize=8)
def _read(file: Path, modified_ns: int, size: int) -> tuple[bytes, str]:
    """The first four bytes and the sha256; once for each state of the file, as that takes seconds a gigabyte."""
    with file.open("rb") as handle:
        magic = handle.read(4)
        handle.seek(0)
        return magic, hashlib.file_digest(handle, "sha256").hexdigest()


def _entry(sha256: str) -> str:
    return f"gguf/{_LAYOUT}-{sha256[:32]}"


def _convert(file: Path, folder: Path) -> None:
    command = ["semtune.models.gguf_convert", str(file.absolute()), str(folder.absolute())]
    done = run_module(command)
    if done.returncode == 0:
        return
    try:
        reason = json.loads(done.stdout.strip().splitlines()[-1])["error"]
    except (IndexError, ValueError, KeyError, TypeError):
        reason = f"the conversion ended with status {done.returncode}; is there enough memory?"
    raise _unreadable(file, reason)


def _unreadable(file: Path, why: object) -> ModelError:
    return ModelError(
        f"{file.name} could not be read as a model ({first_line(why)}); download it again, or give another model."
    )
