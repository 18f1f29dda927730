"""The study's tables as GitHub Markdown, for a README or a record's folder."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from semtune.report.table import Cell, Column, Row, Table, superscript
from semtune.report.tables import all_tables


def markdown_tables(study: Mapping[str, Any]) -> str:
    """All tables with their footnotes, as one Markdown text that ends in a newline. Raises DataError."""
    blocks = [_table(number, table) for number, table in enumerate(all_tables(study), start=1)]
    return "\n\n".join(blocks) + "\n"


def _table(number: int, table: Table) -> str:
    lines = [f"**Table {number}. {escape(table.title)}** – {escape(table.caption)}", ""]
    lines.append(_line([_heading(column) for column in table.columns]))
    lines.append(_line([":---" if column.align == "left" else "---:" for column in table.columns]))
    lines += [_line([_cell(table.cell(row, i), row, i) for i in range(len(row.cells))]) for row in table.rows]
    if table.footnotes:
        lines.append("")
        notes = [f"{superscript([i])} {escape(text)}" for i, text in enumerate(table.footnotes, start=1)]
        lines.append("<br>\n".join(notes))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _heading(column: Column) -> str:
    unit = f" ({escape(column.unit)})" if column.unit else ""
    return escape(column.title) + unit + _marks(column.marks)


def _cell(cell: Cell, row: Row, index: int) -> str:
    text = escape(cell.plain)
    if cell.bold and text:
        text = f"**{text}**"
    if row.kind == "baseline" and index == 0:
        text = f"*{text}* (baseline)"
    return text + _marks(cell.marks)


def _marks(marks: tuple[int, ...]) -> str:
    return f" {superscript(marks)}" if marks else ""


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line: HTML and Markdown's own signs lose their meaning."""
    flat = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", flat)
