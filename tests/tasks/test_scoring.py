"""The score against scikit-learn as an independent reference, and everything it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

from semtune.errors import DataError
from semtune.records import Example, LabelSet, Prediction
from semtune.tasks.scoring import SHARED_TASK, score

LABELS = ("b", "a", "c", "d")  # not sorted: the order of the label set must survive
answers = st.lists(
    st.tuples(st.sets(st.sampled_from(LABELS)), st.sets(st.sampled_from(LABELS))), min_size=1, max_size=12
)


def gold(*labels: tuple[str, ...] | None) -> list[Example]:
    return [
        Example(id=str(i), text="x", target=None if found is None else LabelSet(found))
        for i, found in enumerate(labels)
    ]


def said(*labels: tuple[str, ...]) -> list[Prediction]:
    return [Prediction(id=str(i), output=LabelSet(found)) for i, found in enumerate(labels)]


@settings(max_examples=60, deadline=None)
@given(answers)
def test_equals_the_official_scorer(pairs: list[tuple[set[str], set[str]]]) -> None:
    mlb = MultiLabelBinarizer(classes=LABELS)
    truth, guess = mlb.fit_transform([g for g, _ in pairs]), mlb.transform([p for _, p in pairs])
    got = score(
        gold(*(tuple(g) for g, _ in pairs)), said(*(tuple(p) for _, p in pairs)), LABELS, "label_set",
        convention=SHARED_TASK,
    )  # fmt: skip
    assert got.values["micro_f1"] == pytest.approx(f1_score(truth, guess, average="micro", zero_division=1), abs=1e-12)
    assert got.values["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro", zero_division=1), abs=1e-12)
    expected = precision_recall_fscore_support(truth, guess, average=None, zero_division=1)
    assert list(got.per_label) == list(LABELS)
    for j, entry in enumerate(got.per_label.values()):
        values = (entry.precision, entry.recall, entry.f1, entry.support)
        assert values == pytest.approx([column[j] for column in expected], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=12))
def test_single_label_is_accuracy_and_macro_f1(pairs: list[tuple[str, str]]) -> None:
    texts, answers = gold(*((g,) for g, _ in pairs)), said(*((p,) for _, p in pairs))
    got = score(texts, answers, LABELS, "single_label", convention=SHARED_TASK)
    truth, guess = [g for g, _ in pairs], [p for _, p in pairs]
    assert got.values["micro_f1"] == pytest.approx(sum(g == p for g, p in pairs) / len(pairs))
    expected = f1_score(truth, guess, labels=LABELS, average="macro", zero_division=1)
    assert got.values["macro_f1"] == pytest.approx(expected)


def test_single_label_no_answer_or_two_answers_are_wrong() -> None:
    got = score(gold(("a",), ("b",), ("a",)), said((), ("a", "b"), ("a",)), LABELS, "single_label")
    assert got.values["micro_f1"] == pytest.approx(1 / 3)


def test_one_label_only() -> None:
    got = score(gold(("a",), (), ("a",)), said(("a",), ("a",), ()), ("a",), "label_set")
    assert (got.values["micro_f1"], got.values["macro_f1"]) == (0.5, 0.5)


def test_order_of_predictions_does_not_matter() -> None:
    truth = gold(("a",), ("b", "c"), ())
    guess = said(("a",), ("b",), ("d",))
    assert score(truth, guess, LABELS, "label_set") == score(truth, guess[::-1], LABELS, "label_set")


def test_parse_failures_is_a_share() -> None:
    guess = [
        Prediction("0", LabelSet(()), parsed=False),
        Prediction("1", LabelSet(("a",))),
        Prediction("2", LabelSet(())),
        Prediction("3", LabelSet(())),
    ]
    assert score(gold((), (), (), ()), guess, LABELS, "label_set").parse_failures == 0.25


def test_ids_must_match() -> None:
    with pytest.raises(DataError, match=r"1 of 3 texts have no prediction \(2\) and 1 predictions .* \(9\)"):
        score(gold((), (), ()), [*said((), ()), Prediction("9", LabelSet(()))], LABELS, "label_set")
    with pytest.raises(DataError, match=r"20 of 20 texts have no prediction \(0, 1, 2, 3, 4, …\)"):
        score(gold(*[()] * 20), [], LABELS, "label_set")
    with pytest.raises(DataError, match='two predictions for id "0"'):
        score(gold(()), [*said(()), *said(())], LABELS, "label_set")


def test_unlabelled_gold() -> None:
    where = "the test split of toy"
    message = "^The test split of toy has no gold labels, so it cannot be scored; predictions can still be written.$"
    with pytest.raises(DataError, match=message):
        score(gold(None, None), said((), ()), LABELS, "label_set", where=where)
    with pytest.raises(DataError, match="1 of 2 texts of the test split of toy have no gold labels"):
        score(gold(None, ()), said((), ()), LABELS, "label_set", where=where)
    with pytest.raises(DataError, match="nothing to score"):
        score([], [], LABELS, "label_set")


def test_unknown_labels() -> None:
    with pytest.raises(DataError, match=r'The prediction for id "0" holds the unknown label "e"; .*Known: a, b, c, d'):
        score(gold(("a",)), said(("e",)), LABELS, "label_set")
