"""The y of scikit-learn's estimators as classes: one a text, or a set of them as an indicator matrix or as lists.

What scikit-learn would take silently is refused here: a missing value (which NumPy makes the class "nan"), text beside
numbers (which NumPy makes text), a string among lists (which would be cut into letters), a matrix of -1 and 1 (in which
-1 would count as "applies").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length, column_or_1d

from semtune.api.plain_values import plain_value
from semtune.errors import DataError
from semtune.tasks.class_spellings import spelling_notes
from semtune.tasks.label_notations import check_no_indicators, joined_labels
from semtune.tasks.missing_marks import is_placeholder
from semtune.tasks.remarks import shown
from semtune.tasks.spreadsheet_labels import spreadsheet_notes

Array = np.ndarray[Any, Any]
_ROWS = (list, tuple, set, frozenset)
"""Kinds of a text's labels where it may have several."""


@dataclass(frozen=True, slots=True)
class ClassTargets:
    """The classes of a y, and those of each text."""

    classes: Array
    """The different classes, sorted; for an indicator matrix the numbers of its columns."""
    are_lists: bool
    """Whether y has a list of labels for each text."""
    are_columns: bool
    """Whether y is an indicator matrix."""
    rows: list[Any]
    """Each text's class number, or where it may have several a list of them."""

    @property
    def multilabel(self) -> bool:
        """Whether a text may have several classes."""
        return self.are_lists or self.are_columns


def class_targets(y: Any) -> ClassTargets:
    """The classes of a y that `as_list` gives.

    Raises ValueError: neither classes nor sets of them, a missing or unclear one, or fewer than two.
    """
    if _is_label_lists(y):
        lists = _label_lists(y)
        binarizer = MultiLabelBinarizer()
        matrix = binarizer.fit_transform(lists)
        if not len(binarizer.classes_):
            raise ValueError("y has no label at all; at least one text must have one.")
        rows = [np.flatnonzero(row).tolist() for row in matrix]
        return ClassTargets(np.asarray(binarizer.classes_), True, False, rows)
    checked = _single_labels(y)
    if checked is None:
        matrix = _indicators(y)
        rows = [np.flatnonzero(row).tolist() for row in matrix]
        return ClassTargets(np.arange(matrix.shape[1]), False, True, rows)
    classes, numbers = np.unique(checked, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y has only one class, {classes[0]!r}; at least two classes are needed.")
    return ClassTargets(classes, False, False, numbers.tolist())


def share_right(y: Any, predicted: Array, classes: Array, sample_weight: Any, columns: Sequence[str] = ()) -> float:
    """The share of texts whose classes are all right; y is checked as in fitting, and may have classes of its own.

    Args:
        predicted: classes, (texts,), or indicators, (texts, classes).
        classes: those of `predicted`.
        columns: their names, if they have some, which those of an indicator DataFrame must be.

    Raises ValueError: y cannot be read, or has another form than `predicted`.
    """
    y = as_list(y)
    if predicted.ndim == 1:
        if _is_label_lists(y) or (single := _single_labels(y)) is None:
            raise ValueError("y has sets of classes, but the estimator was fitted on one class a text.")
        return float(accuracy_score(single, predicted, sample_weight=sample_weight))
    names = classes.tolist()
    if _is_label_lists(y):
        gold = [set(row) for row in _label_lists(y)]
        if any(gold) and not set().union(*gold) & set(names):
            raise ValueError(f"y has none of the classes that the estimator was fitted on, {names}.")
    elif _single_labels(y) is not None:
        raise ValueError("y has one class a text, but the estimator was fitted on sets of classes.")
    else:
        matrix = _indicators(y)
        if matrix.shape[1] != len(names):
            raise ValueError(f"y has {matrix.shape[1]} columns, but the estimator was fitted on {len(names)} classes.")
        own = column_names(y)
        if own is not None and columns:
            said = "y has the columns {}, but the estimator was fitted on {}"
            check_column_names(own, columns, said, "give these, in this order")
        gold = [{names[i] for i in np.flatnonzero(row)} for row in matrix]
    check_consistent_length(gold, predicted, sample_weight)
    found = [{names[i] for i in np.flatnonzero(row)} for row in predicted]
    return float(np.average([one == other for one, other in zip(gold, found, strict=True)], weights=sample_weight))


def as_list(y: Any) -> Any:
    """y, or the array that it offers. Raises ValueError: it is a string, dict or set, or has no elements."""
    if not hasattr(y, "__len__") and not hasattr(y, "shape") and hasattr(y, "__array__"):
        return np.asarray(y)
    if isinstance(y, (str, bytes, Mapping, set, frozenset)) or not (hasattr(y, "__len__") or hasattr(y, "shape")):
        kind = type(y).__name__
        raise ValueError(f"y must be a list of labels in the order of the texts, but it is of the kind {kind}.")
    return y


def column_names(y: Any) -> list[str] | None:
    """The names of a DataFrame's columns, white space folded; None: y has none, or others than text."""
    names = getattr(y, "columns", None)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return [" ".join(str(name).split()) for name in names]


def check_column_names(names: Sequence[str], known: Sequence[str], said: str, advice: str) -> None:
    """Raises ValueError where columns are not those that are `known`, in that order: they would be taken by position.

    Args:
        said: a clause on both, with a place for each.
    """
    if list(names) == list(known):
        return
    order = " in another order" if sorted(names) == sorted(known) else ""
    lists = [f"[{', '.join(map(_shown, own))}]" for own in (names, known)]
    raise ValueError(f"{said.format(*lists)}{order}; {advice}.")


def _is_label_lists(y: Any) -> bool:
    """Whether y holds lists, tuples or sets of labels, alone or among other things."""
    if hasattr(y, "toarray") or getattr(y, "ndim", 1) != 1:
        return False
    rows = [row for row in y if _is_row(row)]
    return bool(rows) and (len(rows) < len(y) or not all(map(_is_numbers, rows)))


def _is_row(row: Any) -> bool:
    """Whether a text's labels are several or none, such as a list."""
    return isinstance(row, _ROWS) or (isinstance(row, np.ndarray) and row.ndim == 1)


def _is_numbers(row: Any) -> bool:
    """Whether a row may be one of an indicator matrix: numbers alone, in an order, and some."""
    return (
        isinstance(row, (list, tuple, np.ndarray))
        and len(row) > 0
        and all(isinstance(v, (int, float, np.number)) for v in row)
    )


def _label_lists(y: Iterable[Any]) -> list[list[Any]]:
    """The labels of each text. Raises ValueError: a text without a list, or labels of several kinds."""
    rows = list(y)
    first = next(row for row in rows if _is_row(row))
    for number, row in enumerate(rows):
        if not _is_row(row):
            what = "missing" if _is_missing(row, f"y[{number}]") else _shown(row)
            raise ValueError(
                f"y[{number}] is {what}, but other texts have lists of labels, such as {_shown(first)}; give a list "
                "for each text, [] where no label applies."
            )
    _check_kinds((f"y[{n}]", label) for n, row in enumerate(rows) for label in row)
    try:
        check_no_indicators((f"y[{n}]", list(row)) for n, row in enumerate(rows))
    except DataError as error:
        raise ValueError(str(error)) from error
    return [list(row) for row in rows]


def _single_labels(y: Any) -> Array | None:
    """The label of each text, (texts,); None: y is a matrix. Raises ValueError."""
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] == 1:
        _check_kinds((f"y[{n}]", label) for n, label in enumerate(y[:, 0]))
    elif getattr(y, "ndim", 1) == 1 and not hasattr(y, "toarray"):
        rows = list(y)
        if not any(isinstance(row, (list, tuple, np.ndarray)) for row in rows):
            _check_kinds((f"y[{n}]", label) for n, label in enumerate(rows))
    elif hasattr(y, "iloc"):
        _check_kinds((f"y[{n}]", label) for n, row in enumerate(y.itertuples(index=False)) for label in row)
    numpy_dtype = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    if numpy_dtype is not None:  # pandas' "boolean" and "Int64", of which scikit-learn makes fp64
        y = np.asarray(y, dtype=numpy_dtype)
    with np.errstate(invalid="ignore"):  # of NaN, which is refused
        check_classification_targets(y)
        if type_of_target(y, input_name="y") == "multilabel-indicator":
            return None
    return np.asarray(column_or_1d(y, warn=True))


def _indicators(y: Any) -> Array:
    """An indicator matrix, (texts, classes). Raises ValueError: it holds anything but 0 and 1."""
    matrix = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
    values = np.unique(matrix).tolist()
    if not set(values) <= {0, 1}:
        found = " and ".join(map(str, values))
        advice = "write (y > 0).astype(int)" if set(values) <= {-1, 0, 1} else "write it so"
        raise ValueError(
            f"y is a matrix of {found}, but an indicator matrix has 1 where a class applies and 0 where it does not; "
            f"{advice}."
        )
    return np.asarray(matrix)


def _check_kinds(labels: Iterable[tuple[str, Any]]) -> None:
    """Raises ValueError where a label is missing, is no label, or is of another kind than the first.

    Args:
        labels: (location, label).
    """
    first: tuple[str, Any, str] | None = None
    for where, label in labels:
        if _is_missing(label, where):
            raise ValueError(f"{where} is missing ({label!r}); fill it in, or leave the text out.")
        kind = _kind(label)
        if kind is None:
            raise _no_label(label, where)
        first = first or (where, label, kind)
        if kind != first[2]:
            raise ValueError(
                f"{where} is {_shown(label)}, {kind}, but {first[0]} is {_shown(first[1])}, {first[2]}; give labels of "
                "one kind."
            )


def _is_missing(label: Any, where: str) -> bool:
    """Whether a label is None, NaN or another mark of what is missing. Raises ValueError: it is no label."""
    try:
        return plain_value(label, where) is None
    except DataError:
        raise _no_label(label, where) from None


def _no_label(label: Any, where: str) -> ValueError:
    return ValueError(f"{where} is of the kind {type(label).__name__}; a label is text, a number or a date.")


def _kind(label: Any) -> str | None:
    """What a label is, in words; None: it is no single value."""
    if isinstance(label, str):
        return "text"
    if isinstance(label, (bool, np.bool_)):
        return "true or false"
    if isinstance(label, (Number, np.number)):
        return "a number"
    return None if isinstance(plain_value(label, ""), (list, tuple)) else "a date"


def _shown(value: Any) -> str:
    return shown(value) if isinstance(value, str) else repr(value)


def doubtful_classes(names: Mapping[str, int]) -> list[str]:
    """Sentences on classes that may stand for something else, as those of a file would be noted.

    Args:
        names: number of texts by class.
    """
    notes = [
        f"y has the class {shown(name)}, which is learnt like any other; if it stands for a missing label, leave its "
        "texts out."
        for name in names
        if is_placeholder(name)
    ]
    joined = joined_labels(names)
    if joined is not None:
        notes.append(
            f"The class {shown(joined[0])} looks like several labels joined by {shown(joined[1])}; if it is, give a "
            "list of labels for each text."
        )
    return [*notes, *spreadsheet_notes(names), *spelling_notes(names)]
