"""Votes over several predictions for one text. No model, no torch."""

from __future__ import annotations

from collections.abc import Sequence

from semtune.records import Prediction, TargetSpace, label_target
from semtune.strategies.answers.base import DIGITS


def vote(predictions: Sequence[Prediction], space: TargetSpace) -> Prediction:
    """The majority of `predictions`, one at least; those that did not parse have no vote.

    A label's probability is the share of votes that name it. A label set has the labels that more than half of the
    votes name; a single label is the one that most name, the first in the space's order of equals. Where no prediction
    parsed, nothing is predicted and `parsed` is False.
    """
    example_id = predictions[0].id
    votes = [prediction.labels for prediction in predictions if prediction.parsed]
    if not votes:
        return Prediction(example_id, space.empty(), parsed=False)
    shares = {label: sum(label in labels for labels in votes) / len(votes) for label in space.labels}
    if space.kind == "single_label":
        chosen = [max(space.labels, key=lambda label: shares[label])]
    else:
        chosen = [label for label in space.labels if shares[label] > 1 / 2]
    rounded = {label: round(share, DIGITS) for label, share in shares.items()}
    return Prediction(example_id, label_target(space.kind, chosen), probabilities=rounded)


def mean_probabilities(predictions: Sequence[Prediction], space: TargetSpace) -> dict[str, float] | None:
    """Each label's mean probability over `predictions`; None where one of them has no probabilities."""
    known = [prediction.probabilities for prediction in predictions if prediction.probabilities is not None]
    if len(known) < len(predictions):
        return None
    return {label: sum(row[label] for row in known) / len(known) for label in space.labels}
