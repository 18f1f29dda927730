"""Columns that say how often a row counts are noted; counts of something else, and numbers of rows, are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semtune.tasks.row_weights import weight_notes

from .tables import ROWS, joined, notes, save


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("count", [1, 8, 15]), ("weight", ["0.1", "1.1", "2.1"]), ("sample_weight", [0.5, 2]), ("freq", ["3", "1", ""]),
        ("n", [4, 4, 4]), ("sampleWeight", [1.5, None]), ("Gewicht", ["0,5", "1,5"]), ("Häufigkeit", [7, 7, 2]),
    ],
)  # fmt: skip
def test_weights_and_counts_of_rows_are_noted(name: str, cells: list[Any]) -> None:
    (note,) = weight_notes("t.csv", {name: cells, "text_id": cells})
    assert f'column "{name}" (from ' in note and "each row counts once" in note


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("count", [1, 1, 1]), ("count", [0, 3, 4]), ("weight", ["80 kg", "75 kg"]), ("n", [1, 2, 3]), ("n", [0, 1, 2]),
        ("word_count", [3, 5]), ("like count", [3, 5]), ("weight", [None, ""]), ("weight", [-1, 2]),
        ("account", [3, 4]), ("body_weight", [70, 80]), ("count", [True, True]), ("", [3]), ("country", [3, 5]),
        ("n", [3, 1, 2]),
    ],
)  # fmt: skip
def test_other_columns_are_no_weights(name: str, cells: list[Any]) -> None:
    assert weight_notes("t.csv", {name: cells}) == []


@pytest.mark.parametrize("column", ["count", "words"])
def test_a_table_with_weights_is_noted(tmp_path: Path, column: str) -> None:
    rows = [("text", "label", column), *((*row, str(2 + i % 3)) for i, row in enumerate(ROWS))]
    assert ("each row counts once" in notes(save(tmp_path / "t.csv", joined(rows, ",")))) == (column == "count")
