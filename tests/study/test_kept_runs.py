"""Which results a study takes for a run's, which ones of an earlier call it keeps, and what its record never loses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semtune.errors import ModelError, OutputError
from semtune.progress import NoProgress
from semtune.records import RunResult, RunSpec
from semtune.report.tables import all_tables
from semtune.report.view import view_of
from semtune.runs.folder import RunFolder, read_result
from semtune.runs.outcome import unmeasured
from semtune.runs.runner import run
from semtune.study.grid import study_from
from semtune.study.study import run_study


class Here:
    """A launcher of the plain kind: every run in this process, where it is waited for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def submit(self, spec: RunSpec, folder: Path) -> tuple[RunSpec, Path]:
        handle = _Handle((spec, folder))
        self.asked.append(str(spec.baseline or spec.method))
        return handle

    def wait(self, handles: Sequence[tuple[RunSpec, Path]]) -> tuple[Any, RunResult]:
        return handles[0], run(*handles[0], NoProgress(), overwrite=True)

    def interrupt(self, handles: Sequence[Any]) -> list[tuple[Any, RunResult]]:
        return [(handle, unmeasured(handle[0], "interrupted")) for handle in handles]


class _Handle(tuple[RunSpec, Path]):
    __hash__ = object.__hash__  # type: ignore[assignment]


class ReadingOld(Here):
    """A launcher whose runs all fail, and which then gives back whatever result lies in the folder."""

    def wait(self, handles: Sequence[tuple[RunSpec, Path]]) -> tuple[Any, RunResult]:
        return handles[0], read_result(handles[0][1] / "result.json")


class StoppedAt(Here):
    """The user interrupts the study while the given run is under way."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def wait(self, handles: Sequence[tuple[RunSpec, Path]]) -> tuple[Any, RunResult]:
        if handles[0][0].baseline == self.name:
            raise KeyboardInterrupt
        return super().wait(handles)


SOUPS = ("red", "old", "thin", "thick", "sour", "green", "cold")
TASTES = (("lovely tonight", "good"), ("bad and far too salty", "bad"), ("fine by all of us", "good"))
ROWS = [f"the {soup} soup is {taste},{mood}" for soup in SOUPS for taste, mood in TASTES]


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Any]:
    """Run a study of two quick baselines on a table that the test may edit; returns its record."""
    (tmp_path / "table.csv").write_text("\n".join(["text,label", *ROWS]) + "\n", encoding="utf-8")
    (tmp_path / "test.csv").write_text("text,label\nporridge for everyone,good\nmouldy cheese,bad\n", encoding="utf-8")

    def call(launcher: Any, say: Callable[[str], None] = lambda _: None, **values: Any) -> dict[str, Any]:
        data = {"data": str(tmp_path / "table.csv"), "test_data": str(tmp_path / "test.csv")}
        common = {"task": "table", "task_options": data, "methods": ["lora"], "baselines": ["top-1", "random"]}
        spec = replace(study_from({**common, **values}, "it"), methods=())
        return run_study(spec, tmp_path / "out", "it", launcher, say)

    return call


def entries(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The baselines in study.json by name."""
    record = json.loads((tmp_path / "out" / "study.json").read_text())
    return {entry["name"]: entry for entry in record["baselines"]}


@pytest.fixture
def edit(tmp_path: Path) -> Callable[[], None]:
    def call() -> None:
        with (tmp_path / "table.csv").open("a", encoding="utf-8") as file:
            file.write("what a wonderful dumpling,good\n")

    return call


def test_a_result_of_another_run_is_not_taken(
    study: Callable[..., Any], edit: Callable[[], None], tmp_path: Path
) -> None:
    study(Here())
    folder = tmp_path / "out" / "baselines" / "top-1"
    before = read_result(folder / "result.json")
    assert before.status == "ok" and before.run_id and before.spec_fingerprint
    edit()
    record = study(ReadingOld())
    assert [entry["status"] for entry in record["baselines"]] == ["failed", "failed"]
    assert "not the result of this run" in record["baselines"][0]["note"]
    assert read_result(folder / "result.json") == before and RunFolder(folder).kept(), "the old run is still there"
    assert not list((tmp_path / "out").rglob("*request*"))


def test_a_result_without_an_id_of_an_older_version_is_not_taken_either(
    study: Callable[..., Any], edit: Callable[[], None], tmp_path: Path
) -> None:
    study(Here())
    for name in ("top-1", "random"):
        file = tmp_path / "out" / "baselines" / name / "result.json"
        plain = json.loads(file.read_text())
        file.write_text(json.dumps(plain | {"run_id": None, "spec_fingerprint": None, "status": "interrupted"}))
    record = study(ReadingOld())
    assert [entry["status"] for entry in record["baselines"]] == ["failed", "failed"]


def test_edited_data_are_run_again_and_equal_ones_kept(
    study: Callable[..., Any], edit: Callable[[], None], tmp_path: Path
) -> None:
    first = study(Here())
    again = Here()
    assert study(again)["baselines"] == first["baselines"]
    assert again.asked == []
    edit()
    said: list[str] = []
    study(again, said.append)
    assert again.asked == ["top-1", "random"]
    assert any("its data have changed" in line for line in said)
    assert not list((tmp_path / "out").rglob("successor*"))


def test_an_interrupted_rerun_drops_nothing(
    study: Callable[..., Any], edit: Callable[[], None], tmp_path: Path
) -> None:
    study(Here())
    before = entries(tmp_path)
    edit()
    with pytest.raises(KeyboardInterrupt):
        study(StoppedAt("random"))
    after = entries(tmp_path)
    assert set(after) == {"top-1", "random"}
    assert after["random"]["scores"] == before["random"]["scores"]
    assert "not run again" in after["random"]["kept_from"]
    assert after["top-1"]["kept_from"] is None
    with pytest.raises(KeyboardInterrupt):
        study(StoppedAt("tfidf"), baselines=["tfidf"])
    assert set(entries(tmp_path)) == {"top-1", "random"}, "those not asked for stay until the study is whole"
    study(Here(), baselines=["top-1"])
    assert {name: entry["kept_from"] for name, entry in entries(tmp_path).items()} == {"top-1": None}


def test_what_was_measured_elsewhere_or_before_says_so(study: Callable[..., Any], tmp_path: Path) -> None:
    study(Here())
    folder = tmp_path / "out" / "baselines"
    environment = json.loads((folder / "top-1" / "environment.json").read_text())
    environment |= {"cpu": "Abacus 3", "packages": environment["packages"] | {"numpy": "0.9"}}
    (folder / "top-1" / "environment.json").write_text(json.dumps(environment))
    result = json.loads((folder / "random" / "result.json").read_text())
    for key in ("run_id", "spec_fingerprint", "data_fingerprint", "model_fingerprint", "code_version", "ended_at",
                "kept_from", "overlaps"):  # fmt: skip
        result.pop(key)
    (folder / "random" / "result.json").write_text(json.dumps(result))
    again = Here()
    record = study(again)
    assert again.asked == []
    remarks = {entry["name"]: entry["kept_from"] for entry in record["baselines"]}
    assert (
        "Abacus 3" in remarks["top-1"] and "numpy 0.9 (now" in remarks["top-1"] and "measured on 2" in remarks["top-1"]
    )
    assert "fingerprint unknown" in remarks["random"]
    shown = " ".join(note for table in all_tables(record) for note in table.footnotes)
    assert "Abacus 3" in shown and "fingerprint unknown" in shown


def test_another_version_of_the_code_is_said(
    study: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(Here())
    monkeypatch.setattr("semtune.study.kept.code_version", lambda: "9.9+abc")
    (first, _) = study(Here())["baselines"]
    assert "(now 9.9+abc)" in first["kept_from"]


def test_a_study_of_another_task_is_not_overwritten(study: Callable[..., Any], tmp_path: Path) -> None:
    study(Here())
    before = (tmp_path / "out" / "study.json").read_bytes()
    other = study_from({"task": "practice", "methods": ["lora"], "baselines": ["top-1"]}, "it")
    with pytest.raises(OutputError, match="holds a study of the task table"):
        run_study(other, tmp_path / "out", "it", Here(), lambda _: None)
    assert (tmp_path / "out" / "study.json").read_bytes() == before
    swept = study_from({"task": "practice", "methods": ["lora"], "sweep": {"rank": [4, 8]}}, "it")
    (tmp_path / "out" / "sweep.json").write_text("of the other study")
    with pytest.raises(OutputError, match="holds a study of the task table"):
        run_study(swept, tmp_path / "out", "it", Here(), lambda _: pytest.fail("a run of the sweep"))
    assert (tmp_path / "out" / "sweep.json").read_text() == "of the other study"


def test_a_study_folder_has_one_study_at_a_time(study: Callable[..., Any], tmp_path: Path) -> None:
    class Nested(Here):
        def wait(self, handles: Sequence[tuple[RunSpec, Path]]) -> tuple[Any, RunResult]:
            with pytest.raises(OutputError, match="in use by process"):
                study(Here())
            return super().wait(handles)

    assert {entry["status"] for entry in study(Nested())["baselines"]} == {"ok"}


def test_shared_texts_are_recorded_shown_and_refused(study: Callable[..., Any], tmp_path: Path) -> None:
    texts = [row.rsplit(",", 1) for row in ROWS]
    lines = [f"{text.upper()}!,{mood}" for text, mood in texts[:3]] + ["a pie nobody has tasted yet,good"]
    (tmp_path / "test.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    with pytest.raises(Exception, match=r"3 of 4 test texts are also in train .*--allow-overlap"):
        study(Here())
    record = study(Here(), allow_overlap=True)
    assert [entry["status"] for entry in record["baselines"]] == ["ok", "ok"]
    assert record["overlaps"][0] | {"instance": None} == {
        "split": "test", "other": "train", "examples": 4, "exact": 3, "near": 0, "whole": False, "instance": None,
    }  # fmt: skip
    assert any("3 of 4 test texts" in note for note in view_of(record).notes)
    assert any("3 of 4 test texts" in note for note in all_tables(record)[1].footnotes)
    result = read_result(tmp_path / "out" / "baselines" / "top-1" / "result.json")
    assert [(o.split, o.exact) for o in result.overlaps] == [("test", 3)]
    assert any("3 of 4 test texts" in note for note in result.notes)
    kept = Here()
    study(kept, allow_overlap=True)
    assert kept.asked == []


def test_a_refused_run_says_so(study: Callable[..., Any], tmp_path: Path) -> None:
    class Refusing(Here):
        def wait(self, handles: Sequence[tuple[RunSpec, Path]]) -> tuple[Any, RunResult]:
            return handles[0], unmeasured(handles[0][0], "failed", reason=str(ModelError("no such model")))

    record = study(Refusing())
    assert [entry["note"] for entry in record["baselines"]] == ["failed: no such model"] * 2


@pytest.mark.parametrize("broken", [5, "x", ["x"], [{"name": 3}], [{"name": "top-1", "scores": {"test": 1}}], None])
def test_what_is_broken_in_the_earlier_record_is_run_again(
    broken: Any, study: Callable[..., Any], tmp_path: Path
) -> None:
    first = study(Here())
    file = tmp_path / "out" / "study.json"
    file.write_text(json.dumps(first | {"runs": broken, "baselines": broken}), encoding="utf-8")
    again = study(Here())
    assert [b["scores"] for b in again["baselines"]] == [b["scores"] for b in first["baselines"]]


def test_a_kept_result_with_an_impossible_score_is_run_again(study: Callable[..., Any], tmp_path: Path) -> None:
    first = study(Here())
    file = tmp_path / "out" / "baselines" / "top-1" / "result.json"
    result = json.loads(file.read_text(encoding="utf-8"))
    result["scores"]["test"]["micro_f1"] = 93.0
    file.write_text(json.dumps(result), encoding="utf-8")
    assert [b["scores"] for b in study(Here())["baselines"]] == [b["scores"] for b in first["baselines"]]
