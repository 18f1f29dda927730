"""Tables drawn for a reader, with a line below the header: Markdown, psql's aligned form, sqlcmd's columns.

Their cells are padded with spaces on both sides, a quote is a character of the text, and Markdown writes \\| for a pipe
that separates nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from semtune.tasks.characters import is_blank
from semtune.tasks.remarks import Remarks
from semtune.tasks.separated import Row

PIPE = "|"
_ESCAPED_PIPE = "\\|"
_HIDDEN_PIPE = "\0"
"""Stands for an escaped pipe while cells are cut: no text that is read holds a NUL character."""
_RULE = re.compile(r"[+:]?[-=]{2,}(?:\+[-=]{2,})*[+:]?")
"""A cell of the line that some tables draw below their header."""
_COUNT = re.compile(r"\(\d+ rows?(?: affected)?\)")
"""The line that psql and sqlcmd write below a table."""


def is_rule(cells: Sequence[str]) -> bool:
    """Whether a row is the line below a header, or blank."""
    return all(_RULE.fullmatch(cell.strip()) for cell in cells if not is_blank(cell))


def is_count(cells: Sequence[str]) -> bool:
    """Whether a row is the number of rows that a program writes below them."""
    return _COUNT.fullmatch("".join(cells).strip()) is not None


def is_ruled(text: str, separator: str) -> bool:
    """Whether the second line of `text` is ruled, and its first one a header of several cells."""
    header, rule = (*text.split("\n", 2), "")[:2]
    return separator in header and not is_blank(rule) and is_rule(rule.split(separator))


def hide_escaped_pipes(text: str) -> str:
    """`text` with a mark for every escaped pipe of a Markdown table, whose ruled line has pipes too."""
    return text.replace(_ESCAPED_PIPE, _HIDDEN_PIPE) if PIPE in text.split("\n", 2)[1] else text


def undrawn(rows: Sequence[Row], remarks: Remarks) -> list[Row]:
    """The rows of a ruled table without its padding and escapes; what was changed is added to `remarks`."""
    padded, found = False, list[Row]()
    for row in rows:
        cells = [cell if i in row.quoted else cell.strip(" ") for i, cell in enumerate(row.cells)]
        padded |= cells != row.cells
        if any(_HIDDEN_PIPE in cell for cell in cells):
            cells = [cell.replace(_HIDDEN_PIPE, PIPE) for cell in cells]
            remarks.row("\\| was read as a pipe of the text, as Markdown writes it,", f"line {row.line}")
        found.append(row._replace(cells=cells))
    if padded:
        remarks.general("the spaces around each cell were left out, as the table is drawn with a line below its header")
    return found
