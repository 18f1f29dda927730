"""A table as data: cells already formatted, so that the terminal, the HTML page and Markdown all show the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from semtune.report.view import Statistic

NOTHING = "–"
"""The text of a cell whose figure is not on record."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `marks` are footnote numbers, counted from 1."""

    text: str
    spread: str | None = None
    """The standard deviation, formatted like `text`; None for a single run."""
    marks: tuple[int, ...] = ()
    bold: bool = False
    share: float | None = None
    """A figure between 0 and 1 that the page may shade the cell by."""
    href: str | None = None
    """A file beside the page that the cell opens."""

    @property
    def plain(self) -> str:
        """Text and spread, without marks."""
        return self.text if self.spread is None else f"{self.text} ± {self.spread}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `unit` is empty for text and for figures between 0 and 1."""

    title: str
    unit: str = ""
    short: str = ""
    """A title for narrow terminals; empty: `title`."""
    align: Literal["left", "right"] = "right"
    drop: int = 0
    """Terminals too narrow leave out the column with the highest number first; 0: never left out."""
    marks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row. Where `outcome` is given the run has no figures, and the row shows this instead ("does not fit")."""

    cells: tuple[Cell, ...]
    kind: Literal["run", "baseline", "team", "label"] = "run"
    outcome: Cell | None = None
    outcome_column: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """One table; `span_from` is the first column that an outcome may spread over where a renderer can do that."""

    key: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...]
    span_from: int = 1

    def cell(self, row: Row, column: int) -> Cell:
        """The cell in a column of a row, or the row's outcome."""
        if row.outcome is not None and column == row.outcome_column:
            return row.outcome
        return row.cells[column]


@dataclass(slots=True)
class Footnotes:
    """Footnotes in the order of their first use; the same sentence is one footnote."""

    texts: list[str] = field(default_factory=list)

    def add(self, text: str) -> int:
        """The number of a footnote."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def superscript(marks: Sequence[int]) -> str:
    """Footnote numbers as superscript digits, e.g. "¹ ²"."""
    return " ".join(str(mark).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")) for mark in marks)


def decimals(values: Sequence[float]) -> int:
    """Decimals that show the smallest of `values` with three digits, at most 3 unless it would vanish.

    >>> decimals([0.518, 12.0]), decimals([23.7, 66.1]), decimals([461.0, 1234.5]), decimals([0.0004])
    (3, 1, 0, 4)
    """
    smallest = min((abs(v) for v in values if v), default=1.0)
    exponent = math.floor(math.log10(smallest))
    return min(max(2 - exponent, 0), max(3, -exponent))


def number(value: float, digits: int) -> str:
    """A figure with thousands separated: number(1234.56, 1) is "1,234.6"."""
    return f"{value:,.{digits}f}"


def figure_cells(figures: Sequence[Statistic | None], scale: float = 1.0, digits: int | None = None) -> list[Cell]:
    """A column of figures, all with the same decimals, but from 1,000 on without.

    Args:
        scale: each figure is multiplied by it, e.g. 1e-9 for GB.
        digits: digits after the point; None: as many as the smallest figure needs.
    """
    if digits is None:
        digits = decimals([f.mean * scale for f in figures if f is not None])
    cells = []
    for figure in figures:
        if figure is None:
            cells.append(Cell(NOTHING))
            continue
        own = digits if abs(figure.mean * scale) < 1000 else 0
        spread = None if figure.sd is None else number(figure.sd * scale, own)
        cells.append(Cell(number(figure.mean * scale, own), spread))
    return cells
