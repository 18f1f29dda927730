"""The contract of a way of answering: how a strategy's prompt becomes a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from semtune.contracts.approach import TaskContext
from semtune.contracts.generation import StrategyGenerator
from semtune.contracts.prompt import Prompt, PromptParts
from semtune.records import Prediction, TargetKind


class Answer(Protocol):
    """How a prompted model's answer is read. Constructed as `AnswerClass(context, prompt, settings)`.

    A strategy writes the prompt, whatever it puts before the answer (demonstrations, thoughts); an answer makes the
    model calls that end in a prediction.
    """

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]]
    """The kinds of target that it can predict."""
    threshold: float
    """Labels with at least this probability are predicted, where `chooses_threshold`."""

    def __init__(self, context: TaskContext, prompt: Prompt, settings: Any) -> None:
        """`settings`: a `strategies.base.StrategySettings`. Raises OptionError for a prompt that it cannot serve."""
        ...

    @property
    def chooses_threshold(self) -> bool:
        """Whether `threshold` decides, so that it is to be chosen on labelled texts."""
        ...

    def run(self, example_id: str, parts: PromptParts, generator: StrategyGenerator) -> Prediction:
        """The prediction for the prompt `parts`, which ends with the run's own marker (`Prompt.encode`)."""
        ...

    def decide(self, example_id: str, probabilities: Mapping[str, float]) -> Prediction:
        """The prediction for the probability of every label. Raises DivergedError for one that is not finite."""
        ...
