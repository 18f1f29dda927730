"""What every task here shares: options checked, splits read once, scoring, thresholds, the submission format."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from semtune.errors import OptionError, UnknownNameError, did_you_mean
from semtune.records import (
    Example,
    LeaderboardEntry,
    Metric,
    Prediction,
    Scores,
    TargetKind,
    TargetSpace,
    TaskOptions,
)
from semtune.records.targets import predictions_from
from semtune.tasks import scoring, submission

SPLITS = ("train", "dev", "test")


class BaseTask:
    """A `semtune.contracts.Task` without data: a subclass gives `name`, `labels` and `_read`.

    A subclass whose targets are spans or texts also gives `target_kind`, `metrics` and `score`.
    """

    name: str
    usable_options: frozenset[str] = frozenset()
    """The fields of TaskOptions that mean something to the task; another one that was given is an error."""
    options_hint: str = "leave it out"

    def __init__(self, options: TaskOptions) -> None:
        """Raises OptionError for an option that the task has no use for."""
        defaults = TaskOptions()
        for field in dataclasses.fields(TaskOptions):
            if field.name in self.usable_options or getattr(options, field.name) == getattr(defaults, field.name):
                continue
            flag = "--" + field.name.replace("_", "-")
            raise OptionError(f'The task "{self.name}" has no use for {flag}; {self.options_hint}.')
        self.options = options
        self._splits: dict[str, list[Example]] = {}

    @property
    def target_kind(self) -> TargetKind:
        """A set of labels, unless a subclass says otherwise."""
        return "label_set"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in their one fixed order; () for a task of free texts."""
        raise NotImplementedError

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Micro-F1, the primary metric, and macro-F1, unless a subclass says otherwise."""
        return scoring.METRICS

    @property
    def label_definitions(self) -> Mapping[str, str]:
        """No definitions, unless a subclass has them."""
        return {}

    @property
    def leaderboard(self) -> tuple[LeaderboardEntry, ...]:
        """No published results, unless a subclass has them."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing special, unless a subclass says so."""
        return ()

    def load(self, split: str) -> list[Example]:
        """The examples of "train", "dev" or "test". Raises DataError; UnknownNameError for another name."""
        if split not in SPLITS:
            raise UnknownNameError(f'There is no split called "{split}"; {did_you_mean(split, SPLITS)}')
        if split not in self._splits:
            self._splits[split] = self._read(split)
        return list(self._splits[split])

    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        """The official scores. Raises DataError when gold is unlabelled, the ids differ or a label is unknown."""
        return scoring.score(gold, predictions, self.labels, self.target_kind, where=self._where(gold))

    def best_threshold(self, gold: Sequence[Example], probabilities: scoring.Matrix) -> float:
        """The threshold, one for all labels, with the best primary score; of equals, the nearest to one half.

        For micro-F1 of label sets in one pass over all thresholds; for another metric by scoring at most 200 of them.

        Args:
            probabilities: (examples, labels), fp64.
        """
        primary = self.metrics[0]
        if primary == scoring.MICRO_F1 and self.target_kind == "label_set":
            return scoring.best_micro_f1_threshold(probabilities, scoring.gold_matrix(gold, self.labels))
        space = TargetSpace(self.target_kind, self.labels)

        def goodness(threshold: float) -> tuple[float, float]:
            scores = self.score(gold, predictions_from(gold, probabilities, space, threshold))
            return primary.rank(scores.value), -abs(threshold - 0.5)

        return max(scoring.candidate_thresholds(probabilities), key=goodness)

    def write_predictions(self, predictions: Sequence[Prediction], path: Path) -> None:
        """Write the submission format. Raises OutputError."""
        submission.write(predictions, path)

    def read_predictions(self, path: Path) -> list[Prediction]:
        """Read and check the submission format. Raises DataError."""
        return submission.read(path, TargetSpace(self.target_kind, self.labels))

    def _read(self, split: str) -> list[Example]:
        raise NotImplementedError

    def _where(self, gold: Sequence[Example]) -> str:
        """Name the split that `gold` comes from, for messages; a split not loaded here is assumed to be test."""
        ids = {e.id for e in gold}
        split = next((s for s, loaded in self._splits.items() if ids <= {e.id for e in loaded}), "test")
        return f"the {split} split of {self.name}"
