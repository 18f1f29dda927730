"""What the baseline "tfidf" fits: TF-IDF features and logistic regressions of scikit-learn, as plain values and back.

Apart from `baselines.tfidf`, so that a study that only asks what the baseline is for does not import scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

TOKEN = r"(?u)\w+|[^\w\s]"
"""Words of any length and single punctuation marks: "!" and "?" carry meaning in a short text."""

Matrix = npt.NDArray[np.float64]


class _Constant:
    """Replaces a regression where a label applies to all training texts or to none: there is nothing to separate."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def predict_proba(self, features: Any) -> Matrix:
        """(texts, 2): the probability that the label does not apply, and that it does."""
        return np.tile([1.0 - self.probability, self.probability], (features.shape[0], 1))


class OnePerLabel:
    """TF-IDF features and one balanced logistic regression a label."""

    def fit(self, texts: Sequence[str], truth: npt.NDArray[np.bool_]) -> OnePerLabel:
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
    def from_plain(cls, state: dict[str, Any], space_labels: Sequence[str]) -> OnePerLabel:
        """The inverse of `plain`."""
        fitted = cls()
        fitted.vectorizer = _vectorizer_from(state["vectorizer"])
        fitted.models = [_model_from(model, class_weight="balanced", solver="liblinear") for model in state["models"]]
        return fitted


class OneForAll:
    """TF-IDF features and one multinomial logistic regression over all labels."""

    model: Any

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)

    def fit(self, texts: Sequence[str], truth: Sequence[str]) -> OneForAll:
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
    def from_plain(cls, state: dict[str, Any], space_labels: Sequence[str]) -> OneForAll:
        """The inverse of `plain`."""
        fitted = cls(space_labels)
        fitted.vectorizer = _vectorizer_from(state["vectorizer"])
        fitted.model = _model_from(state["models"][0])
        fitted.classes = [str(name) for name in state["classes"]]
        return fitted


def out_of_fold(texts: Sequence[str], truth: npt.NDArray[np.bool_], folds: int) -> Matrix:
    """Each text's probabilities by a model of the other folds; (texts, labels), as `truth`."""
    found = np.zeros(truth.shape)
    for kept, left in KFold(folds, shuffle=True, random_state=0).split(texts):
        model = OnePerLabel().fit([texts[i] for i in kept], truth[kept])
        found[left] = model.probabilities([texts[i] for i in left])
    return found


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
