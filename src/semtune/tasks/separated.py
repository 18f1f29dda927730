"""Parses separated text (CSV, TSV and relatives) into rows of cells, with the line each row begins on.

What quotes mean differs between writers, and a wrong guess swallows rows or changes texts:

    csv         "a, b"        quotes enclose a cell, and are doubled inside it (RFC 4180; spreadsheets, Python, pandas)
    backslash   "a \\"b\\" c"   quotes enclose a cell, and are escaped by a backslash inside it (MySQL, Spark, PHP)
    none        "a" b         a quote is a character of the text (TSV as IANA defines it)

Unlike Python's csv module, this parser refuses what does not follow the form, has no limit on a cell's length, and says
which cells were quoted; `dialect` chooses the form from that.
"""

from __future__ import annotations

import functools
import re
from typing import Literal, NamedTuple

from semtune.tasks.characters import is_blank

Quoting = Literal["csv", "backslash", "none"]

QUOTE = '"'
TAB = "\t"
SEPARATORS = (",", ";", TAB, "|")
"""Separators that are recognised without being named."""
_INSIDE = {"csv": r'(?:[^"]++|"")*+', "backslash": r'(?:[^"\\]++|\\.|"")*+'}
_ESCAPED = {"csv": re.compile('""'), "backslash": re.compile(r'""|\\(["\\])')}
"""What stands for a quote (or a backslash) inside a quoted cell. Any other backslash is a character of the text."""


class Row(NamedTuple):
    """One record of a separated file."""

    line: int
    """The line it begins on, from 1."""
    cells: list[str]
    quoted: tuple[int, ...] = ()
    """Indices of the cells that were enclosed in quotes."""
    lines: int = 1
    """The number of lines it spans."""

    @property
    def blank(self) -> bool:
        """Whether no cell shows anything."""
        return all(is_blank(cell) for cell in self.cells)


class QuoteError(Exception):
    """A quoted cell that breaks its form."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        """The line on which the cell begins."""


def parse(text: str, separator: str, quoting: Quoting, *, first_line: int = 1, spaced: bool = False) -> list[Row]:
    """The rows of `text`, whose lines end in "\\n"; blank lines are rows with one empty cell.

    Args:
        first_line: number of the first line of `text` in its file.
        spaced: whether spaces follow separators and belong to no cell, as in `text, label`.

    Raises:
        QuoteError: a quoted cell is not closed, or something other than a separator follows its closing quote.
    """
    if quoting == "none" or QUOTE not in text:
        lines = text.removesuffix("\n").split("\n")
        cut = _cut_spaced if spaced else _cut
        return [Row(number, cut(line, separator)) for number, line in enumerate(lines, start=first_line)]
    pattern = _cell_pattern(separator, quoting, spaced)
    rows: list[Row] = []
    position, line = 0, first_line
    while position < len(text):
        cells: list[str] = []
        quoted: list[int] = []
        start = line
        while True:
            match = pattern.match(text, position)
            if match is None:
                raise QuoteError(line, _broken_form(text, position))
            if match["quoted"] is not None:
                quoted.append(len(cells))
                line += match["quoted"].count("\n")
                cells.append(_ESCAPED[quoting].sub(lambda m: m[1] if m.lastindex else QUOTE, match["quoted"]))
            else:
                cells.append(match["plain"])
            position = match.end()
            if match["end"] != separator:
                break
        line += 1
        rows.append(Row(start, cells, tuple(quoted), line - start))
    return rows


def _cut(line: str, separator: str) -> list[str]:
    return line.split(separator)


def _cut_spaced(line: str, separator: str) -> list[str]:
    return [cell.lstrip(" ") for cell in line.split(separator)]


@functools.cache
def _cell_pattern(separator: str, quoting: Quoting, spaced: bool) -> re.Pattern[str]:
    """One cell and what ends it. Possessive quantifiers keep the time linear in the length of the cell."""
    mark = re.escape(separator)
    plain = rf"[^{mark}\n]*+" if len(separator) == 1 else rf"(?:(?!{mark})[^\n])*+"
    before = " *+" if spaced else ""
    after = " *+" if separator.strip() else ""
    return re.compile(
        rf'{before}(?:"(?P<quoted>{_INSIDE[quoting]})"{after}|(?!")(?P<plain>{plain}))(?P<end>{mark}|\n|\Z)', re.DOTALL
    )


def _broken_form(text: str, position: int) -> str:
    """Why the quoted cell at `position` is refused."""
    start = text.index(QUOTE, position) + 1
    body = re.compile(_INSIDE["csv"]).match(text, start)
    assert body is not None  # the pattern matches the empty text too
    if body.end() >= len(text):
        return "a quote opens a cell that nothing closes"
    return "a cell in quotes goes on after its closing quote"
