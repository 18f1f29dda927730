"""What the runner offers an approach while it is fitted: `contracts.FitWatch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semtune.contracts import Task
from semtune.measure.memory import PhaseMeter
from semtune.records import Example, Prediction
from semtune.runs.finite import check_predictions, finite_scores
from semtune.runs.folder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


SELECTION_SPLIT = "dev"


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
        on_tokenized: Callable[[], None] = lambda: None,
    ) -> None:
        self.observers, self.clock, self.metrics_file = observers, clock, folder.metrics
        self._task, self._dev, self._folder, self._meter = task, dev, folder, meter
        self._on_tokenized = on_tokenized
        self.scoring_seconds = 0.0
        """Seconds spent in `score_dev`, which the runner subtracts from the training time."""
        self.scored = False
        """Whether dev was scored or took part in a threshold: the result then says that dev selected the state."""
        self.kept_predictions: Sequence[Prediction] | None = None
        """The dev predictions of the state that was kept last; None: it was not scored."""
        self._last_predictions: Sequence[Prediction] | None = None

    def on_tokenized(self) -> None:
        """The training examples are token ids."""
        self._on_tokenized()

    def score_dev(self, predict_dev: Callable[[], Sequence[Prediction]]) -> float:
        """The primary score of the dev predictions that `predict_dev` returns, measured as part of "evaluate"."""
        started = self.clock()
        with self._meter.phase("evaluate"):
            predictions = predict_dev()
        self.scored = True
        self._last_predictions = check_predictions(predictions)
        score = finite_scores(self._task.score(self._dev, self._last_predictions), SELECTION_SPLIT).value
        self.scoring_seconds += self.clock() - started
        return score

    def choose_threshold(self, examples: Sequence[Example], probabilities: npt.NDArray[np.float64]) -> float:
        """The decision threshold with the best primary score on `examples`; dev's among them take part in selection."""
        held = {example.id for example in self._dev}
        self.scored |= any(example.id in held for example in examples)
        return self._task.best_threshold(examples, probabilities)

    def keep(self, save: Callable[[Path], None]) -> Path:
        """Store what `save` writes as the best state so far; the folder that contains it until fitting ends."""
        self._folder.keep_best(save)
        self.kept_predictions = self._last_predictions
        return self._folder.best
