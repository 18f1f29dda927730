"""Baselines that do not read the text: the organisers' random one, and always the most frequent labels.

They say what a score is worth: a tuned model below "top-3" has learnt less than the label frequencies.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from semtune.contracts import AnswerKind, Task, TaskContext
from semtune.errors import ModelError, OptionError
from semtune.records import Example, Prediction

RANDOM_SEED = 42


class Baseline:
    """What the baselines share; a `semtune.contracts.Approach` but for `predict`."""

    name: str
    answers: tuple[AnswerKind, ...] = ("label_set", "single_label")
    """The kinds of answer that the baseline can give."""

    def __init__(self, task: Task | TaskContext) -> None:
        """Raises OptionError where the baseline makes no sense for the task's kind of answer."""
        if task.answer not in self.answers:
            raise OptionError(
                f'The baseline "{self.name}" needs a multi-label task; "{task.name}" has one label a text.'
            )
        self.labels = task.labels
        self.answer: AnswerKind = task.answer

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None:
        """Nothing to fit unless a subclass says otherwise."""

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the order of `examples`."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Nothing to save."""

    def load(self, folder: Path) -> None:
        """Nothing to load."""


class Random(Baseline):
    """The organisers' random baseline: keep drawing labels without replacement while a fair coin says so.

    Source: baselines/baseline_task1_random.py of the organisers' corpus (see `tasks.semeval2021_task6`). Seeded with 42
    anew for each call, over the texts in the order given. For a single-label task it draws one label uniformly.
    """

    name = "random"

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the order of `examples`; the draw depends on that order."""
        draw = random.Random(RANDOM_SEED)
        if self.answer == "single_label":
            return [Prediction(id=e.id, labels=(draw.choice(self.labels),)) for e in examples]
        return [Prediction(id=e.id, labels=self._draw_set(draw)) for e in examples]

    def _draw_set(self, draw: random.Random) -> tuple[str, ...]:
        remaining = list(self.labels)
        chosen: set[str] = set()
        while remaining and draw.random() < 0.5:
            chosen.add(remaining.pop(draw.randint(0, len(remaining) - 1)))
        return tuple(label for label in self.labels if label in chosen)


class _Top(Baseline):
    """Always the `count` most frequent training labels; of equally frequent ones, the first in the label order."""

    count: int

    def __init__(self, task: Task | TaskContext) -> None:
        super().__init__(task)
        self._chosen: tuple[str, ...] | None = None

    def fit(self, train: Sequence[Example], dev: Sequence[Example]) -> None:
        """Count the training labels; `dev` is not looked at."""
        counts = Counter(label for example in train for label in example.labels or ())
        ranked = sorted(self.labels, key=lambda label: -counts[label])  # stable: ties stay in label order
        chosen = set(ranked[: self.count])
        self._chosen = tuple(label for label in self.labels if label in chosen)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """The same answer for each of `examples`."""
        if self._chosen is None:
            raise RuntimeError(f"{self.name}: call fit before predict")
        return [Prediction(id=e.id, labels=self._chosen) for e in examples]

    def save(self, folder: Path) -> None:
        """The chosen labels, as JSON."""
        (folder / "labels.json").write_text(json.dumps(self._chosen), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        try:
            self._chosen = tuple(json.loads((folder / "labels.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"The baseline {self.name} in {folder} is missing or broken ({error}).") from error


class Top1(_Top):
    """Always the most frequent training label (for a single-label task: the majority class)."""

    name = "top-1"
    count = 1


class Top2(_Top):
    """Always the two most frequent training labels."""

    name = "top-2"
    count = 2
    answers: tuple[AnswerKind, ...] = ("label_set",)


class Top3(_Top):
    """Always the three most frequent training labels."""

    name = "top-3"
    count = 3
    answers: tuple[AnswerKind, ...] = ("label_set",)
