"""Reads text, JSON and JSON lines; anything broken raises a DataError with one clear sentence.

Every error names the file, and the line (from 1) where there is one.
"""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from semtune.errors import DataError, OptionError


def read_text(path: Path, encoding: str = "utf-8", *, encoding_option: bool = False) -> str:
    """The text of `path`; a byte order mark is dropped, line ends are kept as "\\n".

    `encoding_option`: whether the user can name another encoding with --encoding; it changes the advice only.

    Raises DataError when the file is missing, unreadable, empty or not in `encoding`; OptionError when there is no such
    encoding.
    """
    try:
        codec = codecs.lookup(encoding).name
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig" if codec == "utf-8" else codec)
    except LookupError as error:
        raise OptionError(f'There is no text encoding called "{encoding}"; try utf-8, latin-1 or cp1252.') from error
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}; check the path.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder, but a file is needed; name the file.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    except UnicodeError as error:
        place = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
        advice = (
            "name its encoding with --encoding, e.g. --encoding latin-1." if encoding_option else "save it as UTF-8."
        )
        raise DataError(f"{path} is not {encoding.upper()} text{place}; {advice}") from error
    if not text.strip():
        raise DataError(f"{path} is empty.")
    return text.replace("\r\n", "\n")


def parse_json(text: str, path: Path) -> Any:
    """`text` as JSON. Raises DataError with line and column where it is broken."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}; correct it there."
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or endless nesting
        raise DataError(f"{path} is not usable JSON ({error}).") from error


def parse_json_list(text: str, path: Path) -> list[dict[str, Any]]:
    """`text` as a JSON list of objects. Raises DataError."""
    value = parse_json(text, path)
    if not isinstance(value, list):
        raise DataError(f"{path} must hold a JSON list of objects, but it holds {_kind(value)}.")
    for number, row in enumerate(value, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number} must be a JSON object, but it is {_kind(row)}.")
    if not value:
        raise DataError(f"{path} holds an empty list; there is nothing to read.")
    return value


def parse_json_lines(text: str, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """`text` as one JSON object a line, each with its line number; blank lines are skipped. Raises DataError."""
    rows: list[tuple[int, dict[str, Any]]] = []
    # Only "\n" ends a line: str.splitlines would also cut at U+2028, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {number} is not valid JSON (column {error.colno}: {error.msg}); "
                "each line must be one JSON object."
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number} is not usable JSON ({error}).") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number} must be a JSON object, but it is {_kind(row)}.")
        rows.append((number, row))
    return rows


def _kind(value: Any) -> str:
    """The kind of a JSON value in words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "one object", list: "a list", str: "a string", int: "a number", float: "a number"}
    return names[type(value)]
