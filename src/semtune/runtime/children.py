"""Child processes on Linux, macOS and Windows: how they are started and interrupted, and what their exit status means.

A child has a process group of its own. Ctrl-C on the terminal then reaches the parent alone, which interrupts each
child exactly once: a second signal would disturb a child that is saving its weights. `runtime.parent` is the child's
side.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

PYTHON = (sys.executable, "-P")
"""Start of a child's command line. Without -P `python -m` imports from the working directory first, and a `yaml.py` of
the user's would run there. PYTHONPATH and installed packages count as in this process."""

_CREATE_NEW_PROCESS_GROUP = 0x00000200
_CTRL_BREAK_EVENT = 1
"""Windows' constants (winbase.h, wincon.h); Python's modules have them on Windows only."""

Ending = Literal["interrupted", "killed"]
_POSIX_ENDINGS: dict[int, Ending] = {130: "interrupted", -2: "interrupted", -9: "killed"}
"""Exit status, or minus the signal that ended the process (SIGINT 2, SIGKILL 9), -> what happened."""
_WINDOWS_ENDINGS: dict[int, Ending] = {
    130: "interrupted",
    0xC000013A: "interrupted",  # STATUS_CONTROL_C_EXIT
    0xC0000017: "killed",  # STATUS_NO_MEMORY
    0xC000009A: "killed",  # STATUS_INSUFFICIENT_RESOURCES
    0xC000012D: "killed",  # STATUS_COMMITMENT_LIMIT
}
"""Exit status -> what happened; the codes are those of ntstatus.h."""


def child_environment(**variables: str) -> dict[str, str]:
    """This process's environment with `variables`, for a child that imports the same semtune and nothing by accident.

    An empty entry of PYTHONPATH means the working directory and is left out.
    """
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    own = str(Path(__file__).parents[2])
    if own not in sys.path and own not in paths:  # `python -m semtune` in its source folder
        paths.append(own)
    environment = {**os.environ, **variables}
    environment.pop("PYTHONPATH", None)
    return environment | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


def run_module(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run `python -m` with `arguments`, a module's name and its own, to its end; it has no standard input."""
    return subprocess.run(
        [*PYTHON, "-m", *arguments],
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",  # a console program of Windows writes in its own code page
        check=False,
    )


def group_options() -> dict[str, Any]:
    """Arguments of `subprocess.Popen` that give a child a process group of its own."""
    return {"creationflags": _CREATE_NEW_PROCESS_GROUP} if sys.platform == "win32" else {"process_group": 0}


def interrupt(process: subprocess.Popen[Any]) -> None:
    """Interrupt a child that is still running, as Ctrl-C would; it then keeps its weights and ends."""
    if process.poll() is None:
        # A process group of its own gets no Ctrl-C on Windows, but Ctrl-Break; `end_with_parent` makes them the same.
        process.send_signal(_CTRL_BREAK_EVENT if sys.platform == "win32" else signal.SIGINT)


def ending_of(status: int) -> Ending | None:
    """What an exit status says: the user interrupted the child, or the system killed it, as where memory runs out."""
    return (_WINDOWS_ENDINGS if sys.platform == "win32" else _POSIX_ENDINGS).get(status)
