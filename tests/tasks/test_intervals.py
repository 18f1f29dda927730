"""Bootstrap intervals of scores: against draws scored one by one, and by what they must cover."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from semtune.contracts import Task
from semtune.errors import DataError
from semtune.records import Example, LabelSet, Prediction, Scores, SingleLabel, TargetKind, TaskOptions
from semtune.tasks import intervals
from semtune.tasks.intervals import intervals_of, label_intervals
from semtune.tasks.practice import Practice
from semtune.tasks.scoring import SCIKIT_LEARN, SHARED_TASK, Convention, score

LABELS = ("a", "b", "c", "d")


def made(texts: int, kind: TargetKind, accuracy: float = 0.7, seed: int = 0) -> tuple[list[Example], list[Prediction]]:
    """Texts of which label "d" is rare, and predictions that are often right."""
    chance = random.Random(seed)

    def labels() -> tuple[str, ...]:
        if kind == "single_label":
            return (chance.choice(LABELS[:3]),)
        return tuple(label for label in LABELS if chance.random() < (0.05 if label == "d" else 0.4))

    def target(of: tuple[str, ...]) -> LabelSet | SingleLabel:
        return SingleLabel(of[0]) if kind == "single_label" else LabelSet(of)

    gold = [labels() for _ in range(texts)]
    predicted = [of if chance.random() < accuracy else labels() for of in gold]
    examples = [Example(str(i), "a text", target(of)) for i, of in enumerate(gold)]
    return examples, [Prediction(str(i), target(of)) for i, of in enumerate(predicted)]


@pytest.mark.parametrize("kind", ["label_set", "single_label"])
@pytest.mark.parametrize("convention", [SCIKIT_LEARN, SHARED_TASK])
def test_each_draw_is_scored_as_its_texts_are(
    kind: TargetKind, convention: Convention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same draws, written out as texts and scored by `score`."""
    monkeypatch.setattr(intervals, "RESAMPLES", 60)
    monkeypatch.setattr(intervals, "_DRAWN_TEXTS", 60 * 25)
    monkeypatch.setattr(intervals, "_FEWEST_RESAMPLES", 1)
    monkeypatch.setattr(intervals, "_CHUNK_TEXTS", 7 * 25)
    gold, predictions = made(25, kind)
    labels = (*LABELS, "never")
    found = label_intervals(gold, predictions, labels, kind, convention=convention)
    values: dict[str, list[float]] = {"micro_f1": [], "macro_f1": []}
    held = {label for of in (*gold, *predictions) for label in of.labels or ()}

    def absent(label: str, convention: Convention) -> bool:
        """Whether a label that occurs in no text at all counts."""
        return convention.over_all_labels and label not in held

    draws = np.random.default_rng(intervals._SEED)
    for counts in draws.multinomial(25, np.full(25, 1 / 25), size=60):
        ids = [f"{i}-{copy}" for i, count in enumerate(counts) for copy in range(count)]
        texts = [dataclasses.replace(gold[int(name.split("-")[0])], id=name) for name in ids]
        answers = [dataclasses.replace(predictions[int(name.split("-")[0])], id=name) for name in ids]
        scores = score(texts, answers, labels, kind, convention=convention)
        values["micro_f1"].append(scores.value)
        drawn = {label for held in (*texts, *answers) for label in held.labels or ()}
        counted = [s.f1 for label, s in scores.per_label.items() if label in drawn or absent(label, convention)]
        values["macro_f1"].append(sum(counted) / len(counted))
    for metric, ends in found.items():
        assert ends == pytest.approx(np.quantile(values[metric], [0.025, 0.975]), abs=1e-12)


def covered(repeats: int, texts: int) -> float:
    """The share of intervals that hold the accuracy of very many texts."""
    truth = 0.6 + 0.4 / 3
    hits = 0
    for seed in range(repeats):
        gold, predictions = made(texts, "single_label", accuracy=0.6, seed=seed)
        low, high = label_intervals(gold, predictions, LABELS, "single_label", convention=SCIKIT_LEARN)["micro_f1"]
        hits += low <= truth <= high
    return hits / repeats


def test_about_95_of_100_intervals_hold_the_true_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 400)
    assert 0.9 <= covered(300, 150) <= 0.985


def test_an_interval_holds_the_score_and_narrows_with_more_texts() -> None:
    widths = []
    for texts in (50, 800):
        gold, predictions = made(texts, "label_set")
        value = score(gold, predictions, LABELS, "label_set").value
        low, high = label_intervals(gold, predictions, LABELS, "label_set", convention=SCIKIT_LEARN)["micro_f1"]
        assert low < value < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2.5


def test_many_texts_take_fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_DRAWN_TEXTS", 300_000)
    gold, predictions = made(3000, "single_label")
    low, high = label_intervals(gold, predictions, LABELS, "single_label", convention=SCIKIT_LEARN)["micro_f1"]
    assert 0 < high - low < 0.05


def test_one_text_and_none() -> None:
    gold, predictions = made(1, "single_label", accuracy=1)
    ends = label_intervals(gold, predictions, LABELS, "single_label", convention=SCIKIT_LEARN)
    assert ends == {"micro_f1": (1.0, 1.0), "macro_f1": (1.0, 1.0)}
    with pytest.raises(DataError, match="nothing to score"):
        label_intervals([], [], LABELS, "single_label", convention=SCIKIT_LEARN)


class OwnScore(Practice):
    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        return super().score(gold, predictions)


def test_a_task_with_a_score_of_its_own_has_none() -> None:
    task, other = Practice(TaskOptions()), OwnScore(TaskOptions())
    gold = task.load("dev")
    predictions = [Prediction(e.id, e.target) for e in gold if e.target is not None]
    assert intervals_of(task, gold, predictions)["micro_f1"] == (1.0, 1.0)
    assert intervals_of(other, gold, predictions) == {}


def test_a_task_that_says_nothing_of_intervals_has_none() -> None:
    assert intervals_of(cast("Task", object()), [], []) == {}
