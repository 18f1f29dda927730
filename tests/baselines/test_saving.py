"""A fitted baseline is saved and loaded again without the task's data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from semtune.contracts import TaskContext
from semtune.errors import ModelError, SemtuneError
from semtune.records import TargetSpace
from semtune.registry import BASELINES

from ..record_mutations import mutated, places
from .test_baselines import make


@pytest.mark.parametrize("name", list(BASELINES))
@pytest.mark.parametrize("multi", [True, False], ids=["label_set", "single_label"])
def test_loaded_again_it_predicts_the_same(name: str, multi: bool, tmp_path: Path) -> None:
    task = make(tmp_path, multi=multi)
    context = TaskContext.of(task)
    if task.target_kind not in BASELINES.get(name).target_kinds:
        return
    fitted = BASELINES.get(name)(context)
    fitted.fit(task.load("train"), [])
    folder = tmp_path / "saved"
    folder.mkdir()
    fitted.save(folder)
    again = BASELINES.get(name)(replace(context, score=None))
    again.load(folder)
    assert again.predict(task.load("test")) == fitted.predict(task.load("test"))


@pytest.mark.parametrize("name", ["top-1", "tfidf"])
def test_what_cannot_be_loaded_is_one_clear_error(name: str, tmp_path: Path) -> None:
    task = make(tmp_path, multi=True)
    baseline = BASELINES.get(name)(TaskContext.of(task))
    with pytest.raises(RuntimeError, match="call fit before predict"):
        baseline.save(tmp_path)
    with pytest.raises(ModelError, match="missing or broken"):
        baseline.load(tmp_path)


def test_tfidf_of_other_labels_is_refused(tmp_path: Path) -> None:
    task = make(tmp_path, multi=True)
    context = TaskContext.of(task)
    fitted = BASELINES.get("tfidf")(context)
    fitted.fit(task.load("train"), [])
    fitted.save(tmp_path)
    other = BASELINES.get("tfidf")(replace(context, space=TargetSpace("label_set", ("other",))))
    with pytest.raises(ModelError, match="fitted for other labels"):
        other.load(tmp_path)


@pytest.mark.parametrize("name", ["top-1", "tfidf"])
def test_a_state_with_a_value_of_another_kind(name: str, tmp_path: Path) -> None:
    """It predicts, or one sentence refuses it."""
    task = make(tmp_path, multi=True)
    fitted = BASELINES.get(name)(TaskContext.of(task))
    fitted.fit(task.load("train"), [])
    fitted.save(tmp_path)
    (file,) = tmp_path.glob("*.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    refused = 0
    paths = [path for path in places({"": record}) if len(path) > 1]
    for changed in (whole[""] for path in paths for whole in mutated({"": record}, path)):
        file.write_text(json.dumps(changed), encoding="utf-8")
        try:
            fitted.load(tmp_path)
            assert fitted.predict(task.load("test"))
        except SemtuneError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 3
