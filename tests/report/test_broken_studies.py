"""A study.json that was edited or joined by hand: its report is right, or one sentence says what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import DataError, SemtuneError
from semtune.records import to_plain
from semtune.report import html
from semtune.report.html import render
from semtune.report.view import load_study, view_of
from semtune.tasks.scoring import SCIKIT_LEARN

from ..record_mutations import mutated, places
from .conftest import ENVIRONMENT, run, scores, study

OVERLAP = {
    "split": "test", "other": "train", "examples": 4, "exact": 1, "near": 0, "whole": False, "instance": ["a", "b"],
}  # fmt: skip
SWEPT = {
    "method": "lora", "strategy": "", "model": "default", "readout": "head", "prompt": "report", "answer": "",
    "label": "lora", "chosen": {"rank": 8}, "candidates": 1, "left_out": [], "sentence": "lora: rank 8",
    "trials": [{"value": {"rank": 8}, "outcome": "chosen", "mean": 0.5, "runs": [{"score": 0.5, "seconds": 1.5}]}],
}  # fmt: skip


def whole_study() -> dict[str, Any]:
    """A study with every key that is read."""
    of_run = {
        "scores": {"test": {"primary": "micro_f1", **scores(0.6, labels=("Doubt",)), "definitions": {"macro_f1": "x"}}},
        "cut_texts": {"train": {"texts": 1, "examples": 4, "tokens": 3, "max_length": 8, "option": "--max-length"}},
        "preset_changes": {"rank": {"preset": 16, "run": 8}}, "answer": "", "kept_from": "measured on a day",
        "usage": {"texts": 4, "requests": 4, "prompt_tokens": 9, "completion_tokens": 2, "cost": 0.1, "currency": "X"},
        "overlaps": [OVERLAP], "run_id": "1", "name": None, "approach": "tuned", "metric": "micro_f1",
        "predicted_peak_bytes": {"train": 5}, "predicted_seconds_per_iteration": 0.5,
    }  # fmt: skip
    baseline = {
        "name": "top-1", "scores": {"test": scores(0.4, labels=("Doubt",))}, "note": None, "status": "ok",
        "train_seconds": 0.1, "predict_examples_per_second": 9.0, "peak_bytes": {"train": 5}, "kept_from": "a day",
    }  # fmt: skip
    return study(
        [run(**of_run)],
        baselines=[baseline],
        metrics=to_plain(SCIKIT_LEARN.metrics),
        leaderboard=[{"team": "A", "micro_f1": 0.5, "macro_f1": 0.4}],
        overlaps=[OVERLAP],
        sweep={"metric": "micro_f1", "folds": 2, "rows": [SWEPT]},
        environment=ENVIRONMENT | {"gpus": [{"name": "A GPU", "memory_bytes": 5, "native_bf16": True}]},
        date="2026-01-01",
        spec={"task": "practice", "shared": {"epochs": 1}, "task_options": {"data": "x"}},
    )


def written(record: Any, folder: Path) -> Path:
    (folder / "study.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.mark.parametrize("key", sorted(whole_study()))
def test_every_value_of_another_kind(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is made, or the error is one sentence of a SemtuneError that names the file."""
    monkeypatch.setattr(html, "all_figures", lambda view, folder: [])  # they are drawn from the checked records
    record = whole_study()
    refused = 0
    for path in [(key,), *places(record[key], (key,))]:
        for changed in mutated(record, path):
            try:
                render(load_study(written(changed, tmp_path)), tmp_path).encode("utf-8")
            except SemtuneError as error:
                refused += 1
                sentence = str(error)
                assert "\n" not in sentence and str(tmp_path) in sentence and sentence.endswith("."), sentence
                sentence.encode("utf-8")
    assert refused > 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"environment": "laptop"}, '"environment" must be a mapping, not the text "laptop"'),
        ({"spec": ["x"]}, '"spec" must be a mapping, not a list'),
        ({"task_notes": "a note"}, '"task_notes" must be a list, not the text "a note"'),
        ({"unlabelled_splits": "test"}, '"unlabelled_splits" must be a list'),
        ({"leaderboard": [{"team": "A", "micro_f1": 59.3}]}, '"leaderboard[0].micro_f1" must be a number at least 0'),
    ],
)
def test_the_sentence_names_what_is_expected(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_study(written(whole_study() | change, tmp_path))
    assert said in str(caught.value) and str(tmp_path / "study.json") in str(caught.value)


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("runs", {}, "the run lora, head, default, report, seed 0, twice, as runs 1 and 2"),
        ("runs", {"run_id": "another", "out": "elsewhere"}, "twice, as runs 1 and 2"),
        ("runs", {"seed": 1, "out": "elsewhere"}, "twice, as runs 1 and 2"),
        ("baselines", {}, "top-1 twice, as baselines 1 and 2"),
        ("metrics", {}, "micro_f1 twice, as metrics 1 and 3"),
    ],
)
def test_what_stands_twice_is_refused(key: str, change: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Two records joined by hand: a run that stands twice is not two seeds, whichever of its marks was changed."""
    record = whole_study()
    record[key].append(record[key][0] | change)
    with pytest.raises(DataError) as caught:
        load_study(written(record, tmp_path))
    assert said in str(caught.value) and str(tmp_path / "study.json") in str(caught.value)


def test_runs_of_one_seed_with_other_options_are_not_two_seeds(tmp_path: Path) -> None:
    first, second = (run(test=test, spec_fingerprint=spec, run_id=spec) for test, spec in ((0.4, "a"), (0.6, "b")))
    other_seed = run(test=0.5, spec_fingerprint="c", run_id="c", seed=1)
    view = view_of(load_study(written(study([first, second, other_seed]), tmp_path)))
    assert [[r.seed for r in group.runs] for group in view.groups] == [[0, 1], [0]]
    assert any("lora, head, default, report, default stands in several rows" in note for note in view.notes)


@pytest.mark.parametrize("holder", ["runs", "baselines"])
@pytest.mark.parametrize("value", [93.0, -0.1, "0,93", None])
def test_a_score_that_the_metric_cannot_have(holder: str, value: Any, tmp_path: Path) -> None:
    record = whole_study()
    record[holder][0]["scores"]["test"]["micro_f1"] = value
    with pytest.raises(DataError) as caught:
        load_study(written(record, tmp_path))
    named = f"{holder.removesuffix('s')} 1 of {tmp_path / 'study.json'}"
    assert named in str(caught.value) and '"scores.test.micro_f1" must be a number' in str(caught.value)


def test_a_time_that_cannot_be(tmp_path: Path) -> None:
    record = whole_study()
    record["runs"][0]["train_seconds"] = -5
    with pytest.raises(
        DataError, match=r'run 1 of .*study\.json is broken \("train_seconds" must be a number at least 0'
    ):
        load_study(written(record, tmp_path))


def test_a_record_without_bounds_has_those_of_its_metrics_names(tmp_path: Path) -> None:
    """Versions before metrics had bounds wrote the same two."""
    record = whole_study()
    record["metrics"] = [{"name": "micro_f1", "title": "micro-F1"}]
    record["runs"][0]["scores"]["test"]["micro_f1"] = 93.0
    with pytest.raises(DataError, match="at least 0 and at most 1"):
        load_study(written(record, tmp_path))
