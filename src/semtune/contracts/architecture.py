"""What an architecture and its cache offer: what differs between model types, behind one contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn


class Cache(Protocol):
    """What a model keeps of texts that go on: keys and values, or a recurrent model's state. A row is a text."""

    lengths: list[int]
    """Tokens of each text that are in the cache."""

    @property
    def rewindable(self) -> bool:
        """Whether `rewind` works. Speculative decoding needs it: rejected drafts are taken back."""
        ...

    def advance(self, lengths: Sequence[int]) -> None:
        """Count `lengths[i]` more tokens of text i; once a forward, after every layer has stored them."""
        ...

    def rewind(self, lengths: Sequence[int]) -> None:
        """Forget all but the first `lengths[i]` tokens of each text. Raises ValueError where it cannot."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with the texts `rows` alone, in that order; a row may be named more than once."""
        ...

    def join(self, other: Any) -> None:
        """Append the rows of `other`, a cache of the same kind, which must not be used afterwards."""
        ...

    def grow(self, tokens: int) -> None:
        """Take the memory that `tokens` more tokens of every text would take; their values are arbitrary. For plans."""
        ...


class Batch(Protocol):
    """A packed (varlen) batch: which tokens of one row belong to which text. Made by `LoadedModel.pack`."""

    lengths: tuple[int, ...]
    """New tokens of each text."""

    def advance(self) -> None:
        """Count these tokens in the caches."""
        ...


class Architecture(Protocol):
    """What differs between model types. Registered in `registry.ARCHITECTURES` by transformers' `config.model_type`.

    One module-level instance each; state lives in the model and the cache.
    """

    tree_attention: bool
    """Whether `hidden_states` takes trees of continuations behind a shared prefix (`LoadedModel.pack_tree`)."""

    def install(self, model: nn.Module) -> None:
        """Make a loaded model ready for packed batches, in place; parameter names stay. Raises ModelError."""
        ...

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """The decoder's blocks in order: units for hooks, sharding and activation checkpointing."""
        ...

    def attentions(self, model: nn.Module) -> list[nn.Module]:
        """The modules in the blocks that honour a learned prefix set as `attention.prefix`; none where none can."""
        ...

    def linears(self, model: nn.Module) -> dict[str, nn.Module]:
        """The linear layers of the blocks that carry adapters and are quantised, by module path, in order."""
        ...

    def new_cache(self, model: nn.Module, count: int) -> Cache:
        """An empty cache for `count` texts."""
        ...

    def hidden_states(
        self,
        model: nn.Module,
        input_ids: torch.Tensor,
        batch: Any,
        query_indices: Sequence[int] | None = None,
        *,
        checkpointing: bool = False,
    ) -> torch.Tensor:
        """Last hidden states of a packed batch, after the final norm.

        Args:
            input_ids: int64 (tokens,), the new tokens of all texts, one text after the other.
            batch: a `semtune.nn.packed_batch.PackedBatch`. A cache in it is read, extended and advanced.
            query_indices: ascending indices into the row of tokens; None: all tokens.
            checkpointing: whether the backward computes each block's activations again from its input.

        Returns:
            (tokens or query_indices, hidden_size).
        """
        ...
