"""Reads text, JSON and JSON lines; anything broken raises a DataError with one clear sentence.

Every error names the file, and the line (from 1) where there is one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semtune.errors import DataError
from semtune.tasks.decoding import decode_file
from semtune.tasks.remarks import shown
from semtune.tasks.written_float import WrittenFloat


def read_text(path: Path, encoding: str = "utf-8", *, encoding_option: bool = False) -> str:
    """The text of `path`; arguments and errors are those of `decode_file`."""
    return decode_file(path, encoding, encoding_option=encoding_option).text


def parse_json(text: str, path: Path) -> Any:
    """`text` as JSON. Raises DataError with line and column where it is broken."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_float=WrittenFloat)
    except _RepeatedKeyError as error:
        raise DataError(f"{path} holds an object with two values for {shown(str(error))}; keep one.") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text[error.pos :].lstrip(", \t\r\n").startswith(("{", "[")):
            raise DataError(
                f"{path} holds several objects or lists one after another (the second: line {error.lineno}), as jq "
                "writes them; write one object a line (jq -c), or one list of all objects (jq -s)."
            ) from error
        raise DataError(
            f"{path} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}; correct it there."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} {_beyond_reading(error)}.") from error


def parse_json_list(text: str, path: Path) -> list[dict[str, Any]]:
    """`text` as a JSON list of objects. Raises DataError."""
    value = parse_json(text, path)
    if not isinstance(value, list):
        keys = f" with the keys {', '.join(shown(key) for key in list(value)[:5])}" if isinstance(value, dict) else ""
        raise DataError(
            f"{path} must hold a JSON list of objects, but it holds {kind_of(value)}{keys}; {_rows_in(value)}."
        )
    for number, row in enumerate(value, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: row {number} must be a JSON object, but it is {kind_of(row)}.")
    if not value:
        raise DataError(f"{path} holds an empty list; there is nothing to read.")
    return value


def _rows_in(value: Any) -> str:
    """What to do with a JSON value that is no list, without a stop."""
    if isinstance(value, dict):
        if (value and all(isinstance(cells, dict) for cells in value.values())) or {"columns", "data"} <= value.keys():
            return 'if pandas wrote it, write it with to_json(orient="records")'
        within = next((key for key, rows in value.items() if _is_list_of(dict, rows)), None)
        if within is not None:
            return f"save the list under {shown(within)} as a file of its own"
        sizes = {len(cells) if isinstance(cells, list) else 0 for cells in value.values()}
        if len(value) > 1 and len(sizes) == 1 and max(sizes) > 1:
            return 'if its lists are columns, write one object a row (pandas.DataFrame(...).to_json(orient="records"))'
    return "write one object a row, such as [{...}, {...}]"


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, kind) for item in value)


def parse_json_lines(text: str, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """`text` as one JSON object a line, each with its line number; blank lines are skipped. Raises DataError."""
    rows: list[tuple[int, dict[str, Any]]] = []
    # Only "\n" ends a line: str.splitlines would also cut at U+2028, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object, parse_float=WrittenFloat)
        except _RepeatedKeyError as error:
            raise DataError(f"{path}, line {number} has two values for {shown(str(error))}; keep one.") from error
        except json.JSONDecodeError as error:
            written = " (jq -c writes them so)" if line.strip() == "{" else ""
            raise DataError(
                f"{path}, line {number} is not valid JSON (column {error.colno}: {error.msg}); "
                f"each line must be one JSON object{written}."
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number} {_beyond_reading(error)}.") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number} must be a JSON object, but it is {kind_of(row)}.")
        rows.append((number, row))
    return rows


def _beyond_reading(error: ValueError | RecursionError) -> str:
    """What JSON holds that Python does not read, and what to do, behind the place in a sentence."""
    if isinstance(error, RecursionError):
        return "holds lists or objects that are nested too deeply to be read; write them flat"
    return "holds a whole number of thousands of digits; write it in quotes, as a text"


class _RepeatedKeyError(Exception):
    """A JSON object that has the same key twice; the message is the key."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of which Python would silently keep the last of two values. Raises _RepeatedKeyError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return found


def kind_of(value: Any) -> str:
    """The kind of a JSON value in words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "one object", list: "a list", str: "a string", int: "a number"}
    return "a number" if isinstance(value, float) else names[type(value)]
