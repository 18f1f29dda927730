"""What is given for a study stands above its file, overrides of single methods included; what has no effect is said."""

from __future__ import annotations

from typing import Any

import pytest

from semtune.study.grid import overridden, study_from

FILE: dict[str, Any] = {
    "task": "practice",
    "methods": ["lora", "dora"],
    "epochs": 1,
    "overrides": {"lora": {"rank": 8, "epochs": 2}, "dora": {"method_options": {"rank": 4, "alpha": 3.0}}},
}


def ranks_and_epochs(values: dict[str, Any]) -> dict[str, tuple[Any, int]]:
    runs = study_from(values, "study.yaml", from_file=True).runs().values()
    return {run.method: (run.method_options["rank"], run.epochs) for run in runs}


def test_an_option_that_is_given_stands_above_the_files_overrides() -> None:
    assert ranks_and_epochs(FILE) == {"lora": (8, 2), "dora": (4, 1)}
    given = {"method_options": {"rank": 2}, "epochs": 5}
    assert ranks_and_epochs(overridden(FILE, given, "the options")) == {"lora": (2, 5), "dora": (2, 5)}


def test_other_overrides_stay() -> None:
    study = study_from(overridden(FILE, {"epochs": 5}, "the options"), "study.yaml", from_file=True)
    found = {run.method: (run.method_options["rank"], run.method_options["alpha"]) for run in study.runs().values()}
    assert found == {"lora": (8, 32.0), "dora": (4, 3.0)}


@pytest.mark.parametrize("name", ["epochs", "batch_size", "patience", "max_length"])
def test_options_of_tuning_are_idle_in_a_study_that_tunes_nothing(name: str) -> None:
    values = {"task": "practice", "methods": [], "strategies": ["zero-shot"], name: 2}
    (sentence,) = study_from(values, "the study").unused()
    assert sentence == f"{name} has no effect in this study: it tunes no model"


def test_readouts_are_idle_in_a_study_that_tunes_nothing() -> None:
    values = {"task": "practice", "methods": [], "strategies": ["zero-shot"], "readouts": ["head", "generate"]}
    assert any("readouts" in sentence for sentence in study_from(values, "the study").unused())


def test_options_of_strategies_are_idle_without_one() -> None:
    values = {"task": "practice", "methods": ["lora"], "strategy_options": {"definitions": False}}
    assert any("it has no strategies" in sentence for sentence in study_from(values, "the study").unused())
