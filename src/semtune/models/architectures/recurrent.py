"""A base class for models that carry a state from token to token (RNNs, state-space models).

A mask separates the texts of a packed batch in attention but not in a recurrence, so each text runs alone. A subclass
defines how one text runs (`run_text`); batches, caches, query indices and activation checkpointing are here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semtune.models.architectures.stock import StockArchitecture
from semtune.nn.packed_batch import PackedBatch


class StateCache:
    """The state of each text after its last token; implements `contracts.Cache`.

    A state is the second value that `run_text` returns; it is never changed in place, so rows may share one.
    """

    rewindable = False

    def __init__(self, texts: int) -> None:
        self.lengths = [0] * texts
        self.states: list[Any] = [None] * texts
        """One state per text; None: no tokens so far."""

    def advance(self, lengths: Sequence[int]) -> None:
        """Add `lengths[i]` to the length of text i."""
        self.lengths = [a + b for a, b in zip(self.lengths, lengths, strict=True)]

    def rewind(self, lengths: Sequence[int]) -> None:
        """Raises ValueError unless `lengths` are the present ones: earlier states are not stored."""
        if list(lengths) != self.lengths:
            raise ValueError(f"a state after {self.lengths} tokens cannot be rewound to {list(lengths)}")

    def begin(self, stem: Sequence[Any], rows: Sequence[Sequence[Any]]) -> None:
        """Raises ValueError: a state cannot be put together of segments."""
        raise ValueError("a state cannot be put together of segments")

    def cut(self, row: int, first: int, last: int) -> Any:
        """Raises ValueError: a state has no segments."""
        raise ValueError("a state has no segments")

    def keep(self, rows: Sequence[int]) -> None:
        """Select the texts `rows`, in that order, and drop the others; a row may be named more than once."""
        self.lengths, self.states = [self.lengths[r] for r in rows], [self.states[r] for r in rows]

    def join(self, other: StateCache) -> None:
        """Append the texts of `other`."""
        self.lengths, self.states = self.lengths + other.lengths, self.states + other.states

    def grow(self, tokens: int) -> None:
        """Add `tokens` to every length; a state needs no more memory for them."""
        self.lengths = [n + tokens for n in self.lengths]


class RecurrentArchitecture(StockArchitecture):
    """Runs the texts of a packed batch one after the other. Subclasses define `run_text`."""

    tree_attention = False

    def run_text(self, model: nn.Module, input_ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Run one text from its beginning, or continue it from `state`.

        Args:
            model: the causal language model.
            input_ids: int64 (tokens,), the text's new tokens, one at least.
            state: what this method returned for the text's earlier tokens, not to be changed in place; None: no tokens.

        Returns:
            Hidden states after the final norm (tokens, hidden_size), and the state after the last token.
        """
        raise NotImplementedError

    def install(self, model: nn.Module) -> None:
        """Does nothing: the model runs transformers' own forward."""

    def attentions(self, model: nn.Module) -> list[nn.Module]:
        """None: there is no attention that a learned prefix could reach."""
        return []

    def new_cache(self, model: nn.Module, count: int) -> StateCache:
        """A cache of `count` texts without tokens."""
        return StateCache(count)

    def hidden_states(
        self,
        model: nn.Module,
        input_ids: Tensor,
        batch: PackedBatch,
        query_indices: Sequence[int] | None = None,
        *,
        checkpointing: bool = False,
    ) -> Tensor:
        """(tokens,) -> (tokens or query_indices, hidden_size), text by text.

        With `checkpointing` the backward recomputes each text from its ids and its first state.
        """
        hidden: list[Tensor] = []
        texts = iter(torch.split(input_ids, list(batch.lengths)))
        for part in batch.parts or (batch,):
            cache: Any = part.cache
            for row in range(len(part.lengths)):
                state = cache.states[row] if cache is not None else None
                text_hidden, state = self._run(model, next(texts), state, checkpointing)
                hidden.append(text_hidden)
                if cache is not None:
                    cache.states[row] = state
        batch.advance()
        joined = torch.cat(hidden)
        if query_indices is None:
            return joined
        return joined.index_select(0, torch.tensor(list(query_indices), device=joined.device))

    def _run(self, model: nn.Module, input_ids: Tensor, state: Any, checkpointing: bool) -> tuple[Tensor, Any]:
        if not (checkpointing and torch.is_grad_enabled()):
            return self.run_text(model, input_ids, state)
        checkpointed: Callable[..., Any] = checkpoint  # typed here, as torch leaves it untyped
        pair: tuple[Tensor, Any] = checkpointed(self.run_text, model, input_ids, state, use_reentrant=False)
        return pair
