"""`semtune.plan` and `semtune.study`: as the commands, with data in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import semtune
from semtune.errors import OptionError, OutputError, UnknownNameError
from semtune.records import RunResult, RunSpec
from semtune.registry import METHODS
from semtune.runs.outcome import unmeasured
from semtune.specs import write_spec

from .conftest import MOODS, TEXTS


def test_a_plan_for_each_method(tiny_model: Path) -> None:
    found = semtune.plan(str(tiny_model), method=["lora", "full"], device="12GB", max_length=32)
    assert [p.method for p in found.plans] == ["lora", "full"]
    assert all(p.fits and p.peak_bytes["train"] > 0 for p in found.plans)
    assert found.device.name == "12GB"


def test_a_plan_counts_the_texts_it_is_given(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[Any] = []
    monkeypatch.setattr("semtune.plan.requests.plan_methods", lambda *given, **_: known.extend(given))
    semtune.plan(str(tiny_model), task=(TEXTS, MOODS), batch_size=2)
    spec, methods, device, data = known
    assert (spec.batch_size, device, set(methods)) == (2, "auto", set(METHODS))
    assert {e.text for e in [*data.train, *data.predicted]} == set(TEXTS)
    known.clear()
    semtune.plan(str(tiny_model), max_length=32)
    assert known[3].train is None


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"rnak": 4}, UnknownNameError, r'semtune.plan\(\) has no option "rnak"; did you mean "rank"'),
        ({"device": "12XB"}, OptionError, "12XB"),
        ({"method": "lorra"}, UnknownNameError, 'did you mean "lora"'),
    ],
)
def test_mistakes_in_a_plan(tiny_model: Path, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        semtune.plan(str(tiny_model), max_length=32, **options)


class Inventing:
    """A launcher that runs nothing but writes the folder of a run."""

    asked: list[RunSpec]

    def __init__(self, parallel: int) -> None:
        self.submitted: dict[Path, RunSpec] = {}

    def submit(self, spec: RunSpec, folder: Path) -> Path:
        self.submitted[folder] = spec
        return folder

    def wait(self, handles: Sequence[Path]) -> tuple[Path, RunResult]:
        folder = handles[0]
        spec = self.submitted[folder]
        if spec.approach == "tuned":
            self.asked.append(spec)
        folder.mkdir(parents=True)
        write_spec(spec, folder / "spec.yaml")
        return folder, unmeasured(spec, "ok")

    def interrupt(self, handles: Sequence[Path]) -> list[tuple[Path, RunResult]]:
        return []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """The specs that a study would have run."""
    Inventing.asked = []
    monkeypatch.setattr("semtune.study.launchers.process.ProcessLauncher", Inventing)
    return Inventing.asked


def test_a_study_of_data_in_memory(asked: list[RunSpec], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"methods": ["lora", "dora"], "seeds": [0, 1], "epochs": 2}
    overrides = {"dora": {"rank": 4}}
    study = semtune.study((TEXTS, MOODS), out=tmp_path / "study", label_column="mood", overrides=overrides, **options)
    assert [(s.method, s.seed, s.method_options["rank"], s.epochs) for s in asked] == [
        ("lora", 0, 16, 2), ("lora", 1, 16, 2), ("dora", 0, 4, 2), ("dora", 1, 4, 2),
    ]  # fmt: skip
    assert Path(str(asked[0].task_options.data)).parent == tmp_path / "study" / "data"
    assert study.record == json.loads((tmp_path / "study" / "study.json").read_text())
    assert study.record["command"].startswith("semtune.study(<tuple>, ")
    assert "run 4 of 4" in capsys.readouterr().err
    assert list(study.runs) == [run["out"] for run in study.record["runs"]]
    assert study.runs["dora-head-report-s1"].spec.seed == 1
    assert study.tables[0].title in str(study)
    assert study.tables[0].title in study._repr_markdown_()
    assert study.tables[0].title in study.report().read_text()
    assert semtune.Study(study.folder).record == study.record


def test_a_study_file_with_options_over_it(asked: list[RunSpec], tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("task: practice\nmethods: [full, lora]\nepochs: 3\n", encoding="utf-8")
    study = semtune.study(file, method="qlora", epochs=1, progress=False)
    assert [(s.method, s.epochs) for s in asked] == [("qlora", 1)]
    folder = study.folder
    del study
    assert not folder.exists()
    with pytest.raises(OptionError, match="The study file says what the data are; leave out dev= and test="):
        semtune.study(file, test=(TEXTS, MOODS))


@pytest.mark.parametrize(
    ("in_file", "given", "expected"),
    [
        ("overrides: {lora: {rank: 4}}", {"rank": 16}, {"rank": 16}),
        ("method_options: {rank: 4, alpha: 99}", {"rank": 16}, {"rank": 16, "alpha": 99}),
        ("method_options: {rank: 4, alpha: 99}", {"method_options": {"rank": 16}}, {"rank": 16, "alpha": 99}),
    ],
)
def test_options_stand_above_those_of_a_study_file(
    in_file: str, given: dict[str, Any], expected: dict[str, Any], asked: list[RunSpec], tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"task: practice\nmethods: [lora]\nrecompute: true\n{in_file}\n", encoding="utf-8")
    semtune.study(file, progress=False, activation_checkpointing=False, **given)
    (spec,) = asked
    assert spec.method_options.items() >= expected.items()
    assert not spec.activation_checkpointing


def test_mistakes_in_a_study(asked: list[RunSpec], tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match='did you mean "epochs"'):
        semtune.study((TEXTS, MOODS), out=tmp_path / "study", epoch=2)
    assert not (tmp_path / "study").exists()
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="not a study"):
        semtune.study((TEXTS, MOODS), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert not asked


@pytest.mark.slow
def test_a_real_study(tiny_model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": str(tiny_model), "methods": ["lora", "full"], "epochs": 1}
    study = semtune.study((TEXTS, MOODS), out=tmp_path / "study", **options)
    assert [run["status"] for run in study.record["runs"]] == ["ok", "ok"]
    assert len(study.runs["lora-head-report-s0"].predict(TEXTS[:2])) == 2
