"""Micro- and macro-F1, and per-label scores, by one of two conventions for labels without any count.

The counts are those of a 0/1 matrix of texts by labels. For one label with true positives tp, false positives fp and
false negatives fn:

    F1 = 2 tp / (2 tp + fp + fn).

Micro-F1 sums the counts of all labels first; macro-F1 is the plain mean over labels. A label that is neither gold nor
predicted has F1 = 0/0, and conventions differ in what that is:

- `SCIKIT_LEARN`, for every task without a scorer of its own: macro-F1 is the mean over the labels that occur in gold or
  in a prediction, and 0/0 is 0. So does `sklearn.metrics.f1_score(gold, predicted, average="macro")` by default.
- `SHARED_TASK`, for SemEval-2021 Task 6 alone: macro-F1 is the mean over all labels, and 0/0 is 1. So does the
  organisers' scorer (scorer/task1_3.py of their corpus, commit 796b32fa): `MultiLabelBinarizer` over all classes, then
  `f1_score(..., zero_division=1)`. With it predicting nothing scores 0.15 on dev.

This module computes the counts itself, so that scoring needs no heavy import; tests compare both with scikit-learn.

A single-label task is scored on the same matrix, but its micro-F1 is the accuracy: a prediction that names no label, or
more than one, is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from semtune.errors import DataError
from semtune.records import Example, LabelScore, Metric, Prediction, Scores, TargetKind
from semtune.records.scores import ZERO_DIVISION_ONE
from semtune.records.targets import LABEL_KINDS
from semtune.tasks.label_names import unknown_name
from semtune.tasks.near_ids import near_pairs

Matrix = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]

MICRO_F1 = Metric("micro_f1", "micro-F1", short="micro", at_least=0, at_most=1)
MACRO_F1 = Metric("macro_f1", "macro-F1", short="macro", at_least=0, at_most=1)


@dataclass(frozen=True, slots=True)
class Convention:
    """What a label that is neither gold nor predicted counts as."""

    zero_division: float
    """The value of 0/0 in precision, recall and F1."""
    over_all_labels: bool
    """Whether macro-F1 is the mean over all labels of the task; else over those that occur in gold or prediction."""
    macro_definition: str
    """How macro-F1 is computed, for the reader of a report."""

    @property
    def metrics(self) -> tuple[Metric, Metric]:
        """The metrics that `score` computes by this convention, the primary one first."""
        return MICRO_F1, replace(MACRO_F1, definition=self.macro_definition)


SCIKIT_LEARN = Convention(
    zero_division=0.0,
    over_all_labels=False,
    macro_definition="the mean F1 of the labels that occur in gold or in a prediction (scikit-learn's convention)",
)
SHARED_TASK = Convention(
    zero_division=1.0,
    over_all_labels=True,
    macro_definition=ZERO_DIVISION_ONE,
)
METRICS = SCIKIT_LEARN.metrics
"""The metrics that `score` computes by default, the primary one first."""

NAMES_SHOWN = 5
"""Number of missing or surplus ids that a message lists."""


def score(
    gold: Sequence[Example],
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    kind: TargetKind,
    *,
    where: str = "this split",
    convention: Convention = SCIKIT_LEARN,
) -> Scores:
    """Micro-F1 and macro-F1 of `predictions` against `gold`; the ids must be the same set, in any order.

    `where` names the split in messages ("the test split of practice").

    Raises DataError when gold is unlabelled or empty, when ids are missing, surplus or repeated, or when a label is
    outside `labels`; ValueError for a kind of target that is not labels.
    """
    if kind not in LABEL_KINDS:
        raise ValueError(f"micro-F1 scores labels; a task of {kind} needs a score function of its own")
    truth, predicted = indicators(gold, predictions, labels, where=where)
    tp = (truth & predicted).sum(axis=0)  # (labels,)
    fp = (~truth & predicted).sum(axis=0)  # (labels,)
    fn = (truth & ~predicted).sum(axis=0)  # (labels,)

    def ratio(numerator: float, denominator: float) -> float:
        return float(numerator / denominator) if denominator else convention.zero_division

    per_label = {
        label: LabelScore(
            precision=ratio(tp[j], tp[j] + fp[j]),
            recall=ratio(tp[j], tp[j] + fn[j]),
            f1=ratio(2 * tp[j], 2 * tp[j] + fp[j] + fn[j]),
            support=int(tp[j] + fn[j]),
        )
        for j, label in enumerate(labels)
    }
    averaged = [
        per_label[label].f1 for j, label in enumerate(labels) if convention.over_all_labels or tp[j] + fp[j] + fn[j] > 0
    ]
    if kind == "single_label":
        micro = float((truth == predicted).all(axis=1).mean())
    else:
        micro = ratio(2 * tp.sum(), 2 * tp.sum() + fp.sum() + fn.sum())
    macro = sum(averaged) / len(averaged) if averaged else convention.zero_division
    return Scores(
        primary=MICRO_F1.name,
        values={MICRO_F1.name: micro, MACRO_F1.name: macro},
        parse_failures=parse_failures(predictions),
        per_label=per_label,
        examples=len(truth),
        definitions={metric.name: metric.definition for metric in convention.metrics if metric.definition},
    )


def indicators(
    gold: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], *, where: str = "this split"
) -> tuple[Truth, Truth]:
    """Whether each text has each label, and whether it is predicted; (texts, labels) each. Raises as `score`."""
    pairs = paired(gold, predictions, where)
    ids = [example.id for example, _ in pairs]
    truth = _indicator([example.labels or () for example, _ in pairs], ids, labels, "gold")
    return truth, _indicator([p.labels for _, p in pairs], ids, labels, "prediction")


def paired(
    gold: Sequence[Example], predictions: Sequence[Prediction], where: str = "this split"
) -> list[tuple[Example, Prediction]]:
    """Each gold example with its prediction, in the order of `gold`.

    Raises DataError when gold is empty or without targets, or when ids are missing, surplus or repeated.
    """
    if not gold:
        raise DataError(f"There is nothing to score: {where} has no texts.")
    _check_has_targets(gold, where)
    by_id = _predictions_by_id(predictions)
    _check_same_ids(list(dict.fromkeys(e.id for e in gold)), by_id)
    return [(example, by_id[example.id]) for example in {e.id: e for e in gold}.values()]


def parse_failures(predictions: Sequence[Prediction]) -> float:
    """The share (0 to 1) of completions that did not parse."""
    return sum(not p.parsed for p in predictions) / len(predictions)


def gold_matrix(examples: Sequence[Example], labels: Sequence[str]) -> Truth:
    """Boolean matrix (examples, labels): whether the example has the label."""
    gold = np.zeros((len(examples), len(labels)), dtype=bool)
    column = {label: i for i, label in enumerate(labels)}
    for row, example in enumerate(examples):
        for label in example.labels or ():
            gold[row, column[label]] = True
    return gold


def best_micro_f1_threshold(probabilities: Matrix, gold: Truth) -> float:
    """The threshold with the best micro-F1, by one pass over the sorted probabilities; (examples, labels) each.

    micro-F1 = 2 tp / (predicted + positives). Ties go to the threshold nearest one half; the value returned lies midway
    between two probabilities, so that the last bits of a sum cannot flip a decision.
    """
    flat, truth = probabilities.ravel(), gold.ravel()
    order = np.argsort(-flat, kind="stable")
    ranked = flat[order]
    hits = np.cumsum(truth[order])
    predicted = np.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (predicted + max(int(truth.sum()), 1))
    nexts = np.append(ranked[1:], 0.0)
    usable = ranked > nexts  # a cut between equal probabilities does not exist
    midpoints = (ranked + nexts) / 2
    f1 = np.where(usable, f1, -1.0)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(midpoints[best[np.argmin(np.abs(midpoints[best] - 0.5))]])


def candidate_thresholds(probabilities: Matrix, most: int = 200) -> list[float]:
    """Thresholds midway between neighbouring distinct probabilities, at most `most` of them, ascending.

    Where there are more, evenly spaced quantiles of them. 0.5 where all probabilities are equal.
    """
    distinct = np.unique(probabilities)
    midpoints = (distinct[1:] + distinct[:-1]) / 2
    if not len(midpoints):
        return [0.5]
    chosen = np.unique(np.linspace(0, len(midpoints) - 1, min(most, len(midpoints))).round().astype(int))
    return [float(midpoint) for midpoint in midpoints[chosen]]


def _check_has_targets(gold: Sequence[Example], where: str) -> None:
    unlabelled = sum(e.target is None for e in gold)
    if unlabelled == len(gold):
        raise DataError(
            f"{where[:1].upper()}{where[1:]} has no gold labels, so it cannot be scored; "
            "predictions can still be written."
        )
    if unlabelled:
        raise DataError(
            f"{unlabelled} of {len(gold)} texts of {where} have no gold labels, so it cannot be scored; "
            "predictions can still be written."
        )


def _predictions_by_id(predictions: Sequence[Prediction]) -> dict[str, Prediction]:
    by_id: dict[str, Prediction] = {}
    for prediction in predictions:
        if prediction.id in by_id:
            raise DataError(f'There are two predictions for id "{prediction.id}"; keep one.')
        by_id[prediction.id] = prediction
    return by_id


def _check_same_ids(gold_ids: Sequence[str], by_id: dict[str, Prediction]) -> None:
    known = set(gold_ids)
    missing = [i for i in gold_ids if i not in by_id]
    surplus = [i for i in by_id if i not in known]
    if not missing and not surplus:
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(gold_ids)} texts have no prediction ({_first(missing)})")
    if surplus:
        parts.append(f"{len(surplus)} predictions are for ids that the split does not have ({_first(surplus)})")
    near = near_pairs(missing, surplus)
    advice = f"{near}; write ids as the data have them" if near else "predict exactly this split's texts"
    raise DataError(f"The predictions do not fit the split: {' and '.join(parts)}; {advice}.")


def _first(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NAMES_SHOWN]) + (", …" if len(ids) > NAMES_SHOWN else "")


def _indicator(label_sets: Sequence[tuple[str, ...]], ids: Sequence[str], labels: Sequence[str], what: str) -> Truth:
    """A boolean matrix, (texts, labels): entry (i, j) is whether label set i contains label j."""
    column = {label: j for j, label in enumerate(labels)}
    matrix = np.zeros((len(label_sets), len(labels)), dtype=np.bool_)
    for i, label_set in enumerate(label_sets):
        for label in label_set:
            if label not in column:
                raise DataError(
                    f'The {what} for id "{ids[i]}" holds the unknown label "{label}"; {unknown_name(label, labels)}'
                )
            matrix[i, column[label]] = True
    return matrix
