"""Examples and predictions: what a task asks and what an approach answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TargetKind = Literal["label_set", "single_label", "spans", "text"]


@dataclass(frozen=True, slots=True)
class TargetSpace:
    """The kind of a task's targets and its labels in their one fixed order; () where targets are free text."""

    kind: TargetKind
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text that carries a label: characters `start` to `end` (exclusive) of `Example.text`."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Example:
    """One text of a task."""

    id: str
    text: str
    labels: tuple[str, ...] | None
    """None: the split is unlabelled (a shared task's test release); (): labelled, and none applies."""
    image: str | None = None
    spans: tuple[Span, ...] | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a tuned model or a baseline answers for one example."""

    id: str
    labels: tuple[str, ...]
    parsed: bool = True
    """False: the completion held something that is not a valid answer; `labels` is what could be read, scored as is."""
    raw: str | None = None
    """The completion as generated, where there is one."""
    probabilities: Mapping[str, float] | None = None
