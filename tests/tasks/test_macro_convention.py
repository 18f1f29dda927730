"""Macro-F1 of a user's own data against scikit-learn's default, and who says which convention holds."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

from semtune.records import Example, LabelSet, Prediction, SingleLabel, TaskOptions
from semtune.registry import TASKS
from semtune.tasks.scoring import score

LABELS = ("b", "a", "c", "d", "e")
sets = st.lists(
    st.tuples(st.sets(st.sampled_from(LABELS[:3])), st.sets(st.sampled_from(LABELS[:4]))), min_size=1, max_size=12
)
singles = st.lists(st.tuples(st.sampled_from(LABELS[:3]), st.sampled_from(LABELS)), min_size=1, max_size=12)


def examples(targets: list[tuple[str, ...]]) -> list[Example]:
    return [Example(str(i), "x", LabelSet(t)) for i, t in enumerate(targets)]


def predictions(targets: list[tuple[str, ...]]) -> list[Prediction]:
    return [Prediction(str(i), LabelSet(t)) for i, t in enumerate(targets)]


@settings(max_examples=60, deadline=None)
@given(sets)
def test_label_sets_are_scored_as_scikit_learn_does(pairs: list[tuple[set[str], set[str]]]) -> None:
    got = score(examples([tuple(g) for g, _ in pairs]), predictions([tuple(p) for _, p in pairs]), LABELS, "label_set")
    mlb = MultiLabelBinarizer(classes=LABELS)
    truth, guess = mlb.fit_transform([g for g, _ in pairs]), mlb.transform([p for _, p in pairs])
    occurring = [j for j, label in enumerate(LABELS) if any(label in g or label in p for g, p in pairs)]
    if occurring:
        for average in ("micro", "macro"):
            expected = f1_score(truth, guess, labels=occurring, average=average, zero_division=0)
            assert got.values[f"{average}_f1"] == pytest.approx(expected, abs=1e-12)
    else:
        assert got.values == {"micro_f1": 0.0, "macro_f1": 0.0}
    columns = precision_recall_fscore_support(truth, guess, zero_division=0)
    for j, entry in enumerate(got.per_label.values()):
        values = (entry.precision, entry.recall, entry.f1, entry.support)
        assert values == pytest.approx([column[j] for column in columns], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(singles)
def test_single_labels_are_scored_as_scikit_learn_does_by_default(pairs: list[tuple[str, str]]) -> None:
    got = score(
        [Example(str(i), "x", SingleLabel(g)) for i, (g, _) in enumerate(pairs)],
        [Prediction(str(i), SingleLabel(p)) for i, (_, p) in enumerate(pairs)],
        LABELS,
        "single_label",
    )
    truth, guess = [g for g, _ in pairs], [p for _, p in pairs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert got.values["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro"))
    assert got.values["micro_f1"] == pytest.approx(accuracy_score(truth, guess))


def test_an_unreadable_answer_is_no_label_of_the_mean() -> None:
    got = score(
        [Example(str(i), "x", SingleLabel(g)) for i, g in enumerate("aab")],
        [Prediction("0", SingleLabel("a")), Prediction("1", LabelSet(())), Prediction("2", LabelSet(()))],
        LABELS,
        "single_label",
    )
    expected = f1_score(list("aab"), ["a", "", ""], labels=["a", "b"], average="macro", zero_division=0)
    assert got.values["macro_f1"] == pytest.approx(expected) == pytest.approx((2 / 3 + 0) / 2)


def eight_classes(folder: Path) -> Path:
    """A folder of splits: classes c to h occur in train alone."""
    gold = {"train": list("abcdefgh") * 3, "dev": list("ab"), "test": ["a"] * 7 + ["b"] * 6}
    for split, labels in gold.items():
        rows = [f"{split} text {i},{label}" for i, label in enumerate(labels)]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return folder


def test_classes_of_train_alone_do_not_raise_the_mean(tmp_path: Path) -> None:
    task = TASKS.get("table")(TaskOptions(data=str(eight_classes(tmp_path))))
    gold = task.load("test")
    scores = task.score(gold, [Prediction(e.id, SingleLabel("a")) for e in gold])
    assert scores.values["micro_f1"] == pytest.approx(7 / 13)
    assert scores.values["macro_f1"] == pytest.approx(np.mean([2 * 7 / (2 * 7 + 6), 0.0]))
    assert "occur in gold or in a prediction" in scores.definitions["macro_f1"]


@pytest.mark.parametrize("task", list(TASKS))
def test_the_rule_of_the_shared_task_belongs_to_it_alone(task: str) -> None:
    options = TaskOptions(data="some.csv") if task == "table" else TaskOptions()
    _, macro = TASKS.get(task)(options).metrics
    assert ("counts as 1" in macro.definition) == task.startswith("semeval2021-task6")
    assert ("scikit-learn" in macro.definition) != task.startswith("semeval2021-task6")
