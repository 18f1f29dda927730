"""A loaded model with what belongs to it: `contracts.LoadedModel`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semtune.contracts import Tokenizer
from semtune.models.family import Architecture, architecture_of, decoder_linears
from semtune.models.packed_attention import packed_hidden_states
from semtune.models.prepacking import prepack_frozen
from semtune.nn.linear import as_linear_layer, is_linear_layer
from semtune.nn.linear_cross_entropy import fused_linear_cross_entropy


@dataclass(slots=True)
class TransformersModel:
    """Methods and readouts change `model` in place."""

    model: nn.Module
    tokenizer: Tokenizer
    name: str
    compute_dtype: torch.dtype
    device: torch.device
    hidden_size: int
    notes: tuple[str, ...] = ()
    activation_checkpointing: bool = False
    """Keep of each block its input alone for the backward: less memory, about a third more products."""
    packed_head: nn.Module | None = None
    """The output embedding laid out for products, for predicting alone."""

    @property
    def family(self) -> Architecture:
        """What differs between this model's architecture and others."""
        return architecture_of(self.model)

    def decoder_linears(self) -> dict[str, nn.Module]:
        """Every linear layer inside the decoder's blocks, by module path (never the output embedding)."""
        return decoder_linears(self.model)

    def prepack_frozen(self, packed: bool | None = None, *, memory_bytes: int, backward: bool = True) -> int:
        """Lay frozen weights out for this machine's products, once all is attached; see `models.packing`."""
        count = prepack_frozen(self.model, packed, backward=backward, memory_bytes=memory_bytes)
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        if count and not backward and is_linear_layer(head):
            self.packed_head = as_linear_layer(head).prepack(backward=False)
        return count

    def hidden_states(self, input_ids: Tensor, packed_batch: Any, places: Sequence[int] | None = None) -> Tensor:
        """The last hidden states of unpadded texts laid end to end: (tokens,) -> (tokens or places, hidden_size).

        `places`: the tokens whose states are wanted, ascending; what only others need is not computed.
        """
        return packed_hidden_states(
            self.model, input_ids, packed_batch, places, activation_checkpointing=self.activation_checkpointing
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """The vocabulary product: (rows, hidden_size) -> (rows, vocab_size)."""
        head = self.packed_head or self.model.get_output_embeddings()  # type: ignore[operator]
        product: Tensor = head(hidden)
        return product

    def next_token_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy of the vocabulary product: (rows, hidden_size) and (rows,) -> scalar, fp32 at least."""
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        return fused_linear_cross_entropy(hidden, head.weight, head.bias, targets)
