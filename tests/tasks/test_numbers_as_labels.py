"""Numbers of JSON files as labels and ids, and labels that show nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semtune.tasks.narrow_floats import shorten_column

from .tables import HEADER, ROWS, joined, notes, pairs, refused, save


def lines(labels: list[str], identified: bool = False) -> str:
    """JSON lines with the labels as they are written, two in turn."""
    rows = []
    for i, (text, _) in enumerate(ROWS):
        number = f', "id": {i}.{"10" if i % 2 else "1"}' if identified else ""
        rows.append(f'{{"text": {json.dumps(text)}, "label": {labels[i % len(labels)]}{number}}}')
    return "\n".join(rows)


def test_numbers_that_are_written_differently_are_one_label_and_it_is_said(tmp_path: Path) -> None:
    file = save(tmp_path / "t.jsonl", lines(["1.1", "1.10", "2.5"]))
    assert {label for _, label in pairs(file)} == {"1.1", "2.5"}
    assert "the label 1.10 was read as the number that it is, 1.1, in 8 rows (first: line 2)" in notes(file)


@pytest.mark.parametrize("number", ["1e400", "-1e999", "Infinity"])
def test_a_number_beyond_all_numbers_is_no_label(tmp_path: Path, number: str) -> None:
    assert "line 2" in refused(save(tmp_path / "t.jsonl", lines(["1.5", number])))


def test_ids_stay_as_they_are_written(tmp_path: Path) -> None:
    assert len(pairs(save(tmp_path / "t.jsonl", lines(['"a"', '"b"'], identified=True)))) == len(ROWS)


@pytest.mark.parametrize("blank", ["\u200b", " \u2060", "\ufeff", "\u3164", "\u2800\u2800"])
def test_a_label_that_shows_nothing_is_missing(tmp_path: Path, blank: str) -> None:
    visible = refused(save(tmp_path / "a.jsonl", lines(['"a"', '""'])))
    invisible = refused(save(tmp_path / "b.jsonl", lines(['"a"', json.dumps(blank)])))
    assert invisible.replace("b.jsonl", "a.jsonl") == visible
    text = joined([HEADER, *ROWS[:9], (blank, "windy")], ",")
    assert 'row 10 has no text in column "text"' in refused(save(tmp_path / "c.csv", text))


@pytest.mark.parametrize(
    "stored",
    [
        *(pa.float16(), pa.float32(), pa.float64()),
        *(pa.list_(pa.float16()), pa.list_(pa.float32()), pa.list_(pa.float32(), 1)),
    ],
    ids=str,
)
def test_numbers_of_parquet_files_are_labels_as_they_are_written(tmp_path: Path, stored: pa.DataType) -> None:
    values = [0.1, 0.7] * 12
    labels = pa.array([[v] for v in values] if hasattr(stored, "value_type") else values, stored)
    table = pa.table({"text": [text for text, _ in ROWS], "label": labels}).replace_schema_metadata({"kept": "yes"})
    pq.write_table(table, tmp_path / "t.parquet")
    assert {label for _, label in pairs(tmp_path / "t.parquet")} == {"0.1", "0.7"}


def test_times_of_parquet_files_keep_their_nanoseconds(tmp_path: Path) -> None:
    times = pa.array([34_200_000_000_001, 34_200_000_000_002] * 12, pa.time64("ns"))
    pq.write_table(pa.table({"text": [text for text, _ in ROWS], "label": times}), tmp_path / "t.parquet")
    assert {label for _, label in pairs(tmp_path / "t.parquet")} == {"09:30:00.000000001", "09:30:00.000000002"}


def test_numbers_of_a_data_set_with_features_too() -> None:
    rows = [("row 1", {"label": 0.10000000149011612}), ("row 2", {"label": [0.699999988079071, None]}), ("row 3", {})]
    shorten_column(rows, "label", SimpleNamespace(dtype="float32"))
    assert [row for _, row in rows] == [{"label": 0.1}, {"label": [0.7, None]}, {}]
