"""What a readout offers: the training loss and the predictions together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from semtune.contracts.model import LoadedModel, TokenizedExample
from semtune.contracts.prompt import Prompt
from semtune.records import Example, Prediction, TargetKind, TargetSpace

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import nn

ChooseThreshold = Callable[[Sequence[Example], "npt.NDArray[np.float64]"], float]
"""The best decision threshold for examples and their (examples, labels) probabilities; see `Task.best_threshold`."""


@dataclass(frozen=True, slots=True)
class ReadoutSettings:
    """Options that all readouts share; a readout's own `Settings` adds fields."""

    max_length: int
    """Tokens of prompt and completion together."""
    predict_batch_size: int
    """Examples that are predicted at once."""
    seed: int


class Readout(Protocol):
    """How targets come out of a model: loss and predictions together.

    Constructed as `ReadoutClass(loaded, prompt, space, settings)`, before the method freezes anything.
    """

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]]
    """The kinds of target that the readout can predict."""
    needs_grammar: ClassVar[bool]
    """Whether the readout works only with prompts whose `grammar()` is not None."""
    Settings: ClassVar[type[Any]]
    """The frozen dataclass of the readout's options, a subclass of ReadoutSettings."""

    def __init__(self, loaded: LoadedModel, prompt: Prompt, space: TargetSpace, settings: Any) -> None: ...

    @property
    def max_new_tokens(self) -> int:
        """The most tokens that a prediction generates; 0 where nothing is generated. Plans size the cache by it."""
        ...

    def prepare(self, train: Sequence[Example]) -> None:
        """Look at the training examples once before training (label frequencies, say)."""
        ...

    def trainable(self) -> dict[str, nn.Parameter]:
        """The readout's own parameters by name; empty where it has none."""
        ...

    def learning_rate(self) -> float | None:
        """The learning rate of the readout's own parameters; None: the method's."""
        ...

    def encode(self, example: Example) -> TokenizedExample:
        """A training example as token ids."""
        ...

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[torch.Tensor, int]:
        """The sum of the batch's losses (a scalar with a graph), and over how many targets it sums.

        The training loop divides by the targets of the whole optimizer step, so accumulation over micro-batches equals
        one large batch.
        """
        ...

    def num_targets(self, tokenized: TokenizedExample) -> int:
        """How many loss targets `tokenized` has, without running the model."""
        ...

    def calibrate(self, dev: Sequence[Example], choose_threshold: ChooseThreshold) -> list[Prediction]:
        """Choose what is chosen on dev (a threshold; nothing for most readouts), and predict dev with it."""
        ...

    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Predictions in the order of `examples`; `progress` receives how many more are done."""
        ...

    def save(self, folder: Path) -> None:
        """Write the readout's own parameters and state."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        ...
