"""Base classes of readouts: one without parameters or state, and one that thresholds label probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from numpy import float64
from torch import nn

from semtune.contracts import ChooseThreshold, LabelCheck, LoadedModel, Prompt, ReadoutSettings
from semtune.errors import ModelError
from semtune.records import Example, Prediction, TargetKind, TargetSpace
from semtune.records.targets import LABEL_KINDS, not_finite, predictions_from, threshold_from
from semtune.runtime.files import read_json

Matrix = npt.NDArray[float64]

DIGITS = 6
"""Decimals to which the probabilities in a prediction are rounded."""


class BaseReadout:
    """A readout without parameters, state or generated text; subclasses override what they have."""

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]]
    needs_grammar: ClassVar[bool] = False
    label_check: ClassVar[LabelCheck | None] = None
    has_parameters: ClassVar[bool] = False
    Settings: ClassVar[type[Any]] = ReadoutSettings
    settings: ReadoutSettings
    notes: tuple[str, ...] = ()
    """What `prepare` found that a reader of the results must know."""

    def __init__(self, loaded: LoadedModel, prompt: Prompt, space: TargetSpace, settings: ReadoutSettings) -> None:
        self.loaded, self.prompt, self.space, self.settings = loaded, prompt, space, settings

    @property
    def max_new_tokens(self) -> int:
        """0: nothing is generated."""
        return 0

    @property
    def kept_bytes_per_example(self) -> int:
        """0: nothing is kept."""
        return 0

    def prepare(self, train: Sequence[Example]) -> None:
        """Does nothing: no statistics of the data are needed."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """No parameters of its own."""
        return {}

    def learning_rate(self) -> float | None:
        """None: there are no parameters of its own."""
        return None

    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Predictions in the order of `examples`."""
        raise NotImplementedError

    def calibrate(self, dev: Sequence[Example], choose_threshold: ChooseThreshold) -> list[Prediction]:
        """Predictions of `dev`; nothing is chosen on it."""
        return self.answer(dev)

    def save(self, folder: Path) -> None:
        """Does nothing: there is no state."""

    def load(self, folder: Path) -> None:
        """Does nothing: there is no state."""


class LabelProbabilities(BaseReadout):
    """A readout that predicts the probability of each label, and decides with one threshold for all labels.

    The threshold is chosen on dev by the task's primary metric (`calibrate`), which makes dev scores optimistic: the
    report says so. Where exactly one label applies the most probable one is predicted, and there is no threshold.
    """

    target_kinds: ClassVar[frozenset[TargetKind]] = LABEL_KINDS
    state_file: ClassVar[str]
    """Name of the JSON file with the labels in order and the threshold."""
    former_state_file: ClassVar[str | None] = None
    """The name that an earlier version gave that file; still read."""

    def __init__(self, loaded: LoadedModel, prompt: Prompt, space: TargetSpace, settings: ReadoutSettings) -> None:
        super().__init__(loaded, prompt, space, settings)
        self.threshold = 0.5

    @property
    def single(self) -> bool:
        """Whether exactly one label applies."""
        return self.space.kind == "single_label"

    def probabilities(self, examples: Sequence[Example], progress: Callable[[int], None] | None) -> Matrix:
        """The probability of each label, (examples, labels), fp64."""
        raise NotImplementedError

    def dev_probabilities(self, dev: Sequence[Example]) -> Matrix:
        """`probabilities` of dev, which is predicted after every epoch."""
        return self.probabilities(dev, None)

    def calibrate(self, dev: Sequence[Example], choose_threshold: ChooseThreshold) -> list[Prediction]:
        """Choose the threshold on `dev` by `choose_threshold`, and predict `dev` with it."""
        probabilities = _finite(self.dev_probabilities(dev), dev)
        if not self.single and dev:
            self.threshold = choose_threshold(dev, probabilities)
        return self._decide(dev, probabilities)

    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Labels at or above the threshold (the most probable one where exactly one applies), with probabilities."""
        return self._decide(examples, _finite(self.probabilities(examples, progress), examples))

    def save(self, folder: Path) -> None:
        """Write the labels in order and the threshold to `state_file`."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {"labels": list(self.space.labels), "threshold": self.threshold}
        (folder / self.state_file).write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError when it is missing, broken or for other labels."""
        path = folder / self.state_file
        if self.former_state_file is not None and not path.exists():
            path = folder / self.former_state_file
        try:
            state = read_json(path)
            labels, threshold = state["labels"], threshold_from(state["threshold"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"The {self.name} state in {folder} is missing or broken ({error}); tune again."
            ) from error
        if labels != list(self.space.labels):
            raise ModelError(f"The {self.name} in {folder} was tuned for other labels; tune again for this task.")
        self.threshold = threshold

    def _decide(self, examples: Sequence[Example], probabilities: Matrix) -> list[Prediction]:
        return predictions_from(examples, probabilities, self.space, self.threshold, DIGITS)


def _finite(probabilities: Matrix, examples: Sequence[Example]) -> Matrix:
    """`probabilities`. Raises DivergedError where one is not finite, before a threshold is chosen among them."""
    bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(bad):
        raise not_finite("probabilities", examples[int(bad[0])].id)
    return probabilities
