"""A model on the Hugging Face hub, by its id. Only safetensors, JSON and tokenizer files are downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semtune.errors import ModelError
from semtune.models.quiet import quiet
from semtune.models.sources.base import Located, SourceOptions, read_config
from semtune.models.sources.folder import FolderSource

_ALLOWED = ["*.safetensors", "*.json", "tokenizer.model", "*.txt", "*.jinja"]
_TOKENIZER = ["tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "config.json"]
_IGNORED = ["original/*", "onnx/*", "consolidated*"]


class HubSource:
    """`reference` is "owner/name". $HF_HUB_OFFLINE, $HF_TOKEN and the hub's own cache are honoured."""

    def __init__(self, reference: str, options: SourceOptions) -> None:
        self._id = reference
        self._options = options

    def locate(self) -> Located:
        """Raises ModelError: not found, gated, offline, or what `FolderSource` says about the downloaded folder."""
        return FolderSource(str(self._download(_ALLOWED)), self._options).locate()

    def config(self) -> Any:
        """transformers' config, without weights or tokenizer. Raises ModelError."""
        return read_config(self._download(["config.json"]), trust_remote_code=self._options.trust_remote_code)

    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer's files, without weights. Raises ModelError."""
        return self._download(_TOKENIZER)

    def _download(self, wanted: Sequence[str]) -> Path:
        import huggingface_hub
        from huggingface_hub import errors

        allowed = [*wanted, "*.py"] if self._options.trust_remote_code else list(wanted)
        revision = self._options.revision
        # What the hub's HTTP library raises when a connection breaks; which library that is differs between versions.
        transport_error: type[Exception] = getattr(errors, "HTTPError", errors.HfHubHTTPError)
        try:
            with quiet():
                return Path(
                    huggingface_hub.snapshot_download(
                        self._id, revision=revision, allow_patterns=allowed, ignore_patterns=_IGNORED
                    )
                )
        except errors.GatedRepoError as error:
            raise ModelError(
                f"{self._id} is gated: accept its licence on the hub, then log in with `hf auth login`."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise ModelError(f'{self._id} has no revision "{revision}" on the hub; check the name.') from error
        except errors.RepositoryNotFoundError as error:
            raise ModelError(
                f"There is no model {self._id} on the hub, or it is private; check the id or log in (`hf auth login`)."
            ) from error
        except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
            raise ModelError(
                f"{self._id} is not in the local hub cache and the hub cannot be reached (offline?); connect once, or "
                "give a folder or a .gguf file instead."
            ) from error
        except (transport_error, errors.HFValidationError, OSError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(f"{self._id} could not be downloaded from the hub ({reason}); try again.") from error
