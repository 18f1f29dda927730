"""The version of the compiled loops: a digest of their C sources, built into the library and compared at loading.

`setup.py` runs this file by its path, so it imports nothing but the standard library.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

VERSION_SYMBOL = "semtune_sources"
"""Name of the library's function that returns `sources_digest` of the sources that it was built from, as a C string."""


def sources_digest(folder: Path | None = None) -> str:
    """The sha256, in hexadecimal, of the names and bytes of all C sources and headers in `folder`, this one by default.

    "" where there are none, as in an installation that came without them.
    """
    files = sorted(p for p in (folder or Path(__file__).parent).iterdir() if p.suffix in (".c", ".h"))
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest() if files else ""
