"""Examples, their targets (what a model shall predict), and predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from semtune.errors import DivergedError
from semtune.records.plain import FlatRecord

TargetKind = Literal["label_set", "single_label", "spans", "text"]
LABEL_KINDS: frozenset[TargetKind] = frozenset({"label_set", "single_label"})
"""The kinds whose targets are labels of the whole text."""


@dataclass(frozen=True, slots=True)
class LabelSet(FlatRecord):
    """Any number of labels of the whole text, possibly none."""

    kind: ClassVar[TargetKind] = "label_set"
    labels: tuple[str, ...]

    def plain(self) -> Mapping[str, Any]:
        """{"labels": […]}."""
        return {"labels": self.labels}


@dataclass(frozen=True, slots=True)
class SingleLabel(FlatRecord):
    """Exactly one label of the whole text."""

    kind: ClassVar[TargetKind] = "single_label"
    label: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The one label, as a tuple."""
        return (self.label,)

    def plain(self) -> Mapping[str, Any]:
        """{"labels": [label]}."""
        return {"labels": self.labels}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text that carries a label: characters `start` to `end` (exclusive) of `Example.text`."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Spans:
    """Labelled stretches of the text, which may overlap."""

    kind: ClassVar[TargetKind] = "spans"
    spans: tuple[Span, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels of the spans, in the order of their first span."""
        return tuple(dict.fromkeys(span.label for span in self.spans))


@dataclass(frozen=True, slots=True)
class FreeText:
    """A text that no label space limits."""

    kind: ClassVar[TargetKind] = "text"
    text: str

    @property
    def labels(self) -> tuple[str, ...]:
        """A free text has no labels: ()."""
        return ()


Target = LabelSet | SingleLabel | Spans | FreeText


def label_target(kind: TargetKind, labels: Sequence[str]) -> LabelSet | SingleLabel:
    """`labels` as a target of one of the two label kinds.

    A prediction of a single-label task that names no label, or several, is no SingleLabel: it becomes a LabelSet, which
    the task scores as wrong. Raises ValueError for a kind whose targets are not labels.
    """
    if kind not in LABEL_KINDS:
        raise ValueError(f"targets of kind {kind} are not labels")
    if kind == "single_label" and len(labels) == 1:
        return SingleLabel(labels[0])
    return LabelSet(tuple(labels))


@dataclass(frozen=True, slots=True)
class TargetSpace:
    """Which targets a task has: all that prompts, readouts, baselines and strategies need to know of it."""

    kind: TargetKind
    labels: tuple[str, ...]
    """All labels in the task's one fixed order; () where targets are free texts."""

    def empty(self) -> Target:
        """The prediction where nothing could be read from a completion: no labels, no spans, or an empty text."""
        if self.kind == "spans":
            return Spans(())
        return FreeText("") if self.kind == "text" else LabelSet(())


@dataclass(frozen=True, slots=True)
class Example:
    """One text of a task."""

    id: str
    text: str
    target: Target | None
    """None: the split comes without targets (a shared task's test release); LabelSet(()): no label applies."""
    image: str | None = None
    """Path of an image that belongs to the text."""
    date: str | None = None
    """The day that the text is from, as 2021-03-05; None: not known."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The target's labels; None for an example without a target."""
        return None if self.target is None else self.target.labels


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a tuned model, a prompted model or a baseline predicts for one example."""

    id: str
    output: Target
    parsed: bool = True
    """False: the completion is not entirely a valid answer; `output` is what could be read, and is scored as it is."""
    raw: str | None = None
    """The completion as generated, where there is one."""
    probabilities: Mapping[str, float] | None = None
    """Probability by label, where the readout has them."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The predicted labels."""
        return self.output.labels


def not_finite(what: str, example_id: str) -> DivergedError:
    """The error of outputs, such as "probabilities", that are NaN or infinite for an example."""
    return DivergedError(
        f'The {what} for the text "{example_id}" are not finite numbers: the weights or their precision are at fault; '
        "lower --learning-rate, use a wider --precision, or check the base model."
    )


def check_finite(predictions: Iterable[Prediction]) -> None:
    """Raises DivergedError for the first prediction with a probability that is NaN or infinite."""
    for prediction in predictions:
        if not all(map(math.isfinite, (prediction.probabilities or {}).values())):
            raise not_finite("probabilities", prediction.id)


def threshold_from(value: Any) -> float:
    """A decision threshold from its JSON form. Raises ValueError for what no probability can be."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError("its threshold is no number from 0 to 1")
    return float(value)


def predictions_from(
    examples: Sequence[Example],
    probabilities: Iterable[Iterable[float]],
    space: TargetSpace,
    threshold: float,
    digits: int | None = None,
) -> list[Prediction]:
    """Predictions from the probability of each label.

    A label set has the labels whose probability is at least `threshold`; a single label is the most probable one (the
    first of equals).

    Args:
        probabilities: (examples, labels), labels in the order of `space`; an array will do.
        digits: decimals to which the predictions' probabilities are rounded; None: not rounded.

    Raises:
        DivergedError: a probability is NaN or infinite. No comparison with NaN is true, so it would pass as "no label".
    """
    predictions = []
    for example, values in zip(examples, probabilities, strict=True):
        row = [float(value) for value in values]
        if not all(map(math.isfinite, row)):
            raise not_finite("probabilities", example.id)
        chosen = [label for label, p in zip(space.labels, row, strict=True) if p >= threshold]
        if space.kind == "single_label":
            chosen = [space.labels[row.index(max(row))]]
        by_label = dict(zip(space.labels, row if digits is None else (round(p, digits) for p in row), strict=True))
        predictions.append(Prediction(example.id, label_target(space.kind, chosen), probabilities=by_label))
    return predictions
