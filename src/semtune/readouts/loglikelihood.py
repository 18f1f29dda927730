"""Labels by likelihood: trained as `generate`; at inference each label is scored as an answer of its own.

A label's score is log p(label, end-of-sequence | text), exact over the whole vocabulary. Its probability is its share
among all labels (and "none", where an answer may be empty): a softmax over the scores. Where exactly one label applies,
the likeliest is the answer. Else labels whose share reaches a threshold are; it is chosen on dev by micro-F1
(`calibrate`), which makes dev scores optimistic: reports say so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from semtune.contracts import AnswerKind, LoadedModel, Prompt, ReadoutSettings
from semtune.errors import ModelError
from semtune.generation.loglikelihood import loglikelihood
from semtune.readouts.batching import label_completions, prompt_ids
from semtune.readouts.generate import Generate
from semtune.readouts.thresholds import Matrix, best_threshold, decide, gold_matrix
from semtune.records import Example, Prediction

STATE = "label-scores.json"


class LabelScores(Generate):
    """One forward for a text and all its possible labels; no answer fails to parse."""

    name = "label-scores"

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: Prompt,
        labels: Sequence[str],
        answer: AnswerKind,
        settings: ReadoutSettings,
    ) -> None:
        super().__init__(loaded, prompt, labels, answer, settings)
        self.single = answer == "single_label"
        self.threshold = 0.5
        answers = [(label,) for label in self.labels] + ([] if self.single else [()])
        self._completions = label_completions(loaded, prompt, answers)

    def calibrate(self, dev: Sequence[Example]) -> list[Prediction]:
        """Choose the threshold with the best micro-F1 on `dev`; nothing to choose for one label a text."""
        shares = self._shares(dev, None)
        if not self.single and dev:
            self.threshold = best_threshold(shares, gold_matrix(dev, self.labels))
        return self._decide(dev, shares)

    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Labels at or above the threshold (the likeliest one where exactly one applies), with probabilities."""
        return self._decide(examples, self._shares(examples, progress))

    def save(self, folder: Path) -> None:
        """`label-scores.json` (labels in order, threshold)."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {"labels": list(self.labels), "threshold": self.threshold}
        (folder / STATE).write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError when it is missing, broken or for other labels."""
        try:
            state = json.loads((folder / STATE).read_text(encoding="utf-8"))
            labels, threshold = state["labels"], float(state["threshold"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"The threshold in {folder} is missing or broken ({error}); tune again.") from error
        if labels != list(self.labels):
            raise ModelError(f"The threshold in {folder} was chosen for other labels; tune again for this task.")
        self.threshold = threshold

    def _decide(self, examples: Sequence[Example], shares: Matrix) -> list[Prediction]:
        return decide(examples, shares, self.labels, None if self.single else self.threshold)

    def _shares(self, examples: Sequence[Example], progress: Callable[[int], None] | None) -> Matrix:
        """(examples, labels)."""
        prompts = prompt_ids(self.loaded, self.prompt, examples, self.settings.max_length)
        batch_size = self.settings.predict_batch_size
        scores = loglikelihood(self.loaded, prompts, self._completions, batch_size=batch_size, progress=progress)
        shares: Matrix = scores.double().softmax(dim=-1)[:, : len(self.labels)].numpy()
        return shares
