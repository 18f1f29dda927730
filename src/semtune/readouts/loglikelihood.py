"""Log-likelihood ranking: trained as `generate`; the prediction follows from the log-likelihood of each label.

A label's score is log p(label, end-of-sequence | text), exact over the whole vocabulary. Its probability is its share
among all labels (and "none", where a label set may be empty): a softmax over the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from semtune.contracts import LabelCheck, LoadedModel, Prompt
from semtune.generation.loglikelihood import loglikelihood
from semtune.readouts.base import LabelProbabilities, Matrix
from semtune.readouts.batching import label_completions, prompt_ids
from semtune.readouts.generate import NextTokenLoss
from semtune.readouts.read_back import check_distinct
from semtune.records import Example, TargetSpace


class LogLikelihood(LabelProbabilities, NextTokenLoss):
    """One forward for a text and all its possible labels; no prediction fails to parse."""

    name = "loglikelihood"
    state_file: ClassVar[str] = "loglikelihood.json"
    former_state_file: ClassVar[str | None] = "label-scores.json"
    label_check: ClassVar[LabelCheck | None] = staticmethod(check_distinct)

    def __init__(
        self, loaded: LoadedModel, prompt: Prompt, space: TargetSpace, settings: NextTokenLoss.Settings
    ) -> None:
        super().__init__(loaded, prompt, space, settings)
        label_sets = [(label,) for label in space.labels] + ([] if self.single else [()])
        self._completions = label_completions(loaded.tokenizer, prompt, space.kind, label_sets)

    def prepare(self, train: Sequence[Example]) -> None:
        """Check that no two labels have the same tokens. Raises OptionError."""
        check_distinct(self.name, self.loaded.tokenizer, self.prompt, self.space)

    def probabilities(self, examples: Sequence[Example], progress: Callable[[int], None] | None) -> Matrix:
        """Each label's share of the likelihood of all labels (and of "none"); (examples, labels), fp64."""
        prompts = prompt_ids(self.loaded, self.prompt, examples, self.settings.max_length)
        batch_size = self.settings.predict_batch_size
        scores = loglikelihood(self.loaded, prompts, self._completions, batch_size=batch_size, progress=progress)
        probabilities: Matrix = scores.double().softmax(dim=-1)[:, : len(self.space.labels)].numpy()
        return probabilities
