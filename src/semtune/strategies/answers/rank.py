"""Log-likelihood ranking: the label that is the most probable answer; sets of labels by yes/no questions.

A label's score is log p(answer, end-of-sequence | prompt), exact over the whole vocabulary. Its probability is its
share among all labels, a softmax over the scores, as the readout `loglikelihood` has it. A set of labels has too many
values to rank, so each label is ranked against its absence: `yes_no`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from semtune.contracts import Prompt, PromptParts, StrategyGenerator, TaskContext
from semtune.records import Example, Prediction, label_target
from semtune.strategies.answers.yes_no import YesNo

if TYPE_CHECKING:
    from semtune.strategies.base import StrategySettings


class Rank(YesNo):
    """Registered as "rank"."""

    name: ClassVar[str] = "rank"

    def __init__(self, context: TaskContext, prompt: Prompt, settings: StrategySettings) -> None:
        super().__init__(context, prompt, settings)
        targets = [label_target("single_label", [label]) for label in context.space.labels]
        single = context.space.kind == "single_label"
        self._completions = [prompt.encode(Example("", "", t)).completion or "" for t in targets] if single else []

    def run(self, example_id: str, parts: PromptParts, generator: StrategyGenerator) -> Prediction:
        """Each label's share of the likelihood. Raises DataError where the prompt exceeds its limit."""
        if self.space.kind != "single_label":
            return super().run(example_id, parts, generator)
        ids = generator.encode(parts, self.settings.prompt_tokens)
        shares = generator.loglikelihood([ids], self._completions)[0].double().softmax(dim=-1)
        return self.decide(example_id, dict(zip(self.space.labels, shares.tolist(), strict=True)))
