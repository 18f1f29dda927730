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
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from semtune.baselines.base import BaseBaseline
from semtune.contracts import TaskContext
from semtune.errors import ModelError
from semtune.records import Example, Prediction
from semtune.records.targets import predictions_from, threshold_from
from semtune.runtime.files import read_json

FOLDS = 5
THRESHOLDS = np.linspace(0.05, 0.95, 91)
TOKEN = r"(?u)\w+|[^\w\s]"
"""Words of any length and single punctuation marks: "!" and "?" carry meaning in a short text."""
STATE = "tfidf.json"

Matrix = npt.NDArray[np.float64]


class _Constant:
    """Replaces a regression where a label applies to all training texts or to none: there is nothing to separate."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def predict_proba(self, features: Any) -> Matrix:
        """(texts, 2): the probability that the label does not apply, and that it does."""
        return np.tile([1.0 - self.probability, self.probability], (features.shape[0], 1))


class _OnePerLabel:
    """TF-IDF features and one balanced logistic regression a label."""

    def fit(self, texts: Sequence[str], truth: npt.NDArray[np.bool_]) -> _OnePerLabel:
        """`truth` is (texts, labels)."""
        self.vectorizer = _vectorizer()
        features = self.vectorizer.fit_transform(texts)  # (texts, n-grams), sparse
        self.models: list[Any] = []
        for column in truth.T:
            if column.all() or not column.any():
                self.models.append(_Constant(float(column[0])))
            else:
                self.models.append(_regression(class_weight="balanced", solver="liblinear").fit(features, column))
        return self

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """The probability of each label, independent of the others. (texts, labels)"""
        features = self.vectorizer.transform(texts)
        return np.stack([model.predict_proba(features)[:, 1] for model in self.models], axis=1)

    def plain(self) -> dict[str, Any]:
        """What was fitted, as plain values."""
        return {"vectorizer": _vectorizer_state(self.vectorizer), "models": [_model_state(m) for m in self.models]}

    @classmethod
    def from_plain(cls, state: dict[str, Any], space_labels: Sequence[str]) -> _OnePerLabel:
        """The inverse of `plain`."""
        fitted = cls()
        fitted.vectorizer = _vectorizer_from(state["vectorizer"])
        fitted.models = [_model_from(model, class_weight="balanced", solver="liblinear") for model in state["models"]]
        return fitted


class _OneForAll:
    """TF-IDF features and one multinomial logistic regression over all labels."""

    model: Any

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)

    def fit(self, texts: Sequence[str], truth: Sequence[str]) -> _OneForAll:
        """`truth` is the label of each text."""
        self.vectorizer = _vectorizer()
        features = self.vectorizer.fit_transform(texts)
        # A regression needs two classes; with one its label is the only possible prediction.
        if len(set(truth)) > 1:
            self.model = _regression().fit(features, truth)
            self.classes = [str(name) for name in self.model.classes_]
        else:
            self.model, self.classes = _Constant(1.0), [truth[0]]
        return self

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """(texts, labels); a label that no training text has gets 0."""
        out = np.zeros((len(texts), len(self.labels)))
        columns = [self.labels.index(name) for name in self.classes]
        found = self.model.predict_proba(self.vectorizer.transform(texts))
        out[:, columns] = found if len(columns) > 1 else 1.0
        return out

    def plain(self) -> dict[str, Any]:
        """What was fitted, as plain values."""
        model = _model_state(self.model)
        return {"vectorizer": _vectorizer_state(self.vectorizer), "models": [model], "classes": self.classes}

    @classmethod
    def from_plain(cls, state: dict[str, Any], space_labels: Sequence[str]) -> _OneForAll:
        """The inverse of `plain`."""
        fitted = cls(space_labels)
        fitted.vectorizer = _vectorizer_from(state["vectorizer"])
        fitted.model = _model_from(state["models"][0])
        fitted.classes = [str(name) for name in state["classes"]]
        return fitted


class TfidfLogistic(BaseBaseline):
    """Registered as "tfidf"."""

    name = "tfidf"

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        self.threshold = 0.5
        """Labels at least this probable are predicted; chosen in `fit`, unused for a single-label task."""
        self._fitted: _OnePerLabel | _OneForAll | None = None

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None:
        """Fit on `train` alone; `dev` is not used."""
        texts = [e.text for e in train]
        if self.space.kind == "single_label":
            self._fitted = _OneForAll(self.space.labels).fit(texts, [(e.labels or ("",))[0] for e in train])
            return
        truth = np.array([[label in (e.labels or ()) for label in self.space.labels] for e in train])
        self.threshold = self._choose_threshold(train, truth)
        self._fitted = _OnePerLabel().fit(texts, truth)

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
        kind = _OneForAll if self.space.kind == "single_label" else _OnePerLabel
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
        texts = [e.text for e in train]
        out_of_fold = np.zeros(truth.shape)  # (texts, labels)
        for kept, left in KFold(folds, shuffle=True, random_state=0).split(texts):
            model = _OnePerLabel().fit([texts[i] for i in kept], truth[kept])
            out_of_fold[left] = model.probabilities([texts[i] for i in left])
        primary = self.context.metrics[0]

        def goodness(threshold: float) -> tuple[float, float]:
            scores = score(train, predictions_from(train, out_of_fold, self.space, threshold))
            return primary.rank(scores.value), -abs(threshold - 0.5)

        return max((float(threshold) for threshold in THRESHOLDS), key=goodness)


def _vectorizer() -> Any:
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKEN)


def _vectorizer_state(vectorizer: Any) -> dict[str, Any]:
    return {"ngrams": vectorizer.get_feature_names_out().tolist(), "idf": vectorizer.idf_.tolist()}


def _vectorizer_from(state: dict[str, Any]) -> Any:
    vectorizer = _vectorizer()
    vectorizer.vocabulary_ = {ngram: column for column, ngram in enumerate(state["ngrams"])}
    vectorizer.fixed_vocabulary_ = True
    vectorizer.idf_ = np.array(state["idf"], dtype=np.float64)
    if not np.isfinite(vectorizer.idf_).all():
        raise ValueError("its document frequencies are not finite")
    return vectorizer


def _regression(**settings: Any) -> Any:
    return LogisticRegression(C=1.0, max_iter=1000, **settings)  # C: scikit-learn's default, not tuned


def _model_state(model: Any) -> dict[str, Any]:
    if isinstance(model, _Constant):
        return {"probability": model.probability}
    return {
        "coefficients": model.coef_.tolist(),
        "intercepts": model.intercept_.tolist(),
        "classes": model.classes_.tolist(),
    }


def _model_from(state: dict[str, Any], **settings: Any) -> Any:
    if "probability" in state:
        return _Constant(float(state["probability"]))
    model = _regression(**settings)
    model.coef_, model.intercept_ = np.array(state["coefficients"]), np.array(state["intercepts"])
    model.classes_ = np.array(state["classes"])
    return model
