"""Helpers of several commands: --json, lines on standard error."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on the last line of standard output.")]


def print_json(value: Any) -> None:
    """Print the one JSON document of a command with --json."""
    sys.stdout.flush()
    text = json.dumps(value, ensure_ascii=False)
    # Many readers end a line at these too; JSON allows them inside strings, and also their escapes.
    for mark in ("\u0085", "\u2028", "\u2029"):
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    print(text, flush=True)


def say(text: str) -> None:
    """Print a line to standard error; standard output is for results alone."""
    print(text, file=sys.stderr, flush=True)
