"""A model on the Hugging Face hub, by its id. Only safetensors, JSON and tokenizer files are downloaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semtune.contracts import Located, SourceOptions
from semtune.errors import ModelError, first_line
from semtune.models.quiet import quiet
from semtune.models.sources.base import Source, read_config
from semtune.models.sources.folder import FolderSource
from semtune.models.sources.published import PUBLISHED, shape_config
from semtune.runtime.cache import cache_folder

_ALLOWED = ["*.safetensors", "*.json", "tokenizer.model", "*.txt", "*.jinja"]
_TOKENIZER = ["tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "config.json"]
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_IGNORED = ["original/*", "onnx/*", "consolidated*"]


class HubSource(Source):
    """`reference` is "owner/name". $HF_HUB_OFFLINE, $HF_TOKEN and the hub's own cache are honoured."""

    has_revisions = True

    def __init__(self, reference: str, options: SourceOptions) -> None:
        self._id = reference
        self._options = options

    @classmethod
    def claims(cls, name: str) -> str | None:
        """Anything of the form owner/name. A source of local files that stands before this one has been asked."""
        return name if _ID.fullmatch(name) else None

    def locate(self) -> Located:
        """Raises ModelError: not found, gated, offline, or what `FolderSource` says about the downloaded folder."""
        folder = self._download(_ALLOWED)
        located = FolderSource(str(folder), self._options).locate()
        commit = folder.name if folder.parent.name == "snapshots" else self._options.revision  # the hub's cache layout
        return replace(located, identity=replace(located.identity, revision=commit))

    def config(self) -> Any:
        """transformers' config, without weights or tokenizer; the one semtune ships where the hub gives none.

        Raises ModelError.
        """
        try:
            return read_config(self._download(["config.json"]), trust_remote_code=self._options.trust_remote_code)
        except ModelError:
            if self._id not in PUBLISHED:
                raise
            return shape_config(PUBLISHED[self._id])

    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer's files, without weights. Raises ModelError."""
        return self._download(_TOKENIZER)

    def _download(self, patterns: Sequence[str]) -> Path:
        import huggingface_hub
        from huggingface_hub import errors

        allowed = [*patterns, "*.py"] if self._options.trust_remote_code else list(patterns)
        revision = self._options.revision
        # What the hub's HTTP library raises when a connection breaks; which library that is differs between versions.
        transport_error: type[Exception] = getattr(errors, "HTTPError", errors.HfHubHTTPError)
        try:
            with quiet():
                return Path(
                    huggingface_hub.snapshot_download(
                        self._id, revision=revision, allow_patterns=allowed, ignore_patterns=_IGNORED, **_place()
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
            raise ModelError(
                f"{self._id} could not be downloaded from the hub ({first_line(error)}); try again."
            ) from error


def _place() -> dict[str, Any]:
    """Arguments that say where downloads go: the hub's own cache, or semtune's where the system knows no home folder.

    Raises OutputError where semtune's would lie in that home too.
    """
    from huggingface_hub import constants

    homeless = str(constants.HF_HUB_CACHE).startswith("~")  # it would become a folder called "~"
    return {"cache_dir": cache_folder() / "hub"} if homeless else {}
