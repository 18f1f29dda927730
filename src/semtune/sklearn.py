"""A tuned language model as a scikit-learn classifier of texts.

It works where scikit-learn's own classifiers do: in `cross_val_score`, `GridSearchCV` and `Pipeline`. X is a list, an
array or a Series of strings, y one label a text or a set of labels (an indicator matrix, or a list of labels a text).

Each fit is one run of `semtune.tune`, whose run folder the estimator holds as `run_`. A pickle of the estimator carries
that folder's files (spec, labels, adapter), so it works on another machine as long as the base model is found there.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from semtune.api import Run, tune
from semtune.api.class_targets import (
    ClassTargets,
    as_list,
    check_column_names,
    class_targets,
    column_names,
    doubtful_classes,
    share_right,
)
from semtune.api.own_data import TASK_OPTIONS
from semtune.api.plain_values import plain_value
from semtune.errors import OptionError
from semtune.runtime.files import check_path
from semtune.tasks.characters import is_blank

__all__ = ["TunedTextClassifier"]

_OWN = ("options", "label_names", "validation_fraction", "random_state", "out_dir", "verbose")
"""Parameters that are not an option of `semtune.tune` by the same name."""
_SET_BY = {
    "out": "out_dir", "progress": "verbose", "seed": "random_state", "split_seed": "random_state",
    "dev_fraction": "validation_fraction", "dev": "validation_fraction", "labels": "y and label_names",
}  # fmt: skip
"""Options of `semtune.tune` that are not for `options` -> what sets them."""
_SET_HERE = ("test", "task", "task_options", *TASK_OPTIONS)
"""Those that a fit decides by itself: its texts and labels are X and y."""


class TunedTextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Tunes a language model on labelled texts.

    Parameters:
        model, method, prompt, readout, preset, epochs, batch_size, learning_rate, max_length, rank, alpha, dropout,
            targets, precision, patience, device: as in `semtune.tune`; None leaves the choice to the preset.
        options: any other option of `semtune.tune`, by name, e.g. `{"accumulation_steps": 4}`.
        label_names: names of the columns of an indicator matrix, in a list, for prompts that show the labels. None: a
            DataFrame's own names, where they are text; else the columns' numbers.
        validation_fraction: share of the training texts (0 to 1) that chooses the epoch and, for several labels a text,
            the threshold. 0: the training texts themselves choose, which suits very few texts only.
        random_state: seed of adapters, dropout, the order of the texts and the choice of validation texts.
        out_dir: folder that gets one run folder for each fit. None: temporary folders that live as long as the fitted
            estimator.
        verbose: 1 shows progress.

    Attributes:
        classes_: the classes, sorted, columns of `predict_proba` in this order. For an indicator matrix the numbers of
            its columns, for lists of labels the labels.
        multilabel_: whether `predict` answers with an indicator matrix, (texts, classes).
        run_: the `semtune.Run`, with its result and scores.
    """

    def __init__(
        self,
        model: str = "default",
        method: str = "lora",
        *,
        prompt: str | None = None,
        readout: str | None = None,
        preset: str = "default",
        epochs: int | None = None,
        batch_size: int = 8,
        learning_rate: float | None = None,
        max_length: int = 512,
        rank: int | None = None,
        alpha: float | None = None,
        dropout: float | None = None,
        targets: Sequence[str] | None = None,
        precision: str | None = None,
        patience: int | None = None,
        device: str = "auto",
        options: Mapping[str, Any] | None = None,
        label_names: Sequence[str] | None = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        out_dir: str | os.PathLike[str] | None = None,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.method = method
        self.prompt = prompt
        self.readout = readout
        self.preset = preset
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.max_length = max_length
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.targets = targets
        self.precision = precision
        self.patience = patience
        self.device = device
        self.options = options
        self.label_names = label_names
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.out_dir = out_dir
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> TunedTextClassifier:
        """Tune on texts X and labels y.

        Raises:
            ValueError: X is not one-dimensional text, y does not fit it or has fewer than two classes.
            SemtuneError: an impossible option, a model that cannot be found, or a run that did not end well.
            KeyboardInterrupt: the user stopped it; what was learnt is dropped, so that a search stops too.
        """
        texts = _texts(X)
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        y = as_list(y)
        check_consistent_length(texts, y)
        targets = class_targets(y)
        names = self._names(targets, column_names(y) if targets.are_columns else None)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.run_ = self._tune(texts, [_named(row, names) for row in targets.rows], names, int(seed))
        self.classes_, self.multilabel_ = targets.classes, targets.multilabel
        counts = np.bincount([row for row in targets.rows if not isinstance(row, list)], minlength=1)
        self._most_frequent = int(counts.argmax())
        return self

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """The class of each text, (texts,); for several labels a text an indicator matrix, (texts, classes).

        An answer of a generating readout that names no class counts as the most frequent class of the training texts.
        """
        check_is_fitted(self)
        column = {name: index for index, name in enumerate(self.run_.labels)}
        found = [[column[label] for label in p.labels] for p in self.run_.predict(_texts(X))]
        if not self.multilabel_:
            return np.asarray(self.classes_[[row[0] if row else self._most_frequent for row in found]])
        matrix = np.zeros((len(found), len(self.classes_)), dtype=int)
        for row, columns in enumerate(found):
            matrix[row, columns] = 1
        return matrix

    def predict_proba(self, X: Any) -> np.ndarray[Any, Any]:
        """Probabilities, (texts, classes): rows sum to 1 for one label a text, each stands alone for several.

        Raises OptionError where the readout gives none (`generate`).
        """
        check_is_fitted(self)
        probabilities: np.ndarray[Any, Any] = self.run_.predict_proba(_texts(X))
        return probabilities if self.multilabel_ else probabilities / probabilities.sum(axis=1, keepdims=True)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of texts answered exactly right; of all its labels where a text has several."""
        names = list(self.run_.labels)
        are_numbers = names == [str(number) for number in range(len(names))]  # of columns without names
        return share_right(y, self.predict(X), self.classes_, sample_weight, [] if are_numbers else names)

    def _tune(self, texts: list[str], labels: list[Any], names: list[str], seed: int) -> Run:
        given = {name: value for name, value in self.get_params(deep=False).items() if value is not None}
        options = {name: value for name, value in given.items() if name not in _OWN}
        options |= {"labels": tuple(names), "seed": seed, "split_seed": seed, "planned": False}
        options |= self._further_options()
        data, dev = (texts, labels), None
        if not 0 <= self.validation_fraction < 1:
            raise OptionError(f"validation_fraction must be at least 0 and below 1, not {self.validation_fraction}.")
        if self.validation_fraction:
            options["dev_fraction"] = self.validation_fraction
        else:
            dev = data
        out = None
        if self.out_dir is not None:
            check_path(self.out_dir)
            Path(self.out_dir).mkdir(parents=True, exist_ok=True)
            out = tempfile.mkdtemp(prefix="fit-", dir=self.out_dir)
        run = tune(data, dev=dev, test_fraction=0.0, out=out, progress=bool(self.verbose), **options)
        if run.result.status != "ok":
            raise KeyboardInterrupt
        return run

    def _further_options(self) -> dict[str, Any]:
        """`options`, without any that the estimator has a parameter for or sets itself. Raises OptionError."""
        further = dict(self.options or {})
        for name in further:
            if name in _SET_BY:
                raise OptionError(f'options={{"{name}": …}} cannot be given, as {_SET_BY[name]} sets it; use that.')
            if name in _SET_HERE:
                raise OptionError(f'options={{"{name}": …}} cannot be given, as X and y are the data; leave it out.')
            if name in self.get_params(deep=False):
                raise OptionError(f'options={{"{name}": …}} is the parameter {name}=; give it as that.')
        return further

    def _names(self, targets: ClassTargets, columns: list[str] | None) -> list[str]:
        """What the model calls the classes: text, different for each. Raises ValueError.

        columns: the names that the columns of an indicator matrix have.
        """
        classes = targets.classes
        if isinstance(self.label_names, (str, bytes, Mapping, set, frozenset)):
            kind = type(self.label_names).__name__
            raise ValueError(f"label_names must be a list, in the order of y's columns, not of the kind {kind}.")
        if self.label_names is not None and not targets.are_columns:
            what = "a list of labels for each text" if targets.are_lists else "one label a text"
            raise ValueError(
                f"label_names names the columns of an indicator matrix, but y has {what}, which are names already; "
                "leave label_names out."
            )
        if self.label_names is not None and len(self.label_names) != len(classes):
            raise ValueError(f"label_names has {len(self.label_names)} names for {len(classes)} columns of y.")
        unnamed = classes if columns is None else columns
        given = unnamed if self.label_names is None else self.label_names
        texts = [plain_value(name, "the class") for name in given]
        if None in texts:
            raise ValueError(f"label_names[{texts.index(None)}] is missing; give each column of y a name.")
        names = [" ".join(str(name).split()) for name in texts]
        if len(set(names)) < len(names) or not all(names):
            raise ValueError(f"Each class needs a name of its own that is not blank; the names are {names}.")
        if columns is not None:
            advice = "leave label_names out, as the columns' own names are used, or rename the columns"
            check_column_names(columns, names, "y has the columns {}, which label_names calls {}", advice)
        counts = Counter(number for row in targets.rows for number in (row if isinstance(row, list) else [row]))
        named = {name: counts[number] for number, name in enumerate(texts) if isinstance(name, str)}
        for note in doubtful_classes({} if targets.are_columns else named):
            warnings.warn(note, UserWarning, stacklevel=3)
        return names

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.classifier_tags.multi_label = True
        return tags


def _texts(X: Any) -> list[str]:
    """X as a list of strings. Raises ValueError: not one-dimensional, empty, or not text."""
    if isinstance(X, str):
        raise ValueError("Iterable over texts expected, a string was passed; give a list with one text in it.")
    array = np.asarray(X, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"Expected one text a sample, shape (n_samples,), but X has the shape {array.shape}.")
    if not len(array):
        raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")
    for number, text in enumerate(array):
        if not isinstance(text, str) or is_blank(text):
            raise ValueError(f"X[{number}] must be a text that is not blank, but it is {text!r}.")
    return [str(text) for text in array]


def _named(row: Any, names: Sequence[str]) -> Any:
    """The name of a class number, or the names of several."""
    return [names[number] for number in row] if isinstance(row, list) else names[row]
