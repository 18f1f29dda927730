"""What a readout offers: loss and answer together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from semtune.contracts.model import TokenizedExample
from semtune.records import Example, Prediction

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class ReadoutSettings:
    """What a run tells its readout."""

    max_length: int
    max_new_tokens: int
    predict_batch_size: int
    loss_on: Literal["completion", "all"]
    seed: int


class Readout(Protocol):
    """How labels come out of a model: loss and answer together.

    Constructed as `ReadoutClass(loaded, prompt, labels, answer, settings)`, before the method freezes anything.
    """

    name: str

    def prepare(self, train: Sequence[Example]) -> None:
        """Look at the training examples once before training (label frequencies, say)."""
        ...

    def trainable(self) -> dict[str, nn.Parameter]:
        """The readout's own parameters; empty for `generate`."""
        ...

    def learning_rate(self) -> float | None:
        """For the readout's own parameters; None: the method's."""
        ...

    def encode(self, example: Example) -> TokenizedExample:
        """A training example as tokens."""
        ...

    def loss(self, batch: Sequence[TokenizedExample]) -> tuple[torch.Tensor, int]:
        """Sum of the batch's loss targets (a scalar with a graph), and how many num_targets it sums.

        The training loop divides by the num_targets of the whole optimizer step, so accumulation over micro-batches equals
        one large batch.
        """
        ...

    def num_targets(self, tokenized: TokenizedExample) -> int:
        """How many loss targets `tokenized` has, without running the model."""
        ...

    def calibrate(self, dev: Sequence[Example]) -> list[Prediction]:
        """Choose what is chosen on dev (a threshold; nothing for most), and answer dev with it."""
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
