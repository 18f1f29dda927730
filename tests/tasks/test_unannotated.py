"""Rows that an annotation tool left without labels, or marks as rejected, are said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.tasks.table import Table


def notes(folder: Path, rows: list[dict[str, object]]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = Table(TaskOptions(data=str(file), text_column="text", label_column="label"))
    for split in ("train", "dev", "test"):
        task.load(split)
    return " ".join(task.data_notes)


def rows(*labels: object) -> list[dict[str, object]]:
    return [{"text": f"text number {i}", "label": labels[i % len(labels)]} for i in range(40)]


def test_empty_lists_are_counted(tmp_path: Path) -> None:
    said = notes(tmp_path, rows(["a"], ["b"], []))
    assert "an empty list of labels was read as a text without labels in 13 rows" in said


@pytest.mark.parametrize("word", ["-1", "None", "unlabeled", "TODO"])
def test_a_placeholder_among_labels_is_said(word: str, tmp_path: Path) -> None:
    assert f'the label "{word}" (13 texts) is read as a label like any other' in notes(tmp_path, rows("a", "b", word))


def test_other_labels_are_not_remarked(tmp_path: Path) -> None:
    said = notes(tmp_path, rows("good", "bad", "neutral"))
    assert "like any other" not in said and "without labels" not in said


@pytest.mark.parametrize(("column", "word"), [("answer", "reject"), ("answer", "ignore"), ("was_cancelled", True)])
def test_rows_that_the_annotator_rejected_are_said(column: str, word: object, tmp_path: Path) -> None:
    given = [{**row, column: word if i % 4 == 0 else "accept"} for i, row in enumerate(rows("a", "b"))]
    said = notes(tmp_path, given)
    assert f'the column "{column}" marks a row as rejected, excluded or unfinished' in said
    assert "in 10 rows" in said and "remove such rows" in said
    assert "rejected" not in notes(tmp_path, [{**row, column: "accept"} for row in given])


@pytest.mark.parametrize(
    ("options", "idle"),
    [({"quoting": "none"}, "--quoting has"), ({"separator": ";", "quoting": "csv"}, "--separator and --quoting have")],
)
def test_options_of_separated_files_are_idle_elsewhere(options: dict[str, str], idle: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows("a", "b")), encoding="utf-8")
    task = Table(TaskOptions(data=str(file), text_column="text", label_column="label", **options))  # type: ignore[arg-type]
    task.load("train")
    assert f"has no separated columns, so {idle} no effect on it" in " ".join(task.data_notes)


@pytest.mark.parametrize(
    ("column", "word"),
    [
        ("status", "discarded"),
        ("label.responses.status", ["submitted", "discarded"]),
        ("_status", "Rejected"),
        ("skipped", "TRUE"),
        ("discarded", 1),
        ("is_confirmed", False),
        ("is_deleted", "TRUE"),
        ("isDuplicate", 1),
        ("exclude", "x"),
        ("Ausgeschlossen", "ja"),
        ("keep", "0"),
        ("use", "no"),
        ("Finished", "FALSE"),
        ("attention_check", "failed"),
        ("review_status", "rejected"),
        ("annotation_status", "Discarded"),
        ("row_status", "deleted"),
        ("verdict", "reject"),
        ("action", "skip"),
        ("Status", "Survey Preview"),
        ("_answer", "reject"),
        ("to_be_removed", "yes"),
        ("approved", "False"),
        ("AssignmentStatus", "Rejected"),
        ("ASSIGNMENT:status", "REJECTED"),
        ("qa_status", "FAIL"),
        ("task_status", "rejected"),
        ("_tainted", "true"),
        ("language_ok", "n"),
        ("is_valid_response", "FALSE"),
        ("Include?", "N"),
        ("DistributionChannel", "preview"),
    ],
)
def test_rows_that_other_tools_mark_as_not_counting_are_said(column: str, word: object, tmp_path: Path) -> None:
    given = [{**row, column: word if i % 4 == 0 else "other"} for i, row in enumerate(rows("a", "b"))]
    said = notes(tmp_path, given)
    assert f'the column "{column}" marks a row as rejected, excluded or unfinished' in said and "in 10 rows" in said


def test_a_column_valid_is_said_to_have_two_meanings(tmp_path: Path) -> None:
    said = notes(tmp_path, [{**row, "valid": "yes" if i % 4 else "no"} for i, row in enumerate(rows("a", "b"))])
    assert "--split-column valid" in said and "if it says whether a row is valid, remove those that are not" in said


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "submitted"),
        ("status", "closed"),
        ("skipped", False),
        ("order status", "x"),
        ("rejections", 1),
        ("order_status", "deleted"),
        ("decision", "reject"),
        ("state", "Texas"),
        ("is_deleted", "FALSE"),
        ("keep", 1),
        ("exclude", ""),
        ("user", "no"),
        ("attention", "high"),
        ("deleted_count", 1),
        ("approved_by", "no"),
        ("job_status", "rejected"),
        ("distribution", "preview"),
        ("ok", "no"),
        ("", "x"),
    ],
)
def test_honest_columns_are_not_taken_for_marks(column: str, value: object, tmp_path: Path) -> None:
    assert "rejected, excluded" not in notes(tmp_path, [{**row, column: value} for row in rows("a", "b")])


@pytest.mark.parametrize("written", [list, str, json.dumps])
def test_answers_of_several_annotators_are_no_several_labels(written: Any, tmp_path: Path) -> None:
    answers = [["good", "bad"], ["good"], ["bad", "bad", "good"]]
    people = [[f"u{i}" for i in range(len(held))] for held in answers]
    given = [
        {"text": f"text number {i}", "label": written(answers[i % 3]), "label.users": written(people[i % 3])}
        for i in range(40)
    ]
    with pytest.raises(DataError, match=r'line 1 has 2 labels in column "label" and as many annotators.*majority'):
        notes(tmp_path, given)


@pytest.mark.parametrize(
    ("column", "lists"),
    [
        ("scores", [[0.2, 0.8], [1.0], [0.1, 0.2, 0.3]]),
        ("annotators", [["u1"], ["u1"], ["u2"]]),
        ("users", ["u1", "u2", "u3"]),
    ],
)
def test_lists_beside_several_labels_are_honest(column: str, lists: list[object], tmp_path: Path) -> None:
    labels = [["good", "warm"], ["good"], ["bad", "cold", "warm"]]
    given = [{"text": f"text number {i}", "label": labels[i % 3], column: lists[i % 3]} for i in range(40)]
    assert "annotators" not in notes(tmp_path, given)
