"""`python -m semtune` is `semtune`."""

import os
import sys
from contextlib import suppress

# Python puts the working directory first among the places it imports from; modules that happen to lie there are not
# ours.
with suppress(OSError):
    if not sys.flags.safe_path and sys.path and sys.path[0] == os.getcwd():  # noqa: PTH109
        del sys.path[0]

from semtune.cli import main
from semtune.runtime.large_pages import restart_with_large_pages


def start() -> None:
    """The command `semtune`."""
    restart_with_large_pages(sys.argv[1:])
    main()


if __name__ == "__main__":
    start()
