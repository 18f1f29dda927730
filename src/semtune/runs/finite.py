"""Outputs of any approach, baselines and plugins included, that are no numbers end a run as "diverged"."""

from __future__ import annotations

import math
from collections.abc import Sequence

from semtune.errors import DivergedError
from semtune.records import Prediction, Scores
from semtune.records.targets import check_finite


def check_predictions(predictions: Sequence[Prediction]) -> Sequence[Prediction]:
    """`predictions`. Raises DivergedError where a probability is NaN or infinite."""
    check_finite(predictions)
    return predictions


def finite_scores(scores: Scores, split: str) -> Scores:
    """`scores`. Raises DivergedError where a metric of the task is NaN or infinite, which no other score beats."""
    for name, value in scores.values.items():
        if not math.isfinite(value):
            raise DivergedError(f"The {name} of the {split} split is {value}, which is no score.")
    return scores
