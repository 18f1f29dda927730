"""Ctrl-C while modules are imported: it takes effect between two imports, not within one.

An exception in the middle of an import is swallowed by some libraries, turned into ImportError or SystemError by the C
code of others, and printed as "Exception ignored in …" by Python itself. Importing torch and transformers takes
seconds.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import NoReturn

_RETRY_SECONDS = 0.05
_JOIN_SECONDS = 1.0
_IMPORT_MACHINERY = "<frozen importlib._bootstrap>"


class _Handler:
    """Handler of SIGINT: raises KeyboardInterrupt, after the import that is under way; a second Ctrl-C at once."""

    def __init__(self) -> None:
        self.raised = False
        """Whether one has been raised in this process."""
        self._waiting = False
        self._repeated = False
        """Whether the next signal is our own repetition."""
        self._timer: threading.Timer | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        ours, self._repeated = self._repeated, False
        if ours and not self._waiting:
            return  # what it repeats was raised after the timer had looked
        if (ours or not self._waiting) and _importing(frame):
            self._waiting = True
            self._timer = threading.Timer(_RETRY_SECONDS, self._repeat)
            self._timer.daemon = True
            self._timer.start()
            return
        self._raise()

    def raise_pending(self) -> None:
        """Raise KeyboardInterrupt where one waits."""
        if self._waiting:
            self._raise()

    def _raise(self) -> NoReturn:
        """Raise KeyboardInterrupt, once no repetition can follow.

        A signal that the timer sends while Python shuts down would end the process without its exit status, as Python
        has taken the handler away by then.
        """
        self._waiting, self.raised = False, True
        timer, self._timer = self._timer, None
        if timer is not None and timer.ident is not None:
            timer.cancel()
            timer.join(_JOIN_SECONDS)
        raise KeyboardInterrupt

    def _repeat(self) -> None:
        if self._waiting:
            self._repeated = True
            signal.raise_signal(signal.SIGINT)


def interrupt_between_imports() -> None:
    """Install the handler in this process, unless it ignores SIGINT or handles it in a way of its own."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Handler())


def raise_pending() -> None:
    """Raise KeyboardInterrupt now where one waits for the end of an import; called after imports, outside of any."""
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, _Handler):
        handler.raise_pending()


def is_interruption(error: BaseException) -> bool:
    """Whether `error` is an interruption by the user, or what a library made of one.

    pydantic, whose core is no Python, leaves nothing of one but its name within the message of its own error.
    """
    handler = signal.getsignal(signal.SIGINT)
    raised = isinstance(handler, _Handler) and handler.raised
    visited: set[int] = set()  # causes can form a circle
    current: BaseException | None = error
    while current is not None and id(current) not in visited:
        if isinstance(current, KeyboardInterrupt) or (raised and KeyboardInterrupt.__name__ in str(current)):
            return True
        visited.add(id(current))
        current = current.__cause__ or current.__context__
    return False


def _importing(frame: FrameType | None) -> bool:
    """Whether `frame` runs within an import."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT_MACHINERY:
            return True
        frame = frame.f_back
    return False
