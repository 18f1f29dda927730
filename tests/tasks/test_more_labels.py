"""Columns that hold labels too and are not read are named; those that say the same, or something else, are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from .tables import HEADER, ROWS, joined, notes, pairs, save


def said_of(folder: Path, name: str, cells: list[str], labels: list[str] | None = None) -> str:
    own = [label for _, label in ROWS] if labels is None else labels
    rows = [(text, label, cell) for (text, _), label, cell in zip(ROWS, own, cells, strict=True)]
    return notes(save(folder / "t.csv", joined([(*HEADER, name), *rows], ",")))


@pytest.mark.parametrize("name", ["label_2", "label.1", "label_annotator2", "final", "predicted"])
def test_a_column_of_other_labels_is_named(tmp_path: Path, name: str) -> None:
    rotated = [ROWS[(i + 1) % len(ROWS)][1] for i in range(len(ROWS))]
    said = said_of(tmp_path, name, [cell if i % 2 else "" for i, cell in enumerate(rotated)])
    assert f'only the labels in column "label" were read, though "{name}" holds labels too' in said
    assert [label for _, label in pairs(tmp_path / "t.csv")] == [label for _, label in ROWS]


def test_a_column_that_says_the_same_or_something_else_is_not(tmp_path: Path) -> None:
    same = [label.upper() for _, label in ROWS]
    assert "were read, though" not in said_of(tmp_path, "label_2", same)
    assert "were read, though" not in said_of(tmp_path, "mood", ["calm", "loud"] * (len(ROWS) // 2))
    assert "were read, though" not in said_of(tmp_path, "label_2", [""] * len(ROWS))


@pytest.mark.parametrize(("name", "named"), [("label_2", True), ("label2", True), ("is_reply", False)])
def test_numbers_are_labels_only_under_the_labels_name(tmp_path: Path, name: str, named: bool) -> None:
    labels = ["0", "1"] * (len(ROWS) // 2)
    said = said_of(tmp_path, name, labels[::-1], labels)
    assert ("were read, though" in said) == named
