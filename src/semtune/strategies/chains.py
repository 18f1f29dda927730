"""A chain of thought before the answer: the text that asks for one, and the text that concludes from it.

Two stages as in zero-shot chain-of-thought (Kojima et al. 2022, arXiv:2205.11916): the model first writes on after
`THINK`, then answers after its own words and `CONCLUDE`. What it wrote is text like the example's: the name of a
special token in it is spelt out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from semtune.contracts import Prompt, PromptParts, StrategyGenerator, TaskContext
from semtune.errors import OptionError
from semtune.records import Example, option
from semtune.records.options import MOST_TOKENS
from semtune.strategies.base import BaseStrategy, StrategySettings

THINK = "\nLet's think step by step."
CONCLUDE = "\nTherefore, the answer is:"


@dataclass(frozen=True, slots=True)
class ChainSettings(StrategySettings):
    """Options of strategies with one chain of thought before the answer."""

    thought_tokens: int = option(
        128, unit="tokens", at_least=1, at_most=MOST_TOKENS, help="Longest chain of thought before the answer."
    )


class ChainStrategy(BaseStrategy):
    """A strategy whose prompt leaves room for one chain of thought."""

    Settings: ClassVar[type[Any]] = ChainSettings
    settings: ChainSettings

    def __init__(self, context: TaskContext, prompt: Prompt, settings: ChainSettings) -> None:
        """Raises OptionError where `prompt_tokens` leaves no room beside the thoughts."""
        super().__init__(context, prompt, settings)
        check_room(self.name, settings.prompt_tokens, settings.thought_tokens)

    def encode_question(self, example: Example, generator: StrategyGenerator) -> tuple[int, ...]:
        """Token ids of the prompt that a chain of thought follows. Raises DataError where it is too long."""
        self.cite(self.retrieved(example), generator)
        asked = dataclasses.replace(self.question(example), suffix=THINK)
        return generator.encode(asked, self.settings.prompt_tokens - self.settings.thought_tokens)

    def concluded(self, example: Example, thought: str) -> PromptParts:
        """The prompt with a chain of thought in it, which the answer follows."""
        parts = self.question(example)
        return dataclasses.replace(parts, suffix=f"{THINK}{thought.rstrip()}{CONCLUDE}{parts.suffix}")


def check_room(strategy: str, prompt_tokens: int, thoughts_tokens: int) -> None:
    """Raises OptionError where thoughts may take all of a prompt."""
    if thoughts_tokens >= prompt_tokens:
        raise OptionError(
            f"The thoughts of the strategy {strategy} may take {thoughts_tokens:,} tokens, which leaves none of its "
            f"prompt_tokens ({prompt_tokens:,}) for the text; raise prompt_tokens or lower thought_tokens."
        )
