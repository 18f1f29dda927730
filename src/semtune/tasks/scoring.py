"""Micro- and macro-F1 as the scorer of SemEval-2021 Task 6 computes them, and per-label scores.

The organisers' scorer (scorer/task1_3.py of their corpus, commit 796b32fa) makes a 0/1 matrix of texts by classes with
scikit-learn's MultiLabelBinarizer and calls `f1_score(..., zero_division=1)`. In counts, for one label with true
positives tp, false positives fp and false negatives fn:

    F1 = 2 tp / (2 tp + fp + fn), and 1 where the denominator is 0.

Micro-F1 sums the counts of all labels first; macro-F1 is the plain mean over labels. A label that is absent
from gold and never predicted counts as 1 in macro-F1: that is the official convention, and with it predicting nothing
scores 0.15 on dev. This module computes the counts itself, so that scoring needs no heavy import; a test compares them
with scikit-learn.

A single-label task is scored on the same matrix, but its micro-F1 is the accuracy: a prediction that names no label, or
more than one, is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from semtune.errors import DataError, did_you_mean
from semtune.records import Example, LabelScore, Metric, Prediction, Scores, TargetKind
from semtune.records.targets import LABEL_KINDS

Matrix = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]

MICRO_F1 = Metric("micro_f1", "micro-F1", short="micro")
MACRO_F1 = Metric("macro_f1", "macro-F1", short="macro")
METRICS = (MICRO_F1, MACRO_F1)
"""The metrics that `score` computes, the primary one first."""

NAMES_SHOWN = 5
"""Number of missing or surplus ids that a message lists."""


def score(
    gold: Sequence[Example],
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    kind: TargetKind,
    *,
    where: str = "this split",
) -> Scores:
    """Micro-F1 and macro-F1 of `predictions` against `gold`; the ids must be the same set, in any order.

    `where` names the split in messages ("the test split of practice").

    Raises DataError when gold is unlabelled or empty, when ids are missing, surplus or repeated, or when a label is
    outside `labels`; ValueError for a kind of target that is not labels.
    """
    if kind not in LABEL_KINDS:
        raise ValueError(f"micro-F1 scores labels; a task of {kind} needs a score function of its own")
    pairs = paired(gold, predictions, where)
    ids = [example.id for example, _ in pairs]
    truth = _indicator([example.labels or () for example, _ in pairs], ids, labels, "gold")  # (texts, labels)
    predicted = _indicator([p.labels for _, p in pairs], ids, labels, "prediction")  # (texts, labels)
    tp = (truth & predicted).sum(axis=0)  # (labels,)
    fp = (~truth & predicted).sum(axis=0)  # (labels,)
    fn = (truth & ~predicted).sum(axis=0)  # (labels,)
    per_label = {
        label: LabelScore(
            precision=_ratio(tp[j], tp[j] + fp[j]),
            recall=_ratio(tp[j], tp[j] + fn[j]),
            f1=_ratio(2 * tp[j], 2 * tp[j] + fp[j] + fn[j]),
            support=int(tp[j] + fn[j]),
        )
        for j, label in enumerate(labels)
    }
    if kind == "single_label":
        micro = float((truth == predicted).all(axis=1).mean())
    else:
        micro = _ratio(2 * tp.sum(), 2 * tp.sum() + fp.sum() + fn.sum())
    return Scores(
        primary=MICRO_F1.name,
        values={
            MICRO_F1.name: micro,
            MACRO_F1.name: sum(entry.f1 for entry in per_label.values()) / len(per_label),
        },
        parse_failures=parse_failures(predictions),
        per_label=per_label,
        examples=len(pairs),
    )


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


def _ratio(numerator: float, denominator: float) -> float:
    """`numerator / denominator`, and 1 for 0/0: the scorer's `zero_division=1`."""
    return float(numerator / denominator) if denominator else 1.0


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
    raise DataError(f"The predictions do not fit the split: {' and '.join(parts)}; predict exactly this split's texts.")


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
                    f'The {what} for id "{ids[i]}" holds the unknown label "{label}"; {did_you_mean(label, labels)}'
                )
            matrix[i, column[label]] = True
    return matrix
