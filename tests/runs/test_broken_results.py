"""Files of a run folder that were edited by hand: they read, or one sentence says what is wrong in which file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import DataError, ModelError, SemtuneError
from semtune.records import Metric, to_plain
from semtune.runs.folder import RunFolder, read_labels, read_result

from ..record_mutations import mutated, places
from ..report.test_broken_studies import whole_study

SCORE = Metric("micro_f1", "micro-F1", at_least=0, at_most=1)


def result_with(file: Path, **changes: Any) -> Path:
    """`result.json` of a run with every key that a result may have."""
    file.write_text(json.dumps(whole_study()["runs"][0] | changes), encoding="utf-8")
    return file


def test_a_result_with_a_value_of_another_kind(tmp_path: Path) -> None:
    file, record = tmp_path / "result.json", whole_study()["runs"][0]
    for path in list(places(record)):
        for changed in mutated(record, path):
            file.write_text(json.dumps(changed), encoding="utf-8")
            try:
                assert to_plain(read_result(file))
            except SemtuneError as error:
                assert "\n" not in str(error) and str(file) in str(error), error


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"', "[" * 100_000, "1" * 5000])
def test_a_result_that_is_no_mapping(content: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"result\.json") as caught:
        read_result(tmp_path / "result.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train_seconds": -5}, '"train_seconds" must be a number at least 0 and at most'),
        ({"seed": 1.5}, '"seed" must be a whole number'),
        ({"status": "fine"}, '"status" must be one of ok, does_not_fit'),
        ({"peak_bytes": {"train": "2 GB"}}, '"peak_bytes.train" must be a whole number'),
        ({"notes": "a note"}, '"notes" must be a list, not the text "a note"'),
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_result(result_with(tmp_path / "result.json", **change))
    assert said in str(caught.value) and str(tmp_path / "result.json") in str(caught.value)


@pytest.mark.parametrize("value", [93.0, -0.1, "0,93", None, math.nan])
def test_a_score_that_its_metric_cannot_have(value: Any, tmp_path: Path) -> None:
    scores = whole_study()["runs"][0]["scores"]
    scores["test"]["micro_f1"] = value
    expected = " at least 0 and at most 1" if isinstance(value, float) else ""
    with pytest.raises(DataError, match=rf'"scores\.test\.micro_f1" must be a number{expected}, not'):
        read_result(result_with(tmp_path / "result.json", scores=scores), (SCORE,))


def test_a_metric_without_bounds_may_have_any_value(tmp_path: Path) -> None:
    of_test = {"primary": "edits", "edits": 93.0, "parse_failures": 0.0, "per_label": {}, "examples": 3}
    result = read_result(result_with(tmp_path / "result.json", scores={"test": of_test}), (Metric("edits", "edits"),))
    assert result.scores["test"].value == 93.0


@pytest.mark.parametrize("content", ['{"answer": "label_set", "labels": "abc"}', '{"answer": [], "labels": []}', "[]"])
def test_labels_of_another_kind(content: str, tmp_path: Path) -> None:
    """The labels of a text would be its letters."""
    (tmp_path / "labels.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError):
        read_labels(RunFolder(tmp_path))
