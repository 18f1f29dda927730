"""The study's tables in a terminal.

A table too wide for the terminal gets short headings first, then goes without standard deviations where they matter
least, and then without its least important columns; a line below names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from semtune.report.summary import summary
from semtune.report.table import Cell, Column, Table, superscript
from semtune.report.tables import all_tables
from semtune.report.view import view_of
from semtune.runtime.streams import printable

UNBOUNDED = 10_000
"""Width, in characters, at which every table fits, so that its own width can be measured."""


def print_study(study: Mapping[str, Any], console: Console) -> None:
    """Print what the study shows, its tables, and its notes, no wider than `console`. Raises DataError."""
    view = view_of(study)
    console.print()
    for sentence in summary(view):
        _item(console, sentence)
    for number, table in enumerate(all_tables(study), start=1):
        print_table(console, table, number)
    if view.notes:
        console.print()
        console.print(_text("Notes", style="bold"))
        for note in view.notes:
            _item(console, note)


def print_table(console: Console, table: Table, number: int) -> None:
    """Print one table with its footnotes, with what fits of it."""
    console.print()
    console.print(_text(f"Table {number}. {table.title}", style="bold"))
    console.print(_text(table.caption, style="dim"))
    dropped: list[Column] = []
    for rendered, left_out in _versions(table):
        dropped = left_out
        if _width(console, rendered) <= console.width:
            break
    console.print(rendered)
    for index, text in enumerate(table.footnotes, start=1):
        _item(console, text, superscript([index]))
    if dropped:
        titles = ", ".join(dict.fromkeys(_title(column) for column in dropped))
        _item(console, f"Left out, since the terminal is narrow: {titles}; report.html has them.", "…")


def _text(text: str, style: str = "") -> Text:
    """Text as it is: names are the user's, and neither markup nor terminal codes in them have a meaning."""
    return Text(printable(text), style=style)


def _versions(table: Table) -> Iterator[tuple[RichTable, list[Column]]]:
    """The table as it would best be, then narrower and narrower, each with the columns it leaves out."""
    order = sorted((i for i, c in enumerate(table.columns) if c.drop), key=lambda i: -table.columns[i].drop)
    shown = list(range(len(table.columns)))
    yield _render(table, shown, short=False, spreads=True), []
    yield _render(table, shown, short=True, spreads=True), []
    yield _render(table, shown, short=True, spreads=False), []
    for count in range(1, len(order) + 1):
        out = sorted(order[:count])
        shown = [i for i in range(len(table.columns)) if i not in out]
        left_out = [table.columns[i] for i in out]
        yield _render(table, shown, short=True, spreads=False), left_out


def _render(table: Table, shown: list[int], *, short: bool, spreads: bool) -> RichTable:
    """A rich table of the columns `shown`. Columns that are never dropped keep their standard deviations."""
    rendered = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for i in shown:
        column = table.columns[i]
        rendered.add_column(_heading(column, short=short), justify=column.align, vertical="bottom", no_wrap=True)
    previous = table.rows[0].kind if table.rows else "run"
    for row in table.rows:
        if row.kind == "baseline" and previous != "baseline":
            rendered.add_section()
            rendered.add_row(_text("baselines", style="italic dim"))
        previous = row.kind
        cells = [_cell(table.cell(row, i), spread=spreads or not table.columns[i].drop) for i in shown]
        style = "cyan" if table.key == "leaderboard" and row.kind == "run" else None
        rendered.add_row(*cells, style=style)
    return rendered


def _heading(column: Column, *, short: bool) -> Text:
    """A heading of at most two lines."""
    title = column.short if short and column.short else column.title
    if column.unit and title is column.title:
        return _text(f"{title}{_marks(column.marks)}\n{column.unit}")
    return _text(title.replace(" ", "\n", 1) + _marks(column.marks))


def _title(column: Column) -> str:
    return column.title.lower() + (f" ({column.unit})" if column.unit else "")


def _cell(cell: Cell, *, spread: bool) -> Text:
    text = _text(cell.plain if spread else cell.text, style="bold" if cell.bold else "")
    return text.append(_marks(cell.marks), style="not bold")


def _marks(marks: tuple[int, ...]) -> str:
    return superscript(marks)


def _width(console: Console, table: RichTable) -> int:
    """The characters of a line of the table when nothing is cut."""
    return Measurement.get(console, console.options.update(width=UNBOUNDED), table).maximum


def _item(console: Console, text: str, mark: str = "·") -> None:
    """One note with its mark, its further lines indented."""
    grid = RichTable.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, min_width=2)
    grid.add_column(style="dim" if mark != "·" else None)
    grid.add_row(_text(mark), _text(text))
    console.print(grid)
