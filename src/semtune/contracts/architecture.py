"""The contracts of an architecture, its packed batch and its cache: all that differs between model types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn


class CacheSegment(Protocol):
    """The keys and values of consecutive tokens of one text. It never changes, so caches may share it."""

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        ...

    def split(self, at: int) -> tuple[CacheSegment, CacheSegment]:
        """Copies of its first `at` tokens and of the others."""
        ...


class Cache(Protocol):
    """The state of the tokens read so far: the keys and values, or a recurrent model's state. Row i is text i."""

    lengths: list[int]
    """Number of tokens of each text that are in the cache."""

    @property
    def rewindable(self) -> bool:
        """Whether `rewind`, `begin` and `cut` work. Speculative decoding needs it to remove rejected drafts."""
        ...

    def begin(self, stem: Sequence[Any], rows: Sequence[Sequence[Any]]) -> None:
        """Replace the content by `len(rows)` texts: text i is `stem`, then `rows[i]`, all of them segments.

        The stem is stored once and stays the beginning of every text. Raises ValueError where it is not rewindable.
        """
        ...

    def cut(self, row: int, first: int, last: int) -> CacheSegment:
        """A copy of the tokens `first` to `last` (exclusive) of text `row`; `first` lies behind the stem.

        Raises ValueError for other tokens, and where the cache is not rewindable.
        """
        ...

    def advance(self, lengths: Sequence[int]) -> None:
        """Add `lengths[i]` to the length of text i. Called once a forward, after every layer has stored its tokens."""
        ...

    def rewind(self, lengths: Sequence[int]) -> None:
        """Truncate text i to its first `lengths[i]` tokens. Raises ValueError where the cache is not rewindable."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Select the texts `rows`, in that order, and drop the others; a row may be named more than once."""
        ...

    def join(self, other: Any) -> None:
        """Append the rows of `other`, a cache of the same kind, which must not be used afterwards."""
        ...

    def grow(self, tokens: int) -> None:
        """Allocate `tokens` more tokens for every text, with arbitrary values. Plans use it to measure full caches."""
        ...


class Batch(Protocol):
    """A packed (varlen) batch: which tokens of one row belong to which text. Made by `LoadedModel.pack`."""

    lengths: tuple[int, ...]
    """Number of new tokens of each text."""

    def advance(self) -> None:
        """Advance the batch's caches by `lengths`."""
        ...


class Architecture(Protocol):
    """What differs between model types. Registered in `registry.ARCHITECTURES` by transformers' `config.model_type`.

    One module-level instance each; state lives in the model and the cache.
    """

    tree_attention: bool
    """Whether `hidden_states` accepts trees of continuations behind a shared prefix (`LoadedModel.pack_tree`)."""

    def install(self, model: nn.Module) -> None:
        """Make a loaded model ready for packed batches, in place; parameter names stay. Raises ModelError."""
        ...

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """The decoder's blocks (layers) in order: the units of hooks, sharding and activation checkpointing."""
        ...

    def attentions(self, model: nn.Module) -> list[nn.Module]:
        """The attention modules that read a learned prefix from their attribute `prefix`; [] where none does."""
        ...

    def linears(self, model: nn.Module) -> dict[str, nn.Module]:
        """The linear layers of the blocks, by module path, in order: what adapters and quantisations replace."""
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
            checkpointing: activation checkpointing: the backward recomputes each block's activations from its input.

        Returns:
            (tokens or query_indices, hidden_size).
        """
        ...
