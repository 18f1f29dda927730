"""What annotation tools write beside labels: annotations that do not count, and who gave which of several answers."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from semtune.errors import DataError
from semtune.tasks.cells import written_list
from semtune.tasks.characters import visible
from semtune.tasks.remarks import Remarks, shown
from semtune.tasks.table_files import RawTable

UNACCEPTED: Mapping[str, frozenset[str]] = {
    "answer": frozenset({"reject", "ignore"}),  # Prodigy
    "status": frozenset({"discarded", "rejected", "skipped", "ignored", "draft"}),  # Argilla
    **dict.fromkeys(
        ("was_cancelled", "cancelled", "skip", "skipped", "discarded", "rejected", "ignored", "excluded", "deleted"),
        frozenset({"true", "1", "yes", "x"}),  # Label Studio, and spreadsheets
    ),
    **dict.fromkeys(("accepted", "approved", "is_confirmed"), frozenset({"false", "0", "no"})),  # doccano
}
"""Columns in which annotation tools say that a row's annotation does not count, with the words for it."""
_ANNOTATORS = frozenset(
    {"user", "users", "annotator", "annotators", "worker", "workers", "rater", "raters", "coder", "coders", "judge"}
    | {"judges", "labeler", "labelers", "labeller", "labellers", "reviewer", "reviewers", "respondent", "respondents"}
)
"""Words in the names of columns that list who answered."""


def remark_unaccepted(row: Mapping[str, Any], used: set[str], row_name: str, remarks: Remarks) -> None:
    """Remark a row that its annotation tool marks as rejected or skipped; `used`: the columns that are read."""
    for column, cell in row.items():
        words = UNACCEPTED.get(_kind(column), frozenset()) if column not in used else frozenset()
        if words and not words.isdisjoint(str(item).strip().casefold() for item in _items(cell) or [cell]):
            remarks.row(
                f'the column "{column}" marks an annotation as rejected or skipped, and its text and label were read '
                "like any other",
                row_name,
                advice="remove such rows if they do not count",
            )


def check_one_annotator(table: RawTable, label_column: str) -> None:
    """Raises DataError where the lists of the label column hold an answer of each of several annotators.

    So it is where another column lists who answered, in lists of the same lengths in all rows.
    """
    labels = [(where, row, _items(row.get(label_column))) for where, row in table.rows]
    several = next(((where, items) for where, _, items in labels if items is not None and len(items) > 1), None)
    if several is None:
        return
    for column in table.columns:
        if column == label_column or not _lists_annotators(column):
            continue
        if all(items is None or _length(row.get(column)) == len(items) for _, row, items in labels):
            where, items = several
            raise DataError(
                f'{table.source}, {where} has {len(items)} labels in column "{label_column}" and as many annotators in '
                f'column "{column}": answers of several people, not several labels of the text; write the one answer '
                "that counts, such as the majority's, into a column of its own, or leave out the column "
                f"{shown(column)} if all of them are labels."
            )


@functools.cache
def _kind(column: str) -> str:
    """What a column's name says at its end: "status" for "label.responses.status" and "_status"."""
    return re.sub(r"[\s-]+", "_", visible(column).casefold().rpartition(".")[2].strip("_ "))


def _lists_annotators(column: str) -> bool:
    return not _ANNOTATORS.isdisjoint(re.split(r"[\W_]+", visible(column).casefold()))


def _items(cell: Any) -> Sequence[Any] | None:
    """The items of a list, written out or not; None: the cell is no list."""
    return cell if isinstance(cell, list) else written_list(cell)


def _length(cell: Any) -> int:
    items = _items(cell)
    return -1 if items is None else len(items)
