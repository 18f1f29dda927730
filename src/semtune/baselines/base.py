"""The base class of baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from semtune.contracts import TaskContext
from semtune.records import Example, Prediction, TargetKind
from semtune.records.targets import LABEL_KINDS
from semtune.specs.serves import check_serves


class BaseBaseline:
    """A `semtune.contracts.Baseline` without `predict`; by default it learns nothing and has nothing to save."""

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]] = LABEL_KINDS

    def __init__(self, context: TaskContext) -> None:
        """Raises OptionError where the baseline cannot predict the task's kind of target."""
        check_serves(context.space.kind, "baseline", self.name, self.target_kinds)
        self.context = context
        self.space = context.space

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None:
        """Nothing to fit."""

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the order of `examples`."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Nothing to save."""

    def load(self, folder: Path) -> None:
        """Nothing to load."""

    def not_fitted(self) -> RuntimeError:
        """The error of a `predict` before `fit` or `load`."""
        return RuntimeError(f"{self.name}: call fit before predict")
