"""Downloads one published file into the local cache, checks its sha256 and writes it atomically."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from semtune.errors import DataError, OutputError
from semtune.runtime.files import write_bytes

TIMEOUT_SECONDS = 60.0
_ADVICE = "set SEMTUNE_CACHE to a folder that you can write to"


def fetch(url: str, sha256: str, path: Path, *, otherwise: str) -> Path:
    """`path`, downloaded from `url` unless it is already there with the right checksum.

    Args:
        otherwise: what the user can do without a network ("give the folder with --data-dir").

    Raises:
        DataError: no network, or a download whose sha256 differs (nothing is kept then).
        OutputError: the cache cannot be read or written.
    """
    try:
        if path.is_file() and _sha256(path.read_bytes()) == sha256:
            return path
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror or error}); {_ADVICE}.") from error
    content = _download(url, otherwise)
    found = _sha256(content)
    if found != sha256:
        raise DataError(
            f"The download of {url} is not the expected file (sha256 {found}, expected {sha256}); "
            f"try again, or {otherwise}."
        )
    write_bytes(path, content, advice=_ADVICE)
    return path


def _download(url: str, otherwise: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            content: bytes = response.read()
            return content
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{url} could not be downloaded ({reason}); check the network, or {otherwise}.") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
