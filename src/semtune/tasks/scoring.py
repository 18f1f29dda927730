"""Micro- and macro-F1 as the scorer of SemEval-2021 Task 6 computes them, and per-label scores.

The organisers' scorer (scorer/task1_3.py of their corpus, commit 796b32fa) makes a 0/1 matrix of texts by classes with
scikit-learn's MultiLabelBinarizer and calls `f1_score(..., zero_division=1)`. In counts, for one label with true
positives tp, false positives fp and false negatives fn:

    F1 = 2 tp / (2 tp + fp + fn), and 1 where the denominator is 0.

Micro-F1 puts the counts of all labels together first; macro-F1 is the plain mean over labels. So a label that is absent
from gold and never predicted counts as 1 in macro-F1: that is the official convention, and it is why predicting nothing
scores 0.15 on dev. The counts are written out here rather than called, so that scoring needs no heavy import; a test
holds them against scikit-learn.

A single-label task is scored on the same matrix, but its micro-F1 is the accuracy: an answer that gives no label, or
more than one, is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from semtune.contracts import AnswerKind
from semtune.errors import DataError, did_you_mean
from semtune.records import Example, LabelScore, Prediction, Scores

NAMES_SHOWN = 5
"""How many missing or surplus ids a message names."""


def score(
    gold: Sequence[Example],
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    answer: AnswerKind,
    *,
    where: str = "this split",
) -> Scores:
    """The scores of `predictions` against `gold`; the ids must be the same set, in any order.

    `where` names the split in messages ("the test split of practice").

    Raises DataError when gold is unlabelled or empty, when ids are missing, surplus or repeated, or when a label is
    outside `labels`.
    """
    if not gold:
        raise DataError(f"There is nothing to score: {where} has no texts.")
    gold_labels = _gold_labels(gold, where)
    by_id = _predictions_by_id(predictions)
    _check_same_ids(list(gold_labels), by_id)
    ids = list(gold_labels)
    truth = _indicator([gold_labels[i] for i in ids], ids, labels, "gold")  # (texts, labels)
    said = _indicator([by_id[i].labels for i in ids], ids, labels, "prediction")  # (texts, labels)
    tp = (truth & said).sum(axis=0)  # (labels,)
    fp = (~truth & said).sum(axis=0)  # (labels,)
    fn = (truth & ~said).sum(axis=0)  # (labels,)
    per_label = {
        label: LabelScore(
            precision=_ratio(tp[j], tp[j] + fp[j]),
            recall=_ratio(tp[j], tp[j] + fn[j]),
            f1=_ratio(2 * tp[j], 2 * tp[j] + fp[j] + fn[j]),
            support=int(tp[j] + fn[j]),
        )
        for j, label in enumerate(labels)
    }
    if answer == "single_label":
        micro = float((truth == said).all(axis=1).mean())
    else:
        micro = _ratio(2 * tp.sum(), 2 * tp.sum() + fp.sum() + fn.sum())
    return Scores(
        micro_f1=micro,
        macro_f1=sum(entry.f1 for entry in per_label.values()) / len(per_label),
        parse_failures=sum(not p.parsed for p in predictions) / len(predictions),
        per_label=per_label,
        examples=len(ids),
    )


def _ratio(numerator: float, denominator: float) -> float:
    """`numerator / denominator`, and 1 for 0/0: the scorer's `zero_division=1`."""
    return float(numerator / denominator) if denominator else 1.0


def _gold_labels(gold: Sequence[Example], where: str) -> dict[str, tuple[str, ...]]:
    labelled = {e.id: e.labels for e in gold if e.labels is not None}
    unlabelled = sum(e.labels is None for e in gold)
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
    return labelled


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


def _indicator(
    answers: Sequence[tuple[str, ...]], ids: Sequence[str], labels: Sequence[str], what: str
) -> npt.NDArray[np.bool_]:
    """A truth matrix: entry (i, j) says whether answer i holds label j. (texts, labels)"""
    column = {label: j for j, label in enumerate(labels)}
    matrix = np.zeros((len(answers), len(labels)), dtype=np.bool_)
    for i, answer in enumerate(answers):
        for label in answer:
            if label not in column:
                raise DataError(
                    f'The {what} for id "{ids[i]}" holds the unknown label "{label}"; {did_you_mean(label, labels)}'
                )
            matrix[i, column[label]] = True
    return matrix
