"""A loaded model with what belongs to it: `contracts.Bundle`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semtune.contracts import Encoder
from semtune.models.family import Family, decoder_linears, family_of
from semtune.models.packing import pack_frozen
from semtune.models.ragged_attention import forward_hidden
from semtune.nn.linear import PackedLinear, can_pack
from semtune.nn.vocabulary_loss import vocabulary_loss


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
    recompute: bool = False
    """Keep of each block its input alone for the backward: less memory, about a third more products."""
    packed_head: PackedLinear | None = None
    """The output embedding laid out for products, for predicting alone."""

    @property
    def family(self) -> Family:
        """What differs between this model's architecture and others."""
        return family_of(self.model)

    def decoder_linears(self) -> dict[str, nn.Module]:
        """Every linear layer inside the decoder's blocks, by module path (never the output embedding)."""
        return decoder_linears(self.model)

    def pack_frozen(self, packed: bool | None = None, *, memory_bytes: int, backward: bool = True) -> int:
        """Lay frozen weights out for this machine's products, once all is attached; see `models.packing`."""
        count = pack_frozen(self.model, packed, backward=backward, memory_bytes=memory_bytes)
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        if count and not backward and can_pack(head):
            self.packed_head = PackedLinear(head, backward=False)
        return count

    def hidden_states(self, input_ids: Tensor, ragged: Any, places: Sequence[int] | None = None) -> Tensor:
        """The last hidden states of unpadded texts laid end to end: (tokens,) -> (tokens or places, hidden_size).

        `places`: the tokens whose states are wanted, ascending; what only others need is not computed.
        """
        return forward_hidden(self.model, input_ids, ragged, places, recompute=self.recompute)

    def logits(self, hidden: Tensor) -> Tensor:
        """The vocabulary product: (rows, hidden_size) -> (rows, vocab_size)."""
        head = self.packed_head or self.model.get_output_embeddings()  # type: ignore[operator]
        product: Tensor = head(hidden)
        return product

    def next_token_loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy of the vocabulary product: (rows, hidden_size) and (rows,) -> scalar, fp32 at least."""
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        return vocabulary_loss(hidden, head.weight, head.bias, targets)
