"""The server's answers on disk, by the request: a run that is repeated or goes on pays for no answer twice.

A request's key is the SHA-256 of the server's URL, the interface and everything that is sent, which includes the model,
the text, the parameters and the seed, and neither the API key nor limits of asking. Answers stay until the folder is
removed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from semtune.runtime.cache import cache_folder
from semtune.runtime.files import read_json, write_json

FOLDER = "endpoint-answers"


class AnswerCache:
    """JSON values by key, one file each; safe for several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_user(cls) -> AnswerCache:
        """The one in the cache folder. Raises OutputError where there is no such folder."""
        return cls(cache_folder() / FOLDER)

    def get(self, key: str) -> dict[str, Any] | None:
        """What was put under `key`; None: nothing, or nothing that can be read."""
        try:
            value = read_json(self._file(key))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Keep `value` under `key`. Raises OutputError."""
        write_json(self._file(key), value, indent=None)

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


def key_of(url: str, path: str, body: dict[str, Any]) -> str:
    """64 hexadecimal digits that stand for a request."""
    text = json.dumps([url, path, body], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
