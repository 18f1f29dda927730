"""A yes/no question for every label: log-likelihoods as probabilities, and one threshold chosen on labelled texts.

p(label) = p(yes) / (p(yes) + p(no)) after the question. All questions follow the text as one tree of tokens, so a text
runs once whatever the number of labels: with q the question's tokens, log p(q, yes) − log p(q, no) is
log p(yes | q) − log p(no | q), as log p(q) cancels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

from semtune.contracts import Prompt, PromptParts, StrategyGenerator, TaskContext
from semtune.records import Example, Prediction
from semtune.strategies.answers.base import BaseAnswer

if TYPE_CHECKING:
    from semtune.strategies.base import StrategySettings

YES, NO = " yes", " no"


class YesNo(BaseAnswer):
    """Registered as "yes-no". Where exactly one label applies, the one with the most probable yes is predicted."""

    name: ClassVar[str] = "yes-no"

    def __init__(self, context: TaskContext, prompt: Prompt, settings: StrategySettings) -> None:
        super().__init__(context, prompt, settings)
        self._marker = prompt.encode(Example("", "", None)).suffix
        self._questions = [question(label) for label in context.space.labels]

    @property
    def chooses_threshold(self) -> bool:
        """Whether the targets are sets of labels: one label is the most probable one, without a threshold."""
        return self.space.kind == "label_set"

    def run(self, example_id: str, parts: PromptParts, generator: StrategyGenerator) -> Prediction:
        """All labels' questions behind one prompt. Raises DataError where the prompt exceeds its limit."""
        asked = dataclasses.replace(parts, suffix=parts.suffix.removesuffix(self._marker))
        ids = generator.encode(asked, self.settings.prompt_tokens)
        answers = [asking + word for asking in self._questions for word in (YES, NO)]
        (values,) = generator.loglikelihood([ids], answers, end=False).tolist()
        pairs = zip(values[::2], values[1::2], strict=True)
        return self.decide(example_id, dict(zip(self.space.labels, (_share(*pair) for pair in pairs), strict=True)))


def question(label: str) -> str:
    """The question about one label, which " yes" or " no" follows; all labels' questions begin alike and share that."""
    return f"\nDoes this label apply to the text, yes or no? {label}:"


def _share(yes: float, no: float) -> float:
    """exp(yes) / (exp(yes) + exp(no)), without overflow; NaN stays NaN."""
    difference = yes - no
    if difference < 0:
        return math.exp(difference) / (1 + math.exp(difference))
    return 1 / (1 + math.exp(-difference))
