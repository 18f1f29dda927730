"""What ways of answering share: the prompt's grammar, and the decision from probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from semtune.contracts import AnswerGrammar, Prompt, PromptParts, StrategyGenerator, TaskContext
from semtune.errors import OptionError
from semtune.records import Example, Prediction, TargetKind
from semtune.records.targets import LABEL_KINDS, predictions_from

if TYPE_CHECKING:
    from semtune.strategies.base import StrategySettings

DIGITS = 6
"""Decimals to which the probabilities in a prediction are rounded."""
UNDECIDED = 0.5
"""The threshold before one is chosen."""


class BaseAnswer:
    """An answer without a threshold; subclasses implement `run`."""

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]] = LABEL_KINDS

    def __init__(self, context: TaskContext, prompt: Prompt, settings: StrategySettings) -> None:
        self.prompt, self.settings, self.space = prompt, settings, context.space
        self.threshold = UNDECIDED

    @property
    def chooses_threshold(self) -> bool:
        """False: the answer itself says which labels apply."""
        return False

    def run(self, example_id: str, parts: PromptParts, generator: StrategyGenerator) -> Prediction:
        """The prediction for one prompt."""
        raise NotImplementedError

    def decide(self, example_id: str, probabilities: Mapping[str, float]) -> Prediction:
        """Labels at or above the threshold, or the most probable one where exactly one applies."""
        row = [probabilities[label] for label in self.space.labels]
        (prediction,) = predictions_from([Example(example_id, "", None)], [row], self.space, self.threshold, DIGITS)
        return prediction

    def parsed(self, example_id: str, completion: str, text: str) -> Prediction:
        """The prediction that `text`, the answer within `completion`, spells in the form of the prompt."""
        parsed = self.prompt.parse(text)
        output = self.space.empty() if parsed.target is None else parsed.target
        return Prediction(example_id, output, parsed=parsed.ok, raw=completion)


def grammar_of(prompt: Prompt, answer: str) -> AnswerGrammar:
    """The grammar of the prompt's completions. Raises OptionError where it has none, which `answer` needs."""
    grammar = prompt.grammar()
    if grammar is None:
        raise OptionError(
            f'The answer "{answer}" needs a prompt with a grammar, which "{prompt.name}" does not have; choose another '
            "with --prompt, or the strategy's option answer=free."
        )
    return grammar
