"""Reads a Parquet file: rows of plain Python values, class numbers as the names that the file's metadata gives them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semtune.errors import DataError, first_line
from semtune.runtime.files import no_file
from semtune.tasks.class_names import name_classes
from semtune.tasks.narrow_floats import widen
from semtune.tasks.remarks import Remarks

if TYPE_CHECKING:
    import pyarrow as pa

HUB_METADATA = b"huggingface"
"""Key under which the `datasets` package writes the features of its columns, as JSON."""


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """The rows of a file; `columns` may hold a name twice, of which the rows have the first."""

    columns: list[str]
    rows: list[dict[str, Any]]


def read_parquet(path: Path, remarks: Remarks) -> ParquetRows:
    """Read `path`; columns whose class numbers became names are added to `remarks`. Raises DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(no_file(path))
    try:
        # Not read_table: it would also take the folder's name for a column, where that has the form "key=value".
        with pq.ParquetFile(path) as file:
            table = _fine_times(widen(file.read()))
        columns: list[str] = list(table.column_names)
        first = [columns.index(name) for name in dict.fromkeys(columns)]
        rows: list[dict[str, Any]] = table.select(first).to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # a date beyond Python's years
        raise DataError(f"{path} cannot be read as Parquet ({first_line(error)}).") from error
    located = [(f"row {number}", row) for number, row in enumerate(rows, start=1)]
    for name, feature in _features(table.schema.metadata).items():
        if name_classes(located, name, feature, str(path)):
            remarks.general(f'class numbers in column "{name}" were read as the names in the file\'s metadata')
    return ParquetRows(columns, rows)


def _fine_times(table: pa.Table) -> pa.Table:
    """`table` with times of day as texts where Python's own, which end at microseconds, would make two of them one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, column in enumerate(table.schema):
        if column.type != pa.time64("ns"):
            continue
        times = table.column(index)
        nanoseconds = times.cast(pa.int64()).to_pylist()
        if any((count or 0) % 1000 for count in nanoseconds):
            table = table.set_column(index, column.name, pc.cast(times, pa.string()))
    return table


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """The features that the `datasets` package recorded, by column; empty where it did not write the file."""
    try:
        features = json.loads((metadata or {})[HUB_METADATA])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}
