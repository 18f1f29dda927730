"""Label columns that hold maps, structs, durations or lists of lists: the message says what, and what to do."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from .tables import pairs, refused

STRUCT = {"name": "good", "score": 0.9}
CASES = {
    "map": (
        pa.map_(pa.string(), pa.int64()),
        [("good", 1), ("bad", 0)],
        ('a map with the keys "good", "bad"', "write the keys (or values) that are labels as a list of texts"),
    ),
    "struct": (
        None,
        STRUCT,
        ('an object with the keys "name", "score"', 'such as that of "name", into a column of its own'),
    ),
    "duration": (
        pa.duration("s"),
        datetime.timedelta(seconds=90),
        ("a duration (0:01:30)", "write it as a text or as a number of seconds"),
    ),
    "list of lists": (None, [["good"], ["bad"]], ("a list of lists", "join its inner lists into one list of labels")),
    "list of structs": (
        None,
        [STRUCT],
        (
            'a list of objects with the keys "name", "score"',
            'a list of the values that are labels, such as those of "na',
        ),
    ),
    "list of maps": (pa.list_(pa.map_(pa.string(), pa.int64())), [[("good", 1)]], ("a list of maps", "write the keys")),
}


@pytest.mark.parametrize("case", CASES)
def test_parquet_labels_that_are_no_labels(tmp_path: Path, case: str) -> None:
    kind, value, says = CASES[case]
    file = tmp_path / "t.parquet"
    column = pa.array([value] * 9, type=kind)
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(9)], "label": column}), file)
    said = refused(file)
    assert "row 1 has a label that is neither text nor a number but " in said
    assert all(part in said for part in says)


@pytest.mark.parametrize("case", ["struct", "list of lists", "list of structs"])
def test_json_labels_that_are_no_labels(tmp_path: Path, case: str) -> None:
    _, value, says = CASES[case]
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps({"text": f"text {i}", "label": value}) + "\n" for i in range(9)))
    said = refused(file)
    assert "line 1 has" in said and all(part in said for part in says)


@pytest.mark.parametrize(
    ("value", "says"),
    [({"en": "a text"}, 'an object with the key "en"'), ([("a", "b")], "a map"), ({}, "an empty object")],
)
def test_texts_that_are_no_texts(tmp_path: Path, value: Any, says: str) -> None:
    file = tmp_path / "t.parquet"
    kind = pa.map_(pa.string(), pa.string()) if isinstance(value, list) else None
    rows = {"text": pa.array([value] * 9, type=kind), "label": [*"ababababa"]}
    if value:
        pq.write_table(pa.table(rows), file)
    else:
        file = tmp_path / "t.jsonl"
        file.write_text("".join(json.dumps({"text": {}, "label": label}) + "\n" for label in rows["label"]))
    said = refused(file)
    assert f"has {says}" in said and "where a text is needed" in said


def test_times_are_labels_and_named_as_times(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    times = [datetime.time(8 + i % 2) for i in range(20)]
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(20)], "label": times}), file)
    assert {label for _, label in pairs(file)} == {"08:00:00", "09:00:00"}
