"""Helpers of several commands: --json, lines on standard error, files of texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from semtune.errors import DataError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on the last line of standard output.")]


def print_json(value: Any) -> None:
    """Print the one JSON document of a command with --json."""
    sys.stdout.flush()
    print(json.dumps(value, ensure_ascii=False), flush=True)


def say(text: str) -> None:
    """Print a line to standard error; standard output is for results alone."""
    print(text, file=sys.stderr, flush=True)


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
