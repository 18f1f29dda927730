"""From probabilities to labels, with one threshold for all labels that is chosen on dev by micro-F1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semtune.records import Example, Prediction

Matrix = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Truth = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def decide(
    examples: Sequence[Example], probabilities: Matrix, labels: Sequence[str], threshold: float | None
) -> list[Prediction]:
    """Labels at or above `threshold` (None: the most probable one), with probabilities; (examples, labels)."""
    predictions = []
    for example, row in zip(examples, probabilities, strict=True):
        if threshold is None:
            chosen: tuple[str, ...] = (labels[int(row.argmax())],)
        else:
            chosen = tuple(label for label, p in zip(labels, row, strict=True) if p >= threshold)
        by_label = {label: round(float(p), 6) for label, p in zip(labels, row, strict=True)}
        predictions.append(Prediction(example.id, chosen, probabilities=by_label))
    return predictions


def gold_matrix(examples: Sequence[Example], labels: Sequence[str]) -> Truth:
    """Which labels each example has, (examples, labels)."""
    gold = np.zeros((len(examples), len(labels)), dtype=bool)
    place = {label: i for i, label in enumerate(labels)}
    for row, example in enumerate(examples):
        for label in example.labels or ():
            gold[row, place[label]] = True
    return gold


def best_threshold(probabilities: Matrix, gold: Truth) -> float:
    """The threshold with the best micro-F1, by one pass over the sorted probabilities; (rows, labels) each.

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
    middles = (ranked + nexts) / 2
    f1 = np.where(usable, f1, -1.0)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(middles[best[np.argmin(np.abs(middles[best] - 0.5))]])
