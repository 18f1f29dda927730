"""Helpers of several commands: --json, lines on standard error, files of texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from semtune.errors import DataError
from semtune.runtime.streams import forgiving, json_line, printable

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


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a UTF-8 file. Raises DataError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}; check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise DataError(f"{path} is empty; it should hold one text a line.")
    return texts
