"""Greedy decoding of many texts at once: unpadded prefill, a key-value cache, finished texts leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from semtune.contracts import Bundle
from semtune.nn.key_value_cache import KeyValueCache
from semtune.nn.ragged import Ragged
from semtune.readouts.batching import last_places


class Constraint(Protocol):
    """What one text may say next."""

    def allowed(self) -> Tensor | None:
        """Token ids that may come next, (n,); None: any."""
        ...

    def advance(self, token: int) -> None:
        """Note that `token` was said."""
        ...


@torch.no_grad()
def greedy(
    bundle: Bundle,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    constraint: Callable[[], Constraint] | None = None,
) -> list[list[int]]:
    """The most probable next token, again and again, until end-of-sequence or `max_new_tokens`.

    Args:
        prompts: token ids of each text, none empty.
        constraint: makes one fresh Constraint a text; None: anything may be said.

    Returns:
        New token ids of each text, end-of-sequence left out.
    """
    said: list[list[int]] = [[] for _ in prompts]
    constraints = [constraint() if constraint is not None else None for _ in prompts]
    alive = list(range(len(prompts)))
    cache = KeyValueCache(len(prompts))
    fresh: list[Sequence[int]] = list(prompts)
    for _ in range(max_new_tokens):
        ids = torch.tensor([i for new in fresh for i in new], device=bundle.device)
        ragged = Ragged(tuple(len(new) for new in fresh), cache)
        hidden = bundle.hidden_states(ids, ragged, last_places(ragged.lengths))  # (alive, hidden_size)
        logits = bundle.logits(hidden)  # (alive, vocab)
        tokens = _pick(logits, [constraints[text] for text in alive])
        rows = [row for row, token in enumerate(tokens) if token != bundle.encoder.eos_id]
        for row in rows:
            said[alive[row]].append(tokens[row])
            text_constraint = constraints[alive[row]]
            if text_constraint is not None:
                text_constraint.advance(tokens[row])
        if not rows:
            break
        fresh = [[tokens[row]] for row in rows]
        if len(rows) < len(alive):
            alive = [alive[row] for row in rows]
            cache.keep(rows)
    return said


def _pick(logits: Tensor, constraints: Sequence[Constraint | None]) -> list[int]:
    """The best allowed token of each row of `logits`, (rows, vocab)."""
    best: list[int] = logits.argmax(dim=-1).tolist()
    for row, constraint in enumerate(constraints):
        allowed = constraint.allowed() if constraint is not None else None
        if allowed is not None:
            best[row] = int(allowed[logits[row, allowed].argmax()])
    return best
