"""A child process that must not outlive its parent: a run of a study ends, keeping its weights, when the study dies."""

from __future__ import annotations

import _thread
import ctypes
import os
import signal
import sys
import threading
import time

VARIABLE = "SEMTUNE_PARENT"
"""Environment variable with the process id of the parent, set for a child that `end_with_parent` is for."""
POLL_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Interrupt this process when the parent named in the environment dies.

    On Linux the kernel does it (SIGINT; prctl(2)), elsewhere a thread that looks every half second. On Windows
    Ctrl-Break, which the parent sends, becomes an interruption too. The variable is taken out of the environment, as it
    is not meant for this process's own children. Raises KeyboardInterrupt where the parent is dead already.
    """
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        return
    parent = int(text)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a study in the background of a script: `nohup … &`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    else:
        threading.Thread(target=_interrupt_after, args=(parent,), name="semtune-parent", daemon=True).start()
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, signal.default_int_handler)
    if not _lives(parent):
        raise KeyboardInterrupt


def _interrupt_after(parent: int) -> None:
    """Interrupt the main thread once `parent` is gone."""
    while _lives(parent):
        time.sleep(POLL_SECONDS)
    _thread.interrupt_main()


def _lives(parent: int) -> bool:
    """Whether the parent process is alive. An orphan has another parent; on Windows it keeps the dead one's number."""
    if sys.platform != "win32":
        return os.getppid() == parent
    import psutil

    return psutil.pid_exists(parent)
