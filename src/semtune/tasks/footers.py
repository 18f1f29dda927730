"""Rows that lack a cell: how many there are, and whether they may be a footer below the table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from semtune.tasks.characters import is_blank

_FOOTER_ROWS = 3
"""Most rows of a footer."""


def rows_without(rows: Iterable[tuple[str, dict[str, Any]]], column: str) -> str:
    """How many rows lack a cell of a column, as a clause: "" for one, and where only the last do, what they may be."""
    cells = [row.get(column) for _, row in rows]
    lacking = [n for n, c in enumerate(cells) if c is None or c != c or (isinstance(c, str) and is_blank(c))]
    count = len(lacking)
    if 0 < count <= _FOOTER_ROWS < len(cells) - count and lacking[0] == len(cells) - count:
        last = "row lacks" if count == 1 else f"{count} rows lack"
        return f", which may be a footer line, as only the last {last} one"
    return f" ({count:,} rows lack one)" if count > 1 else ""
