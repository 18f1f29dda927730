"""The contract of a readout: the training loss and the predictions together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from semtune.contracts.model import LoadedModel, TokenizedExample, Tokenizer
from semtune.contracts.prompt import Prompt
from semtune.records import Example, Prediction, TargetKind, TargetSpace

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import nn

ChooseThreshold = Callable[[Sequence[Example], "npt.NDArray[np.float64]"], float]
"""The best decision threshold for examples and their (examples, labels) probabilities; see `Task.best_threshold`."""

LabelCheck = Callable[[str, Tokenizer, Prompt, TargetSpace], None]
"""Checks with the tokenizer alone that a readout, given by name, works for a task's labels. Raises OptionError."""


@dataclass(frozen=True, slots=True)
class ReadoutSettings:
    """Options that all readouts share; a readout's own `Settings` adds fields."""

    max_length: int
    """Maximum number of tokens of prompt and completion together."""
    predict_batch_size: int
    """Number of examples that are predicted at once."""
    seed: int


class Readout(Protocol):
    """How targets are read from a model, e.g. as generated text or from a classification head.

    Constructed as `ReadoutClass(loaded, prompt, space, settings)`, before the method freezes anything.
    """

    name: ClassVar[str]
    target_kinds: ClassVar[frozenset[TargetKind]]
    """The kinds of target that the readout can predict."""
    needs_grammar: ClassVar[bool]
    """Whether the readout works only with prompts whose `grammar()` is not None."""
    label_check: ClassVar[LabelCheck | None]
    """What a run checks before weights are downloaded or loaded; None: nothing."""
    has_parameters: ClassVar[bool]
    """Whether `trainable` returns any parameters."""
    notes: tuple[str, ...]
    """Sentences for the reader of the results, known after `prepare`; () where there are none."""
    Settings: ClassVar[type[Any]]
    """The frozen dataclass of the readout's options, a subclass of ReadoutSettings."""

    def __init__(self, loaded: LoadedModel, prompt: Prompt, space: TargetSpace, settings: Any) -> None: ...

    @property
    def max_new_tokens(self) -> int:
        """Maximum number of tokens generated for an example; 0: none are. Plans size the cache by it."""
        ...

    @property
    def kept_bytes_per_example(self) -> int:
        """Bytes kept of each training and dev example so that the model runs once for it, not in every epoch; 0: none.

        Known once the method is attached. Plans count them, and steps that repeat no forward.
        """
        ...

    def prepare(self, train: Sequence[Example]) -> None:
        """Read the training examples once before training, e.g. to count label frequencies. Raises OptionError."""
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
        """The loss summed over the batch's targets (a scalar with a graph), and the number of targets.

        The training loop divides by the targets of the whole optimizer step, so accumulation over micro-batches equals
        one large batch.
        """
        ...

    def num_targets(self, tokenized: TokenizedExample) -> int:
        """Number of loss targets of `tokenized`, without running the model."""
        ...

    def calibrate(self, dev: Sequence[Example], choose_threshold: ChooseThreshold) -> list[Prediction]:
        """Choose a decision threshold on dev, where the readout has one, and return the predictions for dev."""
        ...

    def answer(self, examples: Sequence[Example], progress: Callable[[int], None] | None = None) -> list[Prediction]:
        """Predictions in the order of `examples`; `progress` receives how many were done since its last call."""
        ...

    def save(self, folder: Path) -> None:
        """Write the readout's own parameters and state."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises ModelError."""
        ...
