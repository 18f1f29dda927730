"""Scores and metrics as records: their JSON form, and that of versions before metrics had names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semtune.errors import DataError
from semtune.records import LabelScore, LeaderboardEntry, Metric, Scores, to_plain
from semtune.records.scores import checked_scores, leaderboard_entry_from, metrics_from, scores_from
from semtune.runs.folder import result_from

DEMO = Path(__file__).resolve().parents[2] / "benchmarks" / "records" / "2026-11-25-demo" / "study.json"


def test_each_metric_is_a_key_of_its_own() -> None:
    scores = Scores("f1", {"f1": 0.5, "error": 2.0}, 0.25, {"a": LabelScore(1.0, 0.5, 0.6, 3)}, 7)
    plain = json.loads(json.dumps(to_plain(scores)))
    assert plain == {
        "primary": "f1", "f1": 0.5, "error": 2.0, "parse_failures": 0.25,
        "per_label": {"a": {"precision": 1.0, "recall": 0.5, "f1": 0.6, "support": 3}}, "examples": 7,
    }  # fmt: skip
    assert scores_from(plain) == scores and scores.value == 0.5


def test_intervals_are_pairs_in_json() -> None:
    scores = Scores("f1", {"f1": 0.5}, examples=7, intervals={"f1": (0.4, 0.75)})
    plain = json.loads(json.dumps(to_plain(scores)))
    assert plain["intervals"] == {"f1": [0.4, 0.75]}
    assert scores_from(plain) == scores == checked_scores({"test": plain}, "it")["test"]
    for wrong in ([0.4], [0.4, 0.75, 1], 0.4, ["a", "b"], {"f1": 1}):
        with pytest.raises(DataError, match=r"it is broken .*scores.test.intervals"):
            checked_scores({"test": {**plain, "intervals": {"f1": wrong}}}, "it")


def test_scores_written_before_they_named_their_primary_metric() -> None:
    old = json.loads(DEMO.read_text(encoding="utf-8"))["runs"][0]
    result = result_from(old, "the demo")
    for split, scores in result.scores.items():
        assert "primary" not in old["scores"][split]
        assert (scores.primary, scores.value) == ("micro_f1", old["scores"][split]["micro_f1"])
        assert scores.values == {name: old["scores"][split][name] for name in ("micro_f1", "macro_f1")}
        assert to_plain(scores) == {"primary": "micro_f1", **old["scores"][split]}


def test_metrics_of_a_record_that_does_not_name_them() -> None:
    titles = [(m.name, m.title, m.higher_is_better) for m in metrics_from(None)]
    assert titles == [("micro_f1", "micro-F1", True), ("macro_f1", "macro-F1", True)]
    error = Metric("error", "error rate", higher_is_better=False, short="err.")
    assert metrics_from(to_plain((error,))) == (error,)
    assert error.better(0.1, 0.2) and not error.better(0.2, 0.2) and error.rank(0.1) > error.rank(0.2)


def test_a_leaderboard_entry_is_flat() -> None:
    entry = LeaderboardEntry("A", {"f1": 0.5, "error": 2.0})
    assert to_plain(entry) == {"team": "A", "f1": 0.5, "error": 2.0}
    assert leaderboard_entry_from(to_plain(entry)) == entry


def test_scores_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="lack their primary metric f1"):
        Scores("f1", {"error": 1.0})
    with pytest.raises(ValueError, match="no metric may be called examples"):
        Scores("f1", {"f1": 1.0, "examples": 3.0})
