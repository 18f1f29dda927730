"""Helpers of several commands: --json, lines on standard error, text for tables."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semtune.runtime.streams import forgiving, json_line, printable

if TYPE_CHECKING:
    from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on the last line of standard output.")]

Trust = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run code that comes with the base model, in this call; off unless you trust its author.",
    ),
]


def print_json(value: Any) -> None:
    """Print the one JSON document of a command with --json."""
    sys.stdout.flush()
    print(json_line(value), flush=True)


def show(text: str) -> None:
    """Print a line of a command's result to standard output."""
    print(text)


def say(text: str) -> None:
    """Print a line to standard error; standard output is for results alone."""
    print(printable(text), file=forgiving(sys.stderr), flush=True)


def literal(text: str) -> Text:
    """Text for rich as it is: neither markup nor terminal codes in a name have a meaning."""
    from rich.text import Text

    return Text(printable(text))
