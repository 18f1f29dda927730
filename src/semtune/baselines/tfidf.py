"""TF-IDF + logistic regression: the strong simple baseline that a tuned language model has to beat.

Word 1- and 2-grams with sublinear term frequency; for a set of labels one class-balanced logistic regression a label,
and one decision threshold for all labels, chosen on out-of-fold probabilities of the training texts alone (dev is never
looked at). For a single-label task a plain multinomial logistic regression. Wang & Manning 2012 ("Baselines and
Bigrams") is the usual reference for how far word bigrams and a linear model go on short texts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from semtune.baselines.simple import Baseline
from semtune.contracts import Task, TaskContext
from semtune.errors import ModelError
from semtune.records import Example, Prediction

FOLDS = 5
THRESHOLDS = np.linspace(0.05, 0.95, 91)
TOKEN = r"(?u)\w+|[^\w\s]"
"""Words of any length and single punctuation marks: "!" and "?" say something in a short text."""

Matrix = npt.NDArray[np.float64]


class _Constant:
    """Stands in where a label applies to all training texts or to none: there is nothing to separate."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def predict_proba(self, features: Any) -> Matrix:
        """(texts, 2): not, and applies."""
        return np.tile([1.0 - self.probability, self.probability], (features.shape[0], 1))


class _OnePerLabel:
    """TF-IDF features and one balanced logistic regression a label."""

    def fit(self, texts: Sequence[str], truth: npt.NDArray[np.bool_]) -> _OnePerLabel:
        """`truth` is (texts, labels)."""
        self._features = _vectorizer()
        features = self._features.fit_transform(texts)  # (texts, n-grams), sparse
        self._models: list[Any] = []
        for column in truth.T:
            if column.all() or not column.any():
                self._models.append(_Constant(float(column[0])))
            else:
                self._models.append(_regression(class_weight="balanced", solver="liblinear").fit(features, column))
        return self

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Of each label, by itself. (texts, labels)"""
        features = self._features.transform(texts)
        return np.stack([model.predict_proba(features)[:, 1] for model in self._models], axis=1)


class TfidfLogistic(Baseline):
    """Registered as "tfidf"."""

    name = "tfidf"

    def __init__(self, task: Task | TaskContext) -> None:
        super().__init__(task)
        self.threshold = 0.5
        """Labels at least this probable are said; chosen in `fit`, unused for a single-label task."""
        self._fitted: Any = None

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None:
        """Fit on `train` alone; `dev` is not looked at."""
        self._train = [(e.id, e.text, e.labels or ()) for e in train]
        texts = [e.text for e in train]
        if self.answer == "single_label":
            self._fit_single(texts, [(e.labels or ("",))[0] for e in train])
            return
        truth = np.array([[label in (e.labels or ()) for label in self.labels] for e in train])  # (texts, labels)
        self.threshold = _choose_threshold(texts, truth)
        self._fitted = _OnePerLabel().fit(texts, truth)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions with each label's probability, in the order of `examples`."""
        if self._fitted is None:
            raise RuntimeError(f"{self.name}: call fit before predict")
        if not examples:
            return []
        texts = [e.text for e in examples]
        single = self.answer == "single_label"
        probabilities = self._single_probabilities(texts) if single else self._fitted.probabilities(texts)
        return [
            Prediction(
                id=example.id,
                labels=(self.labels[int(row.argmax())],)
                if single
                else tuple(label for label, p in zip(self.labels, row, strict=True) if p >= self.threshold),
                probabilities={label: float(p) for label, p in zip(self.labels, row, strict=True)},
            )
            for example, row in zip(examples, probabilities, strict=True)
        ]

    def save(self, folder: Path) -> None:
        """The training texts, from which `load` fits again."""
        (folder / "train.json").write_text(json.dumps(self._train), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Fit again as `save` found it. Raises ModelError."""
        try:
            rows = json.loads((folder / "train.json").read_text(encoding="utf-8"))
            self.fit([Example(i, text, tuple(labels)) for i, text, labels in rows], [])
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"The baseline {self.name} in {folder} is missing or broken ({error}).") from error

    def _fit_single(self, texts: Sequence[str], truth: Sequence[str]) -> None:
        vectorizer = _vectorizer()
        features = vectorizer.fit_transform(texts)
        # A regression needs two classes; with one there is only one thing to say.
        model = _regression().fit(features, truth) if len(set(truth)) > 1 else None
        self._fitted = (vectorizer, model, list(model.classes_) if model is not None else [truth[0]])

    def _single_probabilities(self, texts: Sequence[str]) -> Matrix:
        """(texts, labels); a label never seen in training has 0."""
        vectorizer, model, classes = self._fitted
        out = np.zeros((len(texts), len(self.labels)))
        columns = [self.labels.index(name) for name in classes]
        out[:, columns] = model.predict_proba(vectorizer.transform(texts)) if model is not None else 1.0
        return out


def _vectorizer() -> Any:
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKEN)


def _regression(**settings: Any) -> Any:
    return LogisticRegression(C=1.0, max_iter=1000, **settings)  # C: scikit-learn's default, not tuned


def _choose_threshold(texts: Sequence[str], truth: npt.NDArray[np.bool_]) -> float:
    """The threshold of the best micro-F1 over out-of-fold probabilities; of equals, the nearest to one half."""
    folds = min(FOLDS, len(texts))
    if folds < 2:
        return 0.5
    held_out = np.zeros(truth.shape)  # (texts, labels)
    for kept, left in KFold(folds, shuffle=True, random_state=0).split(texts):
        model = _OnePerLabel().fit([texts[i] for i in kept], truth[kept])
        held_out[left] = model.probabilities([texts[i] for i in left])
    scores = [_micro_f1(truth, held_out >= threshold) for threshold in THRESHOLDS]
    best = max(range(len(scores)), key=lambda i: (scores[i], -abs(THRESHOLDS[i] - 0.5)))
    return float(THRESHOLDS[best])


def _micro_f1(truth: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> float:
    hits = int((truth & said).sum())
    total = int(truth.sum() + said.sum())
    return 2 * hits / total if total else 1.0
