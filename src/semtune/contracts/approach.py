"""What can be fitted on a task and then predict, and what it may know of the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from semtune.contracts.task import Task
from semtune.records import Example, Metric, Prediction, Scores, TargetKind, TargetSpace

ScoreFunction = Callable[[Sequence[Example], Sequence[Prediction]], Scores]


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What an approach may know of a task: enough to fit and predict without the task's files."""

    name: str
    space: TargetSpace
    metrics: tuple[Metric, ...]
    """The primary metric first."""
    label_definitions: Mapping[str, str] = field(default_factory=dict)
    """What each label means; empty where the task has no definitions."""
    score: ScoreFunction | None = field(default=None, compare=False)
    """The task's scorer, for choices made while fitting; None where a fitted approach is only loaded to predict."""

    @classmethod
    def of(cls, task: Task) -> TaskContext:
        """The context of `task`. Raises DataError where the task reads its data to know its labels."""
        space = TargetSpace(task.target_kind, task.labels)
        return cls(task.name, space, task.metrics, task.label_definitions, task.score)


class Approach(Protocol):
    """Whatever can be fitted on a task and then predict: the study's axis."""

    name: str

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None: ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]: ...


class Baseline(Protocol):
    """A simple approach without a language model. Constructed as `BaselineClass(context)`, context a TaskContext."""

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]]
    """The kinds of target that the baseline can predict."""

    def __init__(self, context: TaskContext) -> None: ...

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None:
        """Learn from `train`; a baseline may choose its own options on `dev`."""
        ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the order of `examples`."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was fitted into `folder`, which exists."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        ...
