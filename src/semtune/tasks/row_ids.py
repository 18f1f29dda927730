"""The ids of a table's rows: every row has one of its own, among all splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from semtune.errors import DataError
from semtune.records import Example
from semtune.tasks.cells import id_text
from semtune.tasks.remarks import Remarks, shown


def unique_id(row: dict[str, Any], column: str, row_name: str, remarks: Remarks, known: dict[str, str]) -> str:
    """The row's id, entered into `known` (id → row name). Raises DataError: none, or repeated."""
    where = f"{remarks.source}, {row_name}"
    example_id = id_text(row.get(column), column, row_name, remarks)
    if example_id is None:
        raise DataError(f'{where} has no id in column "{column}"; fill it in, or leave out --id-column.')
    if example_id in known:
        raise DataError(
            f"{where} has the same id as {known[example_id]}, {shown(example_id)}; every id must be unique."
        )
    known[example_id] = row_name
    return example_id


def check_no_shared_ids(splits: Mapping[str, Sequence[Example]]) -> None:
    """Raises DataError where two splits have an id in common."""
    split_of: dict[str, str] = {}
    for split, examples in splits.items():
        for example in examples:
            if example.id in split_of:
                raise DataError(
                    f"The id {shown(example.id)} is in the {split_of[example.id]} split and in the {split} split; "
                    "a text must be in one split only, and every id must be unique."
                )
            split_of[example.id] = split
