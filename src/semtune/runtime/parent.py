"""A child process that must not outlive its parent: a run of a study ends, keeping its weights, when the study dies."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

VARIABLE = "SEMTUNE_PARENT"
"""Environment variable with the process id of the parent, set for a child that `end_with_parent` is for."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def can_end_with_parent() -> bool:
    """Whether the system can tell a child that its parent died: Linux."""
    return sys.platform.startswith("linux")


def end_with_parent() -> None:
    """Let the kernel interrupt this process (SIGINT) when the parent named in the environment dies; prctl(2).

    The variable is taken out of the environment, as it is not meant for this process's own children. Raises
    KeyboardInterrupt where the parent is dead already.
    """
    parent = os.environ.pop(VARIABLE, None)
    if parent is None or not can_end_with_parent():
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != int(parent):
        raise KeyboardInterrupt
