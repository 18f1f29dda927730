"""Advice for data that can be read but was probably not meant so."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.errors import DataError
from semtune.records import TaskOptions
from semtune.tasks.table import Table


def task_of(file: Path | str) -> Table:
    return Table(TaskOptions(data=str(file), text_column="text", label_column="label"))


def table(folder: Path, rows: list[tuple[str, str]]) -> Path:
    file = folder / "rows.csv"
    file.write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]) + "\n", encoding="utf-8")
    return file


def test_a_url_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a URL, but a file is needed; download it"):
        task_of("https://example.org/rows.csv").load("train")


def test_a_pattern_names_what_it_matches(tmp_path: Path) -> None:
    table(tmp_path, [("a", "x")])
    with pytest.raises(DataError, match=r"is a pattern of 1 files \(first: rows.csv\)"):
        task_of(tmp_path / "*.csv").load("train")


def test_a_file_whose_name_looks_like_a_pattern_is_read(tmp_path: Path) -> None:
    file = table(tmp_path, [(f"text {i}", "xy"[i % 2]) for i in range(20)]).rename(tmp_path / "rows[1].csv")
    assert task_of(file).load("train")


def test_labels_of_their_own_point_at_the_column(tmp_path: Path) -> None:
    file = table(tmp_path, [(f"text {i}", f"label {i}") for i in range(12)])
    with pytest.raises(DataError, match="every text has a label of its own, so check --label-column"):
        task_of(file).load("train")


@pytest.mark.parametrize("rows", [1, 2])
def test_a_row_of_totals_is_remarked(rows: int, tmp_path: Path) -> None:
    usual = [(f"text {i}", "xy"[i % 2]) for i in range(40)]
    extra = [(f"sum {i}", f"Total {i}") for i in range(rows)]
    notes = task_of(table(tmp_path, usual + extra)).data_notes
    assert any("Total 0" in note and "hardly to be learnt" in note for note in notes)


def test_rare_labels_among_rare_labels_are_usual(tmp_path: Path) -> None:
    rows = [(f"text {i}", f"label {i // 2}") for i in range(40)] + [("alone", "rare")]
    assert not any("hardly" in note for note in task_of(table(tmp_path, rows)).data_notes)
