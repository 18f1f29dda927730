"""Rows of prompted models in one grid: strategies × ways of answering, and which of them gets which option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semtune.errors import SemtuneError
from semtune.records import RunSpec
from semtune.report.tables import all_tables
from semtune.study.grid import overridden, study_from
from semtune.study.rows import prompted_runs
from semtune.study.study import run_study

from .test_sweep import Scoring

STUDY: dict[str, Any] = {"task": "practice", "methods": [], "baselines": []}


def rows(**values: Any) -> dict[str, RunSpec]:
    return prompted_runs(study_from({**STUDY, **values}, "it"))


def test_strategies_and_answers_are_one_grid() -> None:
    found = rows(strategies=["zero-shot", "few-shot", "knn-vote"], answers=["constrained", "yes-no"], seeds=[0, 1])
    pairs = [(spec.strategy, spec.strategy_options.get("answer"), spec.seed) for spec in found.values()]
    asked = [(s, a, n) for s in ("zero-shot", "few-shot") for a in ("constrained", "yes-no") for n in (0, 1)]
    assert pairs == [*asked, ("knn-vote", None, 0), ("knn-vote", None, 1)]
    assert list(found)[:3] == [
        "zero-shot-report-constrained-s0",
        "zero-shot-report-constrained-s1",
        "zero-shot-report-yes-no-s0",
    ]
    assert list(found)[-1] == "knn-vote-report-s1"


def test_an_option_goes_to_the_strategies_that_have_it_and_overrides_stand_above() -> None:
    options = {"demonstrations": 4, "answer": "rank", "voters": 3}
    overrides = {"retrieval": {"demonstrations": 2}, "zero-shot": {"strategy_options": {"answer": "free"}}}
    strategies = ["zero-shot", "few-shot", "retrieval", "knn-vote"]
    found = {
        s.strategy: s.strategy_options
        for s in rows(strategies=strategies, strategy_options=options, overrides=overrides).values()
    }
    assert {name: known.get("demonstrations") for name, known in found.items()} == {
        "zero-shot": None,
        "few-shot": 4,
        "retrieval": 2,
        "knn-vote": None,
    }
    assert {name: known.get("answer") for name, known in found.items()} == {
        "zero-shot": "free",
        "few-shot": "rank",
        "retrieval": "rank",
        "knn-vote": None,
    }
    assert found["knn-vote"]["voters"] == 3


def test_rows_that_differ_in_their_answer_are_told_apart_in_the_record_and_its_tables(tmp_path: Path) -> None:
    values = {"methods": ["lora"], "strategies": ["zero-shot", "knn-vote"], "answers": ["constrained", "yes-no"]}
    study = study_from({**STUDY, **values}, "it")
    record = run_study(study, tmp_path / "out", "it", Scoring(lambda spec: None), lambda _: None)
    assert [(run["name"], run["answer"]) for run in record["runs"]] == [
        (None, ""),
        ("zero-shot", "constrained"),
        ("zero-shot", "yes-no"),
        ("knn-vote", ""),
    ]
    quality = next(table for table in all_tables(record) if table.key == "quality")
    readout = [column.title for column in quality.columns].index("Readout")
    assert [(row.cells[0].text, row.cells[readout].text) for row in quality.rows] == [
        ("lora", "head"),
        ("zero-shot", "constrained"),
        ("zero-shot", "yes-no"),
        ("knn-vote", ""),
    ]


def test_a_sweep_chooses_for_each_answer_of_a_strategy(tmp_path: Path) -> None:
    best = {"constrained": "question", "yes-no": "command"}
    launcher = Scoring(lambda s: 0.5 + 0.1 * (s.strategy_options["instruction"] == best[s.strategy_options["answer"]]))
    values = {"strategies": ["zero-shot"], "answers": list(best), "sweep": {"instruction": ["question", "command"]}}
    record = run_study(study_from({**STUDY, **values}, "it"), tmp_path / "out", "it", launcher, lambda _: None)
    assert {row["label"]: row["chosen"]["instruction"] for row in record["sweep"]["rows"]} == {
        f"zero-shot, {answer}": wording for answer, wording in best.items()
    }


def test_what_is_given_stands_above_a_files_overrides_of_strategies() -> None:
    file = {**STUDY, "strategies": ["few-shot"], "overrides": {"few-shot": {"demonstrations": 2, "choice": "first"}}}
    study = study_from(overridden(file, {"strategy_options": {"demonstrations": 5}}, "the options"), "study.yaml")
    (spec,) = prompted_runs(study).values()
    assert (spec.strategy_options["demonstrations"], spec.strategy_options["choice"]) == (5, "first")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"strategy_options": {"demonstratons": 2}},
            'None of the strategies has an option "demonstratons"; did you mean',
        ),
        ({"overrides": {"few-shto": {}}}, "few-shto"),
        ({"overrides": {"few-shot": {"demonstratons": 2}}}, 'unknown key "demonstratons"'),
        ({"overrides": {"few-shot": {"demonstrations": 0}}}, "at least 1"),
        ({"overrides": {"few-shot": {"rank": 4}}}, "has no method"),
        ({"answers": ["yesno"]}, 'did you mean "yes-no"'),
        ({"answers": ["rank", "rank"]}, "twice"),
        ({"answers": ["rank", "free"], "strategy_options": {"answer": "rank"}}, "keep one of them"),
        ({"answers": ["rank", "free"], "overrides": {"few-shot": {"answer": "rank"}}}, "keep one of them"),
        ({"answers": ["rank", "free"], "sweep": {"answer": ["rank", "free"]}}, "keep one of them"),
    ],
)
def test_mistakes_are_said(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SemtuneError, match=said):
        rows(strategies=["few-shot"], **values)


def test_what_has_no_effect_is_said() -> None:
    values = {
        "task": "practice",
        "methods": ["lora"],
        "answers": ["rank", "free"],
        "overrides": {"few-shot": {"choice": "first"}},
    }
    sentences = study_from(values, "it").unused()
    assert sentences == [
        "answers has no effect in this study: it has no strategies",
        "the overrides of few-shot have no effect: the study does not run few-shot",
    ]
