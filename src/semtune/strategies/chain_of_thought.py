"""Chain of thought: greedy reasoning up to a budget of tokens, then the answer in the chosen way.

Wei et al. 2022, arXiv:2201.11903, without demonstrations: Kojima et al. 2022, arXiv:2205.11916.
"""

from __future__ import annotations

from typing import ClassVar

from semtune.contracts import StrategyGenerator
from semtune.records import Example, Prediction
from semtune.strategies.chains import ChainStrategy


class ChainOfThought(ChainStrategy):
    """Registered as "chain-of-thought"; `contracts.Strategy`."""

    name: ClassVar[str] = "chain-of-thought"

    def run(self, example: Example, generator: StrategyGenerator) -> Prediction:
        """The answer after one chain of thought. Raises DataError where the prompt exceeds its limit."""
        ids = self.encode_question(example, generator)
        (thought,) = generator.generate([ids], self.settings.thought_tokens)
        generator.note({"thought": thought.strip()})
        return self.answer.run(example.id, self.concluded(example, thought), generator)
