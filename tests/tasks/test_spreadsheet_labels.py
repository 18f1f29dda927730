"""Labels that a spreadsheet made of ranges and numbers are noted; dates and numbers of other kinds are not."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from semtune.api.class_targets import doubtful_classes
from semtune.tasks.label_notations import joined_labels
from semtune.tasks.spreadsheet_labels import comma_numbers, date_labels

from .tables import notes


def saved(folder: Path, labels: tuple[str, ...]) -> Path:
    file = folder / "t.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        rows = [(f"the harbour felt warm number {i}", labels[i % len(labels)]) for i in range(8 * len(labels))]
        csv.writer(out).writerows([("text", "label"), *rows])
    return file


@pytest.mark.parametrize(
    "labels",
    [
        ("05-Jan", "10-Jun", "18-25", "36+"), ("2024-05-01 00:00:00", "18-25"), ("01.05.2024", "18–25"),
        ("5/1/2024", "<18"), ("Jan 03", "1-2", "3-4"), ("Jan-05", "6 to 10"), ("1月5日", "3"), ("01. Mai", "4"),
        ("02-Jan", "03-Feb"), ("01. Feb", "02. Mrz"), ("05-janv.", "06-févr."), ("03/set", "04/out"), ("1-Mar", "TP53"),
    ],
)  # fmt: skip
def test_dates_that_were_ranges_are_noted(tmp_path: Path, labels: tuple[str, ...]) -> None:
    said = notes(saved(tmp_path, labels))
    assert f'"{labels[0]}"' in said and "that a spreadsheet made of a range or a number" in said
    assert "spreadsheet" not in notes(saved(tmp_path, labels), labels=labels)


@pytest.mark.parametrize(
    "labels",
    [
        ("2024-05-01", "2024-05-02"), ("2024-05-01", "2024", "2019-2020"), ("Jan-20", "Feb-20"), ("May", "June", "1"),
        ("MARCH1", "SEPT2"), ("OCT-4", "SOX-2"), ("3-set", "5-set"), ("24/7", "9/5"), ("18-25", "26-35"),
        ("1.2.3", "1.2.4"), ("Q1", "4"), ("1 Mark", "2"), ("4th of July", "1"),
    ],
)  # fmt: skip
def test_other_labels_are_no_such_dates(labels: tuple[str, ...]) -> None:
    assert date_labels(labels) == []


@pytest.mark.parametrize(
    "labels",
    [("0,5", "1,0", "1,5"), ("1,0", "1,2", "2,0", "2,2", "4,8"), ("1,0 %", "1,5 %"), ("1,000", "2,000", "10,000")],
)
def test_numbers_with_a_comma_are_no_joined_labels(tmp_path: Path, labels: tuple[str, ...]) -> None:
    said = notes(saved(tmp_path, labels))
    assert "look like numbers with a decimal comma" in said and "--label-separator" not in said


@pytest.mark.parametrize("labels", [("1,2", "1,3", "2,3"), ("0", "1", "1,0"), ("0,1", "1,2", "0,1,2")])
def test_joined_numbers_of_classes_are_joined(labels: tuple[str, ...]) -> None:
    assert comma_numbers(labels) == []
    assert joined_labels(labels) is not None


def test_what_may_be_either_is_said_to_be_either(tmp_path: Path) -> None:
    said = notes(saved(tmp_path, ("1", "1,5", "2", "2,5")))
    assert 'joined by ","; if it is, name that with --label-separator, but not if it is a number with a decimal' in said


def test_classes_in_memory_are_noted_too() -> None:
    assert any("spreadsheet" in note for note in doubtful_classes({"05-Jan": 4, "18-25": 4}))
    assert doubtful_classes({"18-25": 4, "26-35": 4}) == []
