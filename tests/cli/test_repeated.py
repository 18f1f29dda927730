"""`tune --spec`: a run that is repeated on data or files that have changed since says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from semtune.records import RunResult
from semtune.runs.folder import read_result
from semtune.runs.repeated import differences, earlier_result
from semtune.specs import read_spec

from .conftest import Semtune

BASELINE = ("--approach", "baseline", "--baseline", "tfidf", "--text-column", "comment", "--label-column", "mood")


def test_changed_data_are_said_and_the_same_data_are_not(semtune: Semtune, reviews: Path, tmp_path: Path) -> None:
    semtune("tune", "--task", "table", "--data", reviews, *BASELINE, "--out", "first")
    spec = Path("first", "spec.yaml")
    assert "repeats" not in semtune("tune", "--spec", spec, "--out", "same").stderr
    reviews.write_text("".join(reviews.read_text(encoding="utf-8").splitlines(keepends=True)[:-4]), encoding="utf-8")
    said = " ".join(semtune("tune", "--spec", spec, "--out", "other").stderr.split())
    assert "this run repeats first by its spec.yaml, but not its data, which has changed since" in said
    copy = tmp_path / "mine.yaml"
    copy.write_bytes((tmp_path / spec).read_bytes())
    assert "repeats" not in semtune("tune", "--spec", copy, "--out", "third").stderr, "it belongs to no run folder"


def test_what_differs(semtune: Semtune, tmp_path: Path) -> None:
    semtune("tune", "--task", "practice", "--approach", "baseline", "--baseline", "top-1", "--out", "run")
    then = earlier_result(tmp_path / "run" / "spec.yaml")
    assert then == read_result(tmp_path / "run" / "result.json")
    assert isinstance(then, RunResult)
    spec = read_spec(tmp_path / "run" / "spec.yaml")
    then = dataclasses.replace(then, model_fingerprint="1", file_fingerprints={"knowledge": "1", "prices": "1"})
    for changes, expected in [
        ({}, []),
        ({"model_fingerprint": "2", "data_fingerprint": "2"}, ["data", "model"]),
        ({"model_fingerprint": None, "data_fingerprint": None, "file_fingerprints": None}, []),
        ({"file_fingerprints": {"knowledge": "2", "prices": "1"}}, ["knowledge"]),
        ({"data_fingerprint": "2", "spec_fingerprint": "2"}, []),
    ]:
        assert differences(then, dataclasses.replace(then, **changes), spec) == expected
    (tmp_path / "run" / "result.json").write_text("{", encoding="utf-8")
    assert earlier_result(tmp_path / "run" / "spec.yaml") is None
