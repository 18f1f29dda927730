"""One contract for every registered baseline, and what each does on toys worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semtune.baselines import tfidf_models
from semtune.baselines.random import Random
from semtune.baselines.tfidf import TfidfLogistic
from semtune.baselines.top import Top1, Top2, Top3
from semtune.contracts import Task, TaskContext
from semtune.errors import OptionError
from semtune.records import Example, LabelSet, TaskOptions
from semtune.registry import BASELINES
from semtune.tasks.table import Table

SUBJECTS = {"sea": "waves and sand", "hill": "rocks and snow", "town": "shops and trams"}


def make(tmp_path: Path, *, multi: bool) -> Task:
    """Texts whose words tell their label; in the multi-label task some have none and some two."""
    lines = ["text\tlabel"]
    for i in range(90):
        subject = list(SUBJECTS)[(i * i + i // 7) % 3]
        text, label = f"a day {i} of {SUBJECTS[subject]}", subject
        if multi and i % 4 == 0:
            text, label = f"an empty day {i}", ""
        elif multi and i % 4 == 1:
            text, label = f"{text}, then {SUBJECTS['sea']}", f"{label};sea"
        lines.append(f"{text}\t{label}")
    path = tmp_path / f"{multi}.tsv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return Table(TaskOptions(data=str(path), label_separator=";" if multi else None))


@pytest.fixture(params=[True, False], ids=["label_set", "single_label"])
def task(request: pytest.FixtureRequest, tmp_path: Path) -> Task:
    return make(tmp_path, multi=request.param)


@pytest.mark.parametrize("name", list(BASELINES))
def test_every_baseline(task: Task, name: str) -> None:
    kind = BASELINES.get(name)
    assert kind.name == name
    if task.target_kind not in kind.target_kinds:
        refused = f'The baseline "{name}" is for tasks of sets of labels, but this task has one label a text; choose'
        with pytest.raises(OptionError, match=refused):
            kind(TaskContext.of(task))
        return
    test = task.load("test")
    blind = [Example(e.id, e.text, None) for e in test]
    baseline, again = kind(TaskContext.of(task)), kind(TaskContext.of(task))
    baseline.fit(task.load("train"), task.load("dev"))
    again.fit(task.load("train"), [])  # dev must not matter
    predictions = baseline.predict(blind)
    assert predictions == again.predict(blind) == baseline.predict(blind)
    assert [p.id for p in predictions] == [e.id for e in test]
    for p in predictions:
        assert p.parsed and p.labels == tuple(label for label in task.labels if label in p.labels)
        assert task.target_kind == "label_set" or len(p.labels) == 1
    assert 0 <= task.score(test, predictions).values["micro_f1"] <= 1
    assert baseline.predict([]) == []


def examples(*labels: tuple[str, ...]) -> list[Example]:
    return [Example(str(i), f"text {i}", LabelSet(found)) for i, found in enumerate(labels)]


def test_top_counts_and_breaks_ties_by_label_order(tmp_path: Path) -> None:
    task = make(tmp_path, multi=True)
    assert task.labels == ("hill", "sea", "town")
    train = examples(("town",), ("sea", "town"), ("hill",), ())
    for kind, expected in ((Top1, ("town",)), (Top2, ("hill", "town")), (Top3, ("hill", "sea", "town"))):
        baseline = kind(TaskContext.of(task))
        with pytest.raises(RuntimeError, match="call fit before predict"):
            baseline.predict(train)
        baseline.fit(train, [])
        assert {p.labels for p in baseline.predict(train)} == {expected}


def test_top_1_is_the_majority_class(tmp_path: Path) -> None:
    task = make(tmp_path, multi=False)
    baseline = Top1(TaskContext.of(task))
    baseline.fit(examples(("sea",), ("sea",), ("hill",)), [])
    assert baseline.predict(examples(("hill",)))[0].labels == ("sea",)


def test_random_draws_without_replacement_and_about_one_label_a_text(tmp_path: Path) -> None:
    many = Random(TaskContext.of(make(tmp_path, multi=True))).predict(examples(*[()] * 4000))
    sizes = np.bincount([len(p.labels) for p in many]) / len(many)
    assert sizes == pytest.approx([1 / 2, 1 / 4, 1 / 8, 1 / 8], abs=0.03)  # a coin a label, and no more than three
    one = Random(TaskContext.of(make(tmp_path, multi=False))).predict(examples(*[("sea",)] * 3000))
    assert np.mean([p.labels == ("sea",) for p in one]) == pytest.approx(1 / 3, abs=0.03)


def test_tfidf_learns_what_words_tell(task: Task) -> None:
    baseline = TfidfLogistic(TaskContext.of(task))
    with pytest.raises(RuntimeError, match="call fit before predict"):
        baseline.predict(task.load("test"))
    baseline.fit(task.load("train"), [])
    predictions = baseline.predict(task.load("test"))
    assert task.score(task.load("test"), predictions).values["micro_f1"] > 0.9
    for p in predictions:
        assert p.probabilities is not None and list(p.probabilities) == list(task.labels)
        if task.target_kind == "label_set":
            assert p.labels == tuple(name for name, q in p.probabilities.items() if q >= baseline.threshold)
        else:
            assert sum(p.probabilities.values()) == pytest.approx(1)


def test_tfidf_chooses_its_threshold_on_train_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of fold: the text that is judged was never in the fit that judges it."""
    task = make(tmp_path, multi=True)
    judged: list[str] = []
    fit, probabilities = tfidf_models.OnePerLabel.fit, tfidf_models.OnePerLabel.probabilities

    def remember(self: Any, texts: list[str], truth: Any) -> Any:
        self.seen = set(texts)
        return fit(self, texts, truth)

    def check(self: Any, texts: list[str]) -> Any:
        assert not self.seen & set(texts)
        judged.extend(texts)
        return probabilities(self, texts)

    monkeypatch.setattr(tfidf_models.OnePerLabel, "fit", remember)
    monkeypatch.setattr(tfidf_models.OnePerLabel, "probabilities", check)
    train = task.load("train")
    TfidfLogistic(TaskContext.of(task)).fit(train, task.load("dev"))
    assert sorted(judged) == sorted(e.text for e in train)


def test_tfidf_survives_labels_that_are_everywhere_or_nowhere_and_odd_texts(tmp_path: Path) -> None:
    baseline = TfidfLogistic(TaskContext.of(make(tmp_path, multi=True)))
    train = [Example(str(i), text, LabelSet(("sea",))) for i, text in enumerate(["!", "ü", "日本", "?"])]
    baseline.fit(train, [])
    assert baseline.predict([Example("x", "sand", None)])[0].labels == ("sea",)
    baseline.fit(train[:1], [])
    assert baseline.predict(train)[0].labels == ("sea",)
    single = TfidfLogistic(TaskContext.of(make(tmp_path, multi=False)))
    single.fit(train, [])
    assert single.predict(train)[0].labels == ("sea",)
