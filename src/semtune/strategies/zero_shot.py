"""Zero-shot prompting: the labels with their definitions, then the text; the answer in one of the ways of answering.

The prompt is `instruction, one line a label, the text` in the form of the run's prompt.
"""

from __future__ import annotations

from typing import ClassVar

from semtune.contracts import StrategyGenerator
from semtune.records import Example, Prediction
from semtune.strategies.base import BaseStrategy


class ZeroShot(BaseStrategy):
    """Registered as "zero-shot"; `contracts.Strategy`."""

    name: ClassVar[str] = "zero-shot"

    def run(self, example: Example, generator: StrategyGenerator) -> Prediction:
        """The answer to the question alone. Raises DataError where the labels alone exceed `prompt_tokens`."""
        return self.answer.run(example.id, self.question(example), generator)
