"""Reads a user's table of any supported format into rows of plain Python values.

Every cell of a CSV or TSV is a string and nothing is taken for "missing" (a text may well be "NA"); JSON, JSON lines
and Parquet keep their types, so a label cell may be a list. What reading left out or converted is in the table's notes.
Hub data sets need the `datasets` package, which semtune does not install by itself.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semtune.errors import DataError, did_you_mean, first_line
from semtune.records import TaskOptions
from semtune.tasks.characters import visible
from semtune.tasks.class_names import name_classes
from semtune.tasks.decoding import decode_file, path_of
from semtune.tasks.dialect import checked_separator, read_rows
from semtune.tasks.files import parse_json_lines, parse_json_list
from semtune.tasks.parquet import read_parquet
from semtune.tasks.remarks import Remarks

HUB = "hub:"
SPLIT_NAMES = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test",),
}
"""Usual names of the three splits, in file names and on the hub."""
TEXT_COLUMNS = ("text",)
LABEL_COLUMNS = ("label", "labels")
"""Column names to look for where the user names none."""
Rows = list[tuple[str, dict[str, Any]]]
"""(location, row): the location, as "row 3" or "line 3", is for messages."""


_SHARD = re.compile(r"-\d+-of-\d+$")
"""What the hub's exports add to the name of a split, such as train-00000-of-00001.parquet."""
_RULE = re.compile(":?-{2,}:?")
"""A cell of the line that some tables draw below their header."""


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


def read_tables(options: TaskOptions) -> dict[str, RawTable]:
    """The tables in `options.data` by split: a file is {"train": …}; a folder or hub data set has the splits it has.

    Raises DataError: nothing there, no train split, an unknown format, or a broken, empty or wrongly encoded file.
    """
    assert options.data is not None
    if options.data.startswith(HUB):
        return _read_hub(options.data.removeprefix(HUB))
    path = path_of(options.data)
    if not path.is_dir():
        return {"train": read_table(path, options)}
    there = _table_files(path)
    tables: dict[str, RawTable] = {}
    for split, names in SPLIT_NAMES.items():
        files = [file for name in names for file in there if _SHARD.sub("", file.name.lower().split(".")[0]) == name]
        there = [file for file in there if file not in files]
        if len(files) > 1:
            found = ", ".join(file.name for file in files)
            raise DataError(f"{path} has several files for the {split} split ({found}); keep one, or join them.")
        if files:
            tables[split] = read_table(files[0], options)
    if "train" not in tables:
        raise DataError(
            f"{path} holds no train file; it needs train.csv (or {', '.join(s[1:] for s in SUFFIXES[1:])}), and may "
            "hold dev and test files."
        )
    left_out = [file.name for file in there if suffix_of(file) != LINES_SUFFIX]
    if left_out:
        note = f"{path}: left out {', '.join(left_out)}, whose names are none of train, dev (or validation) and test"
        tables["train"] = replace(tables["train"], notes=(*tables["train"].notes, note))
    return tables


def _table_files(folder: Path) -> list[Path]:
    """The files of a folder that could be tables, by name. Raises DataError."""
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file())
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror or error}).") from error
    return [file for file in files if suffix_of(file) in SUFFIXES]


def read_table(path: Path, options: TaskOptions) -> RawTable:
    """Read one file; its suffix gives the format. Raises DataError, OptionError (unknown encoding or separator)."""
    suffix = suffix_of(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder, but a file is needed; name the file.")
    if suffix not in _READERS:
        raise DataError(
            f"{path} is in no format that can be read (known by suffix: {', '.join(SUFFIXES)}); convert or rename it."
        )
    remarks = Remarks(str(path))
    if options.separator is not None and _READERS[suffix] is not _read_separated:
        remarks.general("has no separated columns, so --separator has no effect on it")
    return _READERS[suffix](path, options, remarks)


def find_column(table: RawTable, given: str | None, usual: Sequence[str], what: str) -> str:
    """The name of the column that the user names, or else of the first usual one.

    `what` is the beginning of the option that names it. Raises DataError: the table has no such column, or several.
    """
    wanted = usual if given is None else (given, visible(given))
    present = [name for name in wanted if name in table.columns]
    if given is None and len(present) > 1 and what == "label":
        raise DataError(
            f'{table.source} has a column "{present[0]}" and a column "{present[1]}"; name the one to use with '
            f"--{what}-column."
        )
    name = next(iter(present), None)
    if name is None:
        missing = given if given is not None else usual[0]
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


def _header_hint(columns: Sequence[str], missing: str) -> str:
    """What may be wrong with a header that lacks a column; "" where nothing looks wrong."""
    if len(columns) == 1 and missing in columns[0]:
        return "its header is one cell, so name what separates the columns with --separator; "
    if any(len(name.split()) > 3 for name in columns):
        return "the first line must name the columns; "
    return ""


def suffix_of(path: Path) -> str:
    """The suffix that gives a file's format: ".csv" of reviews.CSV and of reviews.csv.gz."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == GZIP_SUFFIX else suffix


def _read_separated(path: Path, options: TaskOptions, remarks: Remarks) -> RawTable:
    separator = None if options.separator is None else checked_separator(options.separator)
    decoded = decode_file(path, options.encoding, encoding_option=True)
    found = read_rows(decoded.text, suffix_of(path), separator, options.quoting, remarks)
    header, *records = found
    names = [visible(cell) for cell in header.cells]
    header_size = sum(map(len, header.cells)) + len(header.cells)  # a mark of an encoding may precede each cell
    rows: Rows = []
    for record in records:
        if record.blank:
            remarks.row("a blank line was left out", f"line {record.line}")
            continue
        number, cells = len(rows) + 1, record.cells
        where = f"row {number}" if record.line == number + header.line else f"row {number} (line {record.line})"
        if not rows and all(_RULE.fullmatch(cell.strip()) for cell in cells if cell.strip()):
            remarks.row("a ruled line below the header was left out", f"line {record.line}")
            continue
        if sum(map(len, cells)) <= header_size and [visible(cell) for cell in cells] == names:
            remarks.row("a repeated header was left out", where)
            continue
        if any(cell.strip() for cell in cells[len(names) :]):
            raise DataError(
                f"{path} is broken, as a row has more cells than the header: line {record.line} has {len(cells)} "
                f'cells, but the header has {len(names)}; put "quotes" around cells that hold a separator, or name '
                "another separator with --separator."
            )
        if len(cells) > len(names):
            remarks.row("empty cells beyond the header's columns were left out", where)
        elif len(cells) < len(names):
            remarks.row("a row has fewer cells than the header", where)
        rows.append((where, _first_of_each(names, cells)))
    return _table(path, rows, remarks, [name for name in names if name], decoded.notes)


def _first_of_each(names: list[str], cells: list[str]) -> dict[str, Any]:
    """A row by column name. A column that the row lacks is missing, and so is one without a name."""
    row: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=False):
        if name:
            row.setdefault(name, cell)
    return row


def _read_json(path: Path, options: TaskOptions, remarks: Remarks) -> RawTable:
    """A JSON list of objects, or one object a line, whatever the suffix says."""
    decoded = decode_file(path, options.encoding, encoding_option=True)
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


def _read_parquet(path: Path, options: TaskOptions, remarks: Remarks) -> RawTable:
    found = read_parquet(path, remarks)
    return _table(path, [(f"row {n}", row) for n, row in enumerate(found.rows, start=1)], remarks, found.columns, ())


_READERS: dict[str, Callable[[Path, TaskOptions, Remarks], RawTable]] = {
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
GZIP_SUFFIX = ".gz"
LINES_SUFFIX = ".txt"
"""A table as training data, but one text a line where there are only texts."""


def _table(path: Path, rows: Rows, remarks: Remarks, names: list[str] | None, notes: tuple[str, ...]) -> RawTable:
    """The table of `rows`. `names`: the header, in which a name may be repeated; None: the rows' keys."""
    if not rows:
        raise DataError(f"{path} has no rows.")
    repeated = {name: count for name, count in Counter(names or ()).items() if count > 1}
    columns = _columns(row for _, row in rows) if names is None else tuple(dict.fromkeys(names))
    return RawTable(str(path), columns, tuple(rows), repeated, (*notes, *remarks.notes))


def _columns(rows: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column for row in rows for column in row))


def _read_hub(name: str) -> dict[str, RawTable]:
    """The splits of a hub data set. Class numbers become class names. Raises DataError."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise DataError(
            f'Reading "{HUB}{name}" needs the datasets package; install it with: pip install "semtune[datasets]".'
        ) from error
    try:
        found = datasets.load_dataset(name, **_no_scripts(datasets.load_dataset))
    except Exception as error:  # the library raises a dozen kinds: no network, no such set, a configuration needed
        if "trust_remote_code" in str(error) or "scripts are no longer supported" in str(error):
            raise DataError(
                f'The hub data set "{name}" is a Python script, which semtune never runs; give its files instead '
                "(CSV, JSON lines or Parquet)."
            ) from error
        raise DataError(f'The hub data set "{name}" cannot be read ({first_line(error)}); check its name.') from error
    tables: dict[str, RawTable] = {}
    for split, names in SPLIT_NAMES.items():
        name_there = next((n for n in names if n in found), None)
        if name_there is None:
            continue
        rows = [(f"row {n}", dict(row)) for n, row in enumerate(found[name_there], start=1)]
        remarks = Remarks(f"{HUB}{name} ({name_there})")
        for column, feature in found[name_there].features.items():
            name_classes(rows, column, feature, remarks.source)
        tables[split] = RawTable(remarks.source, _columns(row for _, row in rows), tuple(rows))
    if "train" not in tables:
        raise DataError(f'The hub data set "{name}" has no train split; it has {", ".join(found)}.')
    return tables


def _no_scripts(load_dataset: Callable[..., Any]) -> dict[str, bool]:
    """Arguments by which a data set's own script is refused: versions before 4 ask or run it, later ones know none."""
    named = "trust_remote_code" in inspect.signature(load_dataset).parameters
    return {"trust_remote_code": False} if named else {}
