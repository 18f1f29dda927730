"""The column of a table that the user names, and what to say where it has none of that name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from semtune.errors import DataError, did_you_mean
from semtune.tasks.characters import visible
from semtune.tasks.header import LINES
from semtune.tasks.remarks import shown
from semtune.tasks.separated import SEPARATORS, TAB
from semtune.tasks.table_files import RawTable

_MESSAGE_KEYS = ({"role", "content"}, {"from", "value"})
"""Keys of a chat's messages, as OpenAI's API and as ShareGPT write them."""


def find_column(table: RawTable, given: str | None, usual: Sequence[str], what: str) -> str:
    """The name of the column that the user names, or else of the first usual one.

    `what` is the beginning of the option that names it. Raises DataError: the table has no such column, or several.
    """
    wanted = usual if given is None else (given, visible(given), *_in_normal_form(given, table.columns))
    present = [name for name in wanted if name in table.columns]
    if given is None and len(present) > 1 and what == "label":
        raise DataError(
            f'{table.source} has a column "{present[0]}" and a column "{present[1]}"; name the one to use with '
            f"--{what}-column."
        )
    name = next(iter(present), None)
    if name is None:
        missing = given if given is not None else usual[0]
        advice = table.title_advice(wanted)
        if advice is not None:
            raise DataError(f'{table.source} has no column "{missing}": {advice}.')
        chat = _chat(table) if what in ("text", "label") else None
        if chat is not None:
            raise DataError(
                f"{table.source} has no column {shown(missing)}, but chats in its column {shown(chat)}; write the "
                "content of the user's message into a column \"text\", and that of the assistant's into a column "
                '"label".'
            )
        holder = _holder(table, missing)
        if holder is not None:
            raise DataError(
                f"{table.source} has {shown(missing.rpartition('.')[2])} inside the objects of its column "
                f"{shown(holder)}; put it into a column of its own (pandas.json_normalize does)."
            )
        raise DataError(
            f'{table.source} has no column "{missing}" (name it with --{what}-column); '
            f"{_header_hint(table.columns, missing)}{did_you_mean(missing, map(visible, table.columns))}"
        )
    if name in table.repeated:
        raise DataError(
            f'{table.source} has {table.repeated[name]} columns called "{name}"; give each a name of its own, and name '
            f"the one to use with --{what}-column."
        )
    return name


def _in_normal_form(name: str, columns: Iterable[str]) -> list[str]:
    """The columns whose names are `name` in another normal form: macOS writes é as two characters, keyboards as one."""
    return [column for column in columns if unicodedata.normalize("NFC", column) == unicodedata.normalize("NFC", name)]


def _holder(table: RawTable, missing: str) -> str | None:
    """The column whose cells are objects with the key `missing`, or with "key" where `missing` is "column.key"."""
    for _, row in table.rows[:LINES]:
        for name, cell in row.items():
            if isinstance(cell, dict) and (missing in cell or missing.removeprefix(f"{name}.") in cell):
                return name
    return None


def _chat(table: RawTable) -> str | None:
    """The column whose cells are lists of messages, as chat models are tuned on: objects with a role and a content."""
    for _, row in table.rows[:1]:
        for name, cell in row.items():
            messages = cell if isinstance(cell, list) else []
            if any(isinstance(m, dict) and any(keys <= m.keys() for keys in _MESSAGE_KEYS) for m in messages):
                return name
    return None


def _header_hint(columns: Sequence[str], missing: str) -> str:
    """What may be wrong with a header that lacks a column; "" where nothing looks wrong."""
    if len(columns) == 1 and '" "' in columns[0]:
        return "its header is one cell, but holds quoted names, so name what separates the columns, --separator space; "
    if len(columns) == 1 and missing in columns[0]:
        return "its header is one cell, so name what separates the columns with --separator; "
    if any(name.strip("'") == missing for name in columns):
        return "its header is in 'single quotes', which are no quotes here, so write \"double quotes\" in the file; "
    for separator in SEPARATORS:
        whole = next((name for name in columns if missing in map(visible, name.split(separator))), None)
        if whole is not None:
            option = "tab" if separator == TAB else f'"{separator}"'
            return f"its header has the cell {shown(whole)}, so name what separates the columns, --separator {option}; "
    if any(len(name.split()) > 3 for name in columns):
        return "the first line must name the columns; "
    return ""
