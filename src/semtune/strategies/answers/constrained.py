"""A constrained answer: one greedy completion that the prompt's grammar accepts, so none fails to parse."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from semtune.contracts import AnswerGrammar, Prompt, PromptParts, StrategyGenerator, TaskContext
from semtune.records import Prediction
from semtune.strategies.answers.base import BaseAnswer, grammar_of

if TYPE_CHECKING:
    from semtune.strategies.base import StrategySettings


class Constrained(BaseAnswer):
    """Registered as "constrained". There are no probabilities."""

    name: ClassVar[str] = "constrained"

    def __init__(self, context: TaskContext, prompt: Prompt, settings: StrategySettings) -> None:
        """Raises OptionError for a prompt whose completions have no grammar."""
        super().__init__(context, prompt, settings)
        self._grammar = dataclasses.replace(grammar_of(prompt, self.name), end=settings.answer_end)

    def run(self, example_id: str, parts: PromptParts, generator: StrategyGenerator) -> Prediction:
        """One completion under the prompt's grammar. Raises DataError where the prompt exceeds its limit."""
        ids = generator.encode(parts, self.settings.prompt_tokens)
        longest = _longest_bytes(self._grammar) + 1
        (completion,) = generator.generate([ids], longest, generator.label_constraint(self._grammar))
        answer = completion.removesuffix(self._grammar.end)
        return self.parsed(example_id, answer, answer)


def _longest_bytes(grammar: AnswerGrammar) -> int:
    """Bytes of the longest answer. A token stands for one byte at least, so no answer takes more tokens."""
    items = sum(len(item.encode()) + len(grammar.separator.encode()) for item in grammar.items)
    return len(grammar.start.encode()) + max(items, len(grammar.none.encode())) + len(grammar.end.encode())
