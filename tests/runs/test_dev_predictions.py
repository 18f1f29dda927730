"""Dev is predicted once by the weights that are kept: while fitting, to choose the epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from semtune.approaches.tuned import Tuned
from semtune.records import Example, Prediction, RunSpec
from semtune.registry import TASKS
from semtune.runs import runner
from semtune.runs.data import load_data
from semtune.runs.load import load_run
from semtune.runs.runner import run

from .test_runner import Silent, spec_of

__all__ = ["spec_of"]  # a fixture


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The ids of the texts of each `predict`."""
    calls: list[set[str]] = []
    predict = Tuned.predict

    def remember(self: Tuned, examples: Sequence[Example], *rest: Any) -> list[Prediction]:
        calls.append({e.id for e in examples})
        return predict(self, examples, *rest)

    monkeypatch.setattr(Tuned, "predict", remember)
    return calls


@pytest.mark.parametrize("learning_rate", [1e-3, 0.02])
def test_the_predictions_are_those_of_the_kept_weights(
    spec_of: Callable[..., RunSpec], tmp_path: Path, asked: list[set[str]], learning_rate: float
) -> None:
    """Of the best epoch, which is the last one or not."""
    spec = spec_of(epochs=4, learning_rate=learning_rate)
    result = run(spec, tmp_path / "run", Silent())
    task = TASKS.get("table")(spec.task_options)
    dev, test = (task.load(split) for split in ("dev", "test"))
    assert asked == [{e.id for e in test}]
    assert set(result.scores) == {"dev", "test"}
    assert (result.predict_seconds or 0) > 0
    again = load_run(tmp_path / "run").predict(dev)
    assert [p.labels for p in again] == [
        p.labels for p in task.read_predictions(tmp_path / "run" / "predictions-dev.json")
    ]
    assert task.score(dev, again).value == result.scores["dev"].value


def test_asked_again_where_no_other_split_is_timed(
    spec_of: Callable[..., RunSpec], tmp_path: Path, asked: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_test(spec: RunSpec) -> Any:
        data = load_data(spec)
        return dataclasses.replace(data, final={**data.final, "test": []})

    monkeypatch.setattr(runner, "load_data", without_test)
    result = run(spec_of(), tmp_path / "run", Silent())
    assert [len(ids) for ids in asked] == [result.scores["dev"].examples]
    assert (result.predict_seconds or 0) > 0
