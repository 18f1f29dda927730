"""Text is text and labels are labels: what is converted is said, and what is neither is refused with its row."""

from __future__ import annotations

import contextlib
import csv
import decimal
import io
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semtune.errors import DataError

from .tables import HEADER, LABELS, ROWS, joined, notes, pairs, refused, save, table

# Text is text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["a", "b"], "a list"),
        ([{"role": "user", "content": "a"}], "a list of objects"),
        ({"content": "a"}, "an object"),
        (7, "a number"),
        (True, "true or false"),
    ],
)
def test_what_is_no_text_is_refused_with_its_row(tmp_path: Path, value: Any, said: str) -> None:
    rows = [{"text": text if i != 3 else value, "label": label} for i, (text, label) in enumerate(ROWS)]
    message = refused(save(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows))))
    assert f"line 4 has {said}" in message and "--text-column" in message


def test_binary_columns_are_decoded_or_refused(tmp_path: Path) -> None:
    texts, labels = [t.encode() for t, _ in ROWS], [b.encode() for _, b in ROWS]
    pq.write_table(pa.table({"text": texts, "label": labels}), tmp_path / "t.parquet")
    assert pairs(tmp_path / "t.parquet") == ROWS
    assert 'bytes in column "text" were decoded as UTF-8 in 24 rows' in notes(tmp_path / "t.parquet")
    texts[2] = b"\xff\xfe\x00"
    pq.write_table(pa.table({"text": texts, "label": labels}), tmp_path / "t.parquet")
    assert "row 3 has bytes" in refused(tmp_path / "t.parquet")


def test_class_numbers_of_parquet_files_become_names(tmp_path: Path) -> None:
    numbers = pa.array([LABELS.index(label) for _, label in ROWS])
    for feature in (
        {"names": list(LABELS), "_type": "ClassLabel"},
        {"feature": {"names": list(LABELS), "_type": "ClassLabel"}, "_type": "List"},
    ):
        column = numbers if "names" in feature else pa.array([[n] for n in numbers.to_pylist()])
        features = {"text": {"dtype": "string", "_type": "Value"}, "label": feature}
        stored = pa.table({"text": [t for t, _ in ROWS], "label": column})
        stored = stored.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(stored, tmp_path / "t.parquet")
        assert pairs(tmp_path / "t.parquet") == ROWS
        assert 'class numbers in column "label" were read as the names' in notes(tmp_path / "t.parquet")
    features["label"] = {"names": list(LABELS[:2]), "_type": "ClassLabel"}
    stored = pa.table({"text": [t for t, _ in ROWS], "label": numbers})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(stored.replace_schema_metadata(metadata), tmp_path / "t.parquet")
    assert "row 3 has the class number 2" in refused(tmp_path / "t.parquet")
    features["label"] = {"names": list(LABELS), "_type": "ClassLabel"}
    negative = pa.array([-5, *numbers.to_pylist()[1:]])
    stored = pa.table({"text": [t for t, _ in ROWS], "label": negative})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(stored.replace_schema_metadata(metadata), tmp_path / "t.parquet")
    assert "row 1 has the class number -5" in refused(tmp_path / "t.parquet")


def test_class_numbers_of_a_column_that_lacks_some(tmp_path: Path) -> None:
    numbers = [*(float(LABELS.index(label)) for _, label in ROWS), None]
    stored = pa.table({"text": [*(t for t, _ in ROWS), "unlabelled"], "label": numbers})
    features = {"label": {"names": list(LABELS), "_type": "ClassLabel"}}
    stored = stored.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(stored, tmp_path / "t.parquet")
    assert "row 25 has no label" in refused(tmp_path / "t.parquet")
    pq.write_table(stored.slice(0, 24), tmp_path / "t.parquet")
    assert pairs(tmp_path / "t.parquet") == ROWS


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (str, LABELS),
        (lambda number: decimal.Decimal(number), LABELS),
        (float, LABELS),
        (lambda number: number == 1, LABELS[:2]),
    ],
)
def test_class_numbers_of_other_types_become_names(tmp_path: Path, kind: Any, names: tuple[str, ...]) -> None:
    rows = [(t, b) for t, b in ROWS if b in names]
    path = features_of(tmp_path, [kind(names.index(label)) for _, label in rows], names, [t for t, _ in rows])
    assert pairs(path) == rows
    assert 'class numbers in column "label" were read as the names' in notes(path)


def test_names_stay_names(tmp_path: Path) -> None:
    path = features_of(tmp_path, [label for _, label in ROWS], LABELS, [t for t, _ in ROWS])
    assert pairs(path) == ROWS and "class numbers" not in notes(path)
    swapped = {"sunny": "1", "cloudy": "0", "windy": "2"}  # names that are numerals are names
    path = features_of(tmp_path, [swapped[label] for _, label in ROWS], ("1", "0", "2"), [t for t, _ in ROWS])
    assert pairs(path)[0][1] == "1" and "class numbers" not in notes(path)
    path = features_of(tmp_path, ["7" for _ in ROWS], LABELS, [t for t, _ in ROWS])
    assert "row 1 has the class number 7" in refused(path)


def features_of(folder: Path, labels: list[Any], names: tuple[str, ...], texts: list[str]) -> Path:
    """A Parquet file whose metadata name the classes of its labels."""
    features = {"label": {"names": list(names), "_type": "ClassLabel"}}
    stored = pa.table({"text": texts, "label": labels})
    stored = stored.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(stored, folder / "t.parquet")
    return folder / "t.parquet"


def test_a_label_named_twice_counts_once(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *((t, f"{b};{b}") for t, b in ROWS)], ","))
    assert pairs(path, label_separator=";") == ROWS
    assert "a label that is named twice in one cell counts once in 24 rows" in notes(path, label_separator=";")


def test_dictionary_columns_and_dates(tmp_path: Path) -> None:
    days = pa.array([17_000 + i % 2 for i in range(24)], pa.int32()).cast(pa.date32())
    stored = pa.table({"text": pa.array([t for t, _ in ROWS]).dictionary_encode(), "label": days, "when": days})
    pq.write_table(stored, tmp_path / "t.parquet")
    assert pairs(tmp_path / "t.parquet")[0] == (ROWS[0][0], "2016-07-18")
    assert "a label that is a date was read as text in 24 rows" in notes(tmp_path / "t.parquet")
    assert "a date" in refused(tmp_path / "t.parquet", text_column="when")


def test_a_parquet_file_in_a_folder_named_like_a_partition(tmp_path: Path) -> None:
    folder = tmp_path / "label=wrong"
    folder.mkdir()
    pq.write_table(pa.table({"text": [t for t, _ in ROWS], "label": [b for _, b in ROWS]}), folder / "t.parquet")
    assert pairs(folder / "t.parquet") == ROWS


@pytest.mark.parametrize(
    "write", [json.dumps, repr, lambda labels: repr(tuple(labels)), lambda labels: repr(set(labels))]
)
def test_lists_written_out_in_cells_are_label_sets(tmp_path: Path, write: Any) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([HEADER, *((t, write([b, "extra"])) for t, b in ROWS)])
    path = save(tmp_path / "t.csv", out.getvalue())
    task = table(path)
    assert task.target_kind == "label_set" and set(task.labels) == {*LABELS, "extra"}
    assert "a list written out in a label cell was read as its labels in 24 rows" in notes(path)


def test_half_written_lists_are_refused(tmp_path: Path) -> None:
    rows = [*ROWS[:5], ("so", '["sunny", "cloudy"]')]
    out = io.StringIO()
    csv.writer(out).writerows([HEADER, *rows])
    assert "row 6 has a list in its label cell" in refused(save(tmp_path / "t.csv", out.getvalue()))
    array = joined([HEADER, *((t, f"['{b}' 'extra']") for t, b in ROWS)], ",")
    assert "looks like a list but is none" in refused(save(tmp_path / "t.csv", array))
    aside = [(text, f"[{label}]") for text, label in ROWS]
    assert pairs(save(tmp_path / "t.csv", joined([HEADER, *aside], ","))) == aside


def test_joined_labels_are_pointed_out(tmp_path: Path) -> None:
    rows = [(text, label if i % 2 else f"{label};rainy") for i, (text, label) in enumerate(ROWS)]
    path = save(tmp_path / "t.csv", joined([HEADER, *rows], ","))
    assert 'looks like several labels joined by ";"' in notes(path) and "--label-separator" in notes(path)
    assert "joined" not in notes(path, label_separator=";")


def test_numbers_as_labels_are_said(tmp_path: Path) -> None:
    rows = [{"text": t, "label": i % 3} for i, (t, _) in enumerate(ROWS)]
    path = save(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    assert "a label that is a number was read as text in 24 rows (first: line 1)" in notes(path)
    path = save(
        tmp_path / "t.csv", joined([HEADER, *((t, "1.0" if i % 2 else "1") for i, (t, _) in enumerate(ROWS))], ",")
    )
    assert "are the same number and yet different labels" in notes(path)


def test_words_for_missing_values_are_said(tmp_path: Path) -> None:
    rows = [*ROWS, ("so", "nan"), ("and so", "nan")]
    assert 'the label "nan" (2 texts)' in notes(save(tmp_path / "t.csv", joined([HEADER, *rows], ",")))


def test_json_under_the_other_suffix(tmp_path: Path) -> None:
    rows = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    assert pairs(save(tmp_path / "t.jsonl", json.dumps(rows, indent=1))) == ROWS
    assert pairs(save(tmp_path / "t.json", "\n".join(map(json.dumps, rows)))) == ROWS
    assert pairs(save(tmp_path / "t.ndjson", "\n".join(map(json.dumps, rows)))) == ROWS
    columns = {"text": {"0": "a"}, "label": {"0": "b"}}
    assert "must hold a JSON list of objects" in refused(save(tmp_path / "t.json", json.dumps(columns)))


def test_what_shows_nothing_is_no_text(tmp_path: Path) -> None:
    rows = [*ROWS, ("\u200b \ufeff", "sunny")]
    assert 'row 25 has no text in column "text"' in refused(save(tmp_path / "t.csv", joined([HEADER, *rows], ",")))
    rows = [*ROWS[:-1], ("\u202eright to left\u200f", " sunny ")]
    path = save(tmp_path / "t.csv", joined([HEADER, *rows], ","))
    assert pairs(path)[-1] == ("\u202eright to left\u200f", "sunny")
    assert "white space around a label was left out in row 24" in notes(path)
    items = [{"text": text, "label": [f"{label} " if n == 3 else label]} for n, (text, label) in enumerate(ROWS)]
    path = save(tmp_path / "t.jsonl", "\n".join(map(json.dumps, items)))
    assert "white space around a label was left out in line 4" in notes(path)


def test_a_long_cell_is_judged_at_once(tmp_path: Path) -> None:
    rows = [*ROWS, ("one more text", "(' " + ", " * 200_000)]
    began = time.process_time()
    with contextlib.suppress(DataError):
        table(save(tmp_path / "t.csv", joined([HEADER, *rows], ";")))
    assert time.process_time() - began < 30, "the square of its length would be an hour"


def test_labels_that_are_named_are_no_lists(tmp_path: Path) -> None:
    intervals = ("[0, 1]", "(1, 2]")
    rows = [(text, intervals[n % 2]) for n, (text, _) in enumerate(ROWS)]
    path = save(tmp_path / "t.csv", joined([HEADER, *rows], ";"))
    assert table(path, labels=intervals).labels == intervals


def test_texts_that_look_damaged_or_wrapped_are_counted(tmp_path: Path) -> None:
    rows = [*ROWS[:-2], ("caf\ufffd", "sunny"), ('[{"role": "user", "content": "a \\\\d"}]', "windy")]
    found = [{"text": text, "label": label} for text, label in rows]
    path = save(tmp_path / "t.jsonl", "\n".join(map(json.dumps, found)))
    assert pairs(path) == rows
    assert "a text holds U+FFFD, which a former wrong decoding left in it, in line 23" in notes(path)
    assert "a text that is written like a list or an object was taken as it stands in line 24" in notes(path)
    found[3]["label"] = '{"name": "sunny"}'
    for separator in (None, ","):
        said = refused(save(path, "\n".join(map(json.dumps, found))), label_separator=separator)
        assert "line 4 has the label" in said and "which is an object; give each label as text" in said
    found[3]["label"] = '{"ImportId":"QID2"}'
    assert "and the one above it, which Qualtrics" in refused(save(path, "\n".join(map(json.dumps, found))))


def test_one_column_cannot_be_text_and_label(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *ROWS], ","))
    assert "name two columns" in refused(path, label_column="text")


def test_a_label_column_of_measurements_is_pointed_out(tmp_path: Path) -> None:
    rows = [(text, f"0.{i}1") for i, (text, _) in enumerate(ROWS)]
    said = refused(save(tmp_path / "t.csv", joined([HEADER, *rows], ",")))
    assert "every text has a label of its own, so check --label-column" in said


def test_a_label_separator_that_never_occurs_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "t.csv", joined([HEADER, *((t, f"{b}|extra") for t, b in ROWS)], ","))
    assert 'no label cell holds the --label-separator ";"' in notes(path, label_separator=";")
    assert "no label cell" not in notes(path, label_separator="|")


# Contradictions, hidden labels, labels seen in test alone


def test_contradicting_rows_are_counted(tmp_path: Path) -> None:
    rows = [*ROWS, (ROWS[0][0].upper(), "windy"), (ROWS[1][0], ROWS[1][1])]
    said = notes(save(tmp_path / "t.csv", joined([HEADER, *rows], ",")))
    assert "1 text with different labels (2 rows" in said and "each row counts as an example of its own" in said
    same = [("always the same", label) for _, label in ROWS]
    said = refused(save(tmp_path / "t.csv", joined([HEADER, *same], ",")))
    assert "1 different texts are too few" in said and "24 contradict each other" in said


@pytest.mark.parametrize("hidden", ["?", "-", "unknown"])
def test_a_placeholder_of_hidden_labels_is_no_class(tmp_path: Path, hidden: str) -> None:
    path = save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    save(tmp_path / "test.csv", joined([HEADER, *((f"new {t}", hidden) for t, _ in ROWS[:5])], ","))
    task = table(tmp_path)
    assert task.labels == tuple(sorted(LABELS)) and [e.labels for e in task.load("test")] == [None] * 5
    assert f'5 of 5 test texts have the label "{hidden}"' in "\n".join(task.notes)
    assert table(path).labels == tuple(sorted(LABELS))


def test_a_placeholder_beside_a_named_label_set(tmp_path: Path) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    save(tmp_path / "test.csv", joined([HEADER, ("new", "?"), ("old", "sunny")], ","))
    for labels in (None, LABELS):
        task = table(tmp_path, labels=labels)
        assert [e.labels for e in task.load("test")] == [None, ("sunny",)]
        assert "placeholder of hidden labels" in "\n".join(task.notes)
    assert [e.labels for e in table(tmp_path, labels=(*LABELS, "?")).load("test")] == [("?",), ("sunny",)]


@pytest.mark.parametrize("labels", [None, LABELS])
def test_empty_cells_of_sets_are_hidden_labels_in_test_and_refused_in_dev(
    labels: tuple[str, ...] | None, tmp_path: Path
) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    empty = joined([HEADER, ("new", ""), ("old", "")], ",")
    save(tmp_path / "test.csv", empty)
    task = table(tmp_path, labels=labels, label_separator=";")
    assert [e.labels for e in task.load("test")] == [None, None]
    assert "none of the 2 test texts has a label" in "\n".join(task.notes)
    save(tmp_path / "dev.csv", empty)
    with pytest.raises(DataError, match="None of the 2 dev texts has a label"):
        table(tmp_path, labels=labels, label_separator=";").load("dev")


def test_placeholders_in_dev_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    save(tmp_path / "dev.csv", joined([HEADER, ("new", "?"), ("old", "?")], ","))
    with pytest.raises(DataError, match=r'The dev split has the label "\?" \(2 texts\).*leave this split out'):
        table(tmp_path).load("train")


def test_a_word_that_may_be_a_class_hides_nothing_beside_others(tmp_path: Path) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    save(tmp_path / "test.csv", joined([HEADER, ("new", "unknown"), ("old", "sunny")], ","))
    with pytest.raises(DataError, match=r'the label "unknown".*--labels'):
        table(tmp_path).load("train")


def test_a_label_seen_in_test_alone_is_named(tmp_path: Path) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    save(tmp_path / "test.csv", joined([HEADER, *((f"new {t}", "foggy") for t, _ in ROWS[:5])], ","))
    with pytest.raises(DataError, match=r'the label "foggy" \(5 texts, first: id "test-1"\).*--labels'):
        table(tmp_path).load("train")
    assert "foggy" in table(tmp_path, labels=(*LABELS, "foggy")).labels
    save(tmp_path / "test.csv", joined([HEADER, *((f"new {t}", b) for t, b in ROWS[:5])], ","))
    save(tmp_path / "dev.csv", joined([HEADER, ("so", "sunny"), ("so so", "foggy")], ","))
    assert 'the label "foggy" occurs in dev but not in train' in "\n".join(table(tmp_path).notes)


def test_a_test_split_without_any_label_is_hidden(tmp_path: Path) -> None:
    save(tmp_path / "train.csv", joined([HEADER, *ROWS], ","))
    save(tmp_path / "test.csv", joined([HEADER, *((f"new {t}", "") for t, _ in ROWS[:5])], ","))
    task = table(tmp_path, label_separator=";")
    assert [e.labels for e in task.load("test")] == [None] * 5 and "none of the 5 test texts" in "\n".join(task.notes)
