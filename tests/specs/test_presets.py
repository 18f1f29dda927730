"""A preset sets all that it says, what is given stands above it, and what differs from it is on record."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semtune.cli.app import app
from semtune.errors import UnknownNameError
from semtune.records import RunResult, RunSpec
from semtune.registry import METHODS, PRESETS
from semtune.report.tables import all_tables
from semtune.runs.outcome import unmeasured
from semtune.specs import read_spec, read_yaml, resolve, spec_from, write_spec
from semtune.specs.presets import changes_as_text, preset_changes, preset_notes, preset_values
from semtune.study.grid import study_from

from ..combinations import MODEL_TRAINING
from ..report.conftest import run, study

STUDIES = Path(__file__).resolve().parents[2] / "studies"
EXPERIMENT = {"prompt": "report", "readout": "generate", "epochs": 3}


def spec_of(**values: Any) -> RunSpec:
    return resolve(spec_from({"task": "practice", **values}, "the test"))


@pytest.mark.parametrize("method", MODEL_TRAINING)
def test_the_experiments_preset_sets_prompt_readout_loss_and_method(method: str) -> None:
    spec = spec_of(preset="report", method=method)
    assert {name: getattr(spec, name) for name in EXPERIMENT} == EXPERIMENT
    assert spec.readout_options["train_on_prompt"] is True
    expected = METHODS.get(method).presets["report"]
    assert spec.method_options == {f.name: getattr(expected, f.name) for f in dataclasses.fields(expected)}
    assert preset_changes(spec) == {}
    assert preset_notes(spec), "what the experiment did not state is said"


def test_the_preset_is_the_study_file_of_the_experiment() -> None:
    file = dict(read_yaml(STUDIES / "report.yaml"))
    for key in ("prompts", "readouts", "epochs", "loss_on"):
        assert file.pop(key)
    bare = study_from(file, "it").runs()
    assert bare == study_from(read_yaml(STUDIES / "report.yaml"), "report.yaml").runs()
    assert all(preset_changes(spec) == {} for spec in bare.values())


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.yaml")), ids=lambda f: f.stem)
def test_a_shipped_study_is_its_preset_and_nothing_in_it_is_without_effect(file: Path) -> None:
    shipped = study_from(read_yaml(file), str(file))
    assert shipped.unused() == []
    assert all(preset_changes(spec) == {} for spec in shipped.runs().values())


def test_what_is_given_stands_above_the_preset_and_is_listed() -> None:
    spec = spec_of(preset="report", readout="head", rank=4, targets="q_proj")
    assert (spec.readout, spec.readout_options) == ("head", {})
    assert preset_changes(spec) == {
        "rank": {"preset": 8, "run": 4},
        "targets": {"preset": ["q_proj", "v_proj"], "run": ["q_proj"]},
        "readout": {"preset": "generate", "run": "head"},
    }
    spec = spec_of(preset="report", loss_on="completion", epochs=1)
    assert preset_changes(spec) == {
        "epochs": {"preset": 3, "run": 1},
        "loss_on": {"preset": "all", "run": "completion"},
    }
    text = changes_as_text("report", preset_changes(spec))
    assert text == "differs from the preset report: epochs 1 (not 3), loss_on completion (not all)"
    assert preset_changes(spec_of(rank=4)) == {"rank": {"preset": 16, "run": 4}}
    assert preset_changes(spec_of()) == {}


def test_an_approach_takes_what_it_uses() -> None:
    asked = spec_of(preset="report", approach="prompted", strategy="zero-shot")
    assert (asked.prompt, asked.readout_options) == ("report", {})
    assert preset_changes(asked) == {}
    base = spec_of(preset="report", approach="baseline", baseline="top-1")
    assert base.readout_options == {} and preset_changes(base) == {}


def test_a_spec_file_is_what_it_says_whatever_its_preset(tmp_path: Path) -> None:
    spec = spec_of(preset="report", readout="head", epochs=1)
    write_spec(spec, tmp_path / "spec.yaml")
    assert resolve(read_spec(tmp_path / "spec.yaml")) == spec


def test_a_study_without_readouts_has_the_presets() -> None:
    def only(**values: Any) -> RunSpec:
        (spec,) = study_from({"task": "practice", "methods": ["lora"], **values}, "it").runs().values()
        return spec

    spec = only(preset="report")
    assert (spec.readout, spec.readout_options["train_on_prompt"], spec.epochs) == ("generate", True, 3)
    assert list(preset_changes(only(preset="report", readouts=["head"]))) == ["readout"]
    assert list(preset_changes(only(overrides={"lora": {"preset": "report"}}))) == ["readout"]


def test_a_study_says_what_in_it_has_no_effect() -> None:
    values = {"task": "practice", "methods": ["full"], "readouts": ["head"], "rank": 4, "loss_on": "all"}
    sentences = study_from({**values, "overrides": {"lora": {"rank": 2}}}, "it").unused()
    assert [s.split(" ")[0] for s in sentences] == ["rank", "loss_on", "the"]
    assert "no readout of it (head) has it" in sentences[1] and "does not run lora" in sentences[2]
    assert study_from({**values, "methods": ["full", "lora"], "readouts": ["generate"]}, "it").unused() == []


def test_the_result_lists_what_was_changed() -> None:
    result = unmeasured(spec_of(preset="report", readout="head"), "ok")
    assert result.preset_changes == {"readout": {"preset": "generate", "run": "head"}}
    assert json.loads(json.dumps(result.preset_changes)) == result.preset_changes
    assert {f.name for f in dataclasses.fields(RunResult)} >= {"preset_changes"}


def test_a_table_says_which_rows_differ_from_their_preset() -> None:
    changed = {"readout": {"preset": "generate", "run": "head"}, "loss_on": {"preset": "all", "run": "completion"}}
    tables = all_tables(study([run("lora", preset="report", preset_changes=changed), run("full", preset="report")]))
    for table in tables[:2]:
        lora, full = ([table.footnotes[m - 1] for m in row.cells[0].marks] for row in table.rows[:2])
        sentence = "This row differs from the preset report: readout head (not generate), loss_on completion (not all)."
        assert sentence in lora and sentence not in full


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_value_of_a_preset_is_an_option(name: str) -> None:
    assert set(preset_values(name)) <= {f.name for f in dataclasses.fields(RunSpec)}
    assert spec_of(preset=name)


def test_unknown_presets_are_refused_as_before() -> None:
    with pytest.raises(UnknownNameError, match='did you mean "report"'):
        spec_of(preset="raport")


class Stopped(Exception):  # noqa: N818
    """Raised in place of running."""


@pytest.fixture
def tuned_spec(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunSpec]:
    """The resolved spec that `semtune tune ARGUMENTS` would run."""
    specs: list[RunSpec] = []

    def stop(spec: RunSpec, *_: object, **__: object) -> Any:
        specs.append(resolve(spec))
        raise Stopped

    monkeypatch.setattr("semtune.cli.tune._run", stop)

    def tune(*arguments: str) -> RunSpec:
        with pytest.raises(Stopped):
            app(["tune", "--task", "practice", "--out", "run", *arguments], standalone_mode=False)
        return specs[-1]

    return tune


def test_the_command_line_knows_what_was_given(tuned_spec: Callable[..., RunSpec]) -> None:
    spec = tuned_spec("--preset", "report")
    assert (spec.readout, spec.readout_options["train_on_prompt"]) == ("generate", True)
    assert tuned_spec("--preset", "report", "--readout", "head").readout == "head", "although that is the default too"
    assert tuned_spec("--preset", "report", "--epochs", "2").epochs == 2


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    app(["list", "presets"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "report" in shown and "readout generate" in shown and "loss on all tokens" in shown
