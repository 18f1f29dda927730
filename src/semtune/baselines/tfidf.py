"""TF-IDF + logistic regression: the strong simple baseline that a tuned language model has to beat.

Word 1- and 2-grams with sublinear term frequency; for a set of labels one class-balanced logistic regression a label,
and one decision threshold for all labels, chosen on out-of-fold probabilities of the training texts alone (dev is not
used). For a single-label task a plain multinomial logistic regression. Wang & Manning 2012 ("Baselines and Bigrams") is
the usual reference for how far word bigrams and a linear model go on short texts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from semtune.baselines.base import BaseBaseline
from semtune.contracts import TaskContext
from semtune.errors import ModelError
from semtune.records import Example, Prediction
from semtune.records.targets import predictions_from, threshold_from
from semtune.runtime.files import read_json

if TYPE_CHECKING:
    from semtune.baselines.tfidf_models import OneForAll, OnePerLabel

FOLDS = 5
THRESHOLDS = np.linspace(0.05, 0.95, 91)
STATE = "tfidf.json"


class TfidfLogistic(BaseBaseline):
    """Registered as "tfidf"."""

    name = "tfidf"

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        from semtune.baselines import tfidf_models

        self._models = tfidf_models
        self.threshold = 0.5
        """Labels at least this probable are predicted; chosen in `fit`, unused for a single-label task."""
        self._fitted: OnePerLabel | OneForAll | None = None

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None:
        """Fit on `train` alone; `dev` is not used."""
        texts = [e.text for e in train]
        if self.space.kind == "single_label":
            self._fitted = self._models.OneForAll(self.space.labels).fit(texts, [(e.labels or ("",))[0] for e in train])
            return
        truth = np.array([[label in (e.labels or ()) for label in self.space.labels] for e in train])
        self.threshold = self._choose_threshold(train, truth)
        self._fitted = self._models.OnePerLabel().fit(texts, truth)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions with each label's probability, in the order of `examples`."""
        if self._fitted is None:
            raise self.not_fitted()
        if not examples:
            return []
        probabilities = self._fitted.probabilities([e.text for e in examples])
        return predictions_from(examples, probabilities, self.space, self.threshold)

    def save(self, folder: Path) -> None:
        """`tfidf.json`: n-grams with their inverse document frequencies, coefficients, threshold."""
        if self._fitted is None:
            raise self.not_fitted()
        state = {"threshold": self.threshold, "labels": list(self.space.labels), **self._fitted.plain()}
        (folder / STATE).write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        kind = self._models.OneForAll if self.space.kind == "single_label" else self._models.OnePerLabel
        try:
            state = read_json(folder / STATE)
            if state["labels"] != list(self.space.labels):
                raise ValueError("it was fitted for other labels")
            self.threshold = threshold_from(state["threshold"])
            self._fitted = kind.from_plain(state, self.space.labels)
            if self._fitted.probabilities([""]).shape != (1, len(self.space.labels)):
                raise ValueError("it has not one model a label")
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise ModelError(f"The baseline {self.name} in {folder} is missing or broken ({error}).") from error

    def _choose_threshold(self, train: Sequence[Example], truth: npt.NDArray[np.bool_]) -> float:
        """The threshold of the best primary score over out-of-fold probabilities; of equals, the nearest to one half.

        Args:
            truth: (texts, labels).
        """
        folds = min(FOLDS, len(train))
        if folds < 2:
            return 0.5
        score = self.context.score
        if score is None:
            raise RuntimeError(f"{self.name}: fitting needs the task's score function in the context")
        probabilities = self._models.out_of_fold([e.text for e in train], truth, folds)
        primary = self.context.metrics[0]

        def goodness(threshold: float) -> tuple[float, float]:
            scores = score(train, predictions_from(train, probabilities, self.space, threshold))
            return primary.rank(scores.value), -abs(threshold - 0.5)

        return max((float(threshold) for threshold in THRESHOLDS), key=goodness)
