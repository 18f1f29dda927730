"""The submission format of SemEval-2021 Task 6, subtasks 1 and 3, used for every task's predictions.

A JSON list of {"id", "labels"} in UTF-8. The organisers' format check (format_checker/task1_3.py of their corpus) asks
for both keys and known labels; ours also asks for unique ids. Whether a completion parsed is not part of the format, so
predictions that were read back all count as parsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semtune.contracts import AnswerKind
from semtune.errors import DataError
from semtune.records import Prediction
from semtune.runtime.files import write_json
from semtune.tasks.files import parse_json_list, read_text
from semtune.tasks.rows import checked_id, checked_labels


def write(predictions: Sequence[Prediction], path: Path) -> None:
    """Write `predictions` to `path` in one step. Raises OutputError."""
    rows = [{"id": p.id, "labels": list(p.labels)} for p in predictions]
    write_json(path, rows)


def read(path: Path, labels: Sequence[str], answer: AnswerKind) -> list[Prediction]:
    """The predictions in `path`, labels in the order of `labels`.

    Raises DataError: a missing, empty or wrongly encoded file, broken JSON (with line and column), not a list of
    objects, a missing key, a repeated id, an unknown label, or several labels where the task has one.
    """
    predictions: list[Prediction] = []
    seen: dict[str, str] = {}
    for number, row in enumerate(parse_json_list(read_text(path), path), start=1):
        place = f"{path}: row {number}"
        example_id = checked_id(row, place, seen)
        if "labels" not in row:
            raise DataError(f'{place} (id "{example_id}") has no "labels"; write [] where no label applies.')
        found = checked_labels(row["labels"], labels, f'{place} (id "{example_id}")')
        if answer == "single_label" and len(found) > 1:
            raise DataError(f'{place} (id "{example_id}") has {len(found)} labels, but this task has one a text.')
        predictions.append(Prediction(id=example_id, labels=found))
    return predictions
