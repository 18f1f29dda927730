"""The submission format: what is written is read, and anything else is one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semtune.errors import DataError, OutputError
from semtune.records import FreeText, LabelSet, Prediction, Span, Spans, TargetKind, TargetSpace, TaskOptions
from semtune.registry import TASKS
from semtune.tasks import submission
from semtune.tasks.techniques import TECHNIQUES

OBFUSCATION, CLICHE = TECHNIQUES[11], TECHNIQUES[17]


def read(path: Path) -> list[Prediction]:
    return submission.read(path, TargetSpace("label_set", TECHNIQUES))


def test_round_trip_keeps_commas_and_accents(tmp_path: Path) -> None:
    predictions = [Prediction("7_batch", LabelSet((OBFUSCATION, CLICHE))), Prediction("8", LabelSet(()))]
    path = tmp_path / "deep" / "predictions.json"
    submission.write(predictions, path)
    assert "cliché" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))[0] == {"id": "7_batch", "labels": [OBFUSCATION, CLICHE]}
    assert read(path) == predictions
    assert [p.name for p in path.parent.iterdir()] == ["predictions.json"]  # nothing temporary is left


def test_labels_come_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('\ufeff[{"id": 3, "labels": ["Smears", "Doubt", "Smears"]}]', encoding="utf-8")
    assert read(path) == [Prediction("3", LabelSet(("Doubt", "Smears")))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"[]", "empty list"),
        (b'[{"id": "1", "labels": []},\n {"id": "2" "labels": []}]', "line 2, column 13"),
        (b'{"id": "1", "labels": []}', "must hold a JSON list of objects, but it holds one object"),
        (b"[1]", "row 1 must be a JSON object, but it is a number"),
        (b'[{"labels": []}]', 'row 1 has no "id"'),
        (b'[{"id": true, "labels": []}]', 'row 1 has no "id"'),
        (b'[{"id": "1"}]', r'row 1 \(id "1"\) has no "labels"'),
        (b'[{"id": "1", "labels": "Doubt"}]', '"labels" must be a list of strings'),
        (b'[{"id": "1", "labels": [2]}]', '"labels" must be a list of strings'),
        (b'[{"id": "1", "labels": ["Smear"]}]', 'unknown label "Smear"; did you mean "Smears"'),
        (b'[{"id": "1", "labels": []}, {"id": 1, "labels": []}]', "row 2 has the same id as .*row 1"),
        ('[{"id": "é", "labels": []}]'.encode("latin-1"), r"is not UTF-8 text \(byte 9\)"),
    ],
)
def test_format_check(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "predictions.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


FORM = r'\[\{"id": "…", "labels": \["…", …\]\}, …\]'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "1", "labels": []}\n{"id": "2", "labels": []}\n', f"holds JSON lines, .* one JSON list, {FORM}; put"),
        (b"id,labels\n1,Doubt\n", rf"is not valid JSON.* Predictions are one JSON list: {FORM}\.$"),
        (b'{"1": ["Doubt"]}', rf"it holds one object.*: {FORM}\.$"),
        (b"[1.5]", rf"row 1 must be a JSON object, but it is a number.*: {FORM}\.$"),
        (b'[{"id": 3.0, "labels": []}]', r'no "id" that is a string or a whole number but 3\.0, .* such as "3"\.$'),
        (b'[{"id": 1.10, "labels": []}]', r'but 1\.10, .* such as "1\.10"\.$'),
        (b'[{"id": ["1"], "labels": []}]', 'no "id" that is a string or a whole number but a list; write one'),
        (b'[{"id": null, "labels": []}]', 'row 1 has no "id"; every row needs one'),
        (b'[{"id": "1", "label": "Doubt"}]', 'has no "labels" but "label"; write "labels", a list of strings'),
        (b'[{"id": "1", "labels": ["smears"]}]', 'unknown label "smears"; it differs from "Smears" only in case'),
    ],
)
def test_the_form_that_is_needed_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "predictions.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "form"), [("spans", '"spans": '), ("text", '"text": '), ("single_label", '"labels": ')]
)
def test_the_form_is_that_of_the_tasks_targets(tmp_path: Path, kind: TargetKind, form: str) -> None:
    path = tmp_path / "predictions.json"
    path.write_text('{"id": "1"}\n{"id": "2"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=form):
        submission.read(path, TargetSpace(kind, TECHNIQUES))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        read(tmp_path / "none.json")
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)


def test_single_label_tasks_take_one_label(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('[{"id": "1", "labels": ["Smears", "Doubt"]}]', encoding="utf-8")
    with pytest.raises(DataError, match="has 2 labels, but this task has one a text"):
        submission.read(path, TargetSpace("single_label", TECHNIQUES))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        submission.write([Prediction("1", LabelSet(()))], tmp_path / "file" / "p.json")


row = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(st.text(max_size=3), st.integers(0, 3), st.none()),
        "labels": st.one_of(st.lists(st.sampled_from(["Doubt", "Smears", "Doubts", ""])), st.none(), st.text()),
    },
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=40), st.lists(row, max_size=4).map(lambda v: json.dumps(v).encode())))
def test_anything_reads_or_says_why(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    try:
        found = read(path)
    except DataError:
        return
    assert found and all(set(p.labels) <= set(TECHNIQUES) for p in found)
    assert len({p.id for p in found}) == len(found)


SPANS = TargetSpace("spans", ("Doubt", "Smears"))


def test_spans_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    predictions = [Prediction("1", Spans((Span(0, 4, "Doubt"), Span(2, 9, "Smears")))), Prediction("2", Spans(()))]
    submission.write(predictions, path)
    first = json.loads(path.read_text(encoding="utf-8"))[0]
    assert first["spans"][1] == {"start": 2, "end": 9, "label": "Smears"}
    assert submission.read(path, SPANS) == predictions


def test_texts_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    predictions = [Prediction("1", FreeText("zwei\nZeilen, é")), Prediction("2", FreeText(""))]
    submission.write(predictions, path)
    assert json.loads(path.read_text(encoding="utf-8"))[0] == {"id": "1", "text": "zwei\nZeilen, é"}
    assert submission.read(path, TargetSpace("text", ())) == predictions


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "1"}, 'needs "spans", a list'),
        ({"id": "1", "spans": [3]}, 'needs "spans", a list'),
        ({"id": "1", "spans": [{"start": 4, "end": 4, "label": "Doubt"}]}, "a span from 4 to 4"),
        ({"id": "1", "spans": [{"start": True, "end": 4, "label": "Doubt"}]}, "a span from True to 4"),
        ({"id": "1", "spans": [{"start": 0, "end": 4, "label": "Doubts"}]}, 'unknown label "Doubts"; did you mean'),
        ({"id": "1", "spans": [{"start": 0, "end": 4}]}, 'unknown label "None"'),
    ],
)
def test_broken_spans(tmp_path: Path, row: dict[str, object], message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps([row]), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        submission.read(path, SPANS)


def test_broken_text(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('[{"id": "1", "text": 3}]', encoding="utf-8")
    with pytest.raises(DataError, match='has no "text"'):
        submission.read(path, TargetSpace("text", ()))


def test_a_text_that_is_not_the_data_s_is_refused(tmp_path: Path) -> None:
    space, file = TargetSpace("single_label", ("bad", "good")), tmp_path / "p.json"
    rows = [{"id": "1", "labels": ["good"], "text": " one\ntext"}, {"id": "2", "labels": ["bad"], "text": "another"}]
    file.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(DataError, match=r'row 2 \(id "2"\) has the text "another", but the data have "two texts"'):
        submission.read(file, space, {"1": "one  text", "2": "two texts"})
    assert [p.id for p in submission.read(file, space, {"1": "one text", "3": "another"})] == ["1", "2"]
    rows = [{"id": "1", "text": "what was written"}]
    file.write_text(json.dumps(rows), encoding="utf-8")
    assert submission.read(file, TargetSpace("text", ()), {"1": "what was given"})[0].id == "1"


def test_a_task_holds_texts_in_predictions_against_its_own(tmp_path: Path) -> None:
    task = TASKS.get("practice")(TaskOptions())
    gold = task.load("dev")
    rows = [{"id": e.id, "text": e.text, "labels": []} for e in gold]
    file = tmp_path / "p.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    assert len(task.read_predictions(file)) == len(gold)
    rows[1]["text"] = rows[0]["text"]
    file.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"row 2 .* under this id"):
        task.read_predictions(file)
