"""Always the most frequent training labels. A tuned model below "top-3" has learnt less than the label frequencies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from semtune.baselines.base import BaseBaseline
from semtune.contracts import TaskContext
from semtune.errors import DataError, ModelError
from semtune.records import Example, Prediction, TargetKind, label_target
from semtune.records.checking import check_value
from semtune.runtime.files import read_json

STATE = "labels.json"


class _Top(BaseBaseline):
    """Always the `count` most frequent training labels; of equally frequent ones, the first in the label order."""

    count: ClassVar[int]
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"label_set"})

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        self._chosen: tuple[str, ...] | None = None

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None:
        """Count the training labels; `dev` is not used."""
        counts = Counter(label for example in train for label in example.labels or ())
        ranked = sorted(self.space.labels, key=lambda label: -counts[label])  # stable: ties stay in label order
        chosen = set(ranked[: self.count])
        self._chosen = tuple(label for label in self.space.labels if label in chosen)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """The same labels for each of `examples`."""
        if self._chosen is None:
            raise self.not_fitted()
        return [Prediction(e.id, label_target(self.space.kind, self._chosen)) for e in examples]

    def save(self, folder: Path) -> None:
        """`labels.json`, the list of labels."""
        if self._chosen is None:
            raise self.not_fitted()
        (folder / STATE).write_text(json.dumps(list(self._chosen), ensure_ascii=False), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        try:
            labels = read_json(folder / STATE)
            check_value(tuple[str, ...], labels, STATE)
            self._chosen = tuple(labels)
        except (OSError, ValueError, DataError) as error:
            raise ModelError(f"The baseline {self.name} in {folder} is missing or broken ({error}).") from error


class Top1(_Top):
    """Always the most frequent training label (for a single-label task: the majority class)."""

    name = "top-1"
    count = 1
    target_kinds: ClassVar[frozenset[TargetKind]] = frozenset({"label_set", "single_label"})


class Top2(_Top):
    """Always the two most frequent training labels."""

    name = "top-2"
    count = 2


class Top3(_Top):
    """Always the three most frequent training labels."""

    name = "top-3"
    count = 3
