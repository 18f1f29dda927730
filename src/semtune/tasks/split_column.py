"""A column that says which split each row belongs to (`--split-column`), and one that seems to, but is not named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from semtune.errors import DataError, OptionError
from semtune.tasks.base import SPLITS
from semtune.tasks.characters import visible
from semtune.tasks.remarks import shown
from semtune.tasks.split_files import SPLIT_OF_NAME
from semtune.tasks.table_files import RawTable, find_column

USUAL_NAMES = frozenset({"split", "splits", "set", "subset", "dataset", "partition", "fold", "part", "usage", "phase"})
"""Names that such a column often has."""


def split_by_column(tables: Mapping[str, RawTable], column: str) -> dict[str, RawTable]:
    """The rows of the one table by what `column` says of them.

    Raises:
        OptionError: the data have their splits as files.
        DataError: no such column, a cell that names no split, or no row to train on.
    """
    if len(tables) > 1:
        raise OptionError(
            f"--split-column {column} says which split a row belongs to, but {' and '.join(tables)} are files of their "
            "own; leave it out."
        )
    (table,) = tables.values()
    column = find_column(table, column, (), "split")
    rows: dict[str, list[tuple[str, dict[str, Any]]]] = {split: [] for split in SPLITS}
    for where, row in table.rows:
        split = _split_of(row.get(column))
        if split is None:
            raise DataError(
                f'{table.source}, {where} has {shown(str(row.get(column) or ""))} in column "{column}", where train, '
                "dev (or validation) or test is needed; fill it in or remove the row."
            )
        rows[split].append((where, row))
    if not rows["train"]:
        raise DataError(f'{table.source} has no row whose column "{column}" says train; name another --split-column.')
    return {
        split: replace(
            table, source=f"{table.source} ({split})", rows=tuple(own), notes=table.notes if split == "train" else ()
        )
        for split, own in rows.items()
        if own
    }


def check_no_split_column(source: str, columns: Mapping[str, Iterable[Any]], option: str) -> None:
    """Raises DataError where a column seems to say which split each row belongs to: its rows would be split anew.

    Args:
        columns: cells by name of column, without the columns that the user names.
        option: how the user names a column of splits, such as "--split-column {}".
    """
    for name, cells in columns.items():
        if visible(name).casefold() not in USUAL_NAMES:
            continue
        splits = {_split_of(cell) for cell in cells}
        if "train" in splits and len(splits) > 1 and None not in splits:
            found = " and ".join(split for split in SPLITS if split in splits)
            raise DataError(
                f'{source} has a column "{name}", which says {found}, but all rows would be taken for training and '
                f"split anew; use it with {option.format(name)}, or rename it."
            )


def _split_of(cell: Any) -> str | None:
    return SPLIT_OF_NAME.get(visible(str(cell)).casefold())
