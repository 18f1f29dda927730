"""A loaded model with what belongs to it: `contracts.Bundle`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semtune.contracts import Encoder
from semtune.models.family import Family, decoder_linears, family_of
from semtune.models.ragged_attention import forward_hidden


@dataclass(slots=True)
class ModelBundle:
    """Methods and readouts change `model` in place."""

    model: nn.Module
    encoder: Encoder
    name: str
    compute_dtype: torch.dtype
    device: torch.device
    hidden_size: int
    notes: tuple[str, ...] = ()

    @property
    def family(self) -> Family:
        """What differs between this model's architecture and others."""
        return family_of(self.model)

    def decoder_linears(self) -> dict[str, nn.Module]:
        """Every linear layer inside the decoder's blocks, by module path (never the output embedding)."""
        return decoder_linears(self.model)

    def hidden_states(self, input_ids: Tensor, ragged: Any) -> Tensor:
        """The last hidden states of unpadded texts laid end to end: (tokens,) -> (tokens, hidden_size)."""
        return forward_hidden(self.model, input_ids, ragged)

    def logits(self, hidden: Tensor) -> Tensor:
        """The vocabulary product: (rows, hidden_size) -> (rows, vocab_size)."""
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        product: Tensor = head(hidden)
        return product
