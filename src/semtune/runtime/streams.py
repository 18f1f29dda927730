"""Standard output and error that cannot end a command: closed, full, or in an encoding that lacks a character.

What a command computes is in files before it is printed. Progress and messages on standard error are a help, never a
reason to lose a run: a full disk under a log file, or a reader that went away, is ignored. Standard output is the
result of some commands, so a failure there is reported at the end (`output_failure`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO, cast

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters but tab and line feed: they move a terminal's cursor, colour it, or worse."""

_LINE_OR_CELL_END = re.compile(r"[\t\n\u2028\u2029]")


class ForgivingStream:
    """A text stream whose failures to write raise nothing; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        """The first failure of the system to take what was written."""

    def write(self, text: str) -> int:
        """Write what can be written. Returns the length of `text`."""
        try:
            self._stream.write(text)
        except OSError as error:
            self.failure = self.failure or error
        except ValueError:  # it is closed, or its encoding lacks a character
            pass
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what can be flushed."""
        try:
            self._stream.flush()
        except OSError as error:
            self.failure = self.failure or error
        except ValueError:
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forgiving(stream: TextIO | None) -> TextIO:
    """`stream`, whose failures are ignored from now on; None (a process without it) discards all."""
    if stream is None:
        stream = _null_device()
    return stream if isinstance(stream, ForgivingStream) else cast("TextIO", ForgivingStream(stream))


def prepare_streams() -> None:
    """Make the standard streams of this process safe to write to; called once, before anything is printed.

    A character that the encoding lacks is written as \\xe9 or \\u2013. A closed descriptor 0, 1 or 2 becomes the null
    device: the next file opened would else take its number, and get what libraries print.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = forgiving(sys.stdout), forgiving(sys.stderr)


def output_failure() -> OSError | None:
    """Write out what waits for standard output; what failed, now or before, and nothing waits any more then."""
    sys.stdout.flush()
    failure: OSError | None = getattr(sys.stdout, "failure", None)
    if failure is not None:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return failure


def json_line(value: Any) -> str:
    """`value` as JSON on one line, in characters that standard output's encoding has."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("_", "-")
    text = json.dumps(value, ensure_ascii=encoding not in ("utf-8", "utf8"))
    # Many readers end a line at these too; JSON allows them inside strings, and also their escapes.
    for mark in ("\u0085", "\u2028", "\u2029"):
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def printable(text: str) -> str:
    """`text` for a terminal or a log: control characters are spelt out, such as \\x1b."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


def on_one_line(text: str) -> str:
    """`text` as `printable` gives it, with tabs and line ends spelt out too: a cell of a line."""
    return _LINE_OR_CELL_END.sub(lambda found: ascii(found.group())[1:-1], printable(text))


def _null_device() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
