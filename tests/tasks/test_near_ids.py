"""Ids that a reader takes for the same are remarked, and a prediction is never missed over such a difference unsaid."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtune.errors import DataError
from semtune.records import Example, LabelSet, Prediction
from semtune.tasks import scoring

from .tables import ROWS, joined, notes, save

NEAR = [
    (" a1", "a1", "white space"),
    ("A1", "a1", "case"),
    ("caf\u00e9", "cafe\u0301", "normal form"),
    ("a\u200b1", "a1", "invisible characters"),
    ("A 1", "a1", "white space and case"),
    ("007", "7", "how a number is written"),
    ("3.0", "3", "how a number is written"),
    ("3,0", "3", "how a number is written"),
    ("1,000", "1000", "how a number is written"),
    ("12 345", "12345", "white space"),
]


@pytest.mark.parametrize(("one", "other", "how"), NEAR)
def test_near_equal_ids_are_remarked(tmp_path: Path, one: str, other: str, how: str) -> None:
    ids = [one, other, *(f"other {i}" for i in range(len(ROWS) - 2))]
    rows = [(own, *row) for own, row in zip(ids, ROWS, strict=True)]
    file = save(tmp_path / "t.tsv", joined([("id", "text", "label"), *rows], "\t"))
    said = notes(file, id_column="id")
    assert "near-equal ids count as different ones" in said and f"differ only in {how};" in said
    assert "near-equal" not in notes(file)


def test_usual_ids_are_not_remarked(tmp_path: Path) -> None:
    rows = [(f"{i:03}", *row) for i, row in enumerate(ROWS)]
    file = save(tmp_path / "t.tsv", joined([("id", "text", "label"), *rows], "\t"))
    assert "near-equal" not in notes(file, id_column="id")


@pytest.mark.parametrize(("one", "other", "how"), NEAR)
def test_predictions_with_near_equal_ids_say_what_differs(one: str, other: str, how: str) -> None:
    gold = [Example(own, "text", LabelSet(("x",))) for own in (one, "b")]
    predictions = [Prediction(own, LabelSet(("x",))) for own in (other, "b")]
    with pytest.raises(DataError, match=rf"differs from .* only in {how}; write ids as the data have them"):
        scoring.score(gold, predictions, ("x",), "label_set")
