"""Rows that an annotation tool left without labels, or marks as rejected, are said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
    assert f'the column "{column}" marks an annotation as rejected or skipped' in said
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
