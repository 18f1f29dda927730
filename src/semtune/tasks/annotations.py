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
from semtune.tasks.yes_no import FALSE, TRUE

_REJECTED = frozenset(
    {"discard", "discarded", "reject", "rejected", "skip", "skipped", "ignore", "ignored", "excluded"}
)
_STATUS = _REJECTED | {"draft", "spam", "survey preview", "survey test"}
_OF_ROW = frozenset(
    {*_STATUS, "deleted", "removed", "cancelled", "canceled", "invalid", "failed", "fail", "declined", "duplicate"}
)
_FAILED = frozenset({"failed", "fail", "incorrect", "wrong", "not passed"}) | FALSE
_AGAINST = frozenset(
    word
    for words in (
        "cancelled canceled skip skipped discard discarded reject rejected ignore ignored exclude excluded exclusion",
        "delete deleted remove removed drop dropped duplicate duplicated invalid withdrawn tainted",
        "ausgeschlossen gelöscht verworfen abgelehnt ungültig duplikat",
        "exclu supprimé rejeté excluido eliminado rechazado excluído rejeitado",
    )
    for word in words.split()
)
"""Columns that say of a row that it does not count: Label Studio, and spreadsheets."""
_FOR = frozenset(
    word
    for words in (
        "accept accepted approve approved confirmed keep kept include included use usable eligible",
        "finished complete completed",
        "behalten verwenden beendet gültig einschließen garder inclure conservar incluir",
    )
    for word in words.split()
)
"""Columns that say of a row that it counts: doccano, Qualtrics."""
UNACCEPTED: Mapping[str, frozenset[str]] = {
    "answer": frozenset({"reject", "ignore"}),  # Prodigy
    "status": _STATUS,  # Argilla, Qualtrics
    **dict.fromkeys(("state", "verdict"), _REJECTED),
    **dict.fromkeys(("decision", "action"), _REJECTED - {"reject", "rejected"}),  # what a review or a mail may be about
    **dict.fromkeys(_AGAINST, TRUE),
    **dict.fromkeys(_FOR, FALSE),
    **dict.fromkeys(("valid_response", "response_valid", "valid_row", "row_valid", "valid_answer"), FALSE),
    "distribution_channel": frozenset({"preview", "test"}),  # Qualtrics
    **dict.fromkeys(("attention_check", "quality_check", "manipulation_check", "control_question"), _FAILED),
}
"""Columns in which annotation tools and surveys say that a row does not count, with the words for it."""
_ABOUT_ROWS = frozenset(
    {"annotation", "annotator", "label", "review", "reviewer", "record", "response", "row", "item", "sample", "example"}
    | {"entry", "text", "moderation", "approval", "quality", "qc", "qa", "validation", "audit", "curation"}
    | {"assignment", "task", "hit"}  # Mechanical Turk, Toloka
)
"""Words in front of "status", "verdict" or "state" that make it one of the row, whatever the texts are about."""
_ASKING = frozenset({"is", "was", "to", "should", "be", "has", "been", "flag", "flagged", "ist", "est"})
"""Words around the name of a column of true and false."""
_ANNOTATORS = frozenset(
    {"user", "users", "annotator", "annotators", "worker", "workers", "rater", "raters", "coder", "coders", "judge"}
    | {"judges", "labeler", "labelers", "labeller", "labellers", "reviewer", "reviewers", "respondent", "respondents"}
)
"""Words in the names of columns that list who answered."""


def remark_unaccepted(row: Mapping[str, Any], used: set[str], row_name: str, remarks: Remarks) -> None:
    """Remark a row that a column marks as rejected, excluded or unfinished; `used`: the columns that are read."""
    for column, cell in row.items():
        words = _words_against(column) if column not in used else frozenset()
        if words and not words.isdisjoint(str(item).strip().casefold() for item in _items(cell) or [cell]):
            remarks.row(
                f'the column "{column}" marks a row as rejected, excluded or unfinished, and its text and label were '
                "read like any other",
                row_name,
                example=shown(str(cell)),
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
def _words_against(column: str) -> frozenset[str]:
    """The words in a column of this name that say that a row does not count.

    Its end says what it is: "status" in "label.responses.status" and "_status", "deleted" in "isDeleted".
    """
    end = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", visible(column).rpartition(".")[2])
    words = [word for word in re.split(r"[\W_]+", end.casefold()) if word]
    if words[:-1] and words[-1] in ("status", "state", "verdict", "decision") and _ABOUT_ROWS.issuperset(words[:-1]):
        return _OF_ROW
    bare = [word for word in words if word not in _ASKING]
    if len(bare) > 1 and bare[-1] in ("ok", "okay"):
        return FALSE
    return UNACCEPTED.get("_".join(bare), frozenset())


def _lists_annotators(column: str) -> bool:
    return not _ANNOTATORS.isdisjoint(re.split(r"[\W_]+", visible(column).casefold()))


def _items(cell: Any) -> Sequence[Any] | None:
    """The items of a list, written out or not; None: the cell is no list."""
    return cell if isinstance(cell, list) else written_list(cell)


def _length(cell: Any) -> int:
    items = _items(cell)
    return -1 if items is None else len(items)
