"""A digest of source files: the code that a compiled library, a remembered verdict or a result belongs to.

`setup.py` runs this file by its path, so it imports nothing but the standard library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

C_SUFFIXES = (".c", ".h")


def sources_digest(*folders: Path, suffixes: Collection[str] = (".py", *C_SUFFIXES)) -> str:
    """The sha256, in hexadecimal, of the names and bytes of all files in `folders` that end in one of `suffixes`.

    "" where there are none, as in an installation that came without them.
    """
    digest = hashlib.sha256()
    found = [(folder, file) for folder in folders for file in sorted(folder.rglob("*")) if file.suffix in suffixes]
    for folder, file in found:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest() if found else ""
