"""A free answer: greedy text, whose first line is read in the form of the prompt; it may fail to parse."""

from __future__ import annotations

from typing import ClassVar

from semtune.contracts import PromptParts, StrategyGenerator
from semtune.records import Prediction
from semtune.strategies.answers.base import BaseAnswer


class Free(BaseAnswer):
    """Registered as "free". There are no probabilities; the share of unparsable answers is in the scores."""

    name: ClassVar[str] = "free"

    def run(self, example_id: str, parts: PromptParts, generator: StrategyGenerator) -> Prediction:
        """One completion without a constraint. Raises DataError where the prompt exceeds its limit."""
        ids = generator.encode(parts, self.settings.prompt_tokens)
        (completion,) = generator.generate([ids], self.settings.answer_tokens)
        line = first_line(completion)
        plain = self.parsed(example_id, completion, line)
        return plain if plain.parsed else self.parsed(example_id, completion, line.removesuffix("."))


def first_line(completion: str) -> str:
    """The first line that is not blank, without white space at its ends; "" where there is none."""
    return next((line.strip() for line in completion.splitlines() if line.strip()), "")
