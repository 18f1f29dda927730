"""Reads a user's table of any supported format into rows of plain Python values.

Every cell of a CSV or TSV is a string and nothing is taken for "missing" (a text may well be "NA"); JSON, JSON lines
and Parquet keep their types, so a label cell may be a list. What reading left out or converted is in the table's notes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.tasks.characters import visible
from semtune.tasks.decoding import decode_file
from semtune.tasks.dialect import checked_separator, read_rows
from semtune.tasks.drawn import is_count, is_rule
from semtune.tasks.files import parse_json_lines, parse_json_list
from semtune.tasks.header import (
    LABEL_COLUMNS,
    LINES,
    TEXT_COLUMNS,
    Lines,
    row_names_advice,
    stray_cell,
    title_advice,
)
from semtune.tasks.parquet import read_parquet
from semtune.tasks.remarks import Remarks
from semtune.tasks.separated import Row
from semtune.tasks.wrapped import ADVICE, is_wrapped

_PLAIN = TaskOptions()
"""The options where none is given."""
Rows = list[tuple[str, dict[str, Any]]]
"""(location, row): the location, as "row 3" or "line 3", is for messages."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """Rows as they are in a file. `columns` are the columns of all rows; a row of JSON may lack some of them."""

    source: str
    """The file's path or the data set's id, for messages."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, dict[str, Any]], ...]
    """(location, row): the location, as "row 3" or "line 3", is for messages."""
    repeated: Mapping[str, int] = field(default_factory=dict)
    """Columns whose name occurs more than once, and how often; `rows` have the first of them."""
    notes: tuple[str, ...] = ()
    """What reading left out, converted or found out."""
    first_lines: Lines = ()
    """The header and the lines below it, as cells; () where the format has no header line."""

    def title_advice(self, wanted: Sequence[str]) -> str | None:
        """Where the header seems to be, if not in the first line; see `header.title_advice`."""
        if self.first_lines:
            return title_advice(self.first_lines, wanted)
        below = [(where, [v for v in row.values() if isinstance(v, str)]) for where, row in self.rows[:LINES]]
        return title_advice([("the row of column names", self.columns), *below], wanted)


def read_table(path: Path, options: TaskOptions, *, keep_blank: bool = False, encoding_option: bool = True) -> RawTable:
    """Read one file; its suffix gives the format.

    keep_blank: whether a row of blank cells above the last filled one keeps its place in a separated file; a line
        without any cell is such a row only where there is one column.
    encoding_option: see `decoding.decode_file`.

    Raises DataError, OptionError (unknown encoding or separator).
    """
    suffix = suffix_of(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder, but a file is needed; name the file.")
    if suffix not in _READERS:
        advice = "save its sheet as CSV (UTF-8)" if suffix in SPREADSHEETS else "convert or rename it"
        raise DataError(f"{path} is in no format that can be read (known by suffix: {', '.join(SUFFIXES)}); {advice}.")
    remarks = Remarks(str(path))
    if not is_separated(path):
        idle = [f"--{name}" for name in ("separator", "quoting") if getattr(options, name) != getattr(_PLAIN, name)]
        if idle:
            have = "has" if len(idle) == 1 else "have"
            remarks.general(f"has no separated columns, so {' and '.join(idle)} {have} no effect on it")
    if keep_blank and is_separated(path):
        return _read_separated(path, options, remarks, encoding_option, keep_blank=True)
    return _READERS[suffix](path, options, remarks, encoding_option)


def suffix_of(path: Path) -> str:
    """The suffix that gives a file's format: ".csv" of reviews.CSV and of reviews.csv.gz."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == GZIP_SUFFIX else suffix


def _read_separated(
    path: Path, options: TaskOptions, remarks: Remarks, encoding_option: bool, *, keep_blank: bool = False
) -> RawTable:
    separator = None if options.separator is None else checked_separator(options.separator)
    decoded = decode_file(path, options.encoding, encoding_option=encoding_option)
    if is_wrapped(decoded.text, wanted_columns(options)):
        raise DataError(f"{path}: {ADVICE}.")
    found = read_rows(decoded.text, suffix_of(path), separator, options.quoting, remarks)
    header, *records = found
    names = [visible(cell) for cell in header.cells]
    first_lines = [(f"line {row.line}", row.cells) for row in found[: LINES + 1]]
    header_size = sum(map(len, header.cells)) + len(header.cells)  # a mark of an encoding may precede each cell
    rows: Rows = []
    kept: list[Row] = []
    filled = [record.line for record in records if not record.blank]
    for record in records:
        has_cells = len(record.cells) > 1 or bool(record.quoted) or len(names) == 1
        if record.blank and not (keep_blank and has_cells and filled and record.line < filled[-1]):
            remarks.row("a blank line was left out", f"line {record.line}")
            continue
        number, cells = len(rows) + 1, record.cells
        where = f"row {number}" if record.line == number + header.line else f"row {number} (line {record.line})"
        if len(names) > 1 and not rows and not record.blank and is_rule(cells):
            remarks.row("a ruled line below the header was left out", f"line {record.line}")
            continue
        if record.line == filled[-1] and len(names) > 1 and is_count(cells):
            remarks.row("the number of rows below the table was left out", f"line {record.line}")
            continue
        repeated = sum(map(len, cells)) <= header_size and [visible(cell) for cell in cells] == names
        if repeated and not (keep_blank and len(names) == 1):  # a text of a file of texts may be that very word
            remarks.row("a repeated header was left out", where)
            continue
        if any(cell.strip() for cell in cells[len(names) :]):
            raise DataError(f"{path}{_too_wide(found, record, first_lines, options)}")
        if len(cells) > len(names):
            remarks.row("empty cells beyond the header's columns were left out", where)
        elif len(cells) < len(names):
            remarks.row("a row has fewer cells than the header", where)
        if decoded.other_line_ends and any("\n" in cell for cell in cells):
            remarks.row("a line end inside a cell (CR LF or CR) became a line feed", where)
        rows.append((where, _first_of_each(names, cells)))
        kept.append(record)
    stray = stray_cell(names, kept, remarks)
    if stray is not None:
        advice = title_advice(first_lines, wanted_columns(options))
        advice = f": {advice}" if advice else f" is broken, or {stray}; {_protected(found)}, or name that column"
        raise DataError(f"{path}{advice}.")
    table = _table(path, rows, remarks, [name for name in names if name], decoded.notes)
    return replace(table, first_lines=first_lines)


def _too_wide(found: Sequence[Row], row: Row, first_lines: Lines, options: TaskOptions) -> str:
    """What to say, behind the file's name, of a `row` that is wider than the header, the first of the rows `found`."""
    width = len(found[0].cells)
    advice = title_advice(first_lines, wanted_columns(options)) or row_names_advice(width, found[1:])
    if advice is not None:
        return f": {advice}."
    return (
        f" is broken, as a row has more cells than the header: line {row.line} has {len(row.cells)} cells, but the "
        f"header has {width}; {_protected(found)}, or name another separator with --separator."
    )


def _protected(found: Sequence[Row]) -> str:
    """What to do with a cell that holds a separator."""
    if any(map(_in_single_quotes, found)):
        return "put \"double quotes\" around cells that hold a separator, as 'single quotes' do not protect it"
    drawn = len(found) > 1 and not found[1].blank and is_rule(found[1].cells)
    return 'put "quotes" around cells that hold a separator' + (" (in Markdown, write \\| for a pipe)" if drawn else "")


def _in_single_quotes(row: Row) -> bool:
    """Whether a separator seems to stand in single quotes: one opens a cell, and a later cell ends with one."""
    opened = [i for i, cell in enumerate(row.cells) if cell.startswith("'") and not cell.rstrip().endswith("'")]
    return bool(opened) and any(cell.rstrip().endswith("'") for cell in row.cells[opened[0] + 1 :])


def wanted_columns(options: TaskOptions) -> list[str]:
    """Names of columns that the options name, or that are looked for without."""
    given = (options.text_column, options.label_column, options.id_column)
    named = [name for name in given if name is not None]
    return [*named, *(TEXT_COLUMNS if given[0] is None else ()), *(LABEL_COLUMNS if given[1] is None else ())]


def _first_of_each(names: list[str], cells: list[str]) -> dict[str, Any]:
    """A row by column name. A column that the row lacks is missing, and so is one without a name."""
    row: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=False):
        if name:
            row.setdefault(name, cell)
    return row


def _read_json(path: Path, options: TaskOptions, remarks: Remarks, encoding_option: bool) -> RawTable:
    """A JSON list of objects, or one object a line, whatever the suffix says."""
    decoded = decode_file(path, options.encoding, encoding_option=encoding_option)
    text = decoded.text
    promised_lines = suffix_of(path) != ".json"
    first, _, rest = text.strip().partition("\n")
    several = bool(rest) and first.rstrip().endswith(("]", "}"))
    as_lines = several if first.startswith("[") and promised_lines else promised_lines or (first[:1] == "{" and several)
    if as_lines:
        rows = [(f"line {n}", row) for n, row in parse_json_lines(text, path)]
    else:
        rows = [(f"row {n}", row) for n, row in enumerate(parse_json_list(text, path), start=1)]
    if as_lines != promised_lines:
        remarks.general(f"read as {'JSON lines' if as_lines else 'one JSON list'}, which its suffix does not say")
    return _table(path, rows, remarks, None, decoded.notes)


def _read_parquet(path: Path, options: TaskOptions, remarks: Remarks, encoding_option: bool) -> RawTable:
    found = read_parquet(path, remarks)
    return _table(path, [(f"row {n}", row) for n, row in enumerate(found.rows, start=1)], remarks, found.columns, ())


_READERS: dict[str, Callable[[Path, TaskOptions, Remarks, bool], RawTable]] = {
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".ndjson": _read_json,
    ".txt": _read_separated,
    ".tab": _read_separated,
    ".psv": _read_separated,
}
SUFFIXES = tuple(_READERS)


def is_separated(path: Path) -> bool:
    """Whether a file's suffix says that it is a CSV, a TSV or a relative of theirs."""
    return _READERS.get(suffix_of(path)) is _read_separated


SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
GZIP_SUFFIX = ".gz"
LINES_SUFFIX = ".txt"
"""A table as training data, but one text a line where there are only texts."""


def _table(path: Path, rows: Rows, remarks: Remarks, names: list[str] | None, notes: tuple[str, ...]) -> RawTable:
    """The table of `rows`. `names`: the header, in which a name may be repeated; None: the rows' keys."""
    if not rows:
        raise DataError(f"{path} has no rows.")
    repeated = {name: count for name, count in Counter(names or ()).items() if count > 1}
    columns = columns_of(row for _, row in rows) if names is None else tuple(dict.fromkeys(names))
    return RawTable(str(path), columns, tuple(rows), repeated, (*notes, *remarks.notes))


def columns_of(rows: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """The columns that any of `rows` has, in the order of their first occurrence."""
    return tuple(dict.fromkeys(column for row in rows for column in row))
