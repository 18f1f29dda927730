"""A predictions file whose rows hold a second output beside the one that is scored, which is then the gold one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import DataError
from semtune.records import Prediction, TargetSpace
from semtune.tasks import submission

LABELS = TargetSpace("single_label", ("bad", "good"))


def read(folder: Path, rows: list[dict[str, Any]], space: TargetSpace = LABELS) -> list[Prediction]:
    file = folder / "both.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return submission.read(file, space)


@pytest.mark.parametrize(
    "key", ["prediction", "predicted", "Predictions", "predicted_labels", "y_pred", "label", "pred"]
)
@pytest.mark.parametrize("value", ["good", ["good"], [["good"]], {"label": "good", "score": 0.9}, None, 1])
def test_a_second_output_that_differs_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    rows = [{"id": "1", "labels": ["good"], key: "good"}, {"id": "2", "text": "t", "labels": ["bad"], key: value}]
    with pytest.raises(DataError, match=rf'row 2 \(id "2"\) has "labels" and "{key}", which differ; .*under "labels"'):
        read(tmp_path, rows)


def test_an_empty_list_beside_a_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='has "labels" and "label", which differ'):
        read(tmp_path, [{"id": "1", "labels": [], "label": "good"}])


def test_what_says_the_same_or_is_no_output_is_read(tmp_path: Path) -> None:
    more = {
        "label": "good",
        "prediction": ["good"],
        "predicted_probability": 0.7,
        "prediction_seconds": 2,
        "gold": "bad",
    }
    both = {"id": "1", "labels": ["good"], "predictions": {"good": 0.9, "bad": 0.1}, **more}
    assert read(tmp_path, [both])[0].labels == ("good",)
    order = {"id": "1", "labels": ["good", "bad"], "predicted": ["bad", "good"]}
    assert read(tmp_path, [order], TargetSpace("label_set", ("bad", "good")))[0].labels == ("bad", "good")


@pytest.mark.parametrize(
    "key", ["output", "response", "answer", "generated_text", "llm_label", "classification", "Labels", "model_output"]
)
def test_an_answer_beside_labels_that_are_the_gold_ones_is_refused(tmp_path: Path, key: str) -> None:
    rows = [{"id": "1", "labels": ["good"], key: "good"}, {"id": "2", "labels": ["good"], key: "bad"}]
    with pytest.raises(DataError, match=rf'row 2 \(id "2"\) has "labels" and "{key}", which differ'):
        read(tmp_path, rows)


def test_a_completion_beside_the_labels_that_were_read_from_it(tmp_path: Path) -> None:
    rows = [{"id": "1", "labels": ["good"], "output": " Good.\n", "prompt": "bad", "gold_labels": ["bad"]}]
    assert read(tmp_path, rows)[0].labels == ("good",)
    with pytest.raises(DataError, match='has "labels" and "completion", which differ'):
        read(tmp_path, [{"id": "1", "labels": ["good"], "completion": "It is bad."}])
    with pytest.raises(DataError, match='has no "labels" but "response"'):
        read(tmp_path, [{"id": "1", "response": "good"}])


@pytest.mark.parametrize("key", ["output", "prediction", "predicted_text"])
def test_a_free_text_beside_the_text_that_was_given(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match=f'has "text" and "{key}", which differ'):
        read(tmp_path, [{"id": "1", "text": "the text of the data", key: "a summary"}], TargetSpace("text", ()))


def test_spans_beside_other_spans(tmp_path: Path) -> None:
    rows = [{"id": "1", "spans": [], "predicted_spans": [{"start": 0, "end": 2, "label": "good"}]}]
    with pytest.raises(DataError, match='has "spans" and "predicted_spans", which differ'):
        read(tmp_path, rows, TargetSpace("spans", ("bad", "good")))
