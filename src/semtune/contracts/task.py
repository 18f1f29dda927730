"""What a task offers: data, the space of its targets, and the official score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from semtune.records import Example, LeaderboardEntry, Metric, Prediction, Scores, TargetKind, TaskOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Task(Protocol):
    """Data, target space and the official score. No torch.

    Constructed as `TaskClass(options: TaskOptions)`; construction is cheap, `load` reads the data.
    """

    name: str

    def __init__(self, options: TaskOptions) -> None: ...

    @property
    def target_kind(self) -> TargetKind:
        """What a target is: a set of labels (possibly empty), exactly one label, spans, or a free text."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in their one fixed order; () for a task of free texts."""
        ...

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What `score` computes. The first is the primary metric: it selects models and ranks them."""
        ...

    @property
    def label_definitions(self) -> Mapping[str, str]:
        """What each label means, in a sentence; empty where the task has no definitions."""
        ...

    @property
    def leaderboard(self) -> tuple[LeaderboardEntry, ...]:
        """Published results on the test split, best first; empty where there are none."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of scores on this task must know."""
        ...

    @property
    def data_notes(self) -> tuple[str, ...]:
        """Those of `notes` that say what reading the data changed, left out or found doubtful; said before fitting."""
        ...

    @property
    def made_splits(self) -> tuple[str, ...]:
        """The splits that semtune split off the training rows; () where all were supplied."""
        ...

    @property
    def group_notes(self) -> tuple[str, ...]:
        """Which rows belong together (those of one user, say) that folds of train and dev divide; said of folds."""
        ...

    def load(self, split: str) -> list[Example]:
        """The examples of "train", "dev" or "test". Raises DataError."""
        ...

    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        """The official scores. Raises DataError when gold has no targets or the ids differ."""
        ...

    def best_threshold(self, gold: Sequence[Example], probabilities: npt.NDArray[np.float64]) -> float:
        """The decision threshold, one for all labels, with the best primary score of a set of labels.

        Args:
            probabilities: (examples, labels), fp64, labels in the order of `labels`.
        """
        ...

    def write_predictions(self, predictions: Sequence[Prediction], path: Path) -> None:
        """Write the task's submission format."""
        ...

    def read_predictions(self, path: Path) -> list[Prediction]:
        """Read and check the submission format. Raises DataError."""
        ...
