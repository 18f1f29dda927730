"""What a study says of its data, it says once, not with each of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from semtune.progress import NoProgress
from semtune.records import RunResult, RunSpec
from semtune.runs.folder import read_result
from semtune.runs.runner import run
from semtune.specs import read_spec, write_spec
from semtune.study.grid import study_from
from semtune.study.study import run_study

from .test_kept_runs import ROWS, Here


class Saying(NoProgress):
    """An observer of a run that remembers what was said."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def say(self, text: str) -> None:
        self.said.append(text)


class Heard(Here):
    """Every run in this process, with what it says."""

    def __init__(self, said: list[str], before: Any = None) -> None:
        super().__init__()
        self.said, self.before = said, before

    def wait(self, handles: Sequence[tuple[RunSpec, Path]]) -> tuple[Any, RunResult]:
        if self.before is not None:
            self.before()
        return handles[0], run(*handles[0], Saying(self.said), overwrite=True)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with a note on its texts, and two labels that differ in case."""
    file = tmp_path / "table.csv"
    rows = [row.replace(",bad", ",Good") for row in ROWS]
    file.write_text("\n".join(["text,label", "soup &amp; bread,good", *rows]) + "\n", encoding="utf-8")
    return file


def study_of(table: Path, baselines: list[str]) -> Any:
    values = {"task": "table", "task_options": {"data": str(table)}, "methods": ["lora"]}
    return study_from({**values, "baselines": baselines}, "it")


def test_notes_on_the_data_are_said_once(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("semtune.study.grid.StudySpec.runs", lambda self: {})
    study = study_of(table, ["top-1", "random"])
    run_study(study, tmp_path / "study", "it", Heard(said), said.append)
    for note in ("an HTML entity", "differ only in case"):
        assert sum(note in line for line in said) == 1, said


class ByFile(Here):
    """Runs as a child has them, from a spec.yaml."""

    def wait(self, handles: Sequence[tuple[RunSpec, Path]]) -> tuple[Any, RunResult]:
        spec, folder = handles[0]
        write_spec(spec, folder.parent / "spec.yaml")
        return handles[0], run(read_spec(folder.parent / "spec.yaml"), folder, NoProgress(), overwrite=True)


@pytest.mark.parametrize("launcher", [Here, ByFile])
def test_the_study_shows_them_once(
    launcher: type[Here], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semtune.study.grid.StudySpec.runs", lambda self: {})
    monkeypatch.chdir(tmp_path)
    record = run_study(study_of(Path(table.name), ["top-1"]), tmp_path / "study", "it", launcher(), lambda _: None)
    of_run = read_result(tmp_path / "study" / "baselines" / "top-1" / "result.json").notes
    shown = {note for note in (*record["task_notes"], *of_run) if "an HTML entity" in note}
    assert len(shown) == 1, shown


def test_a_run_says_them_where_the_data_have_changed(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("semtune.study.grid.StudySpec.runs", lambda self: {})

    def change() -> None:
        with table.open("a", encoding="utf-8") as file:
            file.write("tea &lt; soup,good\n")

    run_study(study_of(table, ["top-1"]), tmp_path / "study", "it", Heard(said, change), said.append)
    assert sum("an HTML entity" in line for line in said) == 2
    assert any("in 2 rows" in line for line in said)


def test_a_run_alone_says_them(table: Path, tmp_path: Path) -> None:
    from semtune.specs import spec_from

    said: list[str] = []
    values = {"task": "table", "approach": "baseline", "baseline": "top-1", "task_options": {"data": str(table)}}
    run(spec_from(values, "it"), tmp_path / "run", Saying(said))
    assert sum("an HTML entity" in line for line in said) == 1
