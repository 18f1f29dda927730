"""The contract of a prompting strategy: predictions of a model whose weights do not change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from semtune.contracts.approach import TaskContext
from semtune.contracts.generation import StrategyGenerator
from semtune.contracts.prompt import Prompt
from semtune.records import Example, Prediction, TargetKind


class Strategy(Protocol):
    """A way of prompting a language model. Constructed as `StrategyClass(context, prompt, settings)`."""

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]]
    """The kinds of target that it can predict."""
    Settings: ClassVar[type[Any]]
    """A frozen dataclass of its options, from `RunSpec.strategy_options`."""

    def __init__(self, context: TaskContext, prompt: Prompt, settings: Any) -> None: ...

    def fit(self, train: Sequence[Example]) -> None:
        """Store what the prompts need of the training examples (few-shot examples, an index, nothing)."""
        ...

    def run(self, example: Example, generator: StrategyGenerator) -> Prediction:
        """The prediction for one example. The calls of `generator` become the example's transcript.

        It is written for one example. Many run at once, in threads that take turns: another example goes on while a
        call of `generator` is under way, so that the calls of many examples are batched. So nothing that belongs to
        one example is kept in `self`. Several prompts in one call, and prompts that begin alike, are the cheapest.
        Behind a server examples run at the same time, so what they share in `self` is only read.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write what predicting needs to `folder`, which exists."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        ...


@runtime_checkable
class ThresholdStrategy(Protocol):
    """A strategy that may decide by a threshold on probabilities; optional, beside `Strategy`."""

    def threshold_examples(self, labelled: Sequence[Example]) -> list[Example]:
        """Those of `labelled` (train and dev) on which the threshold is chosen; none where there is no threshold."""
        ...

    def set_threshold(self, threshold: float) -> None:
        """Predict the labels with at least this probability from now on."""
        ...


@runtime_checkable
class ReadingStrategy(Protocol):
    """A strategy that may read files of the user's own; optional, beside `Strategy`."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading them left out or converted."""
        ...

    def read(self) -> None:
        """Called before `fit`, and before a model is downloaded or loaded. Raises DataError, OptionError."""
        ...


@runtime_checkable
class IndexingStrategy(Protocol):
    """A strategy that computes something of the training examples with the model, such as their embeddings."""

    def index(self, generator: StrategyGenerator) -> None:
        """Called once after `fit`, before `save`."""
        ...


def uses_model(strategy: Strategy) -> bool:
    """Whether the strategy, with its options, needs the language model; it says so in a property of this name."""
    return bool(getattr(strategy, "uses_model", True))
