"""A base class for models that carry a state from token to token (RNNs, state-space models).

Such a model cannot share a row between texts as attention does, so each text of a packed batch runs alone. A subclass
says how one text runs (`run_text`); batches, caches, query indices and activation checkpointing are here.
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
    """The state of each text after its last token; `contracts.Cache` says what the methods promise.

    A state is whatever `run_text` returns; it is never changed in place, so rows may share one.
    """

    rewindable = False

    def __init__(self, texts: int) -> None:
        self.lengths = [0] * texts
        self.states: list[Any] = [None] * texts
        """None: a text without tokens."""

    def advance(self, lengths: Sequence[int]) -> None:
        """Count `lengths[i]` more tokens of text i."""
        self.lengths = [a + b for a, b in zip(self.lengths, lengths, strict=True)]

    def rewind(self, lengths: Sequence[int]) -> None:
        """Raises ValueError unless `lengths` are the present ones: a state does not remember earlier tokens apart."""
        if list(lengths) != self.lengths:
            raise ValueError(f"a state after {self.lengths} tokens cannot be rewound to {list(lengths)}")

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with the texts `rows` alone, in that order; a row may be named more than once."""
        self.lengths, self.states = [self.lengths[r] for r in rows], [self.states[r] for r in rows]

    def join(self, other: StateCache) -> None:
        """Append the texts of `other`."""
        self.lengths, self.states = self.lengths + other.lengths, self.states + other.states

    def grow(self, tokens: int) -> None:
        """Count `tokens` more of every text; a state needs no more memory for them."""
        self.lengths = [n + tokens for n in self.lengths]


class RecurrentArchitecture(StockArchitecture):
    """Runs the texts of a packed batch one after the other. Subclasses define `run_text`."""

    tree_attention = False

    def run_text(self, model: nn.Module, input_ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Run one text on, or from its beginning.

        Args:
            model: the causal language model.
            input_ids: int64 (tokens,), the text's new tokens, one at least.
            state: what this method returned for the text's earlier tokens, not to be changed in place; None: no tokens.

        Returns:
            Hidden states after the final norm (tokens, hidden_size), and the state after the last token.
        """
        raise NotImplementedError

    def install(self, model: nn.Module) -> None:
        """Nothing to install: the model runs as it is."""

    def attentions(self, model: nn.Module) -> list[nn.Module]:
        """None: there is no attention that a learned prefix could reach."""
        return []

    def new_cache(self, model: nn.Module, count: int) -> StateCache:
        """`count` texts without a state."""
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
        """(tokens,) -> (tokens or query_indices, hidden_size), text by text; checkpointing keeps a text's ids alone."""
        hidden: list[Tensor] = []
        texts = iter(torch.split(input_ids, list(batch.lengths)))
        for part in batch.parts or (batch,):
            cache: Any = part.cache
            for row in range(len(part.lengths)):
                state = cache.states[row] if cache is not None else None
                states, state = self._run(model, next(texts), state, checkpointing)
                hidden.append(states)
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
        rerun: Callable[..., Any] = checkpoint
        pair: tuple[Tensor, Any] = rerun(self.run_text, model, input_ids, state, use_reentrant=False)
        return pair
