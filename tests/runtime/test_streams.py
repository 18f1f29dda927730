"""Writing to standard streams raises nothing, says what failed, and spells out what has no place there."""

from __future__ import annotations

import io
import json
import sys

import pytest

from semtune.runtime import streams


class Failing(io.StringIO):
    """A stream on a full disk."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_failures_are_kept_and_not_raised() -> None:
    stream = streams.forgiving(Failing())
    print("lost", file=stream, flush=True)
    stream.writelines(["a", "b"])
    assert isinstance(stream, streams.ForgivingStream)
    assert stream.failure is not None and stream.failure.errno == 28
    closed = io.StringIO()
    closed.close()
    print("lost", file=streams.forgiving(closed), flush=True)
    assert streams.forgiving(stream) is stream
    nowhere = streams.forgiving(None)
    print("lost", file=nowhere, flush=True)
    nowhere.close()


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii", "latin-1", "utf-8", "UTF8"])
def test_json_has_no_character_that_the_console_lacks(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code pages of Windows' consoles among them."""
    value = {"text": "日本語 é – \x1b"}
    target = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", target)
    line = streams.json_line(value)
    assert json.loads(line.encode(encoding).decode(encoding)) == value
    assert ("日" in line) == (encoding.lower().replace("-", "") == "utf8")


def test_control_characters_are_spelt_out() -> None:
    assert streams.printable("a\tb\nü\x1b[2J\x00\x9b\r") == "a\tb\nü\\x1b[2J\\x00\\x9b\\r"
