"""Hidden states that are computed once and kept, for readouts over a model of which nothing is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from semtune.contracts import LoadedModel
from semtune.readouts.batching import last_hidden


class KeptStates:
    """The hidden state of the last token of each text that was asked for, by the example's id and the token ids.

    Both, because ids of examples may repeat between splits, and the tokens of a plan without the model's tokenizer are
    all the same.

    A text takes hidden_size numbers of `dtype` (4 bytes each in fp32) on the model's device, for as long as the readout
    lives. They are valid only while the model's weights do not change (`is_frozen`).
    """

    def __init__(self, loaded: LoadedModel, dtype: torch.dtype) -> None:
        self._loaded, self._dtype = loaded, dtype
        self._rows: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    @property
    def bytes_per_text(self) -> int:
        """Bytes of a text's hidden state."""
        return self._loaded.hidden_size * self._dtype.itemsize

    def of(self, names: Sequence[str], texts: Sequence[Sequence[int]]) -> Tensor:
        """(texts, hidden_size) in `dtype`, without a graph. Those not kept yet are computed in one packed forward.

        Args:
            names: the id of each text's example.
        """
        keys = [(name, tuple(text)) for name, text in zip(names, texts, strict=True)]
        missing = [key for key in keys if key not in self._rows]
        if missing:
            with torch.no_grad(), _without_dropout(self._loaded.model):
                states = last_hidden(self._loaded, [ids for _, ids in missing])  # (missing, hidden_size)
                states = states.to(self._dtype, copy=True)  # as it may be a view of all tokens' states
            self._rows.update(zip(missing, states.unbind(), strict=True))
        return torch.stack([self._rows[key] for key in keys])


def is_frozen(model: nn.Module) -> bool:
    """Whether no parameter of the model is trained, so that its hidden states of a text are always the same."""
    return not any(parameter.requires_grad for parameter in model.parameters())


@contextlib.contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """The model is in evaluation mode inside."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
