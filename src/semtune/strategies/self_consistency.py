"""Self-consistency: several sampled chains of thought, and a vote over their answers.

Wang et al. 2022, arXiv:2203.11171.
Answers without probabilities vote: the majority for one label, the majority of each label for sets, with the shares of
votes as probabilities. Answers with probabilities are averaged, and decided like a single one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from semtune.contracts import StrategyGenerator
from semtune.generation.sampling import text_seed
from semtune.records import Example, Prediction, option
from semtune.strategies.chains import ChainSettings, ChainStrategy
from semtune.strategies.voting import mean_probabilities, vote


class SelfConsistency(ChainStrategy):
    """Registered as "self-consistency"; `contracts.Strategy`."""

    name: ClassVar[str] = "self-consistency"

    @dataclass(frozen=True, slots=True)
    class Settings(ChainSettings):
        """Options of self-consistency."""

        chains: int = option(5, unit="chains", at_least=1, at_most=1000, help="Chains of thought that vote.")
        temperature: float = option(
            0.7, above=0, at_most=100, help="Temperature at which the chains are sampled, with the run's seed."
        )

    settings: Settings

    def run(self, example: Example, generator: StrategyGenerator) -> Prediction:
        """The vote of all chains. Raises DataError where the prompt exceeds its limit."""
        s = self.settings
        ids = self.encode_question(example, generator)
        seeds = [text_seed(s.seed, example.id, chain) for chain in range(s.chains)]
        thoughts = generator.sample([ids] * s.chains, s.thought_tokens, temperature=s.temperature, seeds=seeds)
        predictions = [self.answer.run(example.id, self.concluded(example, thought), generator) for thought in thoughts]
        chains = [
            {"thought": thought.strip(), "labels": list(prediction.labels), "parsed": prediction.parsed}
            for thought, prediction in zip(thoughts, predictions, strict=True)
        ]
        mean = mean_probabilities(predictions, self.space)
        decided = vote(predictions, self.space) if mean is None else self.answer.decide(example.id, mean)
        generator.note({"chains": chains, "shares": decided.probabilities})
        return decided
