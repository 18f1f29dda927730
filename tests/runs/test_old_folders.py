"""Folders that version 0.1.0 wrote still read: a run predicts what it predicted then, a study makes its report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from semtune.errors import DataError, ModelError
from semtune.records import TaskOptions
from semtune.registry import TASKS
from semtune.report.html import write_report
from semtune.report.tables import all_tables, load_study
from semtune.runs.folder import read_result
from semtune.runs.load import load_run
from semtune.specs import read_spec

DATA = Path(__file__).parent / "data" / "run-0.1.0"
DEMO = Path(__file__).resolve().parents[2] / "benchmarks" / "records" / "2026-11-25-demo"


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A copy of the run whose spec names the model where it now is."""
    run = tmp_path / "run"
    shutil.copytree(DATA / "run", run)
    spec = (run / "spec.yaml").read_text(encoding="utf-8")
    (run / "spec.yaml").write_text(spec.replace("model: model", f"model: {DATA / 'model'}"), encoding="utf-8")
    return run


def test_a_run_of_the_version_before_predicts_what_it_predicted(old_run: Path) -> None:
    task = TASKS.get("table")(TaskOptions(data=str(DATA / "reviews.csv"), text_column="comment", label_column="mood"))
    written = task.read_predictions(old_run / "predictions-test.json")
    assert [p.labels for p in load_run(old_run).predict(task.load("test"))] == [p.labels for p in written]


def with_marks(folder: Path) -> None:
    """Save every file of a run or study as Notepad does, with a byte-order mark and line ends of Windows."""
    for file in folder.rglob("*"):
        if file.suffix in (".json", ".jsonl", ".yaml"):
            text = file.read_text(encoding="utf-8").replace("\n", "\r\n")
            file.write_bytes(text.encode("utf-8-sig"))


def test_files_with_byte_order_marks_read(old_run: Path, tmp_path: Path) -> None:
    task = TASKS.get("table")(TaskOptions(data=str(DATA / "reviews.csv"), text_column="comment", label_column="mood"))
    expected, before = load_run(old_run).predict(task.load("test")), read_result(old_run / "result.json")
    with_marks(old_run)
    assert load_run(old_run).predict(task.load("test")) == expected
    assert read_result(old_run / "result.json") == before
    shutil.copytree(DEMO, tmp_path / "study")
    study = load_study(tmp_path / "study")
    with_marks(tmp_path / "study")
    assert load_study(tmp_path / "study") == study


def test_another_encoding_of_a_result_says_what_to_do(old_run: Path) -> None:
    file = old_run / "result.json"
    file.write_bytes(file.read_text(encoding="utf-8").encode("utf-16"))
    with pytest.raises(DataError, match=r"result\.json should be .* \(it is in UTF-16; save it as UTF-8\)\.$"):
        read_result(file)


@pytest.mark.parametrize("threshold", ["NaN", "93.0", "-1", '"0,5"', "true", "null", "[]"])
def test_a_threshold_that_decides_nothing_is_refused(threshold: str, old_run: Path) -> None:
    """No probability reaches NaN, so every text would have no label, without a word."""
    file = old_run / "adapter" / "head.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(state | {"threshold": "T"}).replace('"T"', threshold), encoding="utf-8")
    with pytest.raises(ModelError, match=r"missing or broken \(its threshold is no number from 0 to 1"):
        load_run(old_run)


def test_its_spec_and_its_result_read(old_run: Path) -> None:
    spec = read_spec(old_run / "spec.yaml")
    assert (spec.approach, spec.method, spec.readout, spec.epochs) == ("tuned", "lora", "head", 4)
    result = read_result(old_run / "result.json")
    assert (result.status, result.approach, result.name, result.metric) == ("ok", "tuned", None, None)
    assert result.scores["test"].value == 1.0


def test_an_interruption_written_as_a_failure_has_its_status(old_run: Path) -> None:
    plain = json.loads((old_run / "result.json").read_text(encoding="utf-8"))
    plain |= {"status": "failed", "reason": "interrupted by the user; the weights kept so far are in adapter/"}
    (old_run / "result.json").write_text(json.dumps(plain), encoding="utf-8")
    assert read_result(old_run / "result.json").status == "interrupted"
    plain["reason"] = "something interrupted by the user"
    (old_run / "result.json").write_text(json.dumps(plain), encoding="utf-8")
    assert read_result(old_run / "result.json").status == "failed"


def test_a_study_of_the_version_before_makes_its_report(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "study")
    study = load_study(tmp_path / "study")
    names = {row.cells[0].text for table in all_tables(study) for row in table.rows}
    assert {"full", "lora", "qlora", "dora", "tfidf"} <= names
    assert "tfidf" in write_report(tmp_path / "study").read_text(encoding="utf-8")
