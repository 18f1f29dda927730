"""The base class of tasks: checks options, reads splits once, scores, selects thresholds, handles submissions."""

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
from semtune.records.targets import LABEL_KINDS, predictions_from
from semtune.tasks import scoring, submission
from semtune.tasks.intervals import label_intervals

SPLITS = ("train", "dev", "test")


class BaseTask:
    """A `semtune.contracts.Task` without data: a subclass gives `name`, `labels` and `_read`.

    A subclass whose targets are spans or texts also gives `target_kind`, `metrics` and `score`.
    """

    name: str
    usable_options: frozenset[str] = frozenset()
    """Names of the TaskOptions fields that the task supports; setting another one is an error."""
    options_hint: str = "leave it out"
    convention: scoring.Convention = scoring.SCIKIT_LEARN
    """What `score` counts labels as that are neither gold nor predicted."""

    def __init__(self, options: TaskOptions) -> None:
        """Raises OptionError for an option that the task does not support."""
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
        """The kind of target; a set of labels by default."""
        return "label_set"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in their one fixed order; () for a task of free texts."""
        raise NotImplementedError

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics, primary one first; micro-F1 and macro-F1 by default."""
        return self.convention.metrics

    @property
    def label_definitions(self) -> Mapping[str, str]:
        """A definition for each label; none by default."""
        return {}

    @property
    def leaderboard(self) -> tuple[LeaderboardEntry, ...]:
        """Published results of the task; none by default."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on how to read the scores; none by default."""
        return ()

    @property
    def data_notes(self) -> tuple[str, ...]:
        """What reading the data changed, left out or found doubtful; nothing by default."""
        return ()

    @property
    def made_splits(self) -> tuple[str, ...]:
        """Splits that were split off the training rows; none by default."""
        return ()

    @property
    def group_notes(self) -> tuple[str, ...]:
        """Which rows belong together that folds of train and dev divide; nothing by default."""
        return ()

    def load(self, split: str) -> list[Example]:
        """The examples of "train", "dev" or "test". Raises DataError; UnknownNameError for another name."""
        if split not in SPLITS:
            raise UnknownNameError(f'There is no split called "{split}"; {did_you_mean(split, SPLITS)}')
        if split not in self._splits:
            self._splits[split] = self._read(split)
        return list(self._splits[split])

    def score(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        """The task's scores. Raises DataError when gold is unlabelled, the ids differ or a label is unknown."""
        return scoring.score(
            gold, predictions, self.labels, self.target_kind, where=self._where(gold), convention=self.convention
        )

    def intervals(self, gold: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, tuple[float, float]]:
        """Metric -> the ends of its 95% bootstrap interval over the texts; {} for a task with a score of its own.

        Raises DataError as `score`.
        """
        if self.target_kind not in LABEL_KINDS or type(self).score is not BaseTask.score:
            return {}
        return label_intervals(gold, predictions, self.labels, self.target_kind, convention=self.convention)

    def best_threshold(self, gold: Sequence[Example], probabilities: scoring.Matrix) -> float:
        """The threshold, one for all labels, with the best primary score; ties go to the one nearest 0.5.

        Micro-F1 of label sets needs one pass over all thresholds. Other metrics are computed for at most 200.

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
        """Read and check the submission format, texts in it against those of the splits loaded. Raises DataError."""
        texts = {example.id: example.text for loaded in self._splits.values() for example in loaded}
        return submission.read(path, TargetSpace(self.target_kind, self.labels), texts)

    def _read(self, split: str) -> list[Example]:
        raise NotImplementedError

    def _where(self, gold: Sequence[Example]) -> str:
        """Name the split that `gold` comes from, for messages; a split not loaded here is assumed to be test."""
        ids = {e.id for e in gold}
        split = next((s for s, loaded in self._splits.items() if ids <= {e.id for e in loaded}), "test")
        return f"the {split} split of {self.name}"
