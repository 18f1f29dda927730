"""A task's best threshold: micro-F1's one pass, and the search that serves any other metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semtune.records import Example, LabelSet, Metric, Prediction, Scores, TaskOptions
from semtune.tasks import scoring
from semtune.tasks.base import BaseTask
from semtune.tasks.practice import Practice
from semtune.tasks.techniques import TECHNIQUES, definitions

LABELS = ("a", "b", "c")
ERRORS = Metric("errors", "errors", higher_is_better=False)


class Plain(BaseTask):
    name = "plain"

    @property
    def labels(self) -> tuple[str, ...]:
        return LABELS


class CountsErrors(Plain):
    """Its metric is the number of wrong decisions."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (ERRORS,)

    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        pairs = scoring.paired(gold, predictions)
        wrong = sum(len(set(e.labels or ()) ^ set(p.labels)) for e, p in pairs)
        return Scores("errors", {"errors": float(wrong)}, examples=len(pairs))


def examples_of(truth: np.ndarray) -> list[Example]:
    rows = [tuple(label for label, true in zip(LABELS, row, strict=True) if true) for row in truth]
    return [Example(str(i), "text", LabelSet(labels)) for i, labels in enumerate(rows)]


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_the_threshold_is_the_best_of_all(data: st.DataObject) -> None:
    """Where there are at most 200 distinct probabilities no threshold between them is better."""
    rows = data.draw(st.integers(1, 6))
    size = {"min_size": 3 * rows, "max_size": 3 * rows}
    probabilities = np.array(data.draw(st.lists(st.integers(1, 99), **size))).reshape(rows, 3) / 100
    truth = np.array(data.draw(st.lists(st.booleans(), **size))).reshape(rows, 3)
    gold = examples_of(truth)
    found = CountsErrors(TaskOptions()).best_threshold(gold, probabilities)
    errors = {t: int((truth != (probabilities >= t)).sum()) for t in scoring.candidate_thresholds(probabilities)}
    assert int((truth != (probabilities >= found)).sum()) == min(errors.values())
    assert abs(found - 0.5) == min(abs(t - 0.5) for t, wrong in errors.items() if wrong == min(errors.values()))


def test_at_most_two_hundred_thresholds_are_tried() -> None:
    probabilities = np.linspace(0.001, 0.999, 3000).reshape(1000, 3)
    found = scoring.candidate_thresholds(probabilities)
    assert len(found) == 200 and found == sorted(found)
    assert found[0] < 0.01 and found[-1] > 0.99
    assert scoring.candidate_thresholds(np.full((4, 3), 0.3)) == [0.5]


def test_micro_f1_takes_its_one_pass() -> None:
    draw = np.random.default_rng(0)
    probabilities, truth = draw.random((40, 3)), draw.random((40, 3)) < 0.3
    task, gold = Plain(TaskOptions()), examples_of(truth)
    assert np.array_equal(scoring.gold_matrix(gold, LABELS), truth)
    threshold = task.best_threshold(gold, probabilities)
    assert threshold == scoring.best_micro_f1_threshold(probabilities, truth)
    assert [m.title for m in task.metrics] == ["micro-F1", "macro-F1"]


def test_every_technique_has_a_definition() -> None:
    found = Practice(TaskOptions()).label_definitions
    assert found is definitions() and tuple(found) == TECHNIQUES
    assert found["Doubt"] == (
        "a text has it when it questions the credibility, competence or honesty of somebody or something; "
        "it does not when the doubt is an honest request for information"
    )
    assert all(len(text) > 60 and "|" not in text for text in found.values())
    assert Plain(TaskOptions()).label_definitions == {}


def test_targets_that_are_no_labels_need_a_score_of_their_own() -> None:
    with pytest.raises(ValueError, match="a task of spans needs a score function of its own"):
        scoring.score([], [], LABELS, "spans")
