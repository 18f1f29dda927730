"""What the runner offers an approach while it is fitted: `contracts.FitWatch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semtune.contracts import Task
from semtune.measure.memory import PhaseMeter
from semtune.records import Example, Prediction
from semtune.runs.folder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class RunWatch:
    """Scores dev in its own memory phase, keeps the best state in the run folder, and counts the seconds of scoring."""

    def __init__(
        self,
        task: Task,
        dev: Sequence[Example],
        folder: RunFolder,
        meter: PhaseMeter,
        clock: Callable[[], float],
        observers: Sequence[Any],
    ) -> None:
        self.observers, self.clock, self.metrics_file = observers, clock, folder.metrics
        self._task, self._dev, self._folder, self._meter = task, dev, folder, meter
        self.scoring_seconds = 0.0
        """In `score_dev`, which is no part of fitting."""
        self.scored = False
        """Whether dev was scored, so that it chose something."""

    def score_dev(self, answer: Callable[[], Sequence[Prediction]]) -> float:
        """The primary score of the dev predictions that `answer` makes, measured as part of "evaluate"."""
        started = self.clock()
        with self._meter.phase("evaluate"):
            predictions = answer()
        self.scored = True
        score = self._task.score(self._dev, predictions).value
        self.scoring_seconds += self.clock() - started
        return score

    def choose_threshold(self, dev: Sequence[Example], probabilities: npt.NDArray[np.float64]) -> float:
        """The decision threshold with the best primary score on `dev`."""
        return self._task.best_threshold(dev, probabilities)

    def keep(self, save: Callable[[Path], None]) -> Path:
        """Make what `save` writes the best state so far; the folder where it is until fitting ends."""
        self._folder.keep_best(save)
        return self._folder.best
