"""Large pages for all that this process allocates, where Linux gives them on request alone.

glibc asks for them with its tunable `glibc.malloc.hugetlb=1`, which it reads when a process starts: so the command line
starts itself again with it. A LoRA step in fp32 takes a tenth less time then, most of all on virtual machines, where
each small page is looked up twice; memory is the same (docs/LOG.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

VARIABLE = "GLIBC_TUNABLES"
TUNABLE = "glibc.malloc.hugetlb"
COMMANDS = frozenset({"tune", "study", "predict", "plan"})
"""Those that run a model, or measure how fast this machine is."""
_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_SINCE = (2, 35)
"""The version of glibc that has the tunable."""


def restart_with_large_pages(arguments: Sequence[str]) -> None:
    """Start this program again with the tunable set, where that does something for the command `arguments`.

    Does not return then; the new program is the same process. A user who has set the tunable decides, and a program
    that calls semtune's within its own process is not started again.
    """
    is_own = sys.orig_argv[len(sys.orig_argv) - len(arguments) :] == list(arguments)
    if not is_own or not wanted(arguments, os.environ, mode=_read(_MODE), libc=_libc()):
        return
    given = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = f"{given}:{TUNABLE}=1" if given else f"{TUNABLE}=1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def wanted(arguments: Sequence[str], environment: Mapping[str, str], *, mode: str, libc: str) -> bool:
    """Whether to restart.

    Args:
        mode: the kernel's modes, the present one in brackets: "always [madvise] never".
        libc: name and version of the C library, as "glibc 2.36".
    """
    name, _, version = libc.partition(" ")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return (
        bool(COMMANDS & set(arguments[:1]))
        and "[madvise]" in mode
        and TUNABLE not in environment.get(VARIABLE, "")
        and name == "glibc"
        and numbers >= _SINCE
        and bool(sys.executable)
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


def _libc() -> str:
    if sys.platform != "linux":
        return ""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):  # another C library
        return ""
