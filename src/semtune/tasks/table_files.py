"""Reads a user's table of any supported format into rows of plain Python values.

CSV and TSV come through pandas with every cell a string and nothing taken for "missing" (a text may well be "NA");
JSON, JSON lines and Parquet keep their types, so a label cell may be a list. Hub data sets need the `datasets`
package, which semtune does not install by itself.
"""

from __future__ import annotations

import importlib
import io
import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semtune.errors import DataError, first_line
from semtune.tasks.files import parse_json_lines, parse_json_list, read_text

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
HUB = "hub:"
SPLIT_NAMES = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test",),
}
"""Usual names of the three splits, in file names and on the hub."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """Rows as they are in a file. `columns` are the columns of all rows; a row of JSON may lack some of them."""

    source: str
    """The file's path or the data set's id, for messages."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, dict[str, Any]], ...]
    """(location, row): the location, as "row 3" or "line 3", is for messages."""


def read_tables(data: str, encoding: str) -> dict[str, RawTable]:
    """The tables in `data` by split: a file is {"train": …}; a folder or hub data set has the splits it has.

    Raises DataError: nothing there, no train split, an unknown format, or a broken, empty or wrongly encoded file.
    """
    if data.startswith(HUB):
        return _read_hub(data.removeprefix(HUB))
    path = Path(data).expanduser()
    if not path.is_dir():
        return {"train": read_table(path, encoding)}
    tables: dict[str, RawTable] = {}
    for split, names in SPLIT_NAMES.items():
        files = [path / (name + suffix) for name in names for suffix in SUFFIXES if (path / (name + suffix)).is_file()]
        if len(files) > 1:
            raise DataError(
                f"{path} has several files for the {split} split ({', '.join(f.name for f in files)}); keep one."
            )
        if files:
            tables[split] = read_table(files[0], encoding)
    if "train" not in tables:
        raise DataError(
            f"{path} holds no train file; it needs train.csv (or {', '.join(s[1:] for s in SUFFIXES[1:])}), and may "
            "hold dev and test files."
        )
    return tables


def read_table(path: Path, encoding: str) -> RawTable:
    """Read one file; its suffix gives the format. Raises DataError, OptionError (unknown encoding)."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path} is in no format that can be read (known by suffix: {', '.join(SUFFIXES)}); convert or rename it."
        )
    if suffix == ".parquet":
        return _table(path, [(f"row {n}", row) for n, row in enumerate(_read_parquet(path), start=1)])
    text = read_text(path, encoding, encoding_option=True)
    if suffix == ".jsonl":
        return _table(path, [(f"line {n}", row) for n, row in parse_json_lines(text, path)])
    if suffix == ".json":
        return _table(path, [(f"row {n}", row) for n, row in enumerate(parse_json_list(text, path), start=1)])
    return _read_separated(path, text, "\t" if suffix == ".tsv" else _separator(text))


def _separator(text: str) -> str:
    """A comma, or a semicolon where the header has only those (spreadsheets in half of Europe write them)."""
    header = text.lstrip("\n").split("\n", 1)[0]
    return ";" if ";" in header and "," not in header else ","


def _read_separated(path: Path, text: str, separator: str) -> RawTable:
    # pandas is slow to import, and JSON needs none of it.
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # index_col=False: otherwise a surplus cell in the first row silently makes the first column an index.
            frame = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False)
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        what = (
            f"line {found[2]} has {found[3]} cells, but the header has {found[1]}"
            if found
            else "a row has more cells than the header"
            if isinstance(error, pd.errors.ParserWarning)
            else str(error).strip()
        )
        raise DataError(f'{path} is broken: {what}; put "quotes" around cells that hold a separator.') from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty.") from error
    columns = [str(column) for column in frame.columns]
    cells = zip(*(frame[column].tolist() for column in frame.columns), strict=True)
    return _table(path, [(f"row {n}", dict(zip(columns, row, strict=True))) for n, row in enumerate(cells, 1)])


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"There is no file {path}; check the path.")
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({first_line(error)}).") from error
    return rows


def _table(path: Path, rows: list[tuple[str, dict[str, Any]]]) -> RawTable:
    if not rows:
        raise DataError(f"{path} has no rows.")
    return RawTable(str(path), _columns(row for _, row in rows), tuple(rows))


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
        found = datasets.load_dataset(name)
    except Exception as error:  # the library raises a dozen kinds: no network, no such set, a configuration needed
        raise DataError(f'The hub data set "{name}" cannot be read ({first_line(error)}); check its name.') from error
    tables: dict[str, RawTable] = {}
    for split, names in SPLIT_NAMES.items():
        name_there = next((n for n in names if n in found), None)
        if name_there is None:
            continue
        rows = [(f"row {n}", dict(row)) for n, row in enumerate(found[name_there], start=1)]
        for column, feature in found[name_there].features.items():
            name_classes(rows, column, feature)
        tables[split] = RawTable(f"{HUB}{name} ({name_there})", _columns(row for _, row in rows), tuple(rows))
    if "train" not in tables:
        raise DataError(f'The hub data set "{name}" has no train split; it has {", ".join(found)}.')
    return tables


def name_classes(rows: list[tuple[str, dict[str, Any]]], column: str, feature: Any) -> None:
    """Replace class numbers in `column` by their names, in place, where the data set gives names.

    -1 is the hub's convention for a hidden label and becomes None.
    """
    names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
    if names is None:
        return

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(item) for item in value]
        if isinstance(value, int):
            return names[value] if value >= 0 else None
        return value

    for _, row in rows:
        row[column] = named(row[column])


def as_text(value: Any) -> str | None:
    """A cell as text: None for an empty cell, 3.0 as "3", True as "true"."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return text if text.strip() else None
