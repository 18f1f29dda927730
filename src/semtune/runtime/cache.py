"""Where semtune keeps what it downloads, converts and measures once: $SEMTUNE_CACHE, else ~/.cache/semtune."""

from __future__ import annotations

import os
from pathlib import Path

from semtune.errors import OutputError


def cache_folder() -> Path:
    """The cache's root; it may not exist yet.

    Raises:
        OutputError: there is no home folder, or none of the user that "~name" names.
    """
    given = os.environ.get("SEMTUNE_CACHE") or "~/.cache/semtune"
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise OutputError(
            f'The cache folder "{given}" lies in a home folder that this machine does not know; set SEMTUNE_CACHE to '
            "a folder that you can write to."
        ) from error
