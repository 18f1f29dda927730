"""A folder in transformers' format: config.json, *.safetensors, tokenizer files. Pickle files are never opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semtune.contracts import Located, ModelIdentity, SourceOptions
from semtune.errors import ModelError
from semtune.models.checkpoint_conversion import ConvertedStream
from semtune.models.fingerprint import fingerprint
from semtune.models.safetensors_stream import SafetensorsStream, find_files
from semtune.models.sources.base import Source, read_config
from semtune.runtime.files import expanded

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


class FolderSource(Source):
    """`reference` is the folder's path."""

    @classmethod
    def claims(cls, name: str) -> str | None:
        """The path of a folder that exists. Raises ModelError where it is a file."""
        path = expanded(name)
        if path.is_dir():
            return str(path)
        if path.exists():
            raise ModelError(
                f'"{name}" is a file but not a .gguf file; give the folder that holds config.json instead.'
            )
        return None

    def __init__(self, reference: str, options: SourceOptions) -> None:
        self._folder = Path(reference)
        self._options = options

    def locate(self) -> Located:
        """Raises ModelError: see `read_config`, `find_files` and `SafetensorsStream`; or there is no tokenizer."""
        config, tokenizer = self.config(), self.tokenizer_folder()
        files = find_files(self._folder)
        stream = SafetensorsStream(files)
        return Located(
            config=config,
            tokenizer_folder=tokenizer,
            weights=lambda model: ConvertedStream(stream, model),
            identity=ModelIdentity(digests=fingerprint(self._folder, files)),
        )

    def config(self) -> Any:
        """transformers' config, without a look at the weights. Raises ModelError: see `read_config`."""
        return read_config(self._folder, trust_remote_code=self._options.trust_remote_code)

    def tokenizer_folder(self) -> Path:
        """Raises ModelError where there is no tokenizer."""
        if not any((self._folder / name).is_file() for name in _TOKENIZER_FILES):
            raise ModelError(
                f"{self._folder} holds no tokenizer ({', '.join(_TOKENIZER_FILES)}); save the model's tokenizer there."
            )
        return self._folder
