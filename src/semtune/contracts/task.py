"""What a task offers: data, label space and the official score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from semtune.records import Example, LeaderboardEntry, Prediction, Scores, TaskOptions

AnswerKind = Literal["label_set", "single_label"]


class Task(Protocol):
    """Data, label space and the official score. No torch.

    Constructed as `TaskClass(options: TaskOptions)`; construction is cheap, `load` reads the data.
    """

    name: str

    def __init__(self, options: TaskOptions) -> None: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The label space in its one fixed order."""
        ...

    @property
    def answer(self) -> AnswerKind:
        """Whether an answer is a set of labels (possibly empty) or exactly one label."""
        ...

    @property
    def leaderboard(self) -> tuple[LeaderboardEntry, ...]:
        """Published results on the test split, best first; empty where there are none."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of scores on this task must know."""
        ...

    def load(self, split: str) -> list[Example]:
        """The examples of "train", "dev" or "test". Raises DataError."""
        ...

    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        """The official scores. Raises DataError when gold is unlabelled or the ids differ."""
        ...

    def write_predictions(self, predictions: Sequence[Prediction], path: Path) -> None:
        """Write the task's submission format."""
        ...

    def read_predictions(self, path: Path) -> list[Prediction]:
        """Read and check the submission format. Raises DataError."""
        ...
