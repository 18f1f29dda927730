"""The base of the strategies that ask once, without thoughts: zero-shot, few-shot, retrieval.

A strategy says which training texts are demonstrations for a text. What exceeds the limit of tokens is left out: first
demonstrations, the farthest one first, then entries of knowledge, the least similar first; then the text's end.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from semtune.contracts import NO_MAX_LENGTH, PromptParts, StrategyGenerator
from semtune.records import Example, Prediction
from semtune.strategies._files import cited_example
from semtune.strategies._texts import END
from semtune.strategies.base import BaseStrategy, Retrieved, StrategySettings


@dataclass(frozen=True, slots=True)
class DemonstrationSettings(StrategySettings):
    """Options of strategies whose prompts hold demonstrations."""

    @property
    def answer_end(self) -> str:
        """The line break that ends the answers of demonstrations."""
        return END


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """The demonstrations for one text."""

    nearest: Sequence[Example] = ()
    """The nearest first: the last one is left out first."""
    in_order: Callable[[Sequence[Example]], Sequence[Example]] = tuple
    """The order in which those that fit stand in the prompt."""
    similarities: Sequence[float] = ()
    """Of `nearest`, for the transcript; () where the choice does not depend on the text."""


class DirectStrategy(BaseStrategy):
    """A strategy without a name: a subclass gives `name` and, where it has any, `demonstrations`."""

    demonstrates: ClassVar[bool] = False
    """Whether the strategy has demonstrations, also where a text gets none of them."""

    def demonstrations(self, example: Example, generator: StrategyGenerator) -> Demonstrations:
        """The demonstrations for `example`, whose target must not be read; none by default."""
        return Demonstrations()

    def run(self, example: Example, generator: StrategyGenerator) -> Prediction:
        """The answer behind demonstrations and knowledge. Raises DataError where the labels exceed `prompt_tokens`."""
        shown, found = self.demonstrations(example, generator), self.retrieved(example)
        parts, kept, entries = self._within_limit(example, shown, found, generator)
        if self.demonstrates:
            cited = itertools.zip_longest(shown.nearest[:kept], shown.similarities[:kept])
            rows = [cited_example(e, similarity) for e, similarity in cited]
            generator.note({"demonstrations": rows, "dropped_demonstrations": len(shown.nearest) - kept})
        self.cite(found, generator, kept=entries)
        return self.answer.run(example.id, parts, generator)

    def _within_limit(
        self, example: Example, shown: Demonstrations, found: Sequence[Retrieved], generator: StrategyGenerator
    ) -> tuple[PromptParts, int, int]:
        """The prompt, and how many demonstrations and entries are in it: as many as fit."""
        demonstrations, limit = len(shown.nearest), self.settings.prompt_tokens

        def kept(left_out: int) -> tuple[int, int]:
            return max(demonstrations - left_out, 0), len(found) - max(left_out - demonstrations, 0)

        def parts(left_out: int) -> PromptParts:
            count, entries = kept(left_out)
            return self.question(example, shown.in_order(shown.nearest[:count]), found[:entries])

        def fits(left_out: int) -> bool:
            return len(generator.encode(parts(left_out), NO_MAX_LENGTH)) <= limit

        # What is left out grows until the prompt fits: a binary search, as each try tokenizes a whole prompt.
        most = demonstrations + len(found)
        left_out = 0 if not most or fits(0) else bisect.bisect_left(range(most), True, key=fits)
        return parts(left_out), *kept(left_out)
