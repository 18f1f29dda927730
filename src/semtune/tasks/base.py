"""What every task here shares: options checked, splits read once, official scoring, the submission format."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from semtune.contracts import AnswerKind
from semtune.errors import OptionError, UnknownNameError, did_you_mean
from semtune.records import Example, LeaderboardEntry, Prediction, Scores, TaskOptions
from semtune.tasks import scoring, submission

SPLITS = ("train", "dev", "test")


class BaseTask:
    """A `semtune.contracts.Task` but for its data: a subclass gives `name`, `labels`, `answer` and `_read`."""

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
    def labels(self) -> tuple[str, ...]:
        """The label space in its one fixed order."""
        raise NotImplementedError

    @property
    def answer(self) -> AnswerKind:
        """A set of labels unless a subclass says otherwise."""
        return "label_set"

    @property
    def leaderboard(self) -> tuple[LeaderboardEntry, ...]:
        """No published results unless a subclass has them."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing special unless a subclass says so."""
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
        return scoring.score(gold, predictions, self.labels, self.answer, where=self._where(gold))

    def write_predictions(self, predictions: Sequence[Prediction], path: Path) -> None:
        """Write the submission format. Raises OutputError."""
        submission.write(predictions, path)

    def read_predictions(self, path: Path) -> list[Prediction]:
        """Read and check the submission format. Raises DataError."""
        return submission.read(path, self.labels, self.answer)

    def _read(self, split: str) -> list[Example]:
        raise NotImplementedError

    def _where(self, gold: Sequence[Example]) -> str:
        """Name the split that `gold` came from, for messages; a split not loaded here is taken for the test split."""
        ids = {e.id for e in gold}
        split = next((s for s, held in self._splits.items() if ids <= {e.id for e in held}), "test")
        return f"the {split} split of {self.name}"
